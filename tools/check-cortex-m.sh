#!/usr/bin/env bash
# Builds the core and the DMA host for a Cortex-M4F and for a Cortex-M0, which has no compare-and-swap.
#   tools/check-cortex-m.sh [rustup|debian]     selects the toolchain; by default rustup's targets if they are installed
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$handsfree_root/tools/versions.sh"
cd "$handsfree_root"

build_with_rustup() {
    cargo build --locked --release -p handsfree-core -p handsfree-dma --target "$1"
}

# Debian's compiler has another version and needs its own target directory, or each build would discard the other's.
build_with_debian() {
    RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc /usr/bin/cargo build --locked --release -p handsfree-core -p handsfree-dma --target "$1" \
        -Zbuild-std=core --target-dir "${CARGO_TARGET_DIR:-target}/cortex-m-debian"
}

way="${1:-}"
for target in "${cortex_m_targets[@]}"; do
    if [ "$way" != debian ] && has_cortex_m_target "$target"; then
        build_with_rustup "$target"
        echo "check-cortex-m: $target built with rustup's target"
    elif [ "$way" != rustup ] && debian_rust_for_cortex_m; then
        build_with_debian "$target"
        echo "check-cortex-m: $target built with Debian's rustc and core from source"
    else
        fail "cannot build for $target${way:+ with $way}:" \
            "rustup target add ${cortex_m_targets[*]}" \
            "or: apt-get install rustc-web cargo-web rust-web-src"
    fi
done
