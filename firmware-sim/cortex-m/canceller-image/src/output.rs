//! Figures as text, by semihosting. The formatting of `core` contains panics.

use cortex_m_semihosting::hio;

/// Prints a name and a number on a line.
pub(crate) fn figure(name: &str, value: u32) {
    let mut line = [0u8; 48];
    let mut digits = [0u8; 10];
    let (mut left, mut count) = (value, 0);
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
        count += 1;
        if left == 0 {
            break;
        }
    }
    let digits = digits.iter().skip(10 - count);
    let text = name.bytes().chain([b' ']).chain(digits.copied()).chain([b'\n']);
    let mut length = 0;
    for (to, byte) in line.iter_mut().zip(text) {
        *to = byte;
        length += 1;
    }
    if let (Ok(mut output), Some(line)) = (hio::hstdout(), line.get(..length)) {
        let _ = output.write_all(line);
    }
}
