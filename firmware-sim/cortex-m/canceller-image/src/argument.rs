//! The image's argument, by semihosting.

/// Number of frames of a conversation without an argument: 12 s.
const DEFAULT_FRAMES: u32 = 1_200;

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
