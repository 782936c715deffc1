#!/bin/bash
# Runs the benchmark of 256 instances on one device, see ../README.md.
set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: bench/many/run.sh [OPTION…]

  --count N         so many instances (default 256)
  --idle SECONDS    how long processor time is taken while idle (default 60)
  --json FILE       write all figures to FILE
  --check           exit 1 when a target is missed

Makes a test device, measures, removes it. Needs root. See bench/README.md.
USAGE
}

cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/../.."
readonly BENCH=many
export PATH=$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin
json=''
arguments=()
while (($#)); do
    case $1 in
        --count | --idle) arguments+=("$1" "${2:?$1 needs a number}"); shift ;;
        --json) json=${2:?--json needs a file}; shift ;;
        --check) arguments+=("$1") ;;
        -h | --help) usage; exit ;;
        *) usage >&2; exit 2 ;;
    esac
    shift
done
# shellcheck source=bench/device.sh
source bench/device.sh
