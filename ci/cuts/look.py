"""Looks at the content store of a device after a power cut. Runs in the device.

Prints what is wrong, one thing a line. Knows nothing of how the service manager
works: rows are read by SQL, directories by walking.
"""
import hashlib
import json
import os
import sqlite3
import sys

WORKING_DIR = "/var/aos/servicemanager"
RECORD = ".files"


def sums(root):
    """Files and links below a directory, by path."""
    found = {}
    for directory, _, names in os.walk(root):
        for name in names:
            path = os.path.join(directory, name)
            if os.path.islink(path):
                value = "link " + os.readlink(path)
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    value = hashlib.sha256(file.read()).hexdigest()
            else:
                value = "neither file nor link"
            found[os.path.relpath(path, root)] = value
    return found


def compare(what, expected, root):
    if not os.path.isdir(root):
        yield f"{what} has a row, and no {root}"
        return
    found = sums(root)
    for path in sorted(expected.keys() | found.keys()):
        if expected.get(path) != found.get(path):
            yield f"{what} is damaged: {path} is {found.get(path)}, expected {expected.get(path)}"
            return


def problems(expected):
    database = sqlite3.connect(f"{WORKING_DIR}/servicemanager.db")
    verdict = database.execute("PRAGMA integrity_check").fetchone()[0]
    if verdict != "ok":
        yield f"integrity_check: {verdict}"
    known = {"services": set(), "layers": set()}
    for service, version, path in database.execute("SELECT id, aos_version, path FROM services"):
        known["services"].add(os.path.basename(path))
        root = os.path.join(WORKING_DIR, "services", path)
        yield from compare(f"{service} {version}", expected[f"{service} {version}"], f"{root}/rootfs")
    for digest, path in database.execute("SELECT digest, path FROM layers"):
        known["layers"].add(os.path.basename(path))
        yield from compare(digest, expected[digest], os.path.join(WORKING_DIR, "layers", path))

    for kind, directory in (("services", "services"), ("layers", "layers/sha256")):
        for name in os.listdir(f"{WORKING_DIR}/{directory}"):
            if name.removesuffix(RECORD) not in known[kind]:
                yield f"{directory}/{name} is left"
    for name in os.listdir(f"{WORKING_DIR}/layers"):
        if name != "sha256":
            yield f"layers/{name} is left"
    for directory in ("extract", "download"):
        path = f"{WORKING_DIR}/{directory}"
        for name in os.listdir(path) if os.path.isdir(path) else ():
            yield f"{directory}/{name} is left"
    for name in os.listdir(WORKING_DIR):
        # A database that was taken for damaged.
        kept = name.endswith(("-lock", ".reserve"))
        if name.startswith("servicemanager.db.") and not kept:
            yield f"{name} is there"


with open(sys.argv[1]) as file:
    for problem in problems(json.load(file)):
        print(problem)
