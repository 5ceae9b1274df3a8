#!/usr/bin/env bash
# Installs what the Cortex-M image and the C firmware need in addition to setup.sh. Can be run repeatedly.
#   tools/setup-firmware.sh           installs what is missing
#   tools/setup-firmware.sh --check   installs nothing; fails with the commands to run if something is missing
#   tools/setup-firmware.sh others    what the boards and other processors need too: their Rust targets and an emulator of RISC-V
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$handsfree_root/tools/versions.sh"

firmware_targets=(thumbv7em-none-eabihf thumbv6m-none-eabi riscv32imc-unknown-none-elf)

if [ "${1:-}" = others ]; then
    firmware_targets+=(thumbv8m.main-none-eabihf riscv32imac-unknown-none-elf riscv32imafc-unknown-none-elf)
fi

missing_packages() {
    [ "$1" != others ] || command -v qemu-system-riscv32 >/dev/null || echo qemu-system-misc
    command -v qemu-system-arm >/dev/null || echo qemu-system-arm
    command -v arm-none-eabi-gcc >/dev/null || echo gcc-arm-none-eabi
    command -v riscv64-unknown-elf-objdump >/dev/null || echo binutils-riscv64-unknown-elf
    command -v cmake >/dev/null || echo cmake
    command -v pkg-config >/dev/null || echo pkg-config
}

missing_targets() {
    local target
    for target in "${firmware_targets[@]}"; do
        has_cortex_m_target "$target" || echo "$target"
    done
}

mapfile -t packages < <(missing_packages "${1:-}")
mapfile -t targets < <(missing_targets)

if [ "${1:-}" = --check ]; then
    [ "${#packages[@]}" -eq 0 ] || fail "missing: ${packages[*]}" "apt-get install ${packages[*]}, or: make setup"
    [ "${#targets[@]}" -eq 0 ] || fail "missing Rust targets" "rustup target add ${targets[*]} (rustup: https://rustup.rs), or: make setup"
    exit 0
fi

if [ "${#packages[@]}" -gt 0 ]; then
    say "installing from apt: ${packages[*]}"
    as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    install=("${as_root[@]}" apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 "${packages[@]}")
    "${install[@]}" || { "${as_root[@]}" apt-get update -q && "${install[@]}"; } || fail "could not install: ${packages[*]}"
fi
if [ "${#targets[@]}" -gt 0 ]; then
    # The image and the C library need a compiled core library for the compiler in use.
    command -v rustup >/dev/null || fail "rustc $(installed_rust_version) lacks the targets ${targets[*]}, and rustup is" \
        "not available to add them: install Rust by https://rustup.rs, then: rustup target add ${targets[*]}"
    say "adding Rust targets: ${targets[*]}"
    rustup target add "${targets[@]}" || fail "could not add them: rustup target add ${targets[*]}"
fi
