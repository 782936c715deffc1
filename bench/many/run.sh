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
readonly BENCH=many NUMBERS='--count --idle'
readonly SERVICE=(--entrypoint /bin/sh --cmd /service.sh)
# shellcheck source=bench/device.sh
source bench/device.sh "$@"
