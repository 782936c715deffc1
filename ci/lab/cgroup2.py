"""Checks the service manager on cgroup v2, with crun and with runc. Runs in an
emulated device, see cgroup2.sh. Prints one line a check; exits 1 if one failed."""
import errno
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import namedtuple

from peers import Failed, Peers, expect, wait_until

UNIT = "/var/aos/unit"
WORKING_DIR = "/var/aos/servicemanager"
STORAGES = "/var/aos/storages"
CGROUPS = "/sys/fs/cgroup"
MANAGER = "aos-servicemanager.service"
SUBJECT = "subject1"

# One that is found is enough for the first, the second one is forced.
RUNTIMES = ("crun", "runc")
CPU_PERCENT, RAM, PIDS = 75, 64 << 20, 33
# A disk that is lent to be read, and a device that is shown and not lent.
DISK, SEEN = "/dev/vda", "/dev/aos-seen"
LENT = {
    "nodeType": "main-type",
    "devices": [
        {"name": "disk", "groups": ["disk"], "hostDevices": [DISK]},
        {"name": "seen", "groups": ["disk"], "hostDevices": [SEEN]},
    ],
}
# Restarts at once, and as often as it takes.
TIRELESS = {"startInterval": "500ms", "startBurst": 1000, "restartInterval": "1ms"}
# Eats when it is told to, itself or by a child.
GREEDY = """import os, time
while not (told := [name for name in ('itself', 'child') if os.path.exists('/storage/' + name)]): time.sleep(0.05)
os.unlink('/storage/' + told[0])
while told[0] == 'child' and os.fork(): time.sleep(3600)
hoard = [b'x' * (1 << 20) + b'%d' % i for i in range(512)]
"""

Running = namedtuple("Running", "pid started restarts cgroup")


def output(*words):
    return subprocess.run(words, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True).stdout


def show(unit, *names):
    """Properties of a unit."""
    shown = output("systemctl", "show", f"--property={','.join(names)}", unit)
    return dict(line.split("=", 1) for line in shown.splitlines())


def manager_pid():
    return show(MANAGER, "MainPID")["MainPID"]


def read(path):
    with open(path) as file:
        return file.read()


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


# --- what is run -----------------------------------------------------------------

SERVICES = {
    "held": {
        "command": ["/usr/bin/python3", "-u", "/probe.py"],
        "config": {
            "quotas": {"cpuLimit": CPU_PERCENT, "ramLimit": RAM, "pidsLimit": PIDS},
            "devices": [{"name": "disk", "permissions": "r"}, {"name": "seen"}],
            "runParameters": TIRELESS,
        },
    },
    # The runtime enters the container's cgroup to ask.
    "asked": {
        "command": ["/bin/sh", "/service.sh"],
        "config": {"probes": [{"exec": {"command": ["/bin/true"]}, "interval": "5s", "timeout": "20s"}]},
    },
    "greedy": {
        "command": ["/usr/bin/python3", "-c", GREEDY],
        "config": {"quotas": {"ramLimit": RAM}, "runParameters": TIRELESS},
    },
}
STATES = {"none": (), "two": ("held", "asked"), "three": ("held", "asked", "greedy")}
FILES = {"held": "probe.py", "asked": "service.sh"}


def address(service):
    return f"172.30.0.{10 + list(SERVICES).index(service)}"


def pack(service):
    root = f"{UNIT}/root-{service}"
    os.makedirs(root, mode=0o755)
    if service in FILES:
        write(f"{root}/{FILES[service]}", read(f"{UNIT}/{FILES[service]}"))
    write(f"{UNIT}/config.json", json.dumps(SERVICES[service]["config"]))
    words = [f"--entrypoint={word}" for word in SERVICES[service]["command"]]
    output("aosctl", "pack", "service", root, *words, "--service-config", f"{UNIT}/config.json",
           "--output", f"{UNIT}/{service}.tar")


def write_state(name, services):
    def instance(service):
        # Limits of processes count those of a user.
        return {"service": service, "subject": SUBJECT, "index": 0,
                "uid": 5001 + list(SERVICES).index(service), "storage": service,
                "network": {"subnet": "172.30.0.0/16", "ip": address(service)}}

    state = {
        "services": [{"id": service, "provider": "provider1", "gid": 6001, "package": f"{service}.tar"}
                     for service in services],
        "networks": [{"id": "provider1", "subnet": "172.30.0.0/16", "ip": "172.30.0.1"}] if services else [],
        "instances": [instance(service) for service in services],
    }
    write(f"{UNIT}/{name}.json", json.dumps(state))


def identify():
    """Ids of the instances that run, by service."""
    instances = json.loads(output("python3", f"{UNIT}/instances.py"))
    return {instance["name"].split("/")[0]: instance["id"] for instance in instances if instance["name"]}


class Instance:
    """An instance, as systemd and the kernel have it."""

    def __init__(self, service, identity):
        self.service = service
        self.id = identity
        self.unit = f"aos-service@{identity}.service"

    def look(self):
        shown = show(self.unit, "MainPID", "NRestarts", "ControlGroup")
        pid = int(shown["MainPID"])
        try:
            started = read(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()[19]
        except FileNotFoundError:
            raise Failed(f"{self.service} does not run: {shown}") from None
        # The cgroup that the main process has to be in.
        return Running(pid, started, int(shown["NRestarts"]), shown["ControlGroup"] + "/container")

    def limits(self):
        names = ("cpu.max", "memory.max", "memory.swap.max", "pids.max")
        cgroup = self.look().cgroup
        return {name: read(f"{CGROUPS}{cgroup}/{name}").strip() for name in names}


def ask(service, page, **query):
    """What the probe answers; it may be starting."""
    url = f"http://{address(service)}:8080/{page}?{urllib.parse.urlencode(query)}"
    answers = []

    def look():
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                answers.append(answer.read().decode())
        except urllib.error.HTTPError as error:
            answers.append(error.read().decode())
        except OSError as error:
            return error
        return None

    wait_until(url, look)
    return answers[-1]


def namespaces():
    """All that processes are in, with one that is."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            for kind in ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"):
                found[os.readlink(f"/proc/{pid}/ns/{kind}")] = f"{pid} ({read(f'/proc/{pid}/comm').strip()})"
        except OSError:
            pass  # It has ended.
    return found


# --- what has to hold ------------------------------------------------------------

def force(runtime):
    """As an operator does. Here, too, crun comes before runc."""
    if not os.path.lexists(f"{WORKING_DIR}/{runtime}"):
        os.symlink(f"/usr/bin/{runtime}", f"{WORKING_DIR}/{runtime}")


class Checks:
    def __init__(self, runtime, peers):
        self.runtime = runtime
        self.peers = peers
        self.before = {}
        self.instances = {}

    def start(self, state):
        self.peers.run(f"{UNIT}/{state}.json", STATES[state])
        self.instances = {service: Instance(service, identity) for service, identity in identify().items()}
        expect("services that run", sorted(self.instances), sorted(STATES[state]))

    def look(self, services):
        return [self.instances[service].look() for service in services]

    def runtime_is_as_wanted(self):
        """Of two in the PATH crun is taken; what an operator puts into the working
        directory comes before that."""
        path = f"/usr/bin/{self.runtime}"
        if self.runtime != "crun":
            path = f"{WORKING_DIR}/{self.runtime}"
            force(self.runtime)
        # A runtime whose checks have failed leaves what it has started.
        self.start("none")
        self.before = namespaces()
        self.start("two")
        shown = show(self.instances["held"].unit, "ExecStart", "ExecStopPost")
        if any(path not in command.replace("=", " ").split() for command in shown.values()):
            raise Failed(f"it is not run by {path}: {shown}")

    def limits_are_those_of_the_cgroup(self):
        held = self.instances["held"].look()
        expect("command of MainPID", read(f"/proc/{held.pid}/cmdline").split("\0")[:-1], SERVICES["held"]["command"])
        expect("cgroup of MainPID", read(f"/proc/{held.pid}/cgroup").strip(), f"0::{held.cgroup}")
        expect("processes in it", read(f"{CGROUPS}{held.cgroup}/cgroup.procs").split(), [str(held.pid)])
        quota = 100_000 * os.cpu_count() * CPU_PERCENT // 100
        expect("limits", self.instances["held"].limits(), {
            "cpu.max": f"{quota} 100000", "memory.max": str(RAM), "memory.swap.max": "0", "pids.max": str(PIDS)})
        expect("limits of one without", self.instances["asked"].limits(), {
            "cpu.max": "max 100000", "memory.max": "max", "memory.swap.max": "max", "pids.max": "max"})

    def what_is_not_lent_cannot_be_opened(self):
        """EPERM is the word of the cgroup: by its groups the service may."""
        refused = f"[Errno {errno.EPERM}]"
        # Without a text nothing would be written.
        if refused not in (answer := ask("held", "write", path=DISK)):
            raise Failed(f"a disk lent to be read is opened to be written: {answer}")
        if refused not in (answer := ask("held", "read", path=SEEN)):
            raise Failed(f"what is not lent is opened: {answer}")
        self.in_cgroup("held", {(DISK, os.O_RDONLY): 0, (DISK, os.O_WRONLY): errno.EPERM,
                                (SEEN, os.O_RDONLY): errno.EPERM, ("/dev/null", os.O_WRONLY): 0})
        self.in_cgroup("asked", {(DISK, os.O_RDONLY): errno.EPERM, ("/dev/null", os.O_WRONLY): 0})
        # Outside of it all of that can be done.
        for path, flags in ((DISK, os.O_WRONLY), (SEEN, os.O_RDONLY)):
            os.close(os.open(path, flags))
        # Nor can a service make itself a node.
        number = os.stat(DISK).st_rdev
        node = ("/dev/shm/disk", "b", str(os.major(number)), str(os.minor(number)))
        for words, refusal in ((("mkfifo", "/dev/shm/pipe"), None), (("mknod", *node), "Operation not permitted")):
            done = subprocess.run([self.runtime, "exec", self.instances["asked"].id, *words], text=True,
                                  stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
            if (done.returncode == 0) != (refusal is None) or (refusal or "") not in done.stderr:
                raise Failed(f"{words} in the container: {done}")

    def in_cgroup(self, service, attempts):
        """Tries to open devices in a service's cgroup, as root with all capabilities,
        so that nothing but the cgroup refuses."""
        own = read("/proc/self/cgroup").strip().removeprefix("0::")
        outcomes = {}
        write(f"{CGROUPS}{self.instances[service].look().cgroup}/cgroup.procs", str(os.getpid()))
        try:
            for path, flags in attempts:
                try:
                    os.close(os.open(path, flags))
                    outcomes[path, flags] = 0
                except OSError as error:
                    outcomes[path, flags] = error.errno
        finally:
            write(f"{CGROUPS}{own}/cgroup.procs", str(os.getpid()))
        expect(f"devices opened in the cgroup of {service}", outcomes, attempts)

    def kill_is_told_and_healed(self):
        held = self.instances["held"]
        before = held.look()
        os.kill(before.pid, signal.SIGKILL)
        message, code = self.peers.told("held", "failed")
        expect("exit code", code, 137)
        if "signal 9" not in message or "memory" in message:
            raise Failed(f"it was killed, and CM is told: {message}")
        self.peers.told("held", "active")
        after = held.look()
        if after.started == before.started or after.restarts != before.restarts + 1:
            raise Failed(f"it was {before}, it is {after}")
        expect("memory limit of the new one", held.limits()["memory.max"], str(RAM))

    def manager_adopts(self):
        for words in (("restart",), ("kill", "--kill-who=main", "--signal=KILL")):
            before, manager = self.look(STATES["two"]), manager_pid()
            output("systemctl", *words, MANAGER)
            self.peers.registered()
            self.peers.all_active(STATES["two"])
            if manager_pid() == manager:
                raise Failed(f"the service manager has not noticed its {words[0]}")
            expect(f"instances after {words[0]}", self.look(STATES["two"]), before)
        # They are in its hands again.
        self.kill_is_told_and_healed()

    def lack_of_memory_is_told(self):
        self.start("three")
        greedy, others = self.instances["greedy"], self.look(STATES["two"])
        for who in ("itself", "child"):
            before = greedy.look()
            write(f"{STORAGES}/greedy/{who}", "")
            message, code = self.peers.told("greedy", "failed")
            expect("exit code", code, 137)
            if "more memory" not in message:
                raise Failed(f"{who} lacked memory, and CM is told: {message}")
            self.peers.told("greedy", "active")
            expect("restarts", greedy.look().restarts, before.restarts + 1)
        expect("the others", self.look(STATES["two"]), others)

    def stop_leaves_nothing(self):
        """Whichever runtime is found now: the one that started an instance ends it."""
        pids = [instance.look().pid for instance in self.instances.values()]
        force("runc" if self.runtime == "crun" else "crun")
        self.start("none")
        wait_until("after the stop there is", lambda: output("sh", f"{UNIT}/leftovers.sh"))
        expect(f"containers that {self.runtime} knows", os.listdir(f"/run/{self.runtime}"), [])
        expect("processes", [pid for pid in pids if os.path.exists(f"/proc/{pid}")], [])
        wait_until("namespaces are left, with processes in them", lambda: {
            name: process for name, process in namespaces().items() if name not in self.before})

    def run(self):
        """Each check begins with what the one before it has left: the first that fails
        is the last."""
        for check in (
                self.runtime_is_as_wanted, self.limits_are_those_of_the_cgroup,
                self.what_is_not_lent_cannot_be_opened, self.kill_is_told_and_healed,
                self.manager_adopts, self.lack_of_memory_is_told, self.stop_leaves_nothing):
            start = time.monotonic()
            what = f"{self.runtime}: {check.__name__.replace('_', ' ')}"
            try:
                check()
            except (Failed, OSError, subprocess.CalledProcessError) as error:
                print(f"FAILED  {what}\n{error}", flush=True)
                print(output("journalctl", "--no-pager", "--lines=40", f"--unit={MANAGER}"), flush=True)
                return False
            print(f"ok      {what} ({time.monotonic() - start:.0f} s)", flush=True)
        return True


def main():
    output("sh", "-euc", f"chgrp disk {DISK}; mknod {SEEN} c 10 237; chgrp disk {SEEN}; chmod 660 {DISK} {SEEN}")
    for service in SERVICES:
        pack(service)
    for name, services in STATES.items():
        write_state(name, services)
    # A service of its own user takes away what it has been asked with.
    os.makedirs(f"{STORAGES}/greedy")
    os.chmod(f"{STORAGES}/greedy", 0o777)
    peers = Peers(UNIT)
    output("systemctl", "start", MANAGER)
    peers.registered()
    peers.command(f"set-unit-config 1 {json.dumps(LENT)}")
    answer = peers.wait("UnitConfigStatus", lambda event: event["event"] == "unit_config_status")
    expect("error of the unit configuration", answer.get("error") or None, None)
    # Not the first alone, whatever became of that.
    return 0 if all([Checks(runtime, peers).run() for runtime in RUNTIMES]) else 1


if __name__ == "__main__":
    sys.exit(main())
