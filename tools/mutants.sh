#!/bin/bash
# Changes one thing at a time in the core and runs its unit tests, which must fail: cargo-mutants, in a fixed version.
#   tools/mutants.sh [SHARD [PATTERN...]]
# SHARD is K/N, the K-th of N parts of all mutants (default 0/1, all of them: hours). PATTERN are the files, by
# default those of the signal's paths. What was found is in target/mutants.out: outcomes.json, caught.txt, missed.txt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/env.sh

MUTANTS_VERSION=27.1.0
tool="$handsfree_tools/bin/cargo-mutants"
if ! "$tool" mutants --version 2>/dev/null | grep -qF " $MUTANTS_VERSION"; then
    cargo install --locked --root "$handsfree_tools" --version "$MUTANTS_VERSION" cargo-mutants
fi

shard=${1:-0/1}
shift || true
files=("$@")
[ ${#files[@]} -gt 0 ] || files=('core/src/capture/**' 'core/src/playback/**' 'core/src/timing/**' 'core/src/canceller/**')
filters=()
for file in "${files[@]}"; do filters+=(--file "$file"); done

# timing/acoustic is left out: its tests simulate rooms for minutes in this profile. A mutant that makes a loop
# endless is ended after the time limit and counts as caught.
mkdir -p target
"$tool" mutants --package handsfree-core "${filters[@]}" --shard "$shard" --sharding round-robin \
    --exclude 'core/src/timing/acoustic/**' \
    --profile mutants --timeout 120 --build-timeout 600 --no-shuffle \
    --output target --cargo-test-arg=--lib --cap-lints true --colors never \
    -- -- --skip timing::acoustic
