#!/usr/bin/env bash
# Writes the list of the Rust crates that are linked into the command and the library crates to THIRD-PARTY.md, from Cargo.lock.
#   tools/third-party.sh             writes the list
#   tools/third-party.sh --check     fails and shows the difference if the list is not up to date
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$handsfree_root"

page=THIRD-PARTY.md
mark='<!-- Below this line: written by tools/third-party.sh -->'
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# On all systems, because a list for this one alone would differ from machine to machine. Without tests, build scripts and
# procedural macros, which are not linked in.
crates() {
    cargo tree --locked --quiet -p handsfree-cli -p handsfree-audio-filter --target all -e normal,no-proc-macro \
        --prefix none --format '{p}|{l}' \
        | sed -e 's/ (\*)$//' -e '/ (\/.*)|/d' -e '/^handsfree/d' -e '/^$/d' -e 's/ v\([0-9]\)/|\1/' \
        -e 's/^\(webrtc-audio-processing-sys|[^|]*|\)$/\1see above/' | LC_ALL=C sort -u
}
grep -qxF "$mark" "$page" || { echo "third-party: $page has no line '$mark'" >&2; exit 1; }
crates > "$work/crates"
if bad="$(grep -v '^[^|]*|[^|]*|[^|]\+$' "$work/crates")"; then
    printf 'third-party: expected a name, a version and a licence: %s\n' "$bad" >&2
    exit 1
fi
{
    sed "\#^$mark\$#q" "$page"
    printf '\n## Rust crates, with the licences that they state\n\n| crate | version | licence |\n|---|---|---|\n'
    sed 's/^\([^|]*\)|\([^|]*\)|\(.*\)$/| \1 | \2 | \3 |/' "$work/crates"
} > "$work/page"

if [ "${1:-}" = --check ]; then
    diff -u "$page" "$work/page" >&2 || { echo "third-party: $page is not up to date: run tools/third-party.sh" >&2; exit 1; }
else
    cp "$work/page" "$page"
fi
echo "third-party: $(wc -l < "$work/crates") crates"
