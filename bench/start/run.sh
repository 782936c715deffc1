#!/bin/bash
# Runs the benchmark of starts, see ../README.md.
set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: bench/start/run.sh [OPTION…]

  --repetitions R   measure R times (default 7)
  --idle SECONDS    how long processor time is taken while idle (default 30)
  --json FILE       write all figures to FILE
  --check           exit 1 when a target is missed

Makes a test device, measures, removes it. Needs root. See bench/README.md.
USAGE
}

cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/../.."
readonly DEVICE=bench UNIT=/var/aos/unit CONFIG=/etc/aos/aos_servicemanager.cfg
export PATH=$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin
json=''
arguments=()
while (($#)); do
    case $1 in
        --repetitions | --idle) arguments+=("$1" "${2:?$1 needs a number}"); shift ;;
        --json) json=${2:?--json needs a file}; shift ;;
        --check) arguments+=("$1") ;;
        -h | --help) usage; exit ;;
        *) usage >&2; exit 2 ;;
    esac
    shift
done
[[ $EUID == 0 ]] || { echo "run.sh: needs root" >&2; exit 1; }

ci/setup_env.sh
cargo build --release --workspace
bin=$(realpath "${CARGO_TARGET_DIR:-target}")/release

lab=$(mktemp -d "${AOS_LAB_RUN:-/var/tmp}/aos-bench.XXXXXX")
export AOS_LAB_RUN=$lab
cleanup() {
    local status=$?
    trap - EXIT
    if ((status > 1)); then
        ci/lab/device log "$DEVICE" --lines=100 --unit='aos-service*' || true
    fi
    ci/lab/device down "$DEVICE" --kill
    rmdir "$lab"
    exit "$status"
}
trap cleanup EXIT

ci/lab/device up "$DEVICE"
ci/lab/device install-sm "$DEVICE" "$bin"
root=$(ci/lab/device root "$DEVICE")
ci/lab/device exec "$DEVICE" sh -euc "
    mkdir $UNIT
    cp $CONFIG $UNIT/
    aosctl unit init --dir $UNIT
    ln -sf $UNIT/aos_servicemanager.cfg $CONFIG
    # As shipped, not as for tests: what is logged costs time.
    sed -i 's/-v debug/-j -v info/' /etc/systemd/system/aos-servicemanager.service.d/10-lab.conf
    systemctl daemon-reload"
"$bin/aosctl" pack service bench/start/rootfs --output "$root$UNIT/bench.tar" \
    --entrypoint /bin/sh --cmd /service.sh >/dev/null
cp bench/table.py bench/start/measure.py "$root/var/aos/"

status=0
ci/lab/device exec "$DEVICE" python3 /var/aos/measure.py --unit "$UNIT" "${arguments[@]}" || status=$?
[[ -z $json ]] || cp "$root/var/aos/figures.json" "$json"
(exit "$status")
