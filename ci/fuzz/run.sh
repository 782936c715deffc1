#!/bin/sh
# Runs every fuzz target for SECONDS (default 10) with the stable toolchain: the
# instrumentation that cargo-fuzz would ask a nightly one for is plain LLVM, and
# no sanitizer is needed where there is no unsafe code. (libzstd has some; its own
# project fuzzes that.) Needs g++.
set -eu

seconds=${1:-10}
cd "$(dirname "$0")"
target=${FUZZ_TARGET_DIR:-target}

passes="-Cpasses=sancov-module"
for option in level=4 inline-8bit-counters pc-table trace-compares; do
    passes="$passes -Cllvm-args=-sanitizer-coverage-$option"
done

# With an explicit --target the flags reach no build script.
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="--cfg fuzzing -Ccodegen-units=1 $passes" \
    cargo build --quiet --release --target "$host" --target-dir "$target"

for name in manifest layer_descriptor archive contents decode names; do
    echo "fuzz: $name for $seconds s"
    mkdir -p "corpus/$name" "artifacts/$name"
    log="artifacts/$name/log"
    if ! "$target/$host/release/$name" -max_total_time="$seconds" -max_len=16384 \
        -timeout=10 -rss_limit_mb=1024 -artifact_prefix="artifacts/$name/" \
        -print_final_stats=1 "corpus/$name" "seeds/$name" >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        echo "fuzz: $name failed; the input is in artifacts/$name" >&2
        exit 1
    fi
    sed -n 's/^stat::number_of_executed_units: */  runs: /p' "$log"
done
