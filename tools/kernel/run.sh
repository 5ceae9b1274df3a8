#!/usr/bin/env bash
# Runs a shell script in the kernel machine: boots Linux in QEMU with the given sound modules, prints the script's output and
# exits with its exit code. `tools/kernel/run.sh --help` lists the switches.
#   tools/kernel/run.sh --modules snd-aloop,snd-dummy --add target/debug/program -- 'aplay -l; program'
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../env.sh"
"$handsfree_root/tools/setup-kernel.sh" >&2
exec cargo run --locked --quiet --release --manifest-path "$handsfree_root/Cargo.toml" -p handsfree-kernel-tests \
    --bin kernel-machine -- "$@"
