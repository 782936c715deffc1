#!/bin/bash
# Checks that the test device does what device tests rely on, and that nothing
# of it is left afterwards.
set -euo pipefail

HERE=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
readonly HERE
DEVICE=$HERE/device

if (($#)); then
    cat <<USAGE
Usage: ci/lab/selftest.sh

Boots test devices in parallel, runs containers in units on them, kills parts of
them, and checks that 'down' leaves nothing. Needs root; under a minute once the
image is cached.
USAGE
    [[ $1 == -h || $1 == --help ]] && exit 0
    exit 2
fi

# shellcheck source=ci/lab/checks.sh
source "$HERE/checks.sh"

up_in_parallel() {
    local name
    local -a jobs=()
    for name in "$@"; do
        "$DEVICE" up "$name" &
        jobs+=($!)
    done
    for name in "${jobs[@]}"; do wait "$name"; done
}

exec_in_parallel() {
    local i
    local -a jobs=()
    for i in {1..8}; do
        (equal "$("$DEVICE" exec one sh -c 'hostname; cat' <<<"$i")" "one"$'\n'"$i") &
        jobs+=($!)
    done
    for i in "${jobs[@]}"; do wait "$i"; done
}

exit_status_passes() {
    local status=0
    "$DEVICE" exec one sh -c 'exit 42' || status=$?
    equal "$status" 42
    status=0
    "$DEVICE" exec nobody true || status=$?
    equal "$status" 125
}

filesystems_are_right() {
    equal "$("$DEVICE" exec one findmnt --noheadings --output OPTIONS --target /usr | cut -d, -f1)" ro
    # Whiteouts and layers are made below the working directory.
    # shellcheck disable=SC2016
    "$DEVICE" exec one sh -euc '
        case $(stat -f -c %T /var/aos /usr) in *overlay*) exit 1 ;; esac
        cd /var/aos
        mknod whiteout c 0 0
        mkdir lower upper work merged
        touch lower/seen
        mount -t overlay -o lowerdir=lower:/usr,upperdir=upper,workdir=work overlay merged
        test -e merged/seen -a -e merged/bin/env
        rm merged/seen
        test -c upper/seen
        umount merged'
}

network_is_its_own() {
    # shellcheck disable=SC2016
    "$DEVICE" exec one sh -euc '
        ip netns add n
        ip link add br0 type bridge
        ip link add v0 type veth peer name v1 netns n
        sysctl -qw net.ipv4.ip_forward=1
        nft add table inet t
        ip netns del n
        ip link del br0'
    equal "$("$DEVICE" exec two ip -brief link | wc -l)" 1
}

# Runs a container by $2 in a unit of device $1, with the cgroup of the container
# inside the unit's.
container_in_unit() {
    "$DEVICE" exec "$1" bash -eu -s "$2" <<'DEVICE'
runtime=$1
unit=lab-$runtime@x.service
cgroup=/system.slice/system-lab\\x2d$runtime.slice/$unit
bundle=/var/aos/bundle-$runtime
mkdir -p "$bundle"/rootfs/{usr,proc,dev,sys,tmp}
cd "$bundle"
ln -s usr/bin usr/lib usr/lib64 rootfs/
runc spec
python3 - "$cgroup/container" <<'PYTHON'
import json, sys
with open("config.json") as file:
    config = json.load(file)
config["process"]["terminal"] = False
config["process"]["args"] = ["/bin/sh", "-c", "trap 'exit 0' TERM; echo hello; while :; do sleep 0.1; done"]
config["mounts"].append({"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]})
config["linux"]["cgroupsPath"] = sys.argv[1]
config["linux"]["resources"] = {
    "memory": {"limit": 64 << 20}, "pids": {"limit": 20}, "cpu": {"quota": 50000, "period": 100000}}
with open("config.json", "w") as file:
    json.dump(config, file)
PYTHON
cat >"/etc/systemd/system/lab-$runtime@.service" <<UNIT
[Service]
Type=forking
Delegate=yes
PIDFile=/run/lab-$runtime.pid
ExecStart=/usr/bin/$runtime run -d --pid-file /run/lab-$runtime.pid --bundle $bundle lab-$runtime
ExecStopPost=-/usr/bin/$runtime delete -f lab-$runtime
UNIT
systemctl daemon-reload
systemctl start "$unit"

fail() { echo "$*"; systemctl status --no-pager "$unit"; exit 1; }
main=$(systemctl show --property MainPID --value "$unit")
[[ $main == "$(cat "/run/lab-$runtime.pid")" ]] || fail "MainPID is $main"
[[ $(readlink "/proc/$main/ns/pid") != "$(readlink /proc/self/ns/pid)" ]] || fail "MainPID is no container"
for controller in memory pids cpu freezer devices name=systemd; do
    grep -Fqx "${controller}:$cgroup/container" <(cut -d: -f2- "/proc/$main/cgroup") || fail "$controller: wrong cgroup"
done
value() { cat "/sys/fs/cgroup/$1$cgroup/container/$2"; }
[[ $(value memory memory.limit_in_bytes) == $((64 << 20)) ]] || fail "memory limit"
[[ $(value pids pids.max) == 20 ]] || fail "pids limit"
[[ $(value cpu cpu.cfs_quota_us) == 50000 ]] || fail "cpu limit"
for ((i = 0; i < 100; i++)); do
    journalctl --sync
    found=$(journalctl --quiet --output cat _SYSTEMD_UNIT="$unit" _PID="$main")
    [[ $found != hello ]] || break
    sleep 0.1
done
[[ $found == hello ]] || fail "the journal does not have the output"

systemctl stop "$unit"
[[ $(systemctl show --property Result,ActiveState --value "$unit" | sort | xargs) == "inactive success" ]] || fail "stop"
for controller in memory pids cpu blkio devices systemd; do
    [[ ! -e /sys/fs/cgroup/$controller$cgroup ]] || fail "$controller: the unit's cgroup is left"
done
DEVICE
}

# With stand-ins for what this repository builds, in a copy of its layout.
install_sm_works() {
    local repo=$AOS_LAB_RUN/.repo file
    mkdir -p "$repo"/{ci/lab,bin,misc/systemd,misc/config}
    cp "$DEVICE" "$HERE/processes.sh" "$repo/ci/lab/"
    for file in aos_servicemanager aos_nameserver aosctl; do
        install --mode=755 /dev/stdin "$repo/bin/$file" <<<$'#!/bin/sh\nif [ $# -gt 0 ]; then exec sleep infinity; fi\necho '"$file"
    done
    printf '[Service]\nExecStart=/usr/bin/aos_servicemanager\n' >"$repo/misc/systemd/aos-servicemanager.service"
    printf '[Service]\nExecStart=/bin/true\n' >"$repo/misc/systemd/aos-service@.service"
    printf '[Service]\nExecStart=/usr/bin/aos_nameserver\n' >"$repo/misc/systemd/aos-nameserver.service"
    echo '{}' >"$repo/misc/config/aos_servicemanager.cfg"
    "$repo/ci/lab/device" install-sm two "$repo/bin"
    rm -r "$repo"
    equal "$("$DEVICE" exec two aosctl)" aosctl
    "$DEVICE" exec two systemctl start aos-servicemanager aos-service@x
    "$DEVICE" exec two systemctl is-active --quiet aos-servicemanager
    "$DEVICE" exec two grep -q . /etc/aos/aos_servicemanager.cfg
}

killed_up_is_cleaned() {
    local delay pid
    for delay in 0.02 0.1 0.3; do
        "$DEVICE" up killed >/dev/null 2>&1 &
        pid=$!
        sleep "$delay"
        kill -KILL "$pid"
        wait "$pid" 2>/dev/null || true
        "$DEVICE" down killed
        nothing_left killed
    done
}

down_stops_a_running_up() {
    local pid status=0
    "$DEVICE" up killed >/dev/null 2>&1 &
    pid=$!
    sleep 0.2
    "$DEVICE" down killed
    wait "$pid" || status=$?
    equal "$status" 143
    nothing_left killed
}

killed_nspawn_is_cleaned() {
    local pid
    read -r pid _ <"$AOS_LAB_RUN/one/pid"
    kill -KILL "$pid"
    "$DEVICE" down one
    nothing_left one
}

# A process that 'exec' left, and a mount, do not outlive the device.
down_leaves_nothing() {
    "$DEVICE" exec two setsid sleep infinity >/dev/null 2>&1 </dev/null &
    "$DEVICE" exec two mount -t tmpfs tmpfs /mnt
    "$DEVICE" down two
    nothing_left two
    "$DEVICE" down two
}

nothing_left() {
    local left
    left=$(
        find "$AOS_LAB_RUN" -mindepth 1 -maxdepth 1 -name "$1" ||:
        findmnt --raw --noheadings --output TARGET | grep -F "$AOS_LAB_RUN/$1/" ||:
        find /sys/fs/cgroup /run/systemd/nspawn -name "aos-lab-$1-*" ||:
        pgrep -af "$AOS_LAB_RUN/$1/" ||:
    )
    equal "$left" ""
}

"$DEVICE" image >/dev/null
check "two devices boot in parallel" up_in_parallel one two
check "a name in use is refused" fails "$DEVICE" up one
check "status lists both" equal "$("$DEVICE" status | cut -f1,2 | xargs)" "one up two up"
check "exec runs in parallel, with stdin" exec_in_parallel
check "exec passes the exit status on" exit_status_passes
check "systemd is content" "$DEVICE" exec one systemctl is-system-running
check "cgroups begin at the device" equal "$("$DEVICE" exec one grep name=systemd /proc/1/cgroup | cut -d: -f3)" /init.scope
check "filesystems fit the service manager" filesystems_are_right
check "networks are separate" network_is_its_own
check "runc runs in a unit, with limits" container_in_unit one runc
check "crun runs in a unit, with limits" container_in_unit two crun
check "install-sm installs" install_sm_works
check "log shows the journal" grep -q systemd <("$DEVICE" log one)
check "down cleans up a device whose nspawn was killed" killed_nspawn_is_cleaned
check "down leaves nothing" down_leaves_nothing
check "down cleans up an 'up' that was killed" killed_up_is_cleaned
check "down stops an 'up' that still runs" down_stops_a_running_up
check "the run directory is empty" equal "$(ls -A "$AOS_LAB_RUN")" ""

echo "$failures failed, ${SECONDS} s"
((failures == 0))
