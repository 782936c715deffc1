# Prints the instances that systemd knows, as JSON.
import json
import subprocess

shown = subprocess.run(
    ["systemctl", "show", "--property=Id,MainPID,ActiveState,NRestarts", "aos-service@*.service"],
    check=True, capture_output=True, text=True).stdout
instances = []
for block in shown.split("\n\n"):
    unit = dict(line.split("=", 1) for line in block.splitlines())
    if not unit.get("Id", "").startswith("aos-service@"):
        continue
    pid = int(unit["MainPID"])
    environment, started = {}, 0
    if pid:
        try:
            with open(f"/proc/{pid}/environ") as file:
                entries = file.read().split("\0")
            environment = dict(entry.split("=", 1) for entry in entries if "=" in entry)
            with open(f"/proc/{pid}/stat") as file:
                started = int(file.read().rsplit(")", 1)[1].split()[19])
        except (FileNotFoundError, ProcessLookupError):
            pid = 0
    name = ""
    if "AOS_SERVICE_ID" in environment:
        parts = (environment[f"AOS_{part}"] for part in ("SERVICE_ID", "SUBJECT_ID", "INSTANCE_INDEX"))
        name = "/".join(parts)
    instances.append({
        "id": unit["Id"].removeprefix("aos-service@").removesuffix(".service"),
        "name": name, "main_pid": pid, "started": started, "state": unit["ActiveState"],
        "restarts": int(unit["NRestarts"]), "environment": environment})
print(json.dumps(instances))
