//! Application side: configuration, statistics and errors of a synchronizer.

use core::fmt;

use crate::error::ConfigError;
use crate::time::Duration;

/// What happens to a frame that is still queued when a later one is due as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum WhenLate {
    /// It is discarded, so that what is shown belongs to what is heard. For display.
    #[default]
    Skip,
    /// It is delivered at once, if it is late by no more than the tolerance. For encoders that need every
    /// frame.
    Deliver,
}

/// Configuration of the pacing of video.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct AvSyncConfig {
    /// Frames a second, 0.1 to 1000: the pace of frames without a timestamp, and the unit in which the queue is
    /// measured.
    pub video_fps: f64,
    /// Video that may be queued, in milliseconds; rounded up to whole frames, at least one.
    pub video_queue_ms: u32,
    /// Delay beyond which video restarts its pacing, 1 to 60,000 ms.
    pub tolerance_ms: u32,
    /// What happens to frames that are late.
    pub when_late: WhenLate,
}

impl AvSyncConfig {
    /// Returns a configuration with a queue of 100 ms and a tolerance of 300 ms that skips late frames.
    #[must_use]
    pub const fn new(video_fps: f64) -> Self {
        Self { video_fps, video_queue_ms: 100, tolerance_ms: 300, when_late: WhenLate::Skip }
    }

    pub(super) fn period(&self) -> Result<Duration, ConfigError> {
        if !(0.1..=1_000.0).contains(&self.video_fps) {
            return Err(ConfigError::VideoRate { fps: self.video_fps });
        }
        Ok(Duration::from_nanos(libm::round(1e9 / self.video_fps) as i64))
    }

    pub(super) fn tolerance(&self) -> Result<Duration, ConfigError> {
        if !(1..=60_000).contains(&self.tolerance_ms) {
            return Err(ConfigError::VideoTolerance { tolerance_ms: self.tolerance_ms });
        }
        Ok(Duration::from_millis(i64::from(self.tolerance_ms)))
    }

    pub(super) fn queue_frames(&self, capacity: usize) -> Result<usize, ConfigError> {
        let frames = libm::ceil(self.video_fps * f64::from(self.video_queue_ms) / 1_000.0).max(1.0) as usize;
        if frames > capacity {
            let queue_ms = self.video_queue_ms;
            return Err(ConfigError::VideoQueue { queue_ms, frames, capacity });
        }
        Ok(frames)
    }
}

/// A frame that was refused, given back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PushError<V> {
    /// The queue is full until a frame is delivered.
    Full(V),
    /// The synchronizer was closed.
    Closed(V),
}

impl<V> PushError<V> {
    /// Returns the frame.
    pub fn into_frame(self) -> V {
        match self {
            Self::Full(frame) | Self::Closed(frame) => frame,
        }
    }
}

impl<V> fmt::Debug for PushError<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full",
            Self::Closed(_) => "Closed",
        })
    }
}

impl<V> fmt::Display for PushError<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the video queue is full",
            Self::Closed(_) => "the synchronizer is closed",
        })
    }
}

impl<V> core::error::Error for PushError<V> {}

/// Number of frames by outcome since the last reset. `pushed` is the sum of `delivered`, `discarded` and what
/// is queued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct AvSyncStats {
    /// Number of frames that were taken.
    pub pushed: u64,
    /// Number of frames that were delivered.
    pub delivered: u64,
    /// Number of frames that were discarded: skipped, cleared, or left when closed.
    pub discarded: u64,
    /// Number of times that video was behind by more than the tolerance and restarted its pacing.
    pub restarts: u64,
    /// Number of times that the audio was not where its clock predicted.
    pub audio_jumps: u64,
}
