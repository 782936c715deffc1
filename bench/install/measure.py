"""Measures installs beside what no installer can avoid, see bench/README.md."""
import argparse
import gzip
import hashlib
import io
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from statistics import median

from table import print_table, verdict

MIB = 1 << 20
# Name, files, bytes of each, how many packages of that.
CASES = [
    ("1 MB", 20, 50_000, 1),
    ("200 MB in 5,000 files", 5000, 40_000, 1),
    ("1 GB in 20 files", 20, 50_000_000, 1),
    ("50 packages of 100 KB", 10, 10_000, 50),
]
TARGET = 1.2
MEMORY = 32


def content(number, size):
    """Half of it random, half of it not: compresses 2:1."""
    half = random.Random(number).randbytes(size // 2)
    pieces = (half[start:start + 512] + b"text" * 128 for start in range(0, len(half), 512))
    return b"".join(pieces)[:size]


def layer(path, seed, files, size):
    """A compressed root filesystem."""
    with gzip.open(path, "wb", compresslevel=6) as file, tarfile.open(fileobj=file, mode="w") as tar:
        for number in range(files):
            if number % 50 == 0:
                info = tarfile.TarInfo(f"usr/lib/{number // 50}")
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)
            info = tarfile.TarInfo(f"usr/lib/{number // 50}/file-{number}")
            data = content(seed * 10_000 + number, size)
            info.size, info.mode = len(data), 0o644
            tar.addfile(info, io.BytesIO(data))


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def package(path, layer_path):
    """A service with this root filesystem."""
    image = json.dumps({"os": "linux", "config": {"Entrypoint": ["/service"]}}).encode()
    config = hashlib.sha256(image).hexdigest()
    root = digest(layer_path)
    manifest = json.dumps({
        "schemaVersion": 2,
        "config": {"digest": f"sha256:{config}", "size": len(image)},
        "layers": [{"digest": f"sha256:{root}", "size": os.path.getsize(layer_path)}],
    }).encode()
    with tarfile.open(path, "w") as tar:
        for name, data in (("manifest.json", manifest), (f"blobs/sha256/{config}", image)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        tar.add(layer_path, f"blobs/sha256/{root}")


def make(directory, name, files, size, count):
    """Layers and packages of a case."""
    made = []
    for number in range(count):
        base = os.path.join(directory, f"{CASES_BY_NAME[name]}-{number}")
        layer(f"{base}.layer", number, files, size)
        package(f"{base}.tar", f"{base}.layer")
        made.append((f"{base}.layer", f"{base}.tar"))
    return made


CASES_BY_NAME = {case[0]: number for number, case in enumerate(CASES)}


def processor_time():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def floor(directory, packages):
    """Sums, decompression, files, and all of it on the disk."""
    cpu, start = processor_time(), time.monotonic()
    for number, (layer_path, package_path) in enumerate(packages):
        target = os.path.join(directory, str(number))
        os.mkdir(target)
        sums = [
            subprocess.Popen(["openssl", "dgst", f"-sha3-{bits}", package_path], stdout=subprocess.DEVNULL)
            for bits in (256, 512)]
        unzip = subprocess.Popen(["gzip", "-dc", layer_path], stdout=subprocess.PIPE)
        untar = subprocess.Popen(["tar", "x", "-p", "-C", target], stdin=unzip.stdout)
        unzip.stdout.close()
        for process in (untar, unzip, *sums):
            if process.wait() != 0:
                sys.exit(f"measure: {process.args[0]} failed")
        subprocess.run(["sync", "-f", target], check=True)
    return {"wall": time.monotonic() - start, "cpu": processor_time() - cpu}


def installs(binary, directory, packages):
    """The first install, and the same again."""
    paths = [package_path for _, package_path in packages]
    done = subprocess.run([binary, directory, *paths], check=True, capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def once(parent, is_large, work):
    """Runs in a new directory, with nothing left to be written by who came before."""
    directory = tempfile.mkdtemp(dir=parent)
    os.sync()
    try:
        return work(directory)
    finally:
        # Where many files were removed just now, ext4 is slow to make new ones: they
        # stay to the end.
        if is_large:
            shutil.rmtree(directory)


def measured(parent, is_large, binary, packages, repetitions):
    figures = {"floor": [], "install": [], "again": []}
    for number in range(repetitions):
        def run_floor():
            figures["floor"].append(once(parent, is_large, lambda directory: floor(directory, packages)))

        def run_install():
            first, again = once(
                parent, is_large, lambda directory: installs(binary, directory, packages))
            figures["install"].append(first)
            figures["again"].append(again)

        # Neither always comes first.
        order = [run_floor, run_install]
        for run in order if number % 2 == 0 else reversed(order):
            run()
    return figures


def middle(figures, key):
    return median(figure[key] for figure in figures)


def row(name, figures):
    def value(which, key):
        return f"{middle(figures[which], key):.2f}"

    ratio = middle(figures["install"], "wall") / middle(figures["floor"], "wall")
    memory = max(figure["memory_kib"] for figure in figures["install"]) / 1024
    again = middle(figures["again"], "wall") * 1000
    return [name, value("install", "wall"), value("floor", "wall"), f"{ratio:.2f}",
            value("install", "cpu"), value("floor", "cpu"), f"{memory:.1f}", f"{again:.1f}"], ratio, memory


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--directory", required=True)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--case", action="append", type=int)
    parser.add_argument("--packages", help="where packages of an earlier run are, or are to be kept")
    parser.add_argument("--json")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()

    kept = arguments.packages or os.path.join(arguments.directory, "packages")
    os.makedirs(kept, exist_ok=True)
    rows, results, all_figures = [], [], {}
    for number in arguments.case or range(len(CASES)):
        name, files, size, count = CASES[number]
        made = [tuple(os.path.join(kept, f"{number}-{index}.{end}") for end in ("layer", "tar"))
                for index in range(count)]
        if not all(os.path.exists(path) for paths in made for path in paths):
            made = make(kept, name, files, size, count)
        # Into the cache.
        for paths in made:
            for path in paths:
                digest(path)
        is_large = files * size * count > 500 * MIB
        figures = measured(
            arguments.directory, is_large, arguments.binary, made, arguments.repetitions)
        all_figures[name] = figures
        cells, ratio, memory = row(name, figures)
        rows.append(cells)
        results.append((f"{name}: install / floor", ratio, TARGET))
        results.append((f"{name}: memory above idle, MiB", memory, MEMORY))
        print(f"{name}: {ratio:.2f}", file=sys.stderr)

    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(all_figures, file, indent=1)
    print(f"\nMedians of {arguments.repetitions}, seconds; {os.cpu_count()} processors\n")
    print_table([["case", "install", "floor", "ratio", "CPU", "CPU of the floor",
                  "memory, MiB", "again, ms"]] + rows)
    print()
    is_met = [verdict(*result) for result in results]
    return 0 if all(is_met) or not arguments.check else 1


if __name__ == "__main__":
    sys.exit(main())
