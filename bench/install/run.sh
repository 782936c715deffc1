#!/bin/bash
# Runs the benchmark of installs, see ../README.md.
set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: bench/install/run.sh [OPTION…]

  --repetitions R   measure R times (default 5)
  --case N          only this case, from 0; may be given several times
  --directory DIR   where to install to (default /var/tmp)
  --packages DIR    keep the packages there, or take them from there
  --json FILE       write all figures to FILE
  --check           exit 1 when a target is missed

Makes packages, measures, removes what it has made. Needs root, and 6 GB. See
bench/README.md.
USAGE
}

here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
export PATH=$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin
directory=/var/tmp
arguments=()
while (($#)); do
    case $1 in
        --repetitions | --case) arguments+=("$1" "${2:?$1 needs a number}"); shift ;;
        --json | --packages) arguments+=("$1" "$(realpath "${2:?$1 needs a name}")"); shift ;;
        --directory) directory=$(realpath "${2:?--directory needs a directory}"); shift ;;
        --check) arguments+=("$1") ;;
        -h | --help) usage; exit ;;
        *) usage >&2; exit 2 ;;
    esac
    shift
done
[[ $EUID == 0 ]] || { echo "run.sh: needs root" >&2; exit 1; }

cd "$here/../.."
cargo build --release --example bench-install
binary=$(realpath "${CARGO_TARGET_DIR:-target}")/release/examples/bench-install

work=$(mktemp -d "$directory/aos-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
PYTHONPATH=$here/.. python3 "$here/measure.py" --binary "$binary" --directory "$work" "${arguments[@]}"
