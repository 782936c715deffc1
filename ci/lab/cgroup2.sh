#!/bin/bash
# Runs services on cgroup v2 alone: on an emulated test device, see --help.
set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: ci/lab/cgroup2.sh [OPTION…]

Boots an emulated test device, whose cgroups are of version 2 alone, and runs
services on it, with crun and with runc: limits and devices are those of the
service's cgroup, ends and lack of memory are told, the service manager finds
what runs when it starts again, a stop leaves nothing. CM and IAM are played by
aosctl. Needs root; ci/lab/cgroup2.py has the checks.

  --bin DIR     aos_servicemanager, aos_nameserver and aosctl for the device;
                without it they are built
USAGE
}

HERE=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
readonly HERE
REPO=$(realpath "$HERE/../..")
readonly REPO
DEVICE=$HERE/emulated
readonly UNIT=/var/aos/unit

bin=''
while (($#)); do
    case $1 in
        --bin) bin=$(realpath "${2:?--bin needs a directory}"); shift ;;
        -h | --help) usage; exit ;;
        *) usage >&2; exit 2 ;;
    esac
    shift
done
[[ $EUID == 0 ]] || { echo "cgroup2.sh: needs root" >&2; exit 1; }
if [[ -z $bin ]]; then
    cargo build --release --workspace --manifest-path "$REPO/Cargo.toml"
    bin=$(realpath -m "${CARGO_TARGET_DIR:-$REPO/target}")/release
fi

# shellcheck source=ci/lab/checks.sh
source "$HERE/checks.sh"

install_all() {
    local tree=$AOS_LAB_RUN/.tree
    "$DEVICE" install-sm cgroup2 "$bin"
    install -D --mode=644 -t "$tree" "$HERE"/{cgroup2,peers}.py \
        "$REPO"/tests/device/{instances.py,leftovers.sh} "$REPO/tests/fixtures/probe.py"
    install -D --mode=644 "$REPO/tests/fixtures/sleeper.sh" "$tree/service.sh"
    "$DEVICE" push cgroup2 "$tree" "$UNIT"
    rm -r "$tree"
    # shellcheck disable=SC2016
    "$DEVICE" exec cgroup2 sh -euc '
        config=/etc/aos/aos_servicemanager.cfg
        test "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs
        cp "$config" "$0/"
        aosctl unit init --dir "$0"
        ln -sf "$0/aos_servicemanager.cfg" "$config"
        mkdir /var/aos/servicemanager' "$UNIT" </dev/null
}

"$DEVICE" image >/dev/null
check "a device boots" "$DEVICE" up cgroup2
check "the service manager is installed" install_all
# It counts itself, and prints what it has checked.
timeout 600 "$DEVICE" exec cgroup2 python3 "$UNIT/cgroup2.py" </dev/null ||
    failures=$((failures + 1))
check "the device goes" "$DEVICE" down cgroup2 --kill

echo "$failures failed, ${SECONDS} s"
((failures == 0))
