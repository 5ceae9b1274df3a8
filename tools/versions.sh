# Sourced: the oldest supported versions of the build tools, and helper functions.

# Debian 12's meson 1.0.1 fails with --reconfigure, which webrtc-audio-processing-sys always passes.
meson_min=1.1
meson_pinned=1.6.1
abseil_min=20240722
cortex_m_targets=(thumbv7em-none-eabihf thumbv6m-none-eabi)

# version_at_least FOUND WANTED: succeeds if FOUND is WANTED or newer.
version_at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# Prints the workspace's rust-version from the root Cargo.toml.
workspace_rust_version() {
    sed -n 's/^rust-version *= *"\([0-9.]*\)".*/\1/p' "$handsfree_root/Cargo.toml" | head -n 1
}

installed_rust_version() {
    rustc --version | awk '{ print $2 }'
}

has_cortex_m_target() {
    [ -d "$(rustc --print target-libdir --target "$1" 2>/dev/null)" ]
}

# Succeeds if Debian's browser toolchain is installed, which contains core's source for building the Cortex-M targets.
debian_rust_for_cortex_m() {
    [ -x /usr/bin/rustc ] && [ -x /usr/bin/cargo ] \
        && [ -d "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library/core" ]
}

say() { printf 'setup: %s\n' "$*"; }

fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}
