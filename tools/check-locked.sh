#!/usr/bin/env bash
# Checks that every call of cargo in the Makefile and the scripts uses the committed Cargo.lock, so that what is built is what was
# tested. Packages that are unpacked elsewhere (tools/package.sh) have a lock file of their own.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$handsfree_root"

calls='\bcargo("| "\+\$[a-z]+"|) (run|test|build|rustc|check|clippy|doc|bench|package|tree|metadata|deny)\b'
scripts=(Makefile .ci/* tools/*.sh tools/*/*.sh)
unlocked="$(grep -nE "$calls" "${scripts[@]}" | grep -vE '^[^:]*:[0-9]*:[[:space:]]*#|--locked|fail "|\|\| fail|not-locked' || true)"
if [ -n "$unlocked" ]; then
    printf 'check-locked: expected --locked in\n%s\n' "$unlocked" >&2
    exit 1
fi
echo "check-locked: every call of cargo uses its lock file"
