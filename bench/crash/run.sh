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
readonly DEVICE=bench UNIT=/var/aos/unit CONFIG=/etc/aos/aos_servicemanager.cfg
export PATH=$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin
json=''
arguments=()
while (($#)); do
    case $1 in
        --kills) arguments+=("$1" "${2:?$1 needs a number}"); shift ;;
        --json) json=${2:?--json needs a file}; shift ;;
        --check) arguments+=("$1") ;;
        -h | --help) usage; exit ;;
        *) usage >&2; exit 2 ;;
    esac
    shift
done
[[ $EUID == 0 ]] || { echo "run.sh: needs root" >&2; exit 1; }

if [[ -z ${AOS_BENCH_BIN:-} ]]; then
    ci/setup_env.sh
    cargo build --release --workspace
fi
bin=${AOS_BENCH_BIN:-$(realpath "${CARGO_TARGET_DIR:-target}")/release}

lab=$(mktemp -d "${AOS_LAB_RUN:-/var/tmp}/aos-bench.XXXXXX")
export AOS_LAB_RUN=$lab
cleanup() {
    local status=$?
    trap - EXIT
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
config=$(mktemp)
echo '{"runParameters": {"startInterval": "500ms", "startBurst": 10000, "restartInterval": "1ms"}}' >"$config"
"$bin/aosctl" pack service bench/start/rootfs --output "$root$UNIT/crash.tar" \
    --entrypoint /bin/sleep --cmd 86400 --service-config "$config" >/dev/null
rm "$config"
cp bench/crash/measure.py "$root/var/aos/"

status=0
ci/lab/device exec "$DEVICE" python3 /var/aos/measure.py --unit "$UNIT" "${arguments[@]}" || status=$?
[[ -z $json ]] || cp "$root/var/aos/figures.json" "$json"
(exit "$status")
