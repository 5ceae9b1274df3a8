#!/usr/bin/env bash
# Installs what building and testing the .deb files (tools/package-deb.sh, tools/test-deb.sh) needs in addition to setup.sh. Can be
# run repeatedly.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$handsfree_root/tools/versions.sh"
source "$handsfree_root/tools/apt.sh"

missing=()
command -v dpkg-deb >/dev/null || missing+=(dpkg)
command -v strip >/dev/null || missing+=(binutils)
# Makes the clean systems into which the packages are installed. arch-test says which processors' programs can run.
command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
command -v qemu-aarch64 >/dev/null || command -v qemu-aarch64-static >/dev/null || missing+=(qemu-user)
[ -z "${missing[*]}" ] || apt_install "${missing[@]}"
say "packages ready: dpkg $(dpkg-deb --version | awk 'NR == 1 { print $6 }'), mmdebstrap $(mmdebstrap --version | awk '{ print $2 }')"
