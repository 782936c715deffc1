#!/bin/bash
# Power cuts: replayed from a trace, and on an emulated device. See --help.
set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: ci/cuts/run.sh [OPTION…]

Records what the content store does to its filesystem, replays states that a
power cut could have left, and starts the store on each (shim). Then boots an
emulated device, and cuts its power again and again while the service manager
installs, updates and runs services (device). Needs root; docs/power-cuts.md
says what is checked, and against what model.

  --shim N      how many states are replayed (default 300; 0: none)
  --device N    how often the power of the device is cut (default 3; 0: never)
  --seed S      the same number chooses the same (default: 1; 'random')
  --campaign    3000 states and 50 cuts, unless --shim or --device says otherwise
  --bin DIR     the service manager and aosctl for the device; without it they
                are built
USAGE
}

cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/../.."
TARGET=$(realpath -m "${CARGO_TARGET_DIR:-target}")
readonly TARGET
export PATH=$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin
umask 022

# What changes files, what places them, and what would escape the model.
# ci/cuts/src/calls.rs refuses those that it does not know.
readonly TRACED=(
    open openat openat2 creat dup dup2 dup3 fcntl lseek read readv
    write writev pwrite64 pwritev pwritev2 copy_file_range sendfile splice
    ftruncate truncate fallocate mmap msync io_uring_setup
    mkdir mkdirat mknod mknodat symlink symlinkat link linkat
    rename renameat renameat2 unlink unlinkat rmdir
    chmod fchmod fchmodat chown fchown lchown fchownat utimensat utime utimes futimesat
    setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr
    fsync fdatasync sync syncfs sync_file_range
)

shim=''
device=''
seed=1
campaign=''
bin=''
while (($#)); do
    case $1 in
        --shim) shim=${2:?--shim needs a number}; shift ;;
        --device) device=${2:?--device needs a number}; shift ;;
        --seed) seed=${2:?--seed needs a number}; shift ;;
        --bin) bin=$(realpath "${2:?--bin needs a directory}"); shift ;;
        --campaign) campaign=1 ;;
        -h | --help) usage; exit ;;
        *) usage >&2; exit 2 ;;
    esac
    shift
done
shim=${shim:-${campaign:+3000}}
device=${device:-${campaign:+50}}
shim=${shim:-300}
device=${device:-3}
[[ $seed != random ]] || seed=$((RANDOM * 32768 + RANDOM))
[[ $EUID == 0 ]] || { echo "run.sh: needs root" >&2; exit 1; }

lab=''
cleanup() {
    local status=$?
    trap - EXIT
    [[ -z $lab ]] || AOS_LAB_RUN=$lab ci/lab/emulated down --all --kill || status=1
    [[ -z $lab ]] || rm -rf --one-file-system "$lab"
    exit "$status"
}
trap cleanup EXIT
lab=$(mktemp -d "${AOS_LAB_RUN:-/var/tmp}/aos-cuts.XXXXXX")
export AOS_LAB_RUN=$lab

heading() { printf '\n=== %s\n\n' "$*"; }

# In a shell of its own: the device is tried too when this has failed.
shim() (
    set -e
    heading "Replay of $shim states"
    cargo build --quiet --locked --manifest-path ci/cuts/Cargo.toml --target-dir "$TARGET"
    mkdir -p "$lab/shim/store"
    IFS=,
    # As text, with all strings whole: what is written is replayed.
    strace -f -y -xx -s 4194304 -o "$lab/shim/trace" -e "trace=${TRACED[*]}" \
        "$TARGET/debug/aos_cuts" drive "$lab/shim"
    "$TARGET/debug/aos_cuts" replay "$lab/shim" "$lab/shim/trace" --states "$shim" --seed "$seed"
)

device() (
    set -e
    heading "$device cuts of a device's power"
    if [[ -z $bin ]]; then
        cargo build --release --workspace
        bin=$TARGET/release
    fi
    python3 ci/cuts/device.py --bin "$bin" --cuts "$device" --seed "$seed"
)

ci/setup_env.sh --emulated
status=0
# Not in a condition, where 'set -e' would be switched off.
if ((shim)); then
    shim &
    wait $! || status=1
fi
if ((device)); then
    device &
    wait $! || status=1
fi
((status == 0))
