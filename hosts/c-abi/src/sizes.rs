//! What a terminal has room for. Other sizes: change them here and build again.

/// Most samples of a frame of 10 ms, all channels: mono at 16 kHz.
pub const HANDSFREE_FRAME_SAMPLES: usize = 160;
/// Tracks that play at once.
pub const HANDSFREE_TRACKS: usize = 2;
/// Frames of 10 ms that a track's queue holds.
pub const HANDSFREE_QUEUE_FRAMES: usize = 7;
/// Samples of what was played that are kept to find its echo in: 250 ms.
pub const HANDSFREE_HISTORY_SAMPLES: usize = 4000;
/// Frames that each ring between an interrupt and the main loop holds.
pub const HANDSFREE_RING_FRAMES: usize = 3;
/// Samples that one call of handsfree_capture_poll() may deliver.
pub const HANDSFREE_POLL_SAMPLES: usize = 640;
/// Eight-byte words of memory for a terminal where pointers have 32 bits.
pub const HANDSFREE_MEMORY_WORDS_32: usize = 4096;
/// Eight-byte words of memory for a terminal where pointers have 64 bits.
pub const HANDSFREE_MEMORY_WORDS_64: usize = 4608;

const _: () = assert!(HANDSFREE_POLL_SAMPLES == (HANDSFREE_RING_FRAMES + 1) * HANDSFREE_FRAME_SAMPLES);
