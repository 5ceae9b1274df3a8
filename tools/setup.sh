#!/usr/bin/env bash
# Makes a fresh Debian or Ubuntu machine able to build and test everything here. Safe to run again: what is there stays.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$handsfree_root/tools/versions.sh"
source "$handsfree_root/tools/apt.sh"

setup_packages() {
    local missing=()
    command -v make >/dev/null || missing+=(make)
    command -v cc >/dev/null || missing+=(gcc libc6-dev)
    command -v g++ >/dev/null || missing+=(g++)
    command -v nm >/dev/null || missing+=(binutils)
    command -v cmake >/dev/null || missing+=(cmake)
    command -v ninja >/dev/null || missing+=(ninja-build)
    command -v pkg-config >/dev/null || missing+=(pkg-config)
    # bindgen loads libclang and needs clang's own headers, which this package brings along.
    compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null \
        && compgen -G '/usr/lib/llvm-*/lib/clang/*/include/stddef.h' >/dev/null || missing+=(libclang-dev)
    [ -n "${missing[*]}" ] && apt_install "${missing[@]}"
    pkg-config --exists alsa || apt_install libasound2-dev
}

setup_rust() {
    command -v cargo >/dev/null && command -v rustc >/dev/null \
        || fail "cargo is missing: install Rust $(workspace_rust_version) or newer with rustup, then \`make setup\` again"
    local found wanted host
    found="$(installed_rust_version)"
    wanted="$(workspace_rust_version)"
    version_at_least "$found" "$wanted" \
        || fail "rustc is $found, this workspace needs $wanted or newer: \`rustup update stable\`, then \`make setup\` again"
    # The C++ audio processing library's build renames its symbols with the objcopy of the Rust toolchain.
    host="$(rustc -vV | sed -n 's/^host: //p')"
    local objcopy
    objcopy="$(rustc --print sysroot)/lib/rustlib/$host/bin/rust-objcopy"
    if [ ! -x "$objcopy" ]; then
        say "rust-objcopy is not part of this Rust toolchain, adding llvm-tools"
        command -v rustup >/dev/null && rustup component add llvm-tools || true
        [ -x "$objcopy" ] || fail "webrtc-audio-processing-sys needs $objcopy" \
            "use a Rust toolchain from rustup, 1.95 or newer: it has it"
    fi
}

setup_meson() {
    local found
    found="$(meson --version 2>/dev/null || true)"
    [ -n "$found" ] && version_at_least "$found" "$meson_min" && return
    apt_lists_present
    if version_at_least "$(apt_candidate meson)" "$meson_min"; then
        apt_install meson
        return
    fi
    dpkg-query -W -f='${Status}' python3-venv 2>/dev/null | grep -q 'ok installed' || apt_install python3-venv
    say "installing meson $meson_pinned from PyPI into target/tools/meson (the system's is ${found:-$(apt_candidate meson)}, $meson_min is needed)"
    rm -rf "$handsfree_tools/meson"
    /usr/bin/python3 -m venv "$handsfree_tools/meson"
    "$handsfree_tools/meson/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes \
        -r "$handsfree_root/tools/meson-requirement.txt" \
        || fail "pip could not install meson $meson_pinned; any meson >= $meson_min in PATH will do as well"
    mkdir -p "$handsfree_tools/bin"
    ln -sf ../meson/bin/meson "$handsfree_tools/bin/meson"
    hash -r
}

setup_abseil() {
    # Not the system's, see build-abseil.sh.
    local version
    version="$(PKG_CONFIG_LIBDIR="$handsfree_tools/abseil/lib/pkgconfig" PKG_CONFIG_PATH='' pkg-config --modversion absl_base 2>/dev/null || true)"
    [ -n "$version" ] && version_at_least "$version" "$abseil_min" && return
    apt_lists_present
    command -v dpkg-source >/dev/null || apt_install dpkg-dev
    "$handsfree_root/tools/build-abseil.sh"
}

setup_cortex_m() {
    local missing=() target
    for target in "${cortex_m_targets[@]}"; do
        has_cortex_m_target "$target" || missing+=("$target")
    done
    [ -z "${missing[*]}" ] && return
    if command -v rustup >/dev/null; then
        say "adding Rust targets: ${missing[*]}"
        rustup target add "${missing[@]}" && return
        say "rustup could not add them"
    fi
    debian_rust_for_cortex_m && return
    say "using Debian's Rust and core's source for the Cortex-M builds instead"
    apt_install rustc-web cargo-web rust-web-src ca-certificates
    debian_rust_for_cortex_m || fail "Debian's rustc-web, cargo-web and rust-web-src are installed, core's source is not there"
}

summary() {
    local cortex_m=rustup target
    for target in "${cortex_m_targets[@]}"; do
        has_cortex_m_target "$target" || cortex_m="Debian rustc $(/usr/bin/rustc --version | awk '{ print $2 }') and build-std"
    done
    say "ready: rustc $(installed_rust_version), g++ $(g++ -dumpfullversion), cmake $(cmake --version | awk 'NR==1 { print $3 }')," \
        "ninja $(ninja --version), meson $meson_found, abseil $(pkg-config --modversion absl_base), Cortex-M by $cortex_m"
}

setup_packages
setup_rust
setup_meson
setup_abseil
setup_cortex_m
# The tests on a kernel are not there for other processors, all else is.
[ "$(uname -m)" != x86_64 ] || "$handsfree_root/tools/setup-kernel.sh"
"$handsfree_root/tools/setup-desktop.sh"
meson_found="$(meson --version)"
summary
