"""Measures how soon CM learns of crashes, see bench/README.md. Runs in the device."""
import argparse
import json
import os
import signal
import sys
import time
from statistics import median

from device import FIGURES, Unit, systemctl, units, wall, write_state

# A lost answer shall not hang the benchmark.
PATIENCE = 60
TARGET_MS = 100


def told(unit, run_state):
    """When CM was told that the service is in this state."""
    return wall(unit.wait("update_instances_status", lambda event: any(
        instance["run_state"] == run_state for instance in event["instances"])))


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
    unit = Unit(arguments.unit, PATIENCE)
    unit.run(write_state(arguments.unit, 1))
    [name] = units()

    kills, failed, active = [], [], []
    for _ in range(arguments.kills):
        pid = int(systemctl("show", "--value", "--property=MainPID", name))
        kills.append(time.time())
        os.kill(pid, signal.SIGKILL)
        failed.append(told(unit, "failed"))
        active.append(told(unit, "active"))

    print("| time until CM was told, ms | median | 99 % | largest |")
    print("|---|---|---|---|")
    figures = {
        "kills": len(kills), "told": len(failed),
        "after_kill": row("failed, after the kill", [b - a for a, b in zip(kills, failed)]),
        "active": row("active again, after the kill", [b - a for a, b in zip(kills, active)]),
    }
    with open(FIGURES, "w") as file:
        json.dump(figures, file)
    is_met = figures["after_kill"]["median_ms"] <= TARGET_MS
    print(f"\n{len(failed)} of {len(kills)} told; median at most {TARGET_MS} ms after the kill: "
          f"{'met' if is_met else 'MISSED'}")
    sys.exit(1 if arguments.check and not is_met else 0)


main()
