"""Measures networks of instances beside the bare kernel, see bench/README.md."""
import argparse
import json
import subprocess
import sys
from statistics import median

import transfer
from table import print_table, verdict

COUNTS = [1, 32, 200]
# Of one alone, in each repetition: it is short.
SINGLES = 5
# The number of the one that comes when others are there.
LATE = 200

RATIO = 1.3
MILLISECONDS = 8
FLAT_GROUP = 1.2
FLAT_SINGLE = 1.3
THROUGHPUT = 0.95


class Program:
    """Does one thing at a time."""

    def __init__(self, binary, directory, rights):
        command = [binary, directory] + (["--rights"] if rights else [])
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def do(self, *words):
        """The milliseconds it took."""
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"measure.py: {words} failed")
        return json.loads(answer)["seconds"] * 1000

    def end(self):
        self.process.stdin.close()
        if self.process.wait(timeout=60):
            sys.exit("measure.py: the program failed")


def group(program, figures, sides, name, first, count):
    """Attaches and detaches; the kernel has done all before the other begins."""
    for side in sides:
        attached = program.do(side, "attach", first, count)
        program.do("settle")
        detached = program.do(side, "detach", first, count)
        program.do("settle")
        note(figures, name, side, "attach", attached / count)
        note(figures, name, side, "detach", detached / count)


def note(figures, name, side, what, value):
    figures.setdefault(name, {}).setdefault(f"{side} {what}", []).append(value)


def with_others(program, figures, sides, count):
    """A group, and one more while the group is there."""
    for side in sides:
        note(figures, str(count), side, "attach", program.do(side, "attach", 0, count) / count)
        program.do("settle")
    for _ in range(SINGLES):
        group(program, figures, sides, f"1 beside {count}", LATE, 1)
    for side in sides:
        note(figures, str(count), side, "detach", program.do(side, "detach", 0, count) / count)
        program.do("settle")


def measure_instances(program, counts, repetitions):
    figures = {}
    for repetition in range(-1, repetitions):
        # The first round only warms up.
        into = figures if repetition >= 0 else {}
        sides = ["ours", "floor"] if repetition % 2 else ["floor", "ours"]
        for count in counts:
            if count == LATE:
                with_others(program, into, sides, count)
            else:
                for _ in range(SINGLES if count == 1 else 1):
                    group(program, into, sides, str(count), 0, count)
    return figures


def measure_transfers(program, repetitions, seconds):
    program.do("ours", "attach", 0, 2)
    transfer.make_bare()
    figures = {path: [] for path in transfer.PATHS}
    for repetition in range(repetitions):
        paths = list(transfer.PATHS)
        for path in paths if repetition % 2 else reversed(paths):
            figures[path].append(transfer.measure(path, seconds))
    program.do("ours", "detach", 0, 2)
    return figures


def spread(values):
    return f"{median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def report_instances(figures):
    good = True
    rows = [["instances", "attach, ms each", "floor", "ratio", "detach, ms each", "floor", "ratio"]]
    for name, values in figures.items():
        row = [name]
        for what in ("attach", "detach"):
            ours, floor = values[f"ours {what}"], values[f"floor {what}"]
            row += [spread(ours), spread(floor), f"{median(ours) / median(floor):.2f}"]
        rows.append(row)
    print_table(rows)
    print()
    for name, values in figures.items():
        for what in ("attach", "detach"):
            ours, floor = median(values[f"ours {what}"]), median(values[f"floor {what}"])
            good &= verdict(f"{what} {name}, of the floor", ours / floor, RATIO)
            good &= verdict(f"{what} {name}, ms", ours, MILLISECONDS)
    for many, few, limit in (("200", "32", FLAT_GROUP), ("1 beside 200", "1", FLAT_SINGLE)):
        for what in ("attach", "detach"):
            if many in figures and few in figures:
                ratio, floor = (median(figures[many][f"{side} {what}"]) /
                                median(figures[few][f"{side} {what}"]) for side in ("ours", "floor"))
                good &= verdict(f"{what}: {many} beside {few} (floor {floor:.2f})", ratio, limit)
    return good


def report_transfers(figures):
    bare = median(figures["veth pair"])
    base = {"instance to instance": "bridge without tables",
            "instance to outside": "router without tables"}
    rows = [["path", "Gbit/s", "of the veth pair", "of the same without tables"]]
    for path, values in figures.items():
        without = base.get(path)
        rows.append([path, spread(values), f"{median(values) / bare:.2f}",
                     f"{median(values) / median(figures[without]):.2f}" if without else ""])
    print()
    print_table(rows)
    print()
    good = True
    for path, without in base.items():
        for beside in ("veth pair", without):
            share = median(figures[path]) / median(figures[beside])
            # As a loss, so that less is better here as well.
            good &= verdict(f"{path}, lost of what a {beside} carries", 1 - share, 1 - THROUGHPUT)
    return good


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--directory", required=True)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--count", type=int, action="append")
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--rights", action="store_true")
    parser.add_argument("--json")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()

    transfer.make_uplink()
    program = Program(options.binary, options.directory, options.rights)
    instances = measure_instances(program, options.count or COUNTS, options.repetitions)
    transfers = {}
    if options.seconds:
        transfers = measure_transfers(program, options.repetitions, options.seconds)
    program.end()

    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"instances": instances, "transfers": transfers}, file, indent=1)
    good = report_instances(instances)
    if transfers:
        good &= report_transfers(transfers)
    return 0 if good or not options.check else 1


if __name__ == "__main__":
    sys.exit(main())
