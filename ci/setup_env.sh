#!/bin/bash
# Installs the Debian packages that the build and the tests need.
set -euo pipefail

readonly PACKAGES=(
    ca-certificates curl git gcc g++ libc6-dev python3 shellcheck
    # the test device
    mmdebstrap systemd-container runc crun nftables iproute2 procps util-linux
)
# The compiler is Debian's: its standard library exists for foreign
# architectures as a package.
readonly CROSS_PACKAGES=(
    rustc-web gcc-aarch64-linux-gnu libc6-dev-arm64-cross libstd-rust-web-dev:arm64
    qemu-user-static
)
# What ci/lab/emulated and ci/cuts need.
readonly EMULATED_PACKAGES=(
    qemu-system-x86 busybox-static kmod cpio e2fsprogs strace
)

usage() {
    cat <<USAGE
Usage: ci/setup_env.sh [--cross] [--emulated]

Installs what is missing of: ${PACKAGES[*]}
Takes no time when nothing is. Needs root, and Debian or a derivative.

  --cross   also what cross builds for aarch64 need, and an emulator to run them:
            ${CROSS_PACKAGES[*]}
  --emulated
            also what emulated test devices and power cuts need:
            ${EMULATED_PACKAGES[*]}

Debian's rustc comes to /usr/bin. A toolchain of rustup must come before it in
PATH; cross builds name the compiler: RUSTC=/usr/bin/rustc.
USAGE
}

installed() {
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

main() {
    local package
    local -a wanted=("${PACKAGES[@]}") missing=()
    while (($#)); do
        case $1 in
            --cross) wanted+=("${CROSS_PACKAGES[@]}") ;;
            --emulated) wanted+=("${EMULATED_PACKAGES[@]}") ;;
            -h | --help) usage; return ;;
            *) usage >&2; return 2 ;;
        esac
        shift
    done

    for package in "${wanted[@]}"; do
        installed "$package" || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    if [[ $EUID != 0 ]]; then
        echo "setup_env: needs root to install ${missing[*]}" >&2
        return 1
    fi

    echo "setup_env: installing ${missing[*]}" >&2
    if [[ ${missing[*]} == *:arm64* ]]; then
        dpkg --add-architecture arm64
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update
    # Services of these packages must not start on the build machine.
    RUNLEVEL=1 apt-get -qq install --yes --no-install-recommends "${missing[@]}" >/dev/null

    # rustup must stay first: Debian's compiler is for cross builds alone.
    if [[ $(command -v rustc) == /usr/bin/rustc ]] && [[ -x ${CARGO_HOME:-${HOME:-/root}/.cargo}/bin/rustc ]]; then
        echo "setup_env: warning: /usr/bin/rustc hides rustup's; put ${CARGO_HOME:-${HOME:-/root}/.cargo}/bin first in PATH" >&2
    fi
}

main "$@"
