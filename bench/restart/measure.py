"""Measures restarts of the service manager, see bench/README.md. Runs in the device."""
import argparse
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from statistics import median

from device import FIGURES, Unit, fail, systemctl, units, wall, write_state
from table import print_table, verdict

COUNT = 32
SM = "aos-servicemanager.service"
MANAGER = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1")


def busctl(*words):
    return subprocess.run(["busctl", *words], check=True, capture_output=True, text=True).stdout


def started():
    """When systemd executed the present service manager, and when it called it ready."""
    path = "/org/freedesktop/systemd1/unit/aos_2dservicemanager_2eservice"

    def stamp(interface, name):
        printed = busctl("get-property", MANAGER[0], path, f"org.freedesktop.systemd1.{interface}", name)
        return int(printed.split()[1]) / 1e6

    return stamp("Service", "ExecMainStartTimestamp"), stamp("Unit", "ActiveEnterTimestamp")


def main_pids():
    shown = systemctl("show", "--property=MainPID", *units())
    return sorted(shown.split())


def registered(unit):
    """When the first status after a registration came."""
    unit.wait("node_configuration")
    status = unit.wait("run_instances_status")
    if any(instance["run_state"] != "active" for instance in status["instances"]):
        fail(str(status))
    return wall(status)


def floor(unit_directory):
    """What no service manager can avoid: to ask systemd for its units, and to meet CM."""
    start = time.monotonic()
    busctl("call", *MANAGER, "org.freedesktop.systemd1.Manager", "ListUnitsByPatterns", "asas",
           "0", "1", "aos-service@*.service")
    listed = time.monotonic() - start

    with open(os.path.join(unit_directory, "aos_servicemanager.cfg")) as file:
        config = json.load(file)
    host, port = config["cmServerUrl"].rsplit(":", 1)
    # Who it is does not matter for the time that it takes.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    start = time.monotonic()
    with socket.create_connection((host or "localhost", int(port))) as stream:
        with context.wrap_socket(stream):
            met = time.monotonic() - start
    return listed + met


def repetition(unit, directory):
    figures = {}
    before = main_pids()
    start = time.time()
    systemctl("stop", SM)
    figures["stop"] = time.time() - start
    systemctl("start", SM)
    end = registered(unit)
    executed, ready = started()
    figures["ready"], figures["registered"] = ready - executed, end - executed
    start = time.time()
    systemctl("restart", SM)
    figures["restart"] = registered(unit) - start
    figures["floor"] = floor(directory)
    if main_pids() != before:
        fail("instances were restarted")
    return figures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--unit", required=True)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()

    systemctl("start", SM)
    unit = Unit(arguments.unit)
    rows, figures = [], {}
    for count in (0, COUNT):
        unit.run(write_state(arguments.unit, count))
        figures[count] = [repetition(unit, arguments.unit) for _ in range(arguments.repetitions)]

        def value(name):
            values = [each[name] * 1000 for each in figures[count]]
            return f"{median(values):.0f} ({min(values):.0f}–{max(values):.0f})"

        names = ("ready", "registered", "floor", "restart", "stop")
        rows.append([str(count)] + [value(name) for name in names])

    with open(FIGURES, "w") as file:
        json.dump(figures, file, indent=1)
    print(f"\nMilliseconds, medians of {arguments.repetitions} (smallest–largest); {os.cpu_count()} processors\n")
    print_table([["N", "exec to ready", "exec to registered", "floor", "restart to registered", "stop"]] + rows)
    print()
    registration = median(each["registered"] for each in figures[COUNT])
    result = verdict(f"exec to registered with {COUNT} instances, in seconds", registration, 0.1)
    return 0 if result or not arguments.check else 1


if __name__ == "__main__":
    sys.exit(main())
