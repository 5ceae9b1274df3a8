#!/usr/bin/env bash
# Builds the images for real boards (firmware-sim/boards), each a workspace of its own, and checks that they fit the chip's memory, that
# nothing allocates, and that no line of the core or of handsfree-dma calls a panic, also where it was inlined. HALs panic in places.
#   tools/boards.sh [BOARD...]     default: all
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source "$handsfree_root/tools/versions.sh"
cd "$handsfree_root/firmware-sim/boards"

boards=("$@")
[ "${#boards[@]}" -gt 0 ] || boards=(*/)
for board in "${boards[@]}"; do
    board="${board%/}"
    target="$(sed -n 's/^target = "\(.*\)"/\1/p' "$board/.cargo/config.toml")"
    if [ ! -d "$(rustc --print target-libdir --target "$target")" ]; then
        command -v rustup >/dev/null || fail "rustc $(installed_rust_version) lacks $target: install Rust by https://rustup.rs, then: rustup target add $target"
        say "adding Rust target: $target"
        rustup target add "$target"
    fi
    (cd "$board" && cargo fmt --check && cargo build --locked --release --quiet)
    image="$board/target/$target/release/handsfree-$board"
    # The linker fails when a section does not fit; what is left is the stack.
    read -r text data bss _ < <(arm-none-eabi-size "$image" | tail -n 1)
    ram_kib="$(sed -n 's/.*RAM .*LENGTH = \([0-9]*\)K.*/\1/p' "$board/memory.x")"
    flash_kib="$(sed -n 's/.*FLASH .*LENGTH = \([0-9]*\)K.*/\1/p' "$board/memory.x")"
    printf 'boards: %s: flash %d of %d bytes, RAM %d of %d without stacks\n' "$board" $((text + data)) $((flash_kib * 1024)) \
        $((data + bss)) $((ram_kib * 1024))
    [ $((text + data)) -le $((flash_kib * 1024)) ] && [ $((data + bss)) -le $((ram_kib * 1024 - 32768)) ] \
        || fail "$board: expected 32 KiB of RAM for the stacks"
    if arm-none-eabi-nm "$image" | grep -E ' (malloc|_sbrk|__rust_alloc)$|alloc5alloc'; then fail "$board allocates"; fi
    # Each call of a panic, with the lines that were inlined at its place. The compiler gives each async function one, for an executor
    # that polls it again after its end.
    mapfile -t calls < <(arm-none-eabi-objdump --disassemble --demangle --no-show-raw-insn "$image" \
        | grep -v async_fn_resumed | sed -nE 's/^ *([0-9a-f]+):[[:space:]]+b(l|\.w|l\.w)?[[:space:]].*<(core::(panicking|cell::panic|option|result|slice)|__defmt_default_panic).*/0x\1/p')
    [ "${#calls[@]}" -gt 0 ] || fail "$board: no call of a panic was found: expected those of the HAL, so the search is wrong"
    lines="$(arm-none-eabi-addr2line --exe="$image" --inlines --functions --demangle "${calls[@]}")"
    # Only the core's own files: the standard library's paths have /core/src too.
    if grep -F -B 1 -e "$handsfree_root/core/src/" -e "$handsfree_root/hosts/dma/src/" <<< "$lines"; then
        fail "$board: expected no panic in the core and in handsfree-dma"
    fi
    printf 'boards: %s: %d calls of panics, none of them from the core or handsfree-dma\n' "$board" "${#calls[@]}"
done
