#!/usr/bin/env bash
# Packages each library crate as `cargo publish` would, unpacks the packages elsewhere and runs their tests there, so that no
# crate needs a file outside its own package.
#   tools/package.sh [PACKAGE...]     default: all of them
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$handsfree_root/tools/versions.sh"
cd "$handsfree_root"

# In the order of their dependencies.
libraries=(handsfree-core handsfree-dma handsfree-sim handsfree-host handsfree-apm handsfree-audio-filter handsfree-alsa handsfree-cpal handsfree)
tested=("$@")
[ "${#tested[@]}" -gt 0 ] || tested=("${libraries[@]}")
target="${CARGO_TARGET_DIR:-$handsfree_root/target}"
unpacked="$target/package/unpacked"
version="$(sed -n 's/^version *= *"\(.*\)"/\1/p' Cargo.toml | head -n 1)"

selected=()
for library in "${libraries[@]}"; do selected+=(-p "$library"); done
# Their tests run below, so cargo need not build them here. The files are the work tree's, committed or not.
cargo package --locked --quiet --no-verify --allow-dirty "${selected[@]}"

rm -rf "$unpacked"
mkdir -p "$unpacked"
{
    printf '[workspace]\nresolver = "3"\nmembers = ["handsfree*"]\n\n[patch.crates-io]\n'
    for library in "${libraries[@]}"; do printf '%s = { path = "%s-%s" }\n' "$library" "$library" "$version"; done
    # The profile is the workspace's, so that the C++ is not built again.
    sed -n '/^\[profile.release\]/,/^$/p' Cargo.toml
} > "$unpacked/Cargo.toml"
cp Cargo.lock "$unpacked/"
for library in "${libraries[@]}"; do
    tar -xzf "$target/package/$library-$version.crate" -C "$unpacked"
    printf 'package: %-24s %s\n' "$library" "$(du -k "$target/package/$library-$version.crate" | cut -f 1) KiB," \
        "$(tar -tzf "$target/package/$library-$version.crate" | wc -l) files"
done
cd "$unpacked"
# The lock file names packages that only the rest of the workspace needs. Removing them changes no version.
cargo metadata --offline --quiet --format-version 1 > /dev/null # not-locked
for library in "${tested[@]}"; do
    echo "package: tests of $library from its package"
    features=()
    # cargo leaves a package's dependency on itself out, which enables these in the workspace.
    [ "$library" != handsfree ] || features=(--features sim,dump)
    CARGO_TARGET_DIR="$target" cargo test --locked --quiet --release -p "$library" "${features[@]}"
done
