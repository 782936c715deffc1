# shellcheck shell=bash
# What the benchmarks on a test device have in common. Sourced with the arguments of
# the benchmark, which has its name in BENCH, the options of its own that take a
# number in NUMBERS, and `usage`. `SERVICE` says what is packed as its service.

readonly DEVICE=bench UNIT=/var/aos/unit CONFIG=/etc/aos/aos_servicemanager.cfg
export PATH=$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin
json=''
arguments=()
while (($#)); do
    case $1 in
        --json) json=${2:?--json needs a file}; shift ;;
        --check) arguments+=("$1") ;;
        -h | --help) usage; exit ;;
        *)
            [[ " $NUMBERS " == *" $1 "* ]] || { usage >&2; exit 2; }
            arguments+=("$1" "${2:?$1 needs a number}")
            shift
            ;;
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
"$bin/aosctl" pack service bench/start/rootfs --output "$root$UNIT/bench.tar" "${SERVICE[@]}" >/dev/null
cp bench/table.py bench/device.py "bench/$BENCH/measure.py" "$root/var/aos/"

status=0
ci/lab/device exec "$DEVICE" python3 /var/aos/measure.py --unit "$UNIT" "${arguments[@]}" || status=$?
[[ -z $json ]] || cp "$root/var/aos/figures.json" "$json"
(exit "$status")
