#!/bin/bash
# All checks, see --help.
set -euo pipefail

cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/.."
TARGET=$(realpath -m "${CARGO_TARGET_DIR:-target}")
readonly TARGET
readonly STEPS=(setup locks format scripts clippy tests docs deny release cross fuzz lab emulated cuts devices demo)
# Unit tests that need a kernel with 802.1q; ci/lab/vlan.sh runs them.
readonly ON_EMULATED=kernel_tests::vlan::
readonly CROSS_TARGET=aarch64-unknown-linux-gnu
readonly CROSS_RUSTC=/usr/bin/rustc
export PATH=$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin

usage() {
    cat <<USAGE
Usage: ci/test.sh [STEP…]

Runs all checks, or these alone, in this order: ${STEPS[*]}

  setup     install the Debian packages that are missing
  locks     every Cargo.lock fits its Cargo.toml
  format    cargo fmt
  scripts   shellcheck
  clippy    with warnings as errors
  tests     unit and integration tests, also those that need root
  docs      cargo doc with warnings as errors
  deny      licences, advisories and origin of the dependencies
  release   the binaries that the next steps use
  cross     build for aarch64, started in an emulator
  fuzz      each fuzz target for a short time
  lab       the test device itself
  emulated  the emulated test device itself, and what it has a kernel of its own
            for: VLANs, and services on cgroup v2
  cuts      power cuts: replayed ones, and some of an emulated device
  devices   device tests
  demo      ci/demo.sh

Needs root, a Rust toolchain, and cargo-nextest or else more patience. Every
step runs, whatever became of those before it; exits 1 if one has failed.
USAGE
}

say() { printf 'test: %s\n' "$*"; }
die() { say "$*" >&2; exit 1; }

# Says something now and in the summary.
note() { say "$*"; echo "$*" >>"$NOTES"; }

step_setup() {
    ci/setup_env.sh --cross --emulated
    cargo --version
    rustc --version
}

# The other workspaces use crates of the first one, so their lock files grow stale
# when its dependencies change.
step_locks() {
    local file
    while IFS= read -r file; do
        say "$file"
        cargo metadata --locked --format-version 1 \
            --manifest-path "${file%lock}toml" >/dev/null
    done < <(git ls-files '*Cargo.lock')
}

step_format() { cargo fmt --all --check; }

step_scripts() {
    local file first
    local -a scripts=()
    while IFS= read -r file; do
        [[ -f $file ]] || continue
        IFS= read -r first <"$file" || true
        case $file:$first in
            *.sh:* | *:'#!/bin/sh'* | *:'#!/bin/bash'*) scripts+=("$file") ;;
        esac
    done < <(git ls-files --cached --others --exclude-standard)
    say "${#scripts[@]} scripts"
    shellcheck "${scripts[@]}"
}

step_clippy() { cargo clippy --workspace --all-targets -- -D warnings; }

step_tests() {
    local file
    local -a targets=(--lib --bins)
    if command -v cargo-nextest >/dev/null; then
        cargo nextest run --workspace --run-ignored all \
            -E "not binary(/^device_/) and not test($ON_EMULATED)"
    else
        say "no cargo-nextest; with it this is faster: cargo install --locked cargo-nextest"
        for file in tests/*.rs; do
            file=$(basename "$file" .rs)
            [[ $file == device_* ]] || targets+=(--test "$file")
        done
        cargo test --workspace --exclude aos_servicemanager --lib --bins --tests -- --include-ignored
        cargo test --package aos_servicemanager "${targets[@]}" -- --include-ignored \
            --skip "$ON_EMULATED"
    fi
    # nextest leaves these out.
    cargo test --workspace --doc
}

step_docs() { RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps; }

step_deny() {
    if ! command -v cargo-deny >/dev/null; then
        say "installing cargo-deny"
        cargo install --quiet --locked cargo-deny
    fi
    cargo deny --workspace check bans licenses sources
    if cargo deny --workspace fetch db; then
        cargo deny --workspace check advisories
    else
        note "advisories were NOT checked: their database cannot be fetched"
    fi
}

step_release() { cargo build --release --workspace; }

step_cross() {
    local wanted found binary
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    found=$("$CROSS_RUSTC" --version | awk '{ print $2 }')
    [[ $(printf '%s\n' "$wanted" "$found" | sort --version-sort | head -1) == "$wanted" ]] ||
        die "$CROSS_RUSTC is $found, and Cargo.toml asks for $wanted"
    # Another compiler: what it makes cannot be mixed with that of the other steps.
    # It is not shipped, so time is saved at optimisation.
    RUSTC=$CROSS_RUSTC \
        CARGO_TARGET_DIR=$TARGET/cross \
        CARGO_PROFILE_DEV_DEBUG=none \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
        cargo build --workspace --target "$CROSS_TARGET"
    for binary in aos_servicemanager aos_nameserver aosctl; do
        qemu-aarch64-static -L /usr/aarch64-linux-gnu \
            "$TARGET/cross/$CROSS_TARGET/debug/$binary" --version
    done
}

step_fuzz() {
    [[ -x ci/fuzz/run.sh ]] || die "ci/fuzz/run.sh is missing"
    FUZZ_TARGET_DIR=$TARGET/fuzz ci/fuzz/run.sh 10
}

step_lab() { ci/lab/selftest.sh; }

step_emulated() {
    ci/lab/selftest-emulated.sh
    ci/lab/vlan.sh
    ci/lab/cgroup2.sh --bin "$TARGET/release"
}

step_cuts() {
    cargo fmt --manifest-path ci/cuts/Cargo.toml --check
    cargo test --quiet --locked --manifest-path ci/cuts/Cargo.toml --target-dir "$TARGET"
    ci/cuts/run.sh
}

step_devices() {
    local file
    local -a targets=()
    if command -v cargo-nextest >/dev/null; then
        cargo nextest run --workspace --run-ignored all -E 'binary(/^device_/)'
    else
        for file in tests/device_*.rs; do
            targets+=(--test "$(basename "$file" .rs)")
        done
        cargo test --package aos_servicemanager --no-fail-fast "${targets[@]}" -- \
            --include-ignored --test-threads=2
    fi
}

step_demo() { ci/demo.sh; }

# What a step that was killed may have left.
cleanup() {
    AOS_LAB_RUN=$lab ci/lab/device down --all --kill
    AOS_LAB_RUN=$lab ci/lab/emulated down --all --kill
    rm -rf --one-file-system "$lab"
}

main() {
    local step start status total=$SECONDS
    local -a steps=("${STEPS[@]}") results=()
    local -i failures=0
    if (($#)); then
        for step in "$@"; do
            case $step in
                -h | --help) usage; return ;;
            esac
            [[ " ${STEPS[*]} " == *" $step "* ]] || { usage >&2; return 2; }
        done
        steps=("$@")
    fi
    [[ $EUID == 0 ]] || die "needs root: device tests make devices, other tests network namespaces"
    command -v cargo >/dev/null || die "no cargo: install Rust, https://rustup.rs"
    # A place of its own for the devices: all that is left there is ours.
    lab=$(mktemp -d "${AOS_LAB_RUN:-/var/tmp}/aos-lab-test.XXXXXX")
    export AOS_LAB_RUN=$lab NOTES=$lab/.notes
    : >"$NOTES"
    trap cleanup EXIT

    for step in "${steps[@]}"; do
        printf '\n##### %s\n\n' "$step"
        start=$SECONDS
        # A shell of its own: in a condition 'set -e' would be switched off.
        status=0
        TEST_STEP=$step ci/test.sh || status=$?
        ((status == 0)) || failures+=1
        results+=("$(printf '%-10s %-8s %5d s' "$step" "$( ((status)) && echo FAILED || echo ok)" $((SECONDS - start)))")
    done

    printf '\n##### summary\n\n'
    printf '%s\n' "${results[@]}"
    cat "$NOTES"
    printf '%-10s %-8s %5d s\n' all "$( ((failures)) && echo FAILED || echo ok)" $((SECONDS - total))
    ((failures == 0))
}

if [[ -n ${TEST_STEP:-} ]]; then
    step=$TEST_STEP
    unset TEST_STEP
    "step_$step"
else
    main "$@"
fi
