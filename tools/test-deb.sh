#!/usr/bin/env bash
# Installs the .deb files of tools/package-deb.sh in clean systems of Debian 12 and 13, which are made for it and removed, runs what a
# user would run first, and removes the package again. This machine's architecture is installed by apt in a changed root; arm64 is
# unpacked beside that system's libraries and run in QEMU's user mode.
#   tools/test-deb.sh [SUITE...]     default: bookworm trixie
# Needs the mirror of Debian that this machine's apt uses.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$handsfree_root/tools/versions.sh"
source "$handsfree_root/tools/private-apt.sh"
cd "$handsfree_root"

suites=("$@")
[ "${#suites[@]}" -gt 0 ] || suites=(bookworm trixie)
target="${CARGO_TARGET_DIR:-$handsfree_root/target}"
version="$(sed -n 's/^version *= *"\(.*\)"/\1/p' Cargo.toml | head -n 1)"
here="$(dpkg --print-architecture)"
command -v mmdebstrap >/dev/null || fail "mmdebstrap is missing: tools/setup-package.sh"
private_apt_open
[ "$distribution" = debian ] || fail "this is $distribution: expected Debian, whose mirrors its apt knows"
mirror="$(apt_mirrors | head -n 1)"
[ -n "$mirror" ] || fail "apt knows no mirror of Debian: apt-get update"

# What runs inside, by the shell of the clean system; $1 is the package's file.
cat > "$work/inside" <<'END'
set -eu
say() { printf 'test-deb: %s: %s\n' "$system" "$*"; }
wrong() { say "$*"; exit 1; }
system="Debian $(cat /etc/debian_version)"
export DEBIAN_FRONTEND=noninteractive
# Without what programs write while they run.
files() { find / -xdev -path /proc -prune -o -path /tmp -prune -o -path /var -prune -o -path /run -prune -o -print; }
files | sort > /tmp/before

begin="$(date +%s%N)"
apt-get install -y -q -o Dpkg::Use-Pty=0 "$1" alsa-utils > /tmp/apt.log 2>&1 || { cat /tmp/apt.log; wrong "apt did not install $1"; }
handsfree serve --io sim > /tmp/serve.log 2>&1 & service=$!
trap 'kill "$service" 2>/dev/null || true' EXIT
for attempt in $(seq 100); do [ -S /run/handsfree/socket ] && break; sleep 0.1; done
arecord -q -D handsfree -f S16_LE -r 16000 -d 2 /tmp/clean.wav || { cat /tmp/serve.log; wrong "arecord -D handsfree failed"; }
took_ms=$((($(date +%s%N) - begin) / 1000000))

# 44 bytes of header and 2 s of 16 bits at 16 kHz.
bytes="$(stat -c %s /tmp/clean.wav)"
[ "$bytes" -eq $((44 + 2 * 2 * 16000)) ] || wrong "arecord wrote $bytes bytes: expected 64044"
# Not silence: the simulated room has a talker and noise.
distinct="$(tail -c +45 /tmp/clean.wav | od -An -v -td2 -w2 | sort -u | wc -l)"
[ "$distinct" -gt 20 ] || wrong "the recording has $distinct different samples"
aplay -q -D handsfree /tmp/clean.wav || wrong "aplay -D handsfree failed"
# A shell without job control starts it with SIGINT ignored.
kill -TERM "$service"
wait "$service" || wrong "handsfree serve ended with $?"

[ "$(handsfree --version)" = "handsfree $VERSION" ] || wrong "the version is $(handsfree --version): expected $VERSION"
handsfree sim --seconds 10 --out /tmp/report --json > /tmp/report.json || wrong "handsfree sim failed"
handsfree process --far /tmp/report/far.wav --mic /tmp/report/mic.wav --out /tmp/processed.wav > /dev/null
# The WebRTC canceller is in the package.
handsfree sim --seconds 3 --canceller webrtc --out /tmp/report2 > /dev/null || wrong "--canceller webrtc failed"
# The documentation may be left out of a minimal system by dpkg's path-exclude.
for page in handsfree handsfree-serve handsfree-mic; do
    zcat "/usr/share/man/man1/$page.1.gz" | grep -q '^\.SH NAME' || wrong "the manual page $page is missing"
done
for unit in handsfree.service handsfree-serve.service handsfree-serve.socket; do
    program="$(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "/usr/lib/systemd/system/$unit")"
    [ -z "$program" ] || [ -x "$program" ] || wrong "$unit starts $program, which is missing"
done
for file in bash-completion/completions/handsfree zsh/vendor-completions/_handsfree fish/vendor_completions.d/handsfree.fish; do
    grep -q serve "/usr/share/$file" || wrong "the completion $file is missing"
done
# systemd's own check of the units; nothing of it runs here.
apt-get install -y -q -o Dpkg::Use-Pty=0 --no-install-recommends systemd > /tmp/apt.log 2>&1 || { cat /tmp/apt.log; wrong "apt did not install systemd"; }
systemd-analyze verify handsfree.service handsfree-serve.service handsfree-serve.socket > /tmp/units.log 2>&1 \
    && [ ! -s /tmp/units.log ] || { cat /tmp/units.log; wrong "systemd finds a fault in a unit"; }
dpkg --verify handsfree || wrong "installed files differ from the package's"

dpkg --purge handsfree > /dev/null || wrong "dpkg did not remove the package"
files | sort > /tmp/after
# What apt installed with it (libraries, alsa-utils) stays; nothing of its own may.
left="$(comm -13 /tmp/before /tmp/after | grep -i handsfree || true)"
[ -z "$left" ] || wrong "removing the package left $left"
say "installed, heard by arecord -D handsfree after $took_ms ms (of which 2 s of sound), removed without a trace"
END

install_here() {
    local suite="$1" deb="$target/debian/handsfree_${version}_$here.deb"
    [ -r "$deb" ] || fail "$deb is missing: tools/package-deb.sh"
    cp "$deb" "$work/package.deb"
    # A minimal system, with apt and what the distribution needs to boot nothing; apt fetches the rest with the package.
    mmdebstrap --quiet --variant=apt --dpkgopt='path-include=/usr/share/man/*' \
        --customize-hook="copy-in $work/package.deb $work/inside /tmp" \
        --customize-hook="VERSION=$version chroot \"\$1\" sh /tmp/inside /tmp/package.deb" \
        "$suite" /dev/null "$mirror"
}

emulate_arm64() {
    local suite="$1" deb="$target/debian/handsfree_${version}_arm64.deb" root="$work/arm64-$1" emulator said
    emulator="$(command -v qemu-aarch64 || command -v qemu-aarch64-static)" || fail "qemu-aarch64 is missing: tools/setup-package.sh"
    # Only unpacked: running its scripts would need an emulator that is registered with the kernel.
    mmdebstrap --quiet --variant=extract --architectures=arm64 --skip=check/qemu --format=directory \
        --include=libasound2-data,libstdc++6,libgcc-s1,libc6,alsa-utils "$suite" "$root" "$mirror"
    # Debian 13 has its libraries in /usr only; the link is made when a system is installed.
    [ -e "$root/lib" ] || ln -s usr/lib "$root/lib"
    dpkg-deb --extract "$deb" "$root"
    there() { "$emulator" -L "$root" -E LD_LIBRARY_PATH=/usr/lib/aarch64-linux-gnu:/lib/aarch64-linux-gnu "$root/usr/bin/$1" "${@:2}"; }
    said="$(there handsfree --version 2>&1)" || true
    [ "$said" = "handsfree $version" ] || fail "arm64 on $suite: --version says '$said': expected handsfree $version"
    there handsfree sim --seconds 3 --out "$work/report-arm64-$suite" > /dev/null
    there handsfree sim --seconds 3 --canceller webrtc --out "$work/report-arm64-$suite" > /dev/null
    echo "test-deb: arm64 with the libraries of $suite: runs in the emulator"
    rm -rf "$root"
}

for suite in "${suites[@]}"; do
    install_here "$suite"
    [ ! -r "$target/debian/handsfree_${version}_arm64.deb" ] || [ "$here" = arm64 ] || emulate_arm64 "$suite"
done
