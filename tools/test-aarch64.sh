#!/usr/bin/env bash
# Runs the aarch64 binary that build-aarch64.sh built under an emulator, beside this machine's own: without voice
# processing every sample has to be the same, with it the echo reduction has to be, nearly.
# The emulator has no sound cards and proves nothing about time.
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

told() { printf 'test-aarch64: %s\n' "$*"; }
wrong() {
    printf 'test-aarch64: %s\n' "$@" >&2
    exit 1
}

# How fast a machine is, is no part of what is compared.
figures() { grep -v realtime_factor "$1"; }

# both NAME COMMAND... : with both binaries; OUT stands for what the command writes.
both() {
    local name="$1"
    shift
    here "${@//OUT/$work/$name.here}" > "$work/$name.here.json"
    there "${@//OUT/$work/$name.there}" > "$work/$name.there.json"
}

# same NAME COMMAND... : what the command prints and writes has to be equal bit for bit.
same() {
    local name="$1"
    both "$@"
    diff <(figures "$work/$name.here.json") <(figures "$work/$name.there.json") >&2 \
        || wrong "$name: the figures differ (< this machine's, > aarch64's)"
    cmp "$work/$name.here" "$work/$name.there" >&2 || wrong "$name: the sound differs"
    told "$name: equal bit for bit"
}

# close NAME DB COMMAND... : the echo reduction of each window may differ by so much.
close() {
    local name="$1" most="$2"
    shift 2
    both "$name" "$@"
    paste <(reductions "$work/$name.here.json") <(reductions "$work/$name.there.json") \
        | awk -v most="$most" -v name="$name" '
            NF == 2 { d = $1 - $2; if (d < 0) d = -d; if (d > worst) worst = d; windows++; x = x " " $1; a = a " " $2; next }
            { print "test-aarch64: " name ": not as many windows"; failed = 1 }
            END {
                printf "test-aarch64: %s: echo reduction in dB, this machine%s, aarch64%s, at most %.2f apart\n", name, x, a, worst
                exit failed || windows == 0 || worst > most
            }' || wrong "$name: the echo reduction differs by more than $most dB"
}

reductions() { sed -n 's/^ *"db": \([-0-9.]*\),*$/\1/p' "$1"; }

emulator="$(command -v qemu-aarch64 || command -v qemu-aarch64-static)" || wrong "no emulator: tools/setup-aarch64.sh"
[ -x target/aarch64-unknown-linux-gnu/release/handsfree ] || wrong "nothing to test: tools/build-aarch64.sh"
cargo build --release -p handsfree
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# Quietly left out unless asked for, see tools/aarch64/meson.
aarch64-linux-gnu-nm target/aarch64-unknown-linux-gnu/release/handsfree | grep MatchedFilterCore_NEON >/dev/null \
    || wrong "WebRTC's audio processing was built without NEON"

version="$(there --version)"
[ "$version" = "$(here --version)" ] || wrong "it says $version, this machine's says $(here --version)"
told "$version"

# The emulator hands on no card's ioctls, so what there is to see is that nothing is there.
there devices --io alsa > "$work/devices" 2>&1 || wrong "devices: $(cat "$work/devices")"
# libasound's own complaints are about plug-ins that this machine's configuration names and arm64's library lacks.
told "devices: $(sed '/^ALSA lib /d' "$work/devices")"

clips=firmware-sim/clips
off=(--no-aec --no-ns --no-agc --no-hpf)
same core process --far $clips/far.wav --mic $clips/near.wav --out OUT --json "${off[@]}"
same core-two-clocks process --far $clips/far.wav --mic $clips/near.wav --out OUT --json --rate 44100 --mic-ppm 200 "${off[@]}"
# The room's own arithmetic rounds differently on the two (it is a library's FFT, in the vectors that the processor has), and
# so does WebRTC's; what the room of this machine wrote, the core has to take in the same way on both.
close canceller 0.5 sim --seconds 20 --near none --no-ns --no-agc --out OUT --json
room="$work/canceller.here"
same core-in-a-room process --far "$room/far.wav" --mic "$room/mic.wav" --out OUT --json "${off[@]}"
close everything 0.5 process --far "$room/far.wav" --mic "$room/mic.wav" --out OUT --json
