#!/bin/bash
# Runs the benchmark of networks, see ../README.md.
set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: bench/network/run.sh [OPTION…]

  --repetitions R   measure R times (default 5)
  --count N         only groups of N instances; may be given several times
  --seconds S       each transfer takes S seconds (default 2); 0: no transfers
  --rights          instances have an exposed port and a rule each
  --json FILE       write all figures to FILE
  --check           exit 1 when a target is missed

Works in network and mount namespaces of its own. Needs root, and the programs
nft, ip and nsenter. See bench/README.md.
USAGE
}

here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
export PATH=$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin
arguments=()
while (($#)); do
    case $1 in
        --repetitions | --count | --seconds) arguments+=("$1" "${2:?$1 needs a number}"); shift ;;
        --json) arguments+=("$1" "$(realpath "${2:?$1 needs a name}")"); shift ;;
        --rights | --check) arguments+=("$1") ;;
        -h | --help) usage; exit ;;
        *) usage >&2; exit 2 ;;
    esac
    shift
done
[[ $EUID == 0 ]] || { echo "run.sh: needs root" >&2; exit 1; }

cd "$here/../.."
cargo build --release --example bench-network
binary=$(realpath "${CARGO_TARGET_DIR:-target}")/release/examples/bench-network

work=$(mktemp -d /var/tmp/aos-bench.XXXXXX)
trap 'rm -rf "$work"' EXIT
# What is mounted on /run and below the directory ends with the namespace.
PYTHONPATH=$here/.. unshare --net --mount --propagation private bash -c '
    mount -t tmpfs tmpfs /run && mkdir -p /run/netns && ip link set lo up && exec python3 "$@"
' bash "$here/measure.py" --binary "$binary" --directory "$work" "${arguments[@]}"
