//! Either side: the numbers everything else is sized by, and how they relate.

use crate::time::Duration;

/// Frames a second. A frame is 10 ms at every rate; this is the one place that says so.
pub const FRAMES_PER_SECOND: u32 = 100;

/// Length of a frame in nanoseconds.
pub const FRAME_NS: i64 = 1_000_000_000 / FRAMES_PER_SECOND as i64;

/// Lowest sample rate a stream may have, in hertz.
pub const MIN_RATE_HZ: u32 = 8_000;

/// Highest sample rate a stream may have, in hertz.
pub const MAX_RATE_HZ: u32 = 192_000;

/// Most channels a frame carries.
pub const MAX_CHANNELS: u8 = 8;

/// Most channels a device period may have; an intake picks at most [`MAX_CHANNELS`] of them.
pub const MAX_DEVICE_CHANNELS: u8 = 64;

/// A position that jumps ahead by more than this many seconds is not an xrun but a broken counter.
pub const MAX_GAP_SECONDS: u32 = 60;

/// Frames of a foreign format that an outlet drops in one period before it plays silence instead.
pub const MAX_FOREIGN_PER_PERIOD: usize = 4;

/// Events that wait for the application before further ones are dropped and counted.
pub const EVENT_DEPTH: usize = 32;

/// Control commands that wait in one track's queue.
pub const COMMAND_DEPTH: usize = 8;

/// Stretches of a track that are told apart within the device's latency: pauses, starvations and
/// interruptions break them.
pub const PLAYOUT_STRETCHES: usize = 8;

/// Shortest fade of a pause or an interruption.
pub const MIN_FADE: Duration = Duration::from_millis(3);

/// Longest fade of a pause or an interruption: a frame.
pub const MAX_FADE: Duration = Duration::from_millis(10);

/// How often a processor that failed is tried again before it stays bypassed.
pub const PROCESSOR_RETRIES: u8 = 3;

/// Frames that pass unprocessed before a failed processor is tried again (1 s).
pub const PROCESSOR_BACKOFF_FRAMES: u16 = 100;

/// A processor that takes longer than this for one frame is bypassed.
pub const PROCESSOR_DEADLINE: Duration = Duration::from_nanos(2 * FRAME_NS);

/// Most steps in one chain of frame processors.
pub const MAX_CHAIN_STEPS: usize = 32;

/// Longest time that a capture frame waits for a reference that is late.
pub const MAX_REFERENCE_WAIT: Duration = Duration::from_millis(100);

const _: () = {
    assert!(MAX_RATE_HZ.is_multiple_of(FRAMES_PER_SECOND));
    assert!(MIN_RATE_HZ.is_multiple_of(FRAMES_PER_SECOND));
    assert!(MAX_RATE_HZ / FRAMES_PER_SECOND <= u16::MAX as u32);
    assert!(MAX_CHANNELS <= MAX_DEVICE_CHANNELS);
    assert!(FRAME_NS * FRAMES_PER_SECOND as i64 == 1_000_000_000);
    assert!(PROCESSOR_DEADLINE.as_nanos() > FRAME_NS);
    // A chain remembers its steps in the bits of a word.
    assert!(MAX_CHAIN_STEPS <= u32::BITS as usize);
};
