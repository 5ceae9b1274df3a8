#!/usr/bin/env bash
# Checks the builds of the command without C++: that nothing in the dependencies needs its tools, that they build without warnings,
# and what the one with audio devices does (hosts/cli/tests/without_apm.rs).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$handsfree_root"

native=(-p handsfree-cli --no-default-features --features native)
# bindgen and clang-sys need libclang; cc and cmake, which crates build C++ with, need compilers.
needing_cpp='^(webrtc-audio-processing-sys|bindgen|clang-sys|cxx|cc|cmake) '
tree() { cargo tree --locked --quiet -e normal,build --prefix none "$@"; }
if found="$(tree "${native[@]}" | grep -E "$needing_cpp" | sort -u)"; then
    printf 'check-native: expected no dependency that builds C++, found\n%s\n' "$found" >&2
    exit 1
fi
# The pattern finds them where they are.
tree -p handsfree-cli | grep -qE "$needing_cpp" || { echo "check-native: '$needing_cpp' matches nothing in the default build" >&2; exit 1; }

cargo clippy --locked --release "${native[@]}" --all-targets -- -D warnings
# Without audio devices as well, which needs no system library: simulations, recordings and replays.
cargo clippy --locked --release -p handsfree-cli --no-default-features --lib --bins -- -D warnings
cargo test --locked --release "${native[@]}" --test without_apm
echo "check-native: the command builds and works without C++"
