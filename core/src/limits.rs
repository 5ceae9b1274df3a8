//! Either side: the limits by which everything else is sized, and the relations between them.

use crate::time::Duration;

/// Frames in a second. A frame is 10 ms at every rate; this is the one place that defines it.
pub const FRAMES_PER_SECOND: u32 = 100;

/// Length of a frame in nanoseconds.
pub const FRAME_NS: i64 = 1_000_000_000 / FRAMES_PER_SECOND as i64;

/// Lowest sample rate a stream may have, in hertz.
pub const MIN_RATE_HZ: u32 = 8_000;

/// Highest sample rate a stream may have, in hertz.
pub const MAX_RATE_HZ: u32 = 192_000;

/// Lowest sample rate that a resampler converts from or to, in hertz; the highest is [`MAX_RATE_HZ`].
pub const MIN_RESAMPLER_RATE_HZ: u32 = 4_000;

/// Largest number of channels in a frame.
pub const MAX_CHANNELS: u8 = 8;

/// Largest number of channels in a device period; an intake uses at most [`MAX_CHANNELS`] of them.
pub const MAX_DEVICE_CHANNELS: u8 = 64;

/// Number of samples that an interrupt maps to other channels at a time, on the stack.
pub(crate) const MAPPED_SAMPLES: usize = 256;

/// Longest gap in seconds that counts as an xrun; a position that jumps further ahead is a counter fault.
pub const MAX_GAP_SECONDS: u32 = 60;

/// Largest number of frames of an outdated format that an outlet drops in one period before it plays silence.
pub const MAX_FOREIGN_PER_PERIOD: usize = 4;

/// Capacity of each queue of events plus one; events that do not fit are dropped and counted.
pub const EVENT_DEPTH: usize = 32;

/// Capacity of one track's queue of control commands plus one.
pub const COMMAND_DEPTH: usize = 8;

/// Number of separate stretches of a track that are tracked within the device's latency. Each pause,
/// starvation and interruption ends a stretch.
pub const PLAYOUT_STRETCHES: usize = 8;

/// Shortest fade of a pause or an interruption.
pub const MIN_FADE: Duration = Duration::from_millis(3);

/// Longest fade of a pause or an interruption: one frame.
pub const MAX_FADE: Duration = Duration::from_millis(10);

/// Number of retries of a processor that failed, before it stays bypassed.
pub const PROCESSOR_RETRIES: u8 = 3;

/// Frames that pass unprocessed before a failed processor is retried (1 s).
pub const PROCESSOR_BACKOFF_FRAMES: u16 = 100;

/// Longest time that a processor may take for one frame before it is bypassed.
pub const PROCESSOR_DEADLINE: Duration = Duration::from_nanos(2 * FRAME_NS);

/// Largest number of steps in one chain of frame processors.
pub const MAX_CHAIN_STEPS: usize = 32;

/// Longest time that a capture frame waits for a reference that is late.
pub const MAX_REFERENCE_WAIT: Duration = Duration::from_millis(100);

const _: () = {
    assert!(MAX_RATE_HZ.is_multiple_of(FRAMES_PER_SECOND));
    assert!(MIN_RATE_HZ.is_multiple_of(FRAMES_PER_SECOND));
    assert!(MAX_RATE_HZ / FRAMES_PER_SECOND <= u16::MAX as u32);
    assert!(MAX_CHANNELS <= MAX_DEVICE_CHANNELS);
    assert!(MAX_DEVICE_CHANNELS as usize <= MAPPED_SAMPLES);
    assert!(FRAME_NS * FRAMES_PER_SECOND as i64 == 1_000_000_000);
    assert!(PROCESSOR_DEADLINE.as_nanos() > FRAME_NS);
    // A chain has one bit of a word for each step.
    assert!(MAX_CHAIN_STEPS <= u32::BITS as usize);
};
