#!/usr/bin/env bash
# Checks the licences, duplicates and sources of all dependencies with cargo-deny, by deny.toml.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$handsfree_root/tools/versions.sh"
cd "$handsfree_root"

command -v cargo-deny >/dev/null || fail "cargo-deny is missing: make setup, or: cargo install --locked cargo-deny"
cargo deny --locked --workspace --log-level error check licenses bans sources
