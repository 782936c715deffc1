#!/bin/bash
# Checks that the emulated test device does what tests rely on, and that nothing
# of it is left afterwards.
set -euo pipefail

HERE=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
readonly HERE
DEVICE=$HERE/emulated

if (($#)); then
    cat <<USAGE
Usage: ci/lab/selftest-emulated.sh

Boots an emulated test device, runs containers and makes what it has a kernel of
its own for, cuts its power, and checks that 'down' leaves nothing. Needs root;
about two minutes once the image is cached.
USAGE
    [[ $1 == -h || $1 == --help ]] && exit 0
    exit 2
fi

# shellcheck source=ci/lab/checks.sh
source "$HERE/checks.sh"

exec_in_parallel() {
    local i
    local -a jobs=()
    # More than there are ports.
    for i in {1..10}; do
        (equal "$("$DEVICE" exec one sh -c 'hostname; cat' <<<"$i")" "lab"$'\n'"$i") &
        jobs+=($!)
    done
    for i in "${jobs[@]}"; do wait "$i"; done
}

exec_passes_the_outcome_on() {
    local status=0 output
    output=$("$DEVICE" exec one sh -c 'echo out; echo err >&2; exit 42' 2>&1 </dev/null) || status=$?
    equal "$status $(sort <<<"$output" | xargs)" "42 err out"
    status=0
    # shellcheck disable=SC2016
    "$DEVICE" exec one sh -c 'kill -KILL $$' || status=$?
    equal "$status" 137
    status=0
    "$DEVICE" exec nobody true || status=$?
    equal "$status" 125
    status=0
    "$DEVICE" exec one no-such-program || status=$?
    equal "$status" 127
}

exec_passes_all_bytes_on() {
    local file=$AOS_LAB_RUN/.bytes sum
    head -c 5000000 /dev/urandom >"$file"
    sum=$(sha256sum <"$file")
    equal "$("$DEVICE" exec one sha256sum <"$file")" "$sum"
    equal "$("$DEVICE" exec one cat <"$file" | sha256sum)" "$sum"
    rm "$file"
}

# What was left running by it does not hold exec up, a client that was killed
# takes its command along, and its port can be used again.
exec_ends() {
    local pid i
    timeout 20 "$DEVICE" exec one sh -c 'sleep 1000 &' </dev/null
    "$DEVICE" exec one sleep 1001 </dev/null &
    pid=$!
    for ((i = 0; i < 100; i++)); do
        "$DEVICE" exec one pgrep -fx 'sleep 1001' </dev/null && break
        sleep 0.1
    done
    kill -KILL "$pid"
    for ((i = 0; i < 100; i++)); do
        "$DEVICE" exec one pgrep -fx 'sleep 1001' </dev/null || break
        sleep 0.1
    done
    ((i < 100))
    exec_in_parallel
}

push_copies() {
    local tree=$AOS_LAB_RUN/.tree
    mkdir -p "$tree/sub"
    echo one >"$tree/sub/file"
    chmod 750 "$tree/sub/file"
    "$DEVICE" push one "$tree" /srv/tree
    "$DEVICE" push one "$tree/sub/file" /srv/other/file
    rm -r "$tree"
    equal "$("$DEVICE" exec one sh -c 'cat /srv/tree/sub/file /srv/other/file; stat -c %a /srv/other/file' | xargs)" "one one 750"
}

# What the container lacks.
kernel_is_its_own() {
    # shellcheck disable=SC2016
    "$DEVICE" exec one sh -euc '
        test "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs
        for controller in memory pids cpu cpuset io; do
            grep -qw "$controller" /sys/fs/cgroup/cgroup.controllers
        done
        ip link add br0 type bridge
        ip link add link br0 name br0.7 type vlan id 7
        ip link add ifb7 type ifb
        ip netns add n
        ip link add v0 type veth peer name v1 netns n
        tc qdisc add dev v0 root tbf rate 1mbit burst 10k latency 50ms
        nft add table inet t
        nft add chain inet t c "{ type filter hook input priority 0; }"
        nft add quota inet t q "{ 1000 bytes }"
        nft add rule inet t c quota name q counter
        ip netns del n
        ip link del br0
        ip link del ifb7
        nft delete table inet t
        cd /var/aos
        mkdir lower upper work merged
        touch lower/seen
        mount -t overlay -o lowerdir=lower:/usr,upperdir=upper,workdir=work overlay merged
        rm merged/seen
        test -c upper/seen
        umount merged
        rm -r lower upper work merged'
}

# Runs a container by $1 in a unit, with the cgroup of the container inside the
# unit's. A cgroup with processes cannot have controllers for those in it: the
# runtime leaves the unit's first.
container_in_unit() {
    "$DEVICE" exec one bash -eu -s "$1" <<'DEVICE'
runtime=$1
unit=lab-$runtime.service
cgroup=/system.slice/$unit
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
config["process"]["args"] = ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
config["mounts"].append({"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]})
config["linux"]["cgroupsPath"] = sys.argv[1]
config["linux"]["resources"] = {
    "memory": {"limit": 64 << 20}, "pids": {"limit": 20}, "cpu": {"quota": 50000, "period": 100000}}
with open("config.json", "w") as file:
    json.dump(config, file)
PYTHON
cat >"/etc/systemd/system/$unit" <<UNIT
[Service]
Type=forking
Delegate=yes
PIDFile=/run/lab-$runtime.pid
ExecStart=/bin/sh -c 'mkdir /sys/fs/cgroup$cgroup/runtime && echo \$\$\$\$ >/sys/fs/cgroup$cgroup/runtime/cgroup.procs && exec "\$\$@"' - /usr/bin/$runtime run -d --pid-file /run/lab-$runtime.pid --bundle $bundle lab-$runtime
ExecStopPost=-/usr/bin/$runtime delete -f lab-$runtime
UNIT
systemctl daemon-reload
fail() { echo "$*"; systemctl status --no-pager "$unit"; exit 1; }
systemctl start "$unit" || fail "start"
main=$(systemctl show --property MainPID --value "$unit")
[[ $main == "$(cat "/run/lab-$runtime.pid")" ]] || fail "MainPID is $main"
[[ $(cat "/proc/$main/cgroup") == "0::$cgroup/container" ]] || fail "the cgroup is $(cat "/proc/$main/cgroup")"
value() { cat "/sys/fs/cgroup$cgroup/container/$1"; }
[[ $(value memory.max) == $((64 << 20)) ]] || fail "memory limit"
[[ $(value pids.max) == 20 ]] || fail "pids limit"
[[ $(value cpu.max) == "50000 100000" ]] || fail "cpu limit"
systemctl stop "$unit"
[[ $(systemctl show --property Result,ActiveState --value "$unit" | sort | xargs) == "inactive success" ]] || fail "stop"
[[ ! -e /sys/fs/cgroup$cgroup ]] || fail "the unit's cgroup is left"
rm "/etc/systemd/system/$unit"
DEVICE
}

# What was brought to the disk is there, what was not is lost: a cut is no
# shutdown. Nothing of the filesystem itself is damaged.
cut_loses_what_is_not_on_the_disk() {
    local status=0 pid
    "$DEVICE" exec one sh -euc '
        echo kept >/srv/synced
        sync
        # Nothing is written back by itself while this is looked at.
        sysctl -qw vm.dirty_writeback_centisecs=0
        echo lost >/srv/unsynced'
    "$DEVICE" exec one sleep 1000 </dev/null &
    pid=$!
    # So that it runs.
    "$DEVICE" exec one true
    "$DEVICE" cut one
    wait "$pid" || status=$?
    equal "$status" 125
    equal "$("$DEVICE" status | cut -f1,2)" $'one\toff'
    fails "$DEVICE" cut one
    "$DEVICE" fsck one
    "$DEVICE" boot one
    equal "$("$DEVICE" exec one sh -c 'cat /srv/synced; cat /srv/unsynced 2>/dev/null')" kept
    fails "$DEVICE" boot one
}

off_keeps_all() {
    "$DEVICE" exec one sh -c 'echo kept >/srv/unsynced'
    "$DEVICE" off one
    "$DEVICE" boot one
    equal "$("$DEVICE" exec one cat /srv/unsynced)" kept
}

# With stand-ins for what this repository builds.
install_sm_works() {
    local repo=$AOS_LAB_RUN/.repo file
    mkdir -p "$repo"/{ci/lab,bin,misc/systemd,misc/config}
    cp "$DEVICE" "$HERE"/{processes.sh,agent.py} "$repo/ci/lab/"
    for file in aos_servicemanager aos_nameserver aosctl; do
        install --mode=755 /dev/stdin "$repo/bin/$file" <<<$'#!/bin/sh\nif [ $# -gt 0 ]; then exec sleep infinity; fi\necho '"$file"
    done
    printf '[Service]\nExecStart=/usr/bin/aos_servicemanager\n' >"$repo/misc/systemd/aos-servicemanager.service"
    printf '[Service]\nExecStart=/bin/true\n' >"$repo/misc/systemd/aos-service@.service"
    printf '[Service]\nExecStart=/usr/bin/aos_nameserver\n' >"$repo/misc/systemd/aos-nameserver.service"
    echo '{}' >"$repo/misc/config/aos_servicemanager.cfg"
    "$repo/ci/lab/emulated" install-sm one "$repo/bin"
    rm -r "$repo"
    equal "$("$DEVICE" exec one aosctl)" aosctl
    "$DEVICE" exec one systemctl start aos-servicemanager aos-service@x
    "$DEVICE" exec one systemctl is-active --quiet aos-servicemanager
}

killed_up_is_cleaned() {
    local delay pid
    for delay in 0.3 1 2; do
        "$DEVICE" up killed >/dev/null 2>&1 &
        pid=$!
        sleep "$delay"
        kill -KILL "$pid"
        wait "$pid" 2>/dev/null || true
        "$DEVICE" down killed
        nothing_left killed
    done
}

nothing_left() {
    local left
    left=$(
        find "$AOS_LAB_RUN" -mindepth 1 -name "$1" ||:
        pgrep -af "$AOS_LAB_RUN/.emulated/$1/" ||:
    )
    equal "$left" ""
}

down_leaves_nothing() {
    "$DEVICE" down one
    nothing_left one
    "$DEVICE" down one
    "$DEVICE" down --all
}

"$DEVICE" image >/dev/null
check "a device boots" "$DEVICE" up one
check "a name in use is refused" fails "$DEVICE" up one
check "systemd is content" "$DEVICE" exec one systemctl is-system-running
check "exec runs in parallel, with stdin" exec_in_parallel
check "exec passes the outcome on" exec_passes_the_outcome_on
check "exec passes all bytes on" exec_passes_all_bytes_on
check "exec ends" exec_ends
check "push copies" push_copies
check "kernel and cgroups are its own" kernel_is_its_own
check "runc runs in a unit, with limits" container_in_unit runc
check "crun runs in a unit, with limits" container_in_unit crun
check "install-sm installs" install_sm_works
check "a cut loses what is not on the disk" cut_loses_what_is_not_on_the_disk
check "a shutdown keeps all" off_keeps_all
check "log shows the journal" grep -q systemd <("$DEVICE" log one)
check "down leaves nothing" down_leaves_nothing
check "down cleans up an 'up' that was killed" killed_up_is_cleaned
check "the run directory is empty" equal "$(ls -A "$AOS_LAB_RUN")" ""

echo "$failures failed, ${SECONDS} s"
((failures == 0))
