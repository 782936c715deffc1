# shellcheck shell=bash
# What the benchmarks on a test device have in common. Sourced, with the name of
# the benchmark in BENCH, its arguments in `arguments`, and where its figures go in
# `json`.

readonly DEVICE=bench UNIT=/var/aos/unit CONFIG=/etc/aos/aos_servicemanager.cfg

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
cp bench/table.py bench/device.py "bench/$BENCH/measure.py" "$root/var/aos/"

status=0
# shellcheck disable=SC2154 # whoever sources this sets them
ci/lab/device exec "$DEVICE" python3 /var/aos/measure.py --unit "$UNIT" "${arguments[@]}" || status=$?
[[ -z $json ]] || cp "$root/var/aos/figures.json" "$json"
(exit "$status")
