"""How much TCP carries from one network namespace to another."""
import os
import socket
import subprocess
import sys
import time
import uuid

PORT = 5001
CHUNK = 1 << 18
# Both ends fill their buffers first.
WARM_UP = 0.3


def ip(arguments):
    subprocess.run(["ip", *arguments.split()], check=True)


def namespace(name):
    return f"/run/netns/{name}"


def instance(number):
    """The namespace of an instance of the network manager."""
    return namespace(uuid.UUID(int=number + 1))


def setting(where, name, value):
    """Sets what the namespace has of /proc/sys, if the kernel has it."""
    command = f"! test -e /proc/sys/{name} || echo {value} > /proc/sys/{name}"
    subprocess.run(["nsenter", f"--net={namespace(where)}", "sh", "-c", command], check=True)


def add(name):
    ip(f"netns add {name}")
    ip(f"-n {name} link set lo up")


def link(one, two, name_one, name_two, address_one=None, address_two=None):
    """A veth pair between two namespaces."""
    ip(f"-n {one} link add {name_one} type veth peer name {name_two} netns {two}")
    for where, name, address in ((one, name_one, address_one), (two, name_two, address_two)):
        if address:
            ip(f"-n {where} address add {address} dev {name}")
        ip(f"-n {where} link set {name} up")


def make_bare():
    """A pair; a bridge with two ports; a router with a bridge and an uplink."""
    for name in ("one", "two", "plain", "first", "second", "remote"):
        add(name)
    link("one", "two", "eth0", "eth0", "10.9.0.2/24", "10.9.0.3/24")
    ip("-n plain link add bridge0 type bridge")
    ip("-n plain address add 10.8.0.1/24 dev bridge0")
    ip("-n plain link set bridge0 up")
    for name, port, address in (("first", "port1", "10.8.0.2/24"), ("second", "port2", "10.8.0.3/24")):
        link("plain", name, port, "eth0", None, address)
        ip(f"-n plain link set {port} master bridge0")
        ip(f"-n {name} route add default via 10.8.0.1")
    link("plain", "remote", "up0", "eth0", "203.0.113.1/24", "203.0.113.2/24")
    ip("-n remote route add default via 203.0.113.1")
    setting("plain", "net/ipv4/ip_forward", 1)


def make_uplink():
    """The host of the network manager gets a way out."""
    add("outside")
    ip("link add up0 type veth peer name eth0 netns outside")
    ip("address add 203.0.113.1/24 dev up0")
    ip("link set up0 up")
    ip("-n outside address add 203.0.113.2/24 dev eth0")
    ip("-n outside link set eth0 up")
    ip("route add default via 203.0.113.2")


# Name: from where, to where, which address.
PATHS = {
    "veth pair": (namespace("one"), namespace("two"), "10.9.0.3"),
    "bridge without tables": (namespace("first"), namespace("second"), "10.8.0.3"),
    "instance to instance": (instance(0), instance(1), "10.1.0.3"),
    "router without tables": (namespace("first"), namespace("remote"), "203.0.113.2"),
    "instance to outside": (instance(0), namespace("outside"), "203.0.113.2"),
}


def measure(path, seconds):
    """Gbit/s."""
    source, sink, address = PATHS[path]
    command = [sys.executable, os.path.realpath(__file__)]
    receiver = subprocess.Popen(
        ["nsenter", f"--net={sink}", *command, "sink", address, str(seconds)],
        stdout=subprocess.PIPE, text=True)
    receiver.stdout.readline()
    sender = subprocess.Popen(["nsenter", f"--net={source}", *command, "source", address])
    rate = float(receiver.communicate(timeout=seconds + 30)[0])
    sender.wait(timeout=30)
    return rate


def sink(address, seconds):
    with socket.create_server((address, PORT)) as server:
        print("ready", flush=True)
        server.settimeout(20)
        connection, _ = server.accept()
    buffer = bytearray(CHUNK)
    connection.settimeout(10)
    warm = time.monotonic() + WARM_UP
    while time.monotonic() < warm:
        connection.recv_into(buffer)
    received, start = 0, time.monotonic()
    end = start + seconds
    while (now := time.monotonic()) < end:
        received += connection.recv_into(buffer)
    connection.close()
    print(received * 8 / (now - start) / 1e9)


def source(address):
    with socket.create_connection((address, PORT), timeout=10) as connection:
        data = bytes(CHUNK)
        try:
            while True:
                connection.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass


if __name__ == "__main__":
    if sys.argv[1] == "sink":
        sink(sys.argv[2], float(sys.argv[3]))
    else:
        source(sys.argv[2])
