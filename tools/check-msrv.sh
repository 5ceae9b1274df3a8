#!/usr/bin/env bash
# Checks that the workspace builds with the compiler version that Cargo.toml names as rust-version.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$handsfree_root/tools/versions.sh"
cd "$handsfree_root"

wanted="$(workspace_rust_version)"
found="$(installed_rust_version)"
[ -n "$wanted" ] || fail "Cargo.toml has no rust-version"
version_at_least "$found" "$wanted" || fail "rustc is $found: expected at least rust-version $wanted; run: rustup update stable"

# 1.95 in Cargo.toml means any 1.95.x.
if [ "${found%.*}" = "$wanted" ] || [ "$found" = "$wanted" ]; then
    echo "check-msrv: rust-version $wanted is the compiler in use ($found)"
    exit 0
fi
command -v rustup >/dev/null && rustup run "$wanted" rustc --version >/dev/null 2>&1 \
    || fail "rustc is $found; checking rust-version $wanted needs that compiler:" \
        "rustup toolchain install $wanted --profile minimal"
cargo "+$wanted" check --locked --workspace --all-targets --target-dir "${CARGO_TARGET_DIR:-target}/msrv"
echo "check-msrv: the workspace builds with rust-version $wanted"
