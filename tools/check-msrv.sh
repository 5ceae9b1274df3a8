#!/usr/bin/env bash
# The workspace's rust-version must be the oldest compiler that it was really built with, so build it with that one.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$handsfree_root/tools/versions.sh"
cd "$handsfree_root"

wanted="$(workspace_rust_version)"
found="$(installed_rust_version)"
[ -n "$wanted" ] || fail "Cargo.toml names no rust-version"
version_at_least "$found" "$wanted" || fail "rustc is $found, older than rust-version $wanted: rustup update stable"

# 1.95 in Cargo.toml stands for 1.95.x
if [ "${found%.*}" = "$wanted" ] || [ "$found" = "$wanted" ]; then
    echo "check-msrv: rust-version $wanted is the compiler in use ($found)"
    exit 0
fi
command -v rustup >/dev/null && rustup run "$wanted" rustc --version >/dev/null 2>&1 \
    || fail "rustc is $found; rust-version $wanted is unproven without that compiler:" \
        "rustup toolchain install $wanted --profile minimal"
cargo "+$wanted" check --workspace --all-targets --target-dir "${CARGO_TARGET_DIR:-target}/msrv"
echo "check-msrv: the workspace builds with rust-version $wanted"
