"""CM and IAM, played by aosctl for checks that run in a test device."""
import json
import queue
import subprocess
import threading
import time

STATUS = ("run_instances_status", "update_instances_status")
# The device may be emulated, and shares its processors.
PATIENCE = 90


class Failed(Exception):
    """Something that has to hold does not."""


def expect(what, got, expected):
    if got != expected:
        raise Failed(f"{what}: expected {expected!r}, got {got!r}")


def wait_until(what, look):
    """Looks until nothing is wrong any more: `look` returns what is, or nothing."""
    deadline = time.monotonic() + PATIENCE
    while wrong := look():
        if time.monotonic() > deadline:
            raise Failed(f"{what}: {wrong}")
        time.sleep(0.05)


class Peers:
    """CM and IAM, played by aosctl."""

    def __init__(self, directory):
        self.process = subprocess.Popen(
            ["aosctl", "unit", "run", "-o", "json", "--dir", directory, "--timeout", str(PATIENCE)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.events = queue.Queue()
        self.last = "nothing"
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.events.put(json.loads(line))
        self.events.put({"event": "failed", "error": "the peers have ended"})

    def command(self, line):
        self.process.stdin.write(line + "\n")

    def wait(self, what, wanted):
        """The next event that is wanted."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                event = self.events.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                raise Failed(f"no {what} in {PATIENCE} s; last told: {self.last}") from None
            if event["event"] == "failed":
                raise Failed(f"waited for {what}: {event['error']}")
            if event["event"] in STATUS:
                self.last = event
            if wanted(event):
                return event

    def registered(self):
        self.wait("registration", lambda event: event["event"] == "node_configuration")

    def all_active(self, services):
        """The next whole status tells that these run, and nothing else."""
        event = self.wait("status of all", lambda event: event["event"] == STATUS[0])
        expect("what is told to CM", sorted(told(event)), sorted(
            (service, "active", None, 0) for service in services))

    def told(self, service, state):
        """Waits until CM is told that; returns message and exit code."""
        def of(event):
            return [each[2:] for each in told(event) if each[:2] == (service, state)]
        return of(self.wait(f"'{state}' of {service}", of))[0]

    def run(self, state, services):
        """Sends a state file, with an instance of each of these services."""
        self.command(f"run {state}")
        self.wait("RunInstances", lambda event: event.get("message") == "run_instances")
        self.all_active(services)


def told(event):
    """Service, state, message and exit code; an event of another kind tells nothing."""
    if event["event"] not in STATUS:
        return []
    found = []
    for instance in event["instances"]:
        error = instance.get("error_info") or {}
        found.append((instance["instance"]["service_id"], instance["run_state"],
                      error.get("message"), error.get("exit_code", 0)))
    return found
