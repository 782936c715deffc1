"""Measures starts and stops on a test device, see bench/README.md. Runs in the device."""
import argparse
import glob
import json
import os
import sys
import time
from statistics import median

from device import FIGURES, PATIENCE, STORAGES, Unit, fail, idle, systemctl, units, write_state
from table import print_table, verdict

COUNTS = (1, 8, 32)
START_INTERVAL = 1.0


def files():
    return glob.glob(f"{STORAGES}/bench-*/up")


def forget_starts():
    for path in files():
        os.unlink(path)


def last_start(count):
    """When the last of the services made its file."""
    deadline = time.time() + PATIENCE
    while len(files()) < count:
        if time.time() > deadline:
            fail(f"{len(files())} of {count} services have started")
        time.sleep(0.01)
    return max(os.stat(path).st_mtime for path in files())


def repetition(unit, count, state, nothing):
    figures = {}
    forget_starts()
    sent, figures["reported"] = unit.run(state)
    figures["running"] = last_start(count) - sent

    # The floor: the very same units, with all that they need.
    names = units()
    systemctl("stop", "aos-servicemanager.service")
    systemctl("stop", *names)
    forget_starts()
    start = time.time()
    systemctl("start", *names)
    figures["floor_running"] = last_start(count) - start
    start = time.time()
    systemctl("stop", *names)
    figures["floor_stop"] = time.time() - start

    systemctl("start", *names)
    systemctl("start", "aos-servicemanager.service")
    unit.wait("node_configuration")
    unit.wait("run_instances_status")
    _, figures["stop"] = unit.run(nothing)
    return figures


def row(count, all_figures):
    def value(name):
        values = [figures[name] for figures in all_figures]
        return f"{median(values):.2f} ({min(values):.2f}–{max(values):.2f})"

    def ratio(name, floor):
        return f"{middle(all_figures, name) / middle(all_figures, floor):.2f}"

    return [str(count), value("running"), value("floor_running"), ratio("running", "floor_running"),
            value("reported"), value("stop"), value("floor_stop"), ratio("stop", "floor_stop")]


def middle(all_figures, name):
    return median(figures[name] for figures in all_figures)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--unit", required=True)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--idle", type=float, default=30)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()

    nothing = write_state(arguments.unit, 0)
    states = {count: write_state(arguments.unit, count) for count in COUNTS}
    systemctl("start", "aos-servicemanager.service")
    unit = Unit(arguments.unit)
    # Installs the service, and warms up the rest.
    unit.run(states[COUNTS[-1]])
    unit.run(nothing)

    figures = {count: [] for count in COUNTS}
    for number in range(arguments.repetitions):
        for count in COUNTS:
            figures[count].append(repetition(unit, count, states[count], nothing))
        print(f"repetition {number + 1} of {arguments.repetitions}", file=sys.stderr)
    # A fresh process: what is measured is not what the benchmark has left.
    systemctl("restart", "aos-servicemanager.service")
    unit.wait("run_instances_status")
    at_rest = {0: idle(arguments.idle)}
    unit.run(states[32])
    at_rest[32] = idle(arguments.idle)
    unit.run(nothing)

    with open(FIGURES, "w") as file:
        json.dump({"starts": figures, "idle": at_rest}, file, indent=1)
    print(f"\nSeconds, medians of {arguments.repetitions} (smallest–largest); {os.cpu_count()} processors\n")
    head = ["N", "to running", "floor", "ratio", "reported", "stop", "floor", "ratio"]
    print_table([head] + [row(count, figures[count]) for count in COUNTS])
    print()
    for count, values in at_rest.items():
        print(f"idle with {count} instances: PSS {values['pss_mib']:.1f} MiB (at most {values['pss_max_mib']:.1f}), {values['cpu_percent']:.3f} % of a processor")
    print()
    results = [
        verdict("to running / floor at N = 32",
                middle(figures[32], "running") / middle(figures[32], "floor_running"), 1.5),
        verdict("reported at N = 1, in seconds", middle(figures[1], "reported"), 1.2 * START_INTERVAL + 0.3),
    ]
    return 0 if all(results) or not arguments.check else 1


if __name__ == "__main__":
    sys.exit(main())
