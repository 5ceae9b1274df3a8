//! Duplex I2S in one PIO state machine: one clock for both directions, and slots that cannot be exchanged.
//!
//! The program is the master. A slot has 32 bits, most significant first, and the word clock changes one bit before it (Philips
//! I2S). Each bit takes four cycles: the data changes at the falling edge of the bit clock and is read at the rising one. When
//! a FIFO is empty or full the state machine waits, and with it both clocks; so a late DMA stretches a sample frame and never
//! shifts the slots.

use embassy_rp::Peri;
use embassy_rp::peripherals::PIO0;
use embassy_rp::pio::program::pio_asm;
use embassy_rp::pio::{Common, Config, Direction, PioPin, ShiftConfig, ShiftDirection, StateMachine};
use embassy_rp::pio_programs::clock_divider::calculate_pio_clock_divider;

/// Cycles of the state machine in a bit.
const CYCLES_PER_BIT: u32 = 4;
/// Bits in a sample frame: two slots of 32.
const BITS_PER_SAMPLE_FRAME: u32 = 64;

/// Loads the program and starts the state machine. `bit_clock` and `word_clock` must be successive pins.
pub fn start<'d>(
    common: &mut Common<'d, PIO0>,
    machine: &mut StateMachine<'d, PIO0, 0>,
    rate_hz: u32,
    bit_clock: Peri<'d, impl PioPin + 'd>,
    word_clock: Peri<'d, impl PioPin + 'd>,
    loudspeaker: Peri<'d, impl PioPin + 'd>,
    microphone: Peri<'d, impl PioPin + 'd>,
) {
    // Of the two side-set bits the upper one is the word clock: low for the left slot.
    let program = pio_asm!(
        ".side_set 2",
        "    set x, 30       side 0b01",
        ".wrap_target",
        "left:",
        "    out pins, 1     side 0b00 [1]",
        "    in pins, 1      side 0b01",
        "    jmp x-- left    side 0b01",
        "    out pins, 1     side 0b10 [1]",
        "    in pins, 1      side 0b11",
        "    set x, 30       side 0b11",
        "right:",
        "    out pins, 1     side 0b10 [1]",
        "    in pins, 1      side 0b11",
        "    jmp x-- right   side 0b11",
        "    out pins, 1     side 0b00 [1]",
        "    in pins, 1      side 0b01",
        "    set x, 30       side 0b01",
        ".wrap",
    );
    let program = common.load_program(&program.program);
    let [bit_clock, word_clock] = [common.make_pio_pin(bit_clock), common.make_pio_pin(word_clock)];
    let [loudspeaker, microphone] = [common.make_pio_pin(loudspeaker), common.make_pio_pin(microphone)];
    let mut config = Config::default();
    config.use_program(&program, &[&bit_clock, &word_clock]);
    config.set_out_pins(&[&loudspeaker]);
    config.set_in_pins(&[&microphone]);
    let shift = ShiftConfig { threshold: 32, direction: ShiftDirection::Left, auto_fill: true };
    (config.shift_out, config.shift_in) = (shift, shift);
    // At 150 MHz and 16 kHz the divider, 36 + 159/256, is exact.
    config.clock_divider = calculate_pio_clock_divider(rate_hz * BITS_PER_SAMPLE_FRAME * CYCLES_PER_BIT);
    machine.set_config(&config);
    machine.set_pin_dirs(Direction::Out, &[&bit_clock, &word_clock, &loudspeaker]);
    machine.set_pin_dirs(Direction::In, &[&microphone]);
    machine.set_enable(true);
}
