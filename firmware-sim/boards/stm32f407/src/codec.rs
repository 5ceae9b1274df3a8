//! The CS43L22, a converter for headphones, by its registers. Sections and pages are those of its datasheet (DS792F2).

use embassy_stm32::i2c::{Error, I2c, Master};
use embassy_stm32::mode::Blocking;

/// Address on the I2C bus with AD0 low (section 5.1).
const ADDRESS: u8 = 0x4a;

/// What is written, in this order: register and value.
const SET_UP: [(u8, u8); 13] = [
    // Power control 1: off while it is set up (section 4.9, steps 3 and 4; 7.2).
    (0x02, 0x01),
    // Required initialization (section 4.11).
    (0x00, 0x99),
    (0x47, 0x80),
    (0x32, 0xbb),
    (0x32, 0x3b),
    (0x00, 0x00),
    // Power control 2: headphones on, speaker off, always (section 7.3).
    (0x04, 0xaf),
    // Clocking control: the speed is found from the clocks (section 7.4).
    (0x05, 0x80),
    // Interface control 1: slave, I2S, up to 24 bits (section 7.5).
    (0x06, 0x04),
    // Headphone volume of both channels: 0 dB (page 51).
    (0x22, 0x00),
    (0x23, 0x00),
    // Master volume of both channels: -20 dB in steps of 0.5 dB, which is loud enough for headphones (page 51).
    (0x20, 0xd8),
    (0x21, 0xd8),
];
/// Power control 1: on (section 4.9, step 6; 7.2).
const POWER_ON: (u8, u8) = (0x02, 0x9e);

/// Sets the converter up. Its reset pin has just become high, and its clocks stand still.
pub fn set_up(bus: &mut I2c<'_, Blocking, Master>) -> Result<(), Error> {
    SET_UP.into_iter().try_for_each(|(register, value)| bus.blocking_write(ADDRESS, &[register, value]))
}

/// Switches the converter on. Its clocks must run before (section 4.9, step 5).
pub fn switch_on(bus: &mut I2c<'_, Blocking, Master>) -> Result<(), Error> {
    bus.blocking_write(ADDRESS, &[POWER_ON.0, POWER_ON.1])
}
