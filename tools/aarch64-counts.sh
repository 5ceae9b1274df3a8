#!/usr/bin/env bash
# Counts the instructions that voice processing takes in 10 ms on aarch64, in an emulator: those of a recording of 6 s less those of
# 3 s, less what the command takes without voice processing. Fails when the default chain takes more than its limit: as much
# as AEC3 at 48 kHz, half as much at 16 kHz.
# Needs the binary of tools/build-aarch64.sh.
set -euo pipefail
# A command that fails within $(...) must end the script.
shopt -s inherit_errexit
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$handsfree_root"

fail() {
    printf 'aarch64-counts: %s\n' "$@" >&2
    exit 1
}

binary="target/aarch64-unknown-linux-gnu/release/handsfree"
emulator="$(command -v qemu-aarch64 || command -v qemu-aarch64-static)" || fail "there is no emulator: run tools/setup-aarch64.sh"
[ -x "$binary" ] || fail "there is no aarch64 binary: run tools/build-aarch64.sh"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# QEMU 9 left the first version of its interface for plug-ins.
qemu="$("$emulator" --version | sed -n 's/.*version \([0-9]*\)\..*/\1/p')"
cc -shared -fPIC -O2 -Wall -Wextra -Werror -DPLUGIN_VERSION="$([ "$qemu" -ge 9 ] && echo 2 || echo 1)" \
    tools/aarch64/count_instructions.c -o "$work/count.so"

# instructions SECONDS RATE SWITCH... : processes a recording and prints how many instructions that took.
instructions() {
    local seconds="$1" rate="$2" root="$handsfree_tools/aarch64/root/usr"
    shift 2
    rm -f "$work/log"
    "$emulator" -L /usr/aarch64-linux-gnu -E LD_LIBRARY_PATH="$root/lib/aarch64-linux-gnu:/usr/aarch64-linux-gnu/lib" \
        -plugin "$work/count.so" -d plugin -D "$work/log" "$binary" process --far "$work/$rate.$seconds/far.wav" \
        --mic "$work/$rate.$seconds/mic.wav" --rate "$rate" --out "$work/out.wav" "$@" > /dev/null
    sed -n 's/^instructions //p' "$work/log"
}

# per_frame RATE SWITCH... : prints the instructions of each 10 ms.
per_frame() {
    local rate="$1" long short
    shift
    long="$(instructions 6 "$rate" "$@")"
    short="$(instructions 3 "$rate" "$@")"
    echo $(((long - short) / 300))
}

printf 'aarch64-counts: instructions in 10 ms\n'
printf '  %-8s %12s %15s %15s %7s %7s\n' '' AEC3 'our canceller' 'default chain' ratio limit
failed=0
for rate in 16000 48000; do
    for seconds in 3 6; do
        target/release/handsfree sim --rate "$rate" --seconds "$seconds" --out "$work/$rate.$seconds" > /dev/null
    done
    rest="$(per_frame "$rate" --no-aec --no-ns --no-agc --no-hpf)"
    aec3=$(($(per_frame "$rate" --canceller webrtc --no-ns --no-agc) - rest))
    own=$(($(per_frame "$rate" --canceller native --no-ns --no-agc) - rest))
    chain=$(($(per_frame "$rate" --canceller native --noise-suppression low --agc) - rest))
    limit="$([ "$rate" = 16000 ] && echo 0.5 || echo 1.0)"
    printf '  %-8s %12s %15s %15s ' "$((rate / 1000)) kHz" "$aec3" "$own" "$chain"
    awk -v ours="$chain" -v peer="$aec3" -v limit="$limit" \
        'BEGIN { printf "%7.2f %7.1f\n", ours / peer, limit; exit !(ours > 0 && peer > 0 && ours / peer <= limit) }' || failed=1
done
[ "$failed" = 0 ] || fail "the default chain takes more instructions than its limit"
