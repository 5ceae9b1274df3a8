//! Figures as text and the image's argument, by semihosting. The formatting of `core` contains panics.

use cortex_m_semihosting::hio;

/// Number of frames of a conversation without an argument: 12 s.
const DEFAULT_FRAMES: u32 = 1_200;

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

/// Returns the image's argument, a number of frames.
pub(crate) fn argument() -> u32 {
    let mut text = [0u8; 32];
    let mut block = [text.as_mut_ptr() as usize, text.len()];
    // SAFETY: SYS_GET_CMDLINE takes the address and length of a buffer and fills that buffer.
    let status = unsafe { cortex_m_semihosting::syscall1(0x15, block.as_mut_ptr() as usize) };
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    let frames =
        digits.fold(0u32, |frames, &byte| frames.saturating_mul(10).saturating_add(u32::from(byte - b'0')));
    if status != 0 || frames == 0 { DEFAULT_FRAMES } else { frames.clamp(20, 1_000_000) }
}
