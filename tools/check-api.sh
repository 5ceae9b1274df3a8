#!/usr/bin/env bash
# Compares the public API of the library crates with the snapshots in docs/api.
#   tools/check-api.sh            fails and shows the difference
#   tools/check-api.sh --write    writes the snapshots anew
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$handsfree_root/tools/versions.sh"
cd "$handsfree_root"

# The JSON's format changes with the compiler, so the one that the workspace names writes it.
wanted="$(workspace_rust_version)"
found="$(installed_rust_version)"
if [ "${found%.*}" != "$wanted" ] && [ "$found" != "$wanted" ]; then
    command -v rustup >/dev/null && rustup run "$wanted" rustc --version >/dev/null 2>&1 \
        || fail "rustc is $found; the snapshots in docs/api are compared with rustc $wanted:" \
            "rustup toolchain install $wanted --profile minimal"
    export RUSTUP_TOOLCHAIN="$wanted"
fi

snapshot() {
    local package="$1" library="${1//-/_}"
    shift
    RUSTDOC="$handsfree_root/tools/public-api/rustdoc.sh" cargo doc --locked -q --release -p "$package" --lib --no-deps "$@"
    cargo run --locked -q --manifest-path tools/public-api/Cargo.toml --target-dir "${CARGO_TARGET_DIR:-target}/public-api" -- "$(documentation)/$library.json" "docs/api/$package.txt" "${write[@]}"
}

documentation() { echo "${CARGO_TARGET_DIR:-target}/doc"; }

write=("$@")
snapshot handsfree-core --all-features
snapshot handsfree --features sim
