#!/bin/bash
# Runs the tests of VLANs on an emulated test device: its kernel has 802.1q.
set -euo pipefail

HERE=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
readonly HERE
DEVICE=$HERE/emulated

if (($#)); then
    cat <<USAGE
Usage: ci/lab/vlan.sh

Builds the unit tests, boots an emulated test device and runs those of VLANs in
it: frames with tags arrive at another node, which is a network namespace at the
far end of a trunk. Needs root; about a minute once all is built.
USAGE
    [[ $1 == -h || $1 == --help ]] && exit 0
    exit 2
fi

# shellcheck source=ci/lab/checks.sh
source "$HERE/checks.sh"

# Prints the path of the program with the unit tests.
test_program() {
    cargo test --quiet --no-run --manifest-path "$HERE/../../Cargo.toml" --package aos_servicemanager \
        --lib --message-format json |
        python3 -c '
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and "lib" in message["target"]["kind"]:
        print(message["executable"])'
}

# Packed: the serial port is slower than the rest.
send_tests() {
    gzip -1 <"$AOS_LAB_RUN/.tests" |
        "$DEVICE" exec vlan sh -euc 'cd /opt/aos/bin; gunzip >unit-tests; chmod 755 unit-tests'
}

program=$(test_program)
[[ -x $program ]] || { echo "cargo names no program with unit tests" >&2; exit 1; }
strip -o "$AOS_LAB_RUN/.tests" "$program"

"$DEVICE" image >/dev/null
check "a device boots" "$DEVICE" up vlan
check "the tests get there" send_tests
check "VLANs reach other nodes" timeout 300 "$DEVICE" exec vlan \
    unit-tests kernel_tests::vlan:: --ignored --test-threads 1
check "the device goes" "$DEVICE" down vlan --kill

echo "$failures failed, ${SECONDS} s"
((failures == 0))
