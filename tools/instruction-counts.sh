#!/usr/bin/env bash
# Counts the instructions of a conversation on processors of other kinds than the Cortex-M4F of tools/firmware.sh, in QEMU, and compares
# its samples with this machine's, bit by bit.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$handsfree_root/firmware-sim"
"$handsfree_root/tools/setup-firmware.sh" others

count() { cortex-m/target/debug/handsfree-runner counts "$@"; }
(cd cortex-m && cargo build --locked -q -p handsfree-runner \
    && cargo build --locked -q --release --target thumbv7em-none-eabihf -p handsfree-canceller-image \
    && cargo build --locked -q --release --target thumbv6m-none-eabi -p handsfree-canceller-image \
    && for target in thumbv7em-none-eabihf thumbv6m-none-eabi; do
        cargo build --locked -q --release --target "$target" --target-dir target/light -p handsfree-canceller-image --features light
    done)
(cd riscv && for target in riscv32imac riscv32imafc; do cargo build --locked -q --release --target "$target-unknown-none-elf"; done)

printf '\nfirmware: instructions in 10 ms at 16 kHz, interrupts and pipelines included; the samples are those of this machine\n'
printf '  %-60s %-10s %11s %11s\n' '' 'voice' 'mean' 'most'
for target in thumbv7em-none-eabihf thumbv6m-none-eabi; do
    count cortex-m4 light 1200 "cortex-m/target/light/$target/release/duplex"
done
for target in riscv32imafc riscv32imac; do
    count riscv32 light 1200 "riscv/target/$target-unknown-none-elf/release/handsfree-riscv-image"
done
count cortex-m7 canceller 1200 cortex-m/target/thumbv7em-none-eabihf/release/duplex
count riscv32 canceller 1200 riscv/target/riscv32imafc-unknown-none-elf/release/handsfree-riscv-image
# Without floating point: seconds of this machine for each second.
count cortex-m4 canceller 100 cortex-m/target/thumbv6m-none-eabi/release/duplex
count riscv32 canceller 100 riscv/target/riscv32imac-unknown-none-elf/release/handsfree-riscv-image
