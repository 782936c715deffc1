#!/bin/bash
# The whole way of one service, see --help.
set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: ci/demo.sh

Packs the web server of examples/web, boots a test device with the service
manager, deploys the server, visits it, restarts the service manager under it,
visits it again, takes it away, and looks whether anything is left. Needs root
and a Rust toolchain; installs the Debian packages that are missing.
USAGE
}

case ${1:-} in
    '') ;;
    -h | --help) usage; exit ;;
    *) usage >&2; exit 2 ;;
esac

cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/.."
readonly DEVICE=demo UNIT=/var/aos/unit CONFIG=/etc/aos/aos_servicemanager.cfg
readonly ADDRESS=172.30.0.2 EXAMPLE=examples/web
export PATH=$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin
started=$SECONDS
lab=''
# Also a signal that nobody waits for is no success.
is_done=''

heading() { printf '\n=== %s\n\n' "$*"; }
die() { printf 'demo: %s\n' "$*" >&2; exit 1; }
in_device() { ci/lab/device exec "$DEVICE" "$@"; }

# Runs a command and shows it.
show() {
    printf '$ %s\n' "$*"
    "$@"
}

cleanup() {
    local status=$?
    trap - EXIT
    [[ -n $is_done ]] || ((status)) || status=1
    if ((status)) && [[ -n $lab ]]; then
        heading "What the service manager logged"
        ci/lab/device log "$DEVICE" --lines=100 --unit='aos-service*' || true
    fi
    if [[ -n $lab ]]; then
        ci/lab/device down "$DEVICE" --kill || status=1
        rmdir "$lab" || status=1
    fi
    if ((status)); then
        printf '\nFAILED\n'
    else
        printf '\nOK, in %d s\n' $((SECONDS - started))
    fi
    exit "$status"
}
trap cleanup EXIT

# The instance's main process: pid and, so that no reused pid is taken for it,
# when it was started.
process() {
    # shellcheck disable=SC2016
    in_device sh -euc '
        pid=$(systemctl show --value --property=MainPID "aos-service@*.service")
        [ "$pid" -gt 0 ]
        echo "$pid, started at tick $(sed "s/.*) //" "/proc/$pid/stat" | cut -d" " -f20)"'
}

# Fetches the page from the device's network; the server may be starting.
fetch() {
    nsenter --net --target "$(ci/lab/device pid "$DEVICE")" \
        curl --silent --show-error --fail --max-time 5 --retry 20 --retry-delay 1 --retry-all-errors \
        "http://$ADDRESS:8080/"
}

heading "Environment"
[[ $EUID == 0 ]] || die "needs root"
ci/setup_env.sh
command -v cargo >/dev/null || die "no cargo: install Rust, https://rustup.rs"
cargo --version

heading "Build"
cargo build --release --workspace
bin=$(realpath "${CARGO_TARGET_DIR:-target}")/release

heading "Test device"
# A place of its own, so that the name of the device is free.
lab=$(mktemp -d "${AOS_LAB_RUN:-/var/tmp}/aos-demo.XXXXXX")
export AOS_LAB_RUN=$lab
show ci/lab/device up "$DEVICE"
show ci/lab/device install-sm "$DEVICE" "$bin"
root=$(ci/lab/device root "$DEVICE")
in_device sh -euc "
    mkdir $UNIT
    cp $CONFIG $UNIT/
    aosctl unit init --dir $UNIT
    ln -sf $UNIT/aos_servicemanager.cfg $CONFIG"

heading "Packages: the pages are a layer, the program is the service"
show "$bin/aosctl" pack layer "$EXAMPLE/layer" --output "$root$UNIT/pages.tar"
show "$bin/aosctl" pack service "$EXAMPLE/rootfs" --output "$root$UNIT/web.tar" \
    --layer "$root$UNIT/pages.tar" --entrypoint /usr/bin/python3 --cmd /web/server.py \
    --service-config "$EXAMPLE/service.json"
cp "$EXAMPLE/state.json" "$root$UNIT/"

heading "Service manager"
show in_device systemctl start aos-servicemanager
in_device systemctl status --no-pager --lines=0 aos-servicemanager

heading "Deploy, as CM does"
show in_device aosctl unit deploy --dir "$UNIT" --verbose "$UNIT/state.json"
in_device systemctl list-units --no-pager --no-legend --plain 'aos-service@*'

heading "Visit"
first=$(fetch)
printf '%s\n' "$first"
[[ $first == "$(<"$EXAMPLE/layer/web/pages/index.html")" ]] || die "that is another page"
before=$(process)
printf '\nmain process: %s\n' "$before"

heading "Restart the service manager under the service"
show in_device systemctl restart aos-servicemanager
[[ $(fetch) == "$first" ]] || die "the page has changed"
show in_device aosctl unit deploy --dir "$UNIT" "$UNIT/state.json"
[[ $(fetch) == "$first" ]] || die "the page has changed"
after=$(process)
printf '\nmain process: %s\n' "$after"
[[ $after == "$before" ]] || die "the service was restarted"

heading "Take it away"
show in_device aosctl unit stop --dir "$UNIT"
# A unit that has ended is unloaded a moment later.
for _ in {1..50}; do
    left=$(in_device sh <tests/device/leftovers.sh)
    [[ -n $left ]] || break
    sleep 0.2
done
[[ -z $left ]] || die "this is left: $left"
printf '\nNo mount, link, namespace, unit or cgroup is left. For the next time there is:\n'
in_device du -sh --apparent-size /var/aos/servicemanager/services /var/aos/servicemanager/layers
show in_device systemctl stop aos-servicemanager
is_done=1
