//! Control side: the sizes of a terminal. To use other sizes, change them here and rebuild the library.

/// Maximum number of samples in a frame of 10 ms, all channels together: one channel at 16 kHz.
pub const HANDSFREE_FRAME_SAMPLES: usize = 160;
/// Number of tracks that can play at the same time.
pub const HANDSFREE_TRACKS: usize = 2;
/// Number of frames of 10 ms that a track's queue holds.
pub const HANDSFREE_QUEUE_FRAMES: usize = 7;
/// Number of played samples that are kept as the echo reference: 250 ms.
pub const HANDSFREE_HISTORY_SAMPLES: usize = 4000;
/// Number of frames that each ring between an interrupt and the main loop holds.
pub const HANDSFREE_RING_FRAMES: usize = 3;
/// Maximum number of samples that one call of handsfree_capture_poll() delivers.
pub const HANDSFREE_POLL_SAMPLES: usize = 640;
/// Size of a terminal in words of eight bytes, for targets with pointers of 32 bits.
pub const HANDSFREE_MEMORY_WORDS_32: usize = 4096;
/// Size of a terminal in words of eight bytes, for targets with pointers of 64 bits.
pub const HANDSFREE_MEMORY_WORDS_64: usize = 4608;
/// Length of the echo that the echo canceller cancels, in milliseconds: 32 to 512.
pub const HANDSFREE_CANCELLER_TAIL_MS: u32 = 128;
/// Size of an echo canceller in words of eight bytes.
pub const HANDSFREE_CANCELLER_WORDS: usize = 7232;
/// Number of frames of 10 ms that a detector of speech keeps: 300 ms before the start of speech, 300 ms until it is
/// noticed, and 40 ms by which its reader may be late.
pub const HANDSFREE_SPEECH_FRAMES: usize = 64;
/// Size of a detector of speech in words of eight bytes.
pub const HANDSFREE_SPEECH_WORDS: usize = 4096;

const _: () = assert!(HANDSFREE_POLL_SAMPLES == (HANDSFREE_RING_FRAMES + 1) * HANDSFREE_FRAME_SAMPLES);
