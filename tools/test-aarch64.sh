#!/usr/bin/env bash
# Runs the aarch64 binary from build-aarch64.sh in an emulator and compares it with this machine's binary: without voice
# processing all samples must be equal, with it the echo reduction must agree approximately.
# The emulator has no sound cards, and its speed says nothing about real hardware.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$handsfree_root/tools/versions.sh"
cd "$handsfree_root"

here() { target/release/handsfree "$@"; }
there() {
    local root="$handsfree_tools/aarch64/root/usr"
    "$emulator" -L /usr/aarch64-linux-gnu \
        -E LD_LIBRARY_PATH="$root/lib/aarch64-linux-gnu:/usr/aarch64-linux-gnu/lib" \
        -E ALSA_CONFIG_DIR="$root/share/alsa" \
        target/aarch64-unknown-linux-gnu/release/handsfree "$@"
}

report() { printf 'test-aarch64: %s\n' "$*"; }
fail_test() {
    printf 'test-aarch64: %s\n' "$@" >&2
    exit 1
}

# Removes the speed, which is not compared.
figures() { grep -v realtime_factor "$1"; }

# both NAME COMMAND... : runs a command with both binaries; OUT stands for the output path.
both() {
    local name="$1"
    shift
    here "${@//OUT/$work/$name.here}" > "$work/$name.here.json"
    there "${@//OUT/$work/$name.there}" > "$work/$name.there.json"
}

# same NAME COMMAND... : checks that the command prints and writes exactly the same.
same() {
    local name="$1"
    both "$@"
    diff <(figures "$work/$name.here.json") <(figures "$work/$name.there.json") >&2 \
        || fail_test "$name: the figures differ (< this machine, > aarch64)"
    cmp "$work/$name.here" "$work/$name.there" >&2 || fail_test "$name: the sound differs"
    report "$name: equal bit for bit"
}

# close NAME DB COMMAND... : checks that the echo reduction of each window differs by at most DB decibels.
close() {
    local name="$1" most="$2"
    shift 2
    both "$name" "$@"
    paste <(reductions "$work/$name.here.json") <(reductions "$work/$name.there.json") \
        | awk -v most="$most" -v name="$name" '
            NF == 2 { d = $1 - $2; if (d < 0) d = -d; if (d > worst) worst = d; windows++; x = x " " $1; a = a " " $2; next }
            { print "test-aarch64: " name ": the numbers of windows differ"; failed = 1 }
            END {
                printf "test-aarch64: %s: echo reduction in dB, this machine%s, aarch64%s, at most %.2f apart\n", name, x, a, worst
                exit failed || windows == 0 || worst > most
            }' || fail_test "$name: the echo reduction differs by more than $most dB"
}

reductions() { sed -n 's/^ *"db": \([-0-9.]*\),*$/\1/p' "$1"; }

emulator="$(command -v qemu-aarch64 || command -v qemu-aarch64-static)" || fail_test "there is no emulator: run tools/setup-aarch64.sh"
[ -x target/aarch64-unknown-linux-gnu/release/handsfree ] || fail_test "there is no aarch64 binary: run tools/build-aarch64.sh"
cargo build --locked --release -p handsfree-cli
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# The build leaves NEON out silently unless it is requested, see tools/aarch64/meson.
aarch64-linux-gnu-nm target/aarch64-unknown-linux-gnu/release/handsfree | grep MatchedFilterCore_NEON >/dev/null \
    || fail_test "WebRTC's audio processing was built without NEON"

version="$(there --version)"
[ "$version" = "$(here --version)" ] || fail_test "the versions differ: aarch64 has $version, this machine $(here --version)"
report "$version"

# The emulator passes on no ioctls of sound cards, so it is expected to list no devices.
there devices --io alsa > "$work/devices" 2>&1 || fail_test "devices: $(cat "$work/devices")"
# Messages of libasound itself are removed: they concern plug-ins that the configuration names and arm64's library lacks.
report "devices: $(sed '/^ALSA lib /d' "$work/devices")"

clips=firmware-sim/clips
off=(--no-aec --no-ns --no-agc --no-hpf)
same core process --far $clips/far.wav --mic $clips/near.wav --out OUT --json "${off[@]}"
same core-two-clocks process --far $clips/far.wav --mic $clips/near.wav --out OUT --json --rate 44100 --mic-ppm 200 "${off[@]}"
# The FFT of the room acoustics rounds differently on the two processors, and so does WebRTC. For the files that this
# machine's room simulation wrote, the core must give the same samples on both.
close canceller 0.5 sim --seconds 20 --near none --no-ns --no-agc --out OUT --json
room="$work/canceller.here"
same core-in-a-room process --far "$room/far.wav" --mic "$room/mic.wav" --out OUT --json "${off[@]}"
close everything 0.5 process --far "$room/far.wav" --mic "$room/mic.wav" --out OUT --json
