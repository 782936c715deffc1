# Processes, waiting and messages: what both kinds of test devices need. Sourced.
# shellcheck shell=bash

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "error: $*"; exit 1; }

# Prints "PID STARTTIME", so that a reused pid is never ours; fails if the
# process is gone or only waits to be reaped.
identity() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # The command name, in brackets, may hold blanks: count fields behind it.
    # shellcheck disable=SC2086
    set -- "$1" ${stat##*) }
    [[ $2 != [ZX] ]] && printf '%s %s\n' "$1" "${21}"
}

# Prints the pid that file $1 of a device recorded, if that process still runs.
alive() {
    local recorded pid
    recorded=$(cat "$1" 2>/dev/null) || return 1
    pid=${recorded%% *}
    [[ -n $pid && $(identity "$pid") == "$recorded" ]] && printf '%s\n' "$pid"
}

# Waits until command "$2…" succeeds, at most $1 seconds.
wait_until() {
    # Counted in microseconds: SECONDS may turn right after it was read.
    local deadline=$((${EPOCHREALTIME/[.,]/} + $1 * 1000000))
    shift
    until "$@"; do
        ((${EPOCHREALTIME/[.,]/} < deadline)) || return 1
        sleep 0.05
    done
}

not() { ! "$@" >/dev/null; }

check_name() {
    [[ ${1:-} =~ ^[a-z0-9][a-z0-9-]{0,31}$ ]] || die "'${1:-}' is no device name (a-z, 0-9, '-')"
}

# Units that are useless on a test device, and each costs time at boot: masked
# in the root filesystem $1.
mask_useless_units() {
    local unit
    for unit in console-getty.service getty.target systemd-modules-load.service \
        sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount \
        apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
        e2scrub_all.timer e2scrub_reap.service fstrim.timer; do
        ln -sf /dev/null "$1/etc/systemd/system/$unit"
    done
}
