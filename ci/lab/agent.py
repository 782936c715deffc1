"""Commands in an emulated device, see README.md: both ends of a virtio serial port.

In the device `agent.py serve` waits at all ports; on the host `agent.py exec DIR
CMD…` takes a free one. A session begins with a greeting of the device, so that
nothing of an earlier one, whose client was killed, is taken for its own. All
else is frames: a letter, a length and that many bytes.
"""
import fcntl
import glob
import json
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

GREETING = b"\0aos-lab-agent-1\n"
HEAD = struct.Struct(">cI")
CHUNK = 65536
# A port that nobody is at reads as ended: there is nothing to wait for.
IDLE = 0.03
# The device is gone, or was never there.
NO_DEVICE = 125


class Gone(Exception):
    """The other end is not there any more."""


class Frames:
    """Takes what was read apart."""

    def __init__(self):
        self.data = bytearray()

    def add(self, data):
        self.data += data
        while len(self.data) >= HEAD.size:
            kind, size = HEAD.unpack_from(self.data)
            if len(self.data) < HEAD.size + size:
                return
            payload = bytes(self.data[HEAD.size:HEAD.size + size])
            del self.data[:HEAD.size + size]
            yield kind, payload


def frame(kind, payload=b""):
    return HEAD.pack(kind, len(payload)) + payload


# --- in the device ------------------------------------------------------------

class Port:
    """A serial port; its host comes and goes."""

    def __init__(self, path):
        self.path = path
        self.is_busy = False
        self.open()

    def open(self):
        self.fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def has_host(self):
        try:
            return os.read(self.fd, CHUNK) != b""
        except BlockingIOError:
            return True

    def read(self):
        try:
            data = os.read(self.fd, CHUNK)
        except BlockingIOError:
            return b""
        if not data:
            raise Gone
        return data

    def write(self, data):
        waiter = select.poll()
        waiter.register(self.fd, select.POLLOUT)
        while data:
            try:
                data = data[os.write(self.fd, data[:CHUNK]):]
            except BlockingIOError:
                if any(event & select.POLLHUP for _, event in waiter.poll()):
                    raise Gone from None

    def session(self):
        try:
            self.write(GREETING)
            run(self)
        except (Gone, OSError):
            pass
        while self.has_host():
            time.sleep(IDLE)
        # Closing drops what is left to read.
        os.close(self.fd)
        self.open()
        self.is_busy = False


def run(port):
    """One command."""
    frames, arrived = Frames(), []
    waiter = select.poll()
    waiter.register(port.fd, select.POLLIN)
    while not arrived:
        waiter.poll()
        arrived.extend(frames.add(port.read()))
    _, words = arrived.pop(0)
    try:
        child = subprocess.Popen(
            json.loads(words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True, bufsize=0)
    except OSError as error:
        port.write(frame(b"E", f"agent: {error}\n".encode()) + frame(b"X", b"127"))
        return
    try:
        status = attend(port, child, frames, arrived)
    except BaseException:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        raise
    port.write(frame(b"X", str(status).encode()))


def attend(port, child, frames, arrived):
    """Passes input and output on until the command has ended."""
    stdin, pending = child.stdin.fileno(), bytearray()
    outputs = {child.stdout.fileno(): b"O", child.stderr.fileno(): b"E"}
    ended = os.pidfd_open(child.pid)
    is_last = False
    for fd in (stdin, *outputs):
        os.set_blocking(fd, False)
    try:
        while True:
            for _, payload in arrived:
                pending += payload
                is_last = not payload
            arrived = []
            if stdin is not None and not pending and is_last:
                child.stdin.close()
                stdin = None
            waiter = select.poll()
            waiter.register(port.fd, 0 if pending else select.POLLIN)
            waiter.register(ended, select.POLLIN)
            for fd in outputs:
                waiter.register(fd, select.POLLIN)
            if stdin is not None and pending:
                waiter.register(stdin, select.POLLOUT)
            ready = dict(waiter.poll())
            for fd in [fd for fd in outputs if fd in ready]:
                if not pass_on(port, fd, outputs[fd]):
                    del outputs[fd]
            if port.fd in ready:
                if ready[port.fd] & select.POLLHUP:
                    raise Gone
                arrived = list(frames.add(port.read()))
            if stdin is not None and stdin in ready:
                try:
                    del pending[:os.write(stdin, pending)]
                except BlockingIOError:
                    pass
                except BrokenPipeError:
                    child.stdin.close()
                    stdin = None
            if stdin is None:
                pending.clear()
            if ended in ready:
                break
        # What it left running may hold the pipes for ever.
        for fd, kind in outputs.items():
            while pass_on(port, fd, kind):
                pass
        status = child.wait()
        return status if status >= 0 else 128 - status
    finally:
        os.close(ended)
        for pipe in (child.stdin, child.stdout, child.stderr):
            pipe.close()


def pass_on(port, fd, kind):
    try:
        data = os.read(fd, CHUNK)
    except BlockingIOError:
        return False
    if data:
        port.write(frame(kind, data))
    return bool(data)


def serve():
    ports = [Port(path) for path in sorted(glob.glob("/dev/vport*p*"))]
    while True:
        for port in ports:
            if not port.is_busy and port.has_host():
                port.is_busy = True
                threading.Thread(target=port.session, daemon=True).start()
        time.sleep(IDLE)


# --- on the host --------------------------------------------------------------

def take_port(directory):
    """A socket that nobody else uses, and the lock that says so."""
    while True:
        paths = glob.glob(f"{directory}/port-*.lock")
        # The one that was used last may not be free in the device yet.
        random.shuffle(paths)
        for path in paths:
            lock = open(path)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return path.removesuffix(".lock"), lock
            except OSError:
                lock.close()
        if not os.path.isdir(directory):
            raise Gone
        time.sleep(0.05)


def connect(path):
    """Waits for the greeting; the device may be booting."""
    while True:
        link = socket.socket(socket.AF_UNIX)
        try:
            link.connect(path)
        except FileNotFoundError:
            # The machine is about to be there, or its directory is gone, too.
            if not os.path.isdir(os.path.dirname(path)):
                raise Gone from None
            link.close()
            time.sleep(0.05)
            continue
        except OSError:
            raise Gone from None
        link.settimeout(1)
        data = b""
        try:
            while GREETING not in data:
                more = link.recv(CHUNK)
                if not more:
                    raise Gone
                data = data[-len(GREETING):] + more
            link.settimeout(None)
            return link, data.split(GREETING, 1)[1]
        except ConnectionError:
            raise Gone from None
        except TimeoutError:
            # The device may not have noticed that an earlier client is gone.
            link.close()
            time.sleep(0.3)


def send_input(link):
    try:
        while True:
            data = os.read(0, CHUNK)
            link.sendall(frame(b"I", data))
            if not data:
                return
    except OSError:
        pass


def execute(directory, words):
    path, lock = take_port(directory)
    with lock:
        link, data = connect(path)
        link.sendall(frame(b"S", json.dumps(words).encode()))
        threading.Thread(target=send_input, args=(link,), daemon=True).start()
        frames = Frames()
        while True:
            for kind, payload in frames.add(data):
                if kind == b"X":
                    return int(payload)
                write_all(1 if kind == b"O" else 2, payload)
            try:
                data = link.recv(CHUNK)
            except ConnectionError:
                raise Gone from None
            if not data:
                raise Gone


def write_all(fd, data):
    while data:
        data = data[os.write(fd, data):]


def main():
    if sys.argv[1] == "serve":
        serve()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    status = NO_DEVICE
    try:
        status = execute(sys.argv[2], sys.argv[3:])
    except Gone:
        print("emulated: error: the device is gone", file=sys.stderr)
    # Not held up by the thread that reads stdin.
    os._exit(status)


main()
