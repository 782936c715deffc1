"""What benchmarks on a test device have in common. Runs in the device."""
import json
import os
import statistics
import subprocess
import sys
import time
from datetime import datetime

STORAGES = "/var/aos/storages"
FIGURES = "/var/aos/figures.json"
# Nothing here takes so long; a lost answer shall not hang a benchmark.
PATIENCE = 300


def fail(text):
    print(f"measure: {text}", file=sys.stderr)
    # 1 is for a missed target.
    sys.exit(3)


class Unit:
    """CM and IAM, played by aosctl."""

    def __init__(self, directory, patience=PATIENCE):
        self.directory = directory
        self.process = subprocess.Popen(
            ["timeout", "3600", "aosctl", "unit", "run", "-o", "json", "--dir", directory, "--timeout", str(patience)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.wait("listening")

    def command(self, line):
        self.process.stdin.write(line + "\n")

    def wait(self, name, wanted=lambda event: True):
        for line in self.process.stdout:
            event = json.loads(line)
            if event["event"] == "failed":
                fail(event["error"])
            if event["event"] == name and wanted(event):
                return event
        fail(f"the peers have ended before {name}")

    def run(self, state):
        """Sends a state. Returns when that was, and how long the status took, in seconds."""
        self.command(f"run {state}")
        sent = self.wait("sent", lambda event: event["message"] == "run_instances")
        status = self.wait("run_instances_status")
        if any(instance["run_state"] != "active" for instance in status["instances"]):
            fail(str(status))
        return wall(sent), (status["t_ms"] - sent["t_ms"]) / 1000


def wall(event):
    return datetime.fromisoformat(event["time"]).timestamp()


def systemctl(*words):
    return subprocess.run(["systemctl", *words], check=True, capture_output=True, text=True).stdout


def units():
    listed = systemctl("list-units", "--all", "--plain", "--no-legend", "aos-service@*.service")
    return [line.split()[0] for line in listed.splitlines()]


def write_state(directory, count):
    def network(host):
        return {"subnet": "172.30.0.0/16", "ip": f"172.30.{1 + host // 250}.{1 + host % 250}"}

    state = {
        "services": [{"id": "bench", "provider": "bench", "gid": 5000, "package": "bench.tar"}],
        "networks": [{"id": "bench", "subnet": "172.30.0.0/16", "ip": "172.30.0.1"}],
        "instances": [
            {"service": "bench", "subject": "subject", "index": index, "uid": 5001,
             "storage": f"bench-{index}", "network": network(index)}
            for index in range(count)],
    }
    path = os.path.join(directory, f"bench-{count}.json")
    with open(path, "w") as file:
        json.dump(state, file)
    return path


def manager_pid():
    return int(systemctl("show", "--value", "--property=MainPID", "aos-servicemanager.service"))


def pss(pid):
    """Proportional set size in MiB."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:")) / 1024


def idle(seconds):
    """PSS in MiB, looked at each second, and use of one processor in percent."""
    pid = manager_pid()

    # The clock of the process: also counts threads that have ended.
    clock = (~pid << 3) | 2

    # What has just been done comes to rest.
    time.sleep(5)
    before, start = time.clock_gettime(clock), time.monotonic()
    sizes = [pss(pid)]
    while time.monotonic() < start + seconds:
        time.sleep(1)
        sizes.append(pss(pid))
    share = (time.clock_gettime(clock) - before) / (time.monotonic() - start) * 100
    return {"pss_mib": statistics.mean(sizes), "pss_max_mib": max(sizes), "cpu_percent": share}
