#!/bin/bash
# Runs the benchmark of restarts of the service manager, see ../README.md.
set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: bench/restart/run.sh [OPTION…]

  --repetitions R   measure R times (default 7)
  --json FILE       write all figures to FILE
  --check           exit 1 when a target is missed

Makes a test device, measures, removes it. Needs root. See bench/README.md.
USAGE
}

cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/../.."
readonly BENCH=restart NUMBERS='--repetitions'
readonly SERVICE=(--entrypoint /bin/sh --cmd /service.sh)
# shellcheck source=bench/device.sh
source bench/device.sh "$@"
