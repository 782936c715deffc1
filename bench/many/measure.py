"""Measures a device full of instances, see bench/README.md. Runs in the device."""
import argparse
import glob
import json
import os
import sys
import time

from device import FIGURES, PATIENCE, STORAGES, Unit, fail, idle, systemctl, units, write_state
from table import print_table, verdict


def last_start(count):
    """When the last of the services made its file."""
    pattern = f"{STORAGES}/bench-*/up"
    deadline = time.time() + PATIENCE
    while len(glob.glob(pattern)) < count:
        if time.time() > deadline:
            fail(f"{len(glob.glob(pattern))} of {count} services have started")
        time.sleep(0.05)
    return max(os.stat(path).st_mtime for path in glob.glob(pattern))


def forget_starts():
    for path in glob.glob(f"{STORAGES}/bench-*/up"):
        os.unlink(path)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--unit", required=True)
    parser.add_argument("--count", type=int, default=256)
    parser.add_argument("--idle", type=float, default=60)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    count = arguments.count

    nothing, one, all_of_them = (write_state(arguments.unit, number) for number in (0, 1, count))
    systemctl("start", "aos-servicemanager.service")
    unit = Unit(arguments.unit)
    # Installs the service, and warms up the rest.
    unit.run(one)
    unit.run(nothing)
    forget_starts()

    figures = {}
    sent, figures["reported"] = unit.run(all_of_them)
    figures["running"] = last_start(count) - sent
    figures["idle"] = idle(arguments.idle)
    # A fresh process that took over all of them.
    systemctl("restart", "aos-servicemanager.service")
    unit.wait("node_configuration")
    unit.wait("run_instances_status")
    figures["idle_restarted"] = idle(arguments.idle)

    # The floor: the very same units, with all that they need.
    names = units()
    systemctl("stop", "aos-servicemanager.service")
    systemctl("stop", *names)
    forget_starts()
    start = time.time()
    systemctl("start", *names)
    figures["floor"] = last_start(count) - start
    systemctl("start", "aos-servicemanager.service")
    unit.wait("node_configuration")
    unit.wait("run_instances_status")
    _, figures["stop"] = unit.run(nothing)

    with open(FIGURES, "w") as file:
        json.dump(figures, file, indent=1)
    print(f"\n{count} instances; {os.cpu_count()} processors\n")
    seconds = [f"{figures[name]:.1f}" for name in ("running", "floor", "reported", "stop")]
    ratio = figures["running"] / figures["floor"]
    print_table([["to running, s", "floor, s", "reported, s", "stop, s", "ratio"], seconds + [f"{ratio:.2f}"]])
    print()
    for name, what in (("idle", "idle"), ("idle_restarted", "idle after a restart")):
        values = figures[name]
        print(f"{what}: PSS {values['pss_mib']:.1f} MiB (at most {values['pss_max_mib']:.1f}), {values['cpu_percent']:.3f} % of a processor")
    print()
    results = [
        verdict("to running / floor", ratio, 1.5),
        verdict("PSS in MiB", figures["idle"]["pss_mib"], 12),
        verdict("PSS in MiB after a restart", figures["idle_restarted"]["pss_mib"], 12),
    ]
    return 0 if all(results) or not arguments.check else 1


if __name__ == "__main__":
    sys.exit(main())
