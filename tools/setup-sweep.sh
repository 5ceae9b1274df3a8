#!/usr/bin/env bash
# Installs what tools/test-sweep.sh needs: GNU parallel from the distribution, and Ray from PyPI in target/tools/ray. Can be run
# repeatedly.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$handsfree_root/tools/versions.sh"
source "$handsfree_root/tools/apt.sh"

setup_ray() {
    local wanted
    wanted="$(sed -n 's/^ray==//p' "$handsfree_root/tools/ray-requirement.txt")"
    [ -x "$handsfree_tools/ray/bin/python3" ] \
        && [ "$("$handsfree_tools/ray/bin/python3" -c 'import ray; print(ray.__version__)' 2>/dev/null)" = "$wanted" ] && return
    say "installing Ray $wanted from PyPI into target/tools/ray"
    rm -rf "$handsfree_tools/ray"
    python3 -m venv "$handsfree_tools/ray"
    "$handsfree_tools/ray/bin/pip" install --quiet --disable-pip-version-check -r "$handsfree_root/tools/ray-requirement.txt" \
        || fail "pip could not install Ray $wanted"
}

command -v parallel >/dev/null || apt_install parallel
command -v python3 >/dev/null || apt_install python3 python3-venv
setup_ray
say "sweep ready: $(parallel --version | head -n 1), Ray $(sed -n 's/^ray==//p' "$handsfree_root/tools/ray-requirement.txt")"
