#!/usr/bin/env bash
# Builds the images for real boards (firmware-sim/boards), each a workspace of its own, and checks that they fit the chip's memory with the
# stack's upper bound, that nothing allocates, and that no line of the core, of handsfree-dma or of what the boards have in common calls a
# panic, also where it was inlined. HALs panic in places.
#   tools/boards.sh [BOARD...]     default: all
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$handsfree_root/firmware-sim/boards"
"$handsfree_root/tools/setup-firmware.sh" others

boards=("$@")
if [ "${#boards[@]}" -eq 0 ]; then
    mapfile -t boards < <(printf '%s\n' */.cargo/config.toml | cut -d/ -f1)
fi

# Prints origin and length of a region of a board's memory, in bytes. Where the HAL brings the linker's map, ours has another name.
region() {
    local map="$1/memory.x"
    [ -f "$map" ] || map="$1/chip.x"
    sed -nE "s/^ *$2 : ORIGIN = (0x[0-9a-f]+), LENGTH = ([0-9]+)K.*/\1 \2/p" "$map" \
        | { read -r origin kib && echo $((origin)) $((kib * 1024)); }
}

# Prints the bytes of the sections at the addresses of a region: of those that are loaded from flash, or of those that are in RAM.
used() {
    local image="$1" origin="$2" length="$3" column="$4" name size address loaded flags total=0
    while read -r _ name size address loaded _; do
        read -r flags
        [[ "$flags" == *ALLOC* && "$name" != .stack ]] || continue
        if [ "$column" = loaded ]; then
            [[ "$flags" == *LOAD* && "$flags" == *CONTENTS* ]] || continue
            total=$((total + 0x$size))
        elif [ $((0x$address)) -ge "$origin" ] && [ $((0x$address)) -lt $((origin + length)) ]; then
            total=$((total + 0x$size))
        fi
    done < <("$objdump" --section-headers "$image" | grep -E -A 1 '^ *[0-9]+ \.' | grep -v '^--')
    echo "$total"
}

for board in "${boards[@]}"; do
    board="${board%/}"
    target="$(sed -n 's/^target = "\(.*\)"/\1/p' "$board/.cargo/config.toml")"
    (cd "$board" && cargo fmt --check && cargo build --locked --release --quiet)
    image="$board/target/$target/release/handsfree-$board"
    if [[ "$target" == riscv* ]]; then
        tools=riscv64-unknown-elf
        executors=(--twice)
    else
        tools=arm-none-eabi
        mapfile -t executors < <(sed -nE 's/^unsafe fn ([A-Z0-9_]+)\(.*/\1/p' "$board/src/main.rs")
    fi
    objdump="$tools-objdump"

    read -r flash flash_bytes < <(region "$board" FLASH)
    read -r ram ram_bytes < <(region "$board" RAM)
    flash_used="$(used "$image" "$flash" "$flash_bytes" loaded)"
    ram_used="$(used "$image" "$ram" "$ram_bytes" address)"
    stack="$("$objdump" --disassemble --no-show-raw-insn "$image" \
        | "$handsfree_root/tools/stack_bound.py" "${executors[@]}")" || fail "$board: $stack"
    # The stack is in the RAM, unless the board has memory of its own for it.
    stack_bytes=$((ram_bytes - ram_used))
    if grep -qs '^_stack_start = ORIGIN(CCM)' "$board/memory.x"; then read -r _ stack_bytes < <(region "$board" CCM); fi
    printf 'boards: %s: flash %d of %d bytes, RAM %d of %d without the stack, stack at most %d of %d\n' "$board" "$flash_used" "$flash_bytes" \
        "$ram_used" "$ram_bytes" "$stack" "$stack_bytes"
    [ "$flash_used" -gt 100000 ] && [ "$ram_used" -gt 40000 ] || fail "$board: expected more than the prompt and a session, so the count is wrong"
    [ "$flash_used" -le "$flash_bytes" ] && [ "$ram_used" -le "$ram_bytes" ] && [ "$stack" -le "$stack_bytes" ] \
        || fail "$board: expected it to fit"

    if "$tools-nm" "$image" | grep -E ' (malloc|_sbrk|__rust_alloc)$|alloc5alloc'; then fail "$board allocates"; fi
    # Each call of a panic, with the lines that were inlined at its place. The compiler gives each async function one, for an executor
    # that polls it again after its end.
    mapfile -t calls < <("$objdump" --disassemble --demangle --no-show-raw-insn "$image" | grep -v async_fn_resumed \
        | sed -nE 's/^ *([0-9a-f]+):[[:space:]]+(b|bl|b\.w|bl\.w|j|jal|jalr|jr)[[:space:]].*<(core::(panicking|cell::panic|option|result|slice)|__defmt_default_panic).*/0x\1/p')
    [ "${#calls[@]}" -gt 0 ] || fail "$board: no call of a panic was found: expected those of the HAL, so the search is wrong"
    # The innermost line that is not the standard library's is where the panic was written.
    ours="$("$tools-addr2line" --exe="$image" --addresses --inlines --functions --demangle "${calls[@]}" \
        | awk -v core="$handsfree_root/core/src/" -v dma="$handsfree_root/hosts/dma/src/" -v common="$PWD/common/src/" '
            /^0x/ { found = 0; next }
            /^\// && !/:\?/ && !found && !/\/library\// {
                found = 1
                if (index($0, core) == 1 || index($0, dma) == 1 || index($0, common) == 1) print name, $0
            }
            { name = $0 }')"
    # The compiler shares one call among places, which then has no line. But each place is named in the image's read-only data. The name of
    # a file with asynchronous functions is there for them.
    while read -r file; do
        grep -q 'async fn' "$file" || ours+=" $file"
    done < <("$tools-objcopy" --dump-section .rodata=/dev/stdout "$image" /dev/null \
        | grep -aoE "$handsfree_root/(core|hosts/dma|firmware-sim/boards/common)/src/[a-z0-9_/]+\.rs" | sort -u)
    [ -z "$ours" ] || fail "$board: expected no panic in the core, in handsfree-dma and in what the boards have in common:" "$ours"
    printf 'boards: %s: %d calls of panics, none of them from handsfree\n' "$board" "${#calls[@]}"
done
