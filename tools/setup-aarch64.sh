#!/usr/bin/env bash
# Installs what building for 64-bit ARM boards needs in addition to setup.sh: a cross compiler, an emulator, Rust's target,
# abseil, and the distribution's libasound for arm64. The last two are placed in target/tools/aarch64, so that the system's
# dpkg needs no second architecture. Called by build-aarch64.sh; can be run repeatedly.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$handsfree_root/tools/versions.sh"
source "$handsfree_root/tools/apt.sh"
source "$handsfree_root/tools/private-apt.sh"

built="$handsfree_tools/aarch64"
pkg_config="$handsfree_root/tools/aarch64/aarch64-linux-gnu-pkg-config"

setup_programs() {
    local missing=()
    command -v aarch64-linux-gnu-gcc >/dev/null || missing+=(gcc-aarch64-linux-gnu)
    command -v aarch64-linux-gnu-g++ >/dev/null || missing+=(g++-aarch64-linux-gnu)
    # qemu-user rather than qemu-user-static, which would register foreign programs with the kernel.
    command -v qemu-aarch64 >/dev/null || command -v qemu-aarch64-static >/dev/null || missing+=(qemu-user)
    [ -z "${missing[*]}" ] || apt_install "${missing[@]}"
}

setup_rust() {
    [ ! -d "$(rustc --print target-libdir --target aarch64-unknown-linux-gnu)" ] || return 0
    command -v rustup >/dev/null \
        || fail "this Rust has no standard library for aarch64-unknown-linux-gnu, and there is no rustup to add it" \
            "install Rust with rustup, then: rustup target add aarch64-unknown-linux-gnu"
    say "adding Rust target: aarch64-unknown-linux-gnu"
    rustup target add aarch64-unknown-linux-gnu
}

setup_abseil() {
    local version
    version="$("$pkg_config" --modversion absl_base 2>/dev/null || true)"
    [ -n "$version" ] && version_at_least "$version" "$abseil_min" && return
    command -v dpkg-source >/dev/null || apt_install dpkg-dev
    "$handsfree_root/tools/build-abseil.sh" aarch64-linux-gnu
}

# Runs the separate apt with arm64 as its only architecture.
arm64_apt() {
    private_apt -o APT::Architecture=arm64 -o APT::Architectures::=arm64 "$@"
}

download_alsa() {
    local mirror library
    for mirror in $(apt_mirrors); do
        echo "deb [arch=arm64 signed-by=$keyring] $mirror $codename main" > "$work/sources.list"
        arm64_apt update --error-on=any || continue
        # The first name is used since Debian 13 and Ubuntu 24.04, the second before.
        for library in libasound2t64 libasound2; do
            arm64_apt download --print-uris "$library" >/dev/null 2>&1 || continue
            (cd "$work/download" && arm64_apt download libasound2-dev "$library" libasound2-data) && return
        done
    done
    return 1
}

setup_alsa() {
    [ "$("$pkg_config" --variable=handsfree alsa 2>/dev/null)" != complete ] || return 0
    private_apt_open
    say "downloading and unpacking without installing: libasound2-dev and its library for arm64"
    download_alsa || fail "none of this machine's apt mirrors has libasound2-dev for arm64" \
        "(Ubuntu has a separate mirror for other processors: add it to apt's sources with [arch=arm64])"
    local root="$built/root" deb
    rm -rf "$root"
    mkdir -p "$root"
    for deb in "$work"/download/*.deb; do
        dpkg-deb --extract "$deb" "$root"
    done
    # Makes pkg-config find the library here instead of under /usr. As the last step it also marks a complete installation.
    sed -i -e 's|^prefix=.*|prefix=${pcfiledir}/../../..|' -e 's|=/usr|=${prefix}|' -e '1i handsfree=complete' \
        "$root/usr/lib/aarch64-linux-gnu/pkgconfig/alsa.pc"
}

[ "$(uname -m)" != aarch64 ] || fail "this machine is aarch64 itself: \`make run\` builds the command, without NEON (see tools/aarch64/meson)"
setup_programs
setup_rust
setup_alsa
setup_abseil
say "aarch64 ready: $(aarch64-linux-gnu-g++ --version | head -n 1), alsa $("$pkg_config" --modversion alsa)," \
    "abseil $("$pkg_config" --modversion absl_base)"
