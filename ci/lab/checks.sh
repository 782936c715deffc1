# What self-tests of test devices are made of: a place of their own, and checks that
# are counted in `failures`. Sourced, with DEVICE set.
# shellcheck shell=bash

# A place of its own: what is left in the end is ours.
AOS_LAB_RUN=$(mktemp -d "${AOS_LAB_RUN:-/var/tmp}/aos-lab-selftest.XXXXXX")
export AOS_LAB_RUN
trap '"$DEVICE" down --all --kill; rm -rf --one-file-system "$AOS_LAB_RUN"' EXIT

failures=0
check() {
    local what=$1 start=$SECONDS
    shift
    # In the background, because 'if' and '||' would switch off 'set -e' in it.
    "$@" >"$AOS_LAB_RUN/.output" 2>&1 &
    if wait $!; then
        echo "ok      $what ($((SECONDS - start)) s)"
    else
        echo "FAILED  $what"
        cat "$AOS_LAB_RUN/.output"
        failures=$((failures + 1))
    fi
    rm "$AOS_LAB_RUN/.output"
}

equal() { [[ $1 == "$2" ]] || { printf 'expected: %s\ngot:      %s\n' "$2" "$1"; return 1; }; }
fails() { if "$@"; then return 1; fi; }
