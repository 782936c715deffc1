"""Cuts the power of an emulated device while services are installed and updated.
See docs/power-cuts.md; to be run by ci/cuts/run.sh."""
import argparse
import hashlib
import json
import os
import queue
import random
import subprocess
import sys
import tempfile
import threading
import time

LAB = "ci/lab/emulated"
NAME = "cuts"
UNIT = "/var/aos/unit"
CONFIG = "/etc/aos/aos_servicemanager.cfg"
STATUS = ("run_instances_status", "update_instances_status")
SUBJECT = "subject1"
# The device is emulated, and shares its processors.
PATIENCE = 180
# An update is over by then, unless the machine has a lot else to do.
LONGEST = 10
# One cut of so many is followed by another while the device starts again.
AGAIN = 5


class Failed(Exception):
    """Something that has to hold does not."""


def lab(*words, **options):
    return subprocess.run([LAB, *words], check=True, text=True, stdin=subprocess.DEVNULL, **options)


def in_device(script):
    return lab("exec", NAME, "sh", "-euc", script, stdout=subprocess.PIPE).stdout


class Peers:
    """CM and IAM, played by aosctl in the device."""

    def __init__(self):
        self.process = subprocess.Popen(
            [LAB, "exec", NAME, "aosctl", "unit", "run", "-o", "json", "--keep-going", "--dir", UNIT],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1)
        self.events = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.events.put(json.loads(line))
        self.events.put(None)

    def next(self, deadline):
        """The next event; None at the deadline or when the power is gone."""
        try:
            return self.events.get(timeout=max(0, deadline - time.monotonic()))
        except queue.Empty:
            return None

    def wait(self, name):
        deadline = time.monotonic() + PATIENCE
        while event := self.next(deadline):
            if event["event"] == name:
                return event
            if event["event"] == "failed":
                raise Failed(f"the peers say: {event}")
        raise Failed(f"no {name} in {PATIENCE} s")

    def run(self, state):
        self.process.stdin.write(f"run {state}\n")

    def end(self):
        self.process.kill()
        self.process.wait()


def statuses(event):
    """Version and state by service; an event of another kind tells nothing."""
    if event["event"] not in STATUS:
        return {}
    return {
        instance["instance"]["service_id"]: (instance["aos_version"], instance["run_state"], instance.get("error_info"))
        for instance in event["instances"]}


class Campaign:
    def __init__(self, arguments):
        self.bin = arguments.bin
        self.random = random.Random(arguments.seed)
        self.cuts = arguments.cuts
        # What look.py shall find, by service and version or digest.
        self.expected = {}
        # Instance ids by name, as the first start gave them.
        self.ids = None
        # CM and IAM, as long as the device has power.
        self.peers = None
        # Versions that may be told of "web".
        self.allowed = {1}
        self.figures = {"cuts": 0, "while starting": 0, "old after it": 0, "new after it": 0, "told before it": 0}

    # --- packages --------------------------------------------------------------

    def write(self, root, files):
        for path, content in files.items():
            path = os.path.join(root, path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)

    def pack(self, directory, kind, name, files, *options):
        root = tempfile.mkdtemp(dir=directory)
        os.chmod(root, 0o755)
        self.write(root, files)
        package = f"{name}.tar"
        facts = subprocess.run(
            [f"{self.bin}/aosctl", "-o", "json", "pack", kind, root, "--output", f"{directory}/unit/{package}", *options],
            check=True, stdout=subprocess.PIPE, text=True).stdout
        sums = {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
        subprocess.run(["rm", "-r", root], check=True)
        return package, json.loads(facts), sums

    def noise(self, count, size):
        return {f"data/{number}": self.random.randbytes(size) for number in range(count)}

    def make_packages(self, directory):
        os.makedirs(f"{directory}/unit")
        with open("tests/fixtures/sleeper.sh", "rb") as file:
            program = {"service.sh": file.read()}
        command = ("--entrypoint=/bin/sh", "--entrypoint=/service.sh")
        package, facts, sums = self.pack(directory, "layer", "layer", self.noise(20, 10_000))
        digest = facts["layer_digest"]
        self.expected[digest] = sums
        layers = [{"id": "layer", "digest": digest, "package": package}]
        services = {}
        for name, version in [("keep", 1), *(("web", version) for version in range(1, self.cuts + 2))]:
            files = program | self.noise(60, 8000) | {"big": self.random.randbytes(600_000)}
            package, _, sums = self.pack(
                directory, "service", f"{name}-{version}", files, *command, f"--layer={digest}")
            self.expected[f"{name} {version}"] = sums
            services[name, version] = {
                "id": name, "version": version, "provider": "provider1", "gid": 5002, "package": package}
        for version in range(1, self.cuts + 2):
            state = {
                "layers": layers,
                "services": [services["keep", 1], services["web", version]],
                "networks": [{"id": "provider1", "subnet": "172.30.0.0/16", "ip": "172.30.0.1"}],
                "instances": [
                    {"service": name, "subject": SUBJECT, "index": 0, "uid": 5001,
                     "network": {"subnet": "172.30.0.0/16", "ip": f"172.30.0.{host}"}}
                    for name, host in (("keep", 2), ("web", 3))],
            }
            with open(f"{directory}/unit/state-{version}.json", "w") as file:
                json.dump(state, file)
        with open(f"{directory}/unit/expected.json", "w") as file:
            json.dump(self.expected, file)

    # --- the device ------------------------------------------------------------

    def prepare(self):
        lab("up", NAME)
        lab("install-sm", NAME, self.bin)
        with tempfile.TemporaryDirectory() as directory:
            self.make_packages(directory)
            lab("push", NAME, f"{directory}/unit", UNIT)
        lab("push", NAME, "ci/cuts/look.py", f"{UNIT}/look.py")
        lab("push", NAME, "tests/device/instances.py", f"{UNIT}/instances.py")
        in_device(f"""
            cp {CONFIG} {UNIT}/
            aosctl unit init --dir {UNIT} >/dev/null
            ln -sf {UNIT}/aos_servicemanager.cfg {CONFIG}
            systemctl enable --quiet aos-servicemanager
            systemctl start aos-servicemanager
            sync""")

    def first_install(self):
        """Returns how long it takes, at most LONGEST: cuts fall into this time."""
        self.peers = Peers()
        self.peers.wait("node_configuration")
        start = time.monotonic()
        self.peers.run(f"{UNIT}/state-1.json")
        self.peers.wait("sent")
        while not (told := statuses(self.peers.wait("run_instances_status"))):
            pass
        self.active(told)
        duration = time.monotonic() - start
        self.look()
        return min(duration, LONGEST)

    def update(self, version, duration):
        """Sends a new version, and cuts the power somewhere on its way."""
        moment = self.random.uniform(0, duration)
        (old,) = self.allowed
        self.allowed = {old, version}
        self.peers.run(f"{UNIT}/state-{version}.json")
        deadline = time.monotonic() + moment
        while event := self.peers.next(deadline):
            self.told(event, version)
        lab("cut", NAME)
        # What it had told until then counts, too.
        while event := self.peers.next(time.monotonic() + 5):
            self.told(event, version)
        if self.allowed == {version}:
            self.figures["told before it"] += 1
        self.peers.end()
        self.figures["cuts"] += 1
        return moment

    def told(self, event, version):
        """What has been told holds: there is no way back."""
        if statuses(event).get("web") == (version, "active", None):
            self.allowed = {version}

    def start_again(self):
        if self.random.randrange(AGAIN) == 0:
            boot = subprocess.Popen([LAB, "boot", NAME], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            # From when the service manager may be starting.
            time.sleep(self.random.uniform(5, 12))
            lab("cut", NAME)
            boot.wait()
            self.figures["while starting"] += 1
        boot = subprocess.Popen([LAB, "boot", NAME], stdin=subprocess.DEVNULL)
        while subprocess.run([LAB, "pid", NAME], stdin=subprocess.DEVNULL, capture_output=True).returncode:
            if boot.poll():
                break
            time.sleep(0.1)
        # They are there before the service manager looks for them.
        self.peers = Peers()
        if boot.wait():
            raise Failed("it does not boot")

    # --- what has to hold ------------------------------------------------------

    def active(self, told):
        for name in ("keep", "web"):
            version, state, error = told.get(name, (None, None, None))
            if state != "active" or error:
                raise Failed(f"{name} is not active: {told}")
            allowed = self.allowed if name == "web" else {1}
            if version not in allowed:
                raise Failed(f"{name} is of version {version}, not {allowed}")
        # Told to CM, and so for the machine.
        instances = json.loads(in_device(f"python3 {UNIT}/instances.py"))
        ids = {instance["name"]: instance["id"] for instance in instances if instance["state"] == "active"}
        if self.ids is None:
            self.ids = ids
        if ids != self.ids or len(ids) != 2:
            raise Failed(f"instances are {ids}, they were {self.ids}")
        return told["web"][0]

    def look(self):
        """What nobody needs is removed soon, and not at once."""
        deadline = time.monotonic() + 15
        while problems := in_device(f"python3 {UNIT}/look.py {UNIT}/expected.json"):
            if "is left" not in problems or time.monotonic() > deadline:
                raise Failed(problems.strip())
            time.sleep(1)

    def survived(self, version):
        state = in_device("systemctl is-active aos-servicemanager || true").strip()
        if state != "active":
            raise Failed(f"the service manager is {state}")
        self.peers.wait("node_configuration")
        found = self.active(statuses(self.peers.wait("run_instances_status")))
        self.look()
        self.figures["new after it" if found == version else "old after it"] += 1
        # The next update begins with this one.
        if found != version:
            self.peers.run(f"{UNIT}/state-{version}.json")
            self.allowed = {version}
            self.active(statuses(self.peers.wait("run_instances_status")))
        self.allowed = {version}

    def run(self):
        start = time.monotonic()
        self.prepare()
        duration = self.first_install()
        print(f"cuts fall into the first {duration:.1f} s of updates", flush=True)
        for number in range(1, self.cuts + 1):
            begun = time.monotonic()
            moment = self.update(number + 1, duration)
            self.start_again()
            self.survived(number + 1)
            took = time.monotonic() - begun
            print(f"cut {number} of {self.cuts}: after {moment:.2f} s, survived ({took:.0f} s)", flush=True)
        print(f"\n| device | in {time.monotonic() - start:.0f} s |\n| --- | ---: |")
        for name, value in self.figures.items():
            print(f"| {name} | {value} |")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--cuts", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    campaign = Campaign(parser.parse_args())
    try:
        campaign.run()
    except (Failed, subprocess.CalledProcessError) as error:
        print(f"FAILED after cut {campaign.figures['cuts']}: {error}", file=sys.stderr)
        subprocess.run([LAB, "log", NAME, "--lines=80", "--unit=aos-servicemanager"], stdin=subprocess.DEVNULL)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
