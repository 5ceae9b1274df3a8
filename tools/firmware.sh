#!/usr/bin/env bash
# Builds the core as firmware, a Cortex-M4F image and C programs, runs them in QEMU and prints their figures.
#   tools/firmware.sh [SECONDS]     length of the board's run in simulated seconds; 60 by default
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$handsfree_root"
tools/setup-firmware.sh --check
seconds="${1:-60}"
target=thumbv7em-none-eabihf
image=firmware-sim/cortex-m
library=hosts/c-abi
warnings=(-std=c99 -Wall -Wextra -Werror -pedantic)

step() { printf '\nfirmware: %s\n' "$*"; }

step "building the core for processors without compare-and-swap and without floating point"
for other in thumbv6m-none-eabi riscv32imc-unknown-none-elf; do
    cargo build --locked --release -q -p handsfree-core -p handsfree-dma --target "$other" --features handsfree-core/defmt,handsfree-dma/defmt
    echo "  $other"
done

step "building and running the firmware images"
export DEFMT_LOG="${DEFMT_LOG:-info}"
(cd "$image" && cargo build --locked -q --release --target "$target" -p handsfree-image \
    && cargo build --locked -q --release --target "$target" -p handsfree-vectors-image \
    && cargo build --locked -q --release --target "$target" -p handsfree-canceller-image && cargo build --locked -q -p handsfree-runner)
runner="$image/target/debug/handsfree-runner"
"$runner" board "$seconds" "$image/target/$target/release"
"$runner" canceller "$image/target/$target/release/duplex"
"$runner" vectors "$image/target/$target/release/vectors"
"$runner" text cortex-m4 "$image/target/$target/release/rtic"
for processor in cortex-m4 cortex-m7; do "$runner" text "$processor" "$image/target/$target/release/dma"; done
"$runner" text fast-cortex-m4 "$image/target/$target/release/conversation"
"$runner" panics "$image/target/$target/release/dma" "$image/target/$target/release/conversation"

step "building and testing the C library"
(cd "$library" && cargo build --locked -q --release -p handsfree-c && cargo build --locked -q --release -p handsfree-c --target "$target" \
    && cargo build --locked -q --release -p handsfree-simulator && cargo run --locked -q -p handsfree-header -- --check)
"$runner" panics "$library/target/release/libhandsfree.a" "$library/target/$target/release/libhandsfree.a"
out="$library/target/c"
mkdir -p "$out"
arm-none-eabi-gcc "${warnings[@]}" -O2 -ffreestanding -nostdlib -mcpu=cortex-m4 -mthumb -mfpu=fpv4-sp-d16 \
    -mfloat-abi=hard -ffunction-sections -Wl,--gc-sections -Wl,-z,noexecstack -I"$library/include" \
    -T "$library/examples/firmware/board.ld" "$library"/examples/firmware/*.c \
    "$library/target/$target/release/libhandsfree.a" -o "$out/firmware.elf"
"$runner" panics "$out/firmware.elf"
"$runner" text cortex-m4 "$out/firmware.elf"
for program in tests/misuse tests/fuzz tests/simulator examples/host/simulated examples/host/duplex; do
    cc "${warnings[@]}" -O1 -I"$library/include" "$library/$program.c" "$library/target/release/libhandsfree.a" \
        "$library/target/release/libhandsfree_simulator.a" -lpthread -ldl -lm -o "$out/$(basename "$program")"
    "$out/$(basename "$program")"
done
for example in stm32 zephyr; do
    cc "${warnings[@]}" -O1 -I"$library/include" "$library/tests/$example.c" "$library/examples/$example/audio.c" \
        "$library/target/release/libhandsfree.a" -lpthread -ldl -lm -o "$out/$example"
    "$out/$example"
    arm-none-eabi-gcc "${warnings[@]}" -O2 -ffreestanding -mcpu=cortex-m7 -mthumb -mfpu=fpv5-d16 -mfloat-abi=hard -I"$library/include" \
        -c "$library/examples/$example/audio.c" -o "$out/$example.o"
    echo "  examples/$example compiles for a Cortex-M7"
done
quietly() { "$@" >> "$out/cmake.log" 2>&1 || { tail -n 30 "$out/cmake.log" >&2; exit 1; }; }
: > "$out/cmake.log"
rm -rf "$out/installed"
# Cargo does not build again what was built above. Without its results CMake has to call it.
shared="-DHANDSFREE_CARGO_TARGET_DIR=$PWD/$library/target"
rm -f "$library"/target/release/*.a
quietly cmake -S "$library" -B "$out/cmake" -DCMAKE_INSTALL_PREFIX="$PWD/$out/installed" "$shared"
quietly cmake --build "$out/cmake"
quietly ctest --test-dir "$out/cmake"
echo "  the CMake build passes the same tests"
quietly cmake --install "$out/cmake"
# Without the standard libraries, handsfree.pc must name every library that is needed besides the C library.
pc="$(dirname "$(find "$out/installed" -name handsfree.pc)")"
read -ra flags <<< "$(PKG_CONFIG_PATH='' PKG_CONFIG_LIBDIR="$pc" pkg-config --cflags --libs handsfree)"
cc "${warnings[@]}" "$library/tests/misuse.c" "${flags[@]}" -nodefaultlibs -lc -o "$out/installed/misuse"
"$out/installed/misuse"
echo "  a program that uses only pkg-config's handsfree works, version $(PKG_CONFIG_LIBDIR="$pc" pkg-config --modversion handsfree)"
rm -f "$library"/target/release/*.a
quietly cmake -S "$library/tests/consumer" -B "$out/consumer" "$shared"
quietly cmake --build "$out/consumer"
"$out/consumer/consumer"
echo "  a CMake project with handsfree as a subdirectory works"

step "all checks passed"
