"""Measures how soon CM learns of crashes, see bench/README.md. Runs in the device."""
import argparse
import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from statistics import median

FIGURES = "/var/aos/figures.json"
# Nothing here takes so long; a lost answer shall not hang the benchmark.
PATIENCE = 60
TARGET_MS = 100


def fail(text):
    print(f"measure: {text}", file=sys.stderr)
    # 1 is for a missed target.
    sys.exit(3)


class Unit:
    """CM and IAM, played by aosctl."""

    def __init__(self, directory):
        self.process = subprocess.Popen(
            ["timeout", "3600", "aosctl", "unit", "run", "-o", "json", "--dir", directory,
             "--timeout", str(PATIENCE)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.wait(lambda event: event["event"] == "listening")

    def wait(self, wanted):
        for line in self.process.stdout:
            event = json.loads(line)
            if event["event"] == "failed":
                fail(event["error"])
            if wanted(event):
                return event
        fail("the peers have ended")

    def run(self, state):
        self.process.stdin.write(f"run {state}\n")
        # A status that comes before is about the list before.
        self.wait(lambda event: event["event"] == "sent" and event["message"] == "run_instances")
        status = self.wait(lambda event: event["event"] == "run_instances_status")
        if any(instance["run_state"] != "active" for instance in status["instances"]):
            fail(str(status))

    def told(self, run_state):
        event = self.wait(lambda event: event["event"] == "update_instances_status" and any(
            instance["run_state"] == run_state for instance in event["instances"]))
        return datetime.fromisoformat(event["time"]).timestamp()


def systemctl(*words):
    return subprocess.run(["systemctl", *words], check=True, capture_output=True, text=True).stdout.strip()


def seen_by_systemd(unit, since):
    """When systemd saw main processes end, in its own time."""
    out = subprocess.run(
        ["journalctl", "-o", "json", f"--since=@{since:.6f}", f"UNIT={unit}", "_PID=1"],
        check=True, capture_output=True, text=True).stdout
    entries = [json.loads(line) for line in out.splitlines()]
    return [int(entry["_SOURCE_REALTIME_TIMESTAMP"]) / 1e6 for entry in entries
            if str(entry.get("MESSAGE", "")).find("Main process exited") >= 0]


def write_state(directory):
    state = {
        "services": [{"id": "crash", "provider": "bench", "gid": 5000, "package": "crash.tar"}],
        "networks": [{"id": "bench", "subnet": "172.30.0.0/16", "ip": "172.30.0.1"}],
        "instances": [{"service": "crash", "subject": "subject", "index": 0, "uid": 5001,
                       "network": {"subnet": "172.30.0.0/16", "ip": "172.30.1.1"}}],
    }
    path = os.path.join(directory, "crash.json")
    with open(path, "w") as file:
        json.dump(state, file)
    return path


def row(name, seconds):
    figures = sorted(1000 * value for value in seconds)
    last = figures[min(len(figures) - 1, int(len(figures) * 0.99))]
    print(f"| {name} | {median(figures):.1f} | {last:.1f} | {figures[-1]:.1f} |")
    return {"median_ms": median(figures), "p99_ms": last, "max_ms": figures[-1]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--unit", required=True)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()

    systemctl("start", "aos-servicemanager.service")
    unit = Unit(arguments.unit)
    unit.run(write_state(arguments.unit))
    listed = systemctl("list-units", "--plain", "--no-legend", "aos-service@*.service")
    name = listed.split()[0]

    begin = time.time()
    kills, failed, active = [], [], []
    for _ in range(arguments.kills):
        pid = int(systemctl("show", "--value", "--property=MainPID", name))
        kills.append(time.time())
        os.kill(pid, signal.SIGKILL)
        failed.append(unit.told("failed"))
        active.append(unit.told("active"))
    subprocess.run(["journalctl", "--sync"], check=True)
    seen = seen_by_systemd(name, begin)
    if len(seen) != len(kills):
        fail(f"systemd saw {len(seen)} ends of {len(kills)}")

    print("| time until CM was told, ms | median | 99 % | largest |")
    print("|---|---|---|---|")
    figures = {
        "kills": len(kills), "told": len(failed),
        "after_systemd": row("failed, after systemd saw it", [b - a for a, b in zip(seen, failed)]),
        "after_kill": row("failed, after the kill", [b - a for a, b in zip(kills, failed)]),
        "active": row("active again, after the kill", [b - a for a, b in zip(kills, active)]),
    }
    with open(FIGURES, "w") as file:
        json.dump(figures, file)
    is_met = figures["after_systemd"]["median_ms"] <= TARGET_MS
    print(f"\n{len(failed)} of {len(kills)} told; median at most {TARGET_MS} ms after systemd: "
          f"{'met' if is_met else 'MISSED'}")
    sys.exit(1 if arguments.check and not is_met else 0)


main()
