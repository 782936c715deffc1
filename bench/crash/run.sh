#!/bin/bash
# Runs the benchmark of crashes, see ../README.md.
set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: bench/crash/run.sh [OPTION…]

  --kills N     kill the service N times (default 100)
  --json FILE   write all figures to FILE
  --check       exit 1 when a target is missed

Makes a test device, measures, removes it. Needs root. See bench/README.md.
USAGE
}

cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/../.."
readonly BENCH=crash NUMBERS='--kills'
readonly SERVICE=(--entrypoint /bin/sleep --cmd 86400 --service-config bench/crash/service.json)
# shellcheck source=bench/device.sh
source bench/device.sh "$@"
