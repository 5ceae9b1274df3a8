#!/usr/bin/env bash
# Builds the handsfree command for 64-bit ARM boards with Linux, such as a Raspberry Pi with a 64-bit system:
# target/aarch64-unknown-linux-gnu/release/handsfree. Then tests it, counts the instructions of voice processing, and prints the
# libraries that it needs on the board.
#   tools/build-aarch64.sh [PROFILE]     default: release; others (deb, for the .deb file) are tested in their package
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$handsfree_root/tools/versions.sh"
cd "$handsfree_root"
tools/setup-aarch64.sh

target=aarch64-unknown-linux-gnu
profile="${1:-release}"
# tools/aarch64/meson must come first in PATH.
export PATH="$handsfree_root/tools/aarch64:$PATH"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
export CXX_aarch64_unknown_linux_gnu=aarch64-linux-gnu-g++
export AR_aarch64_unknown_linux_gnu=aarch64-linux-gnu-ar
export PKG_CONFIG_aarch64_unknown_linux_gnu="$handsfree_root/tools/aarch64/aarch64-linux-gnu-pkg-config"
# Tells libclang where the cross compiler's C library is, which it does not always find.
export BINDGEN_EXTRA_CLANG_ARGS_aarch64_unknown_linux_gnu="--target=aarch64-linux-gnu -isystem /usr/aarch64-linux-gnu/include"
cargo build --locked --profile "$profile" --target "$target" -p handsfree-cli

if [ "$profile" = release ]; then
    tools/test-aarch64.sh
    tools/aarch64-counts.sh
fi
binary="target/$target/$profile/handsfree"
libraries="$(aarch64-linux-gnu-readelf --dynamic "$binary" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | paste -sd' ')"
libc="$(aarch64-linux-gnu-readelf --version-info "$binary" | grep -o 'GLIBC_2\.[0-9]*' | sort -Vu | tail -n 1)"
echo "build-aarch64: $binary, for $libc or newer, with $libraries"
