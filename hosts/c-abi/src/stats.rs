//! Counters.

use crate::error::handsfree_status::*;
use crate::error::{handsfree_status, status};
use crate::terminal::{alive, handsfree};

/// The counters of a terminal. They wrap.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct handsfree_stats {
    /// Periods of the microphone.
    pub capture_periods: u32,
    /// Frames handed to the main loop.
    pub capture_frames: u32,
    /// Frames dropped because the main loop did not take them.
    pub capture_overruns: u32,
    /// Jumps of the microphone's position.
    pub capture_gaps: u32,
    /// Periods of the loudspeaker.
    pub playback_periods: u32,
    /// Frames played.
    pub playback_frames: u32,
    /// Runs of silence because the main loop made nothing.
    pub playback_underruns: u32,
    /// Jumps of the loudspeaker's position.
    pub playback_gaps: u32,
    /// Frames delivered to the application.
    pub delivered_frames: u32,
    /// Sample frames of the reference that were lost.
    pub reference_lost_sample_frames: u32,
    /// Frames whose reference was silence, because nothing played or it was not known in time.
    pub reference_silence_frames: u32,
    /// Frames in which an open track had nothing to play.
    pub starved_frames: u32,
    /// Samples of the mix that were clipped.
    pub clipped_samples: u32,
    /// Loudspeaker to microphone, as told by the devices' times, in microseconds.
    pub delay_us: u32,
    /// Overruns, underruns and gaps in all.
    pub xruns: u32,
}

/// Reads the counters, in any context.
///
/// # Safety
/// `terminal` is a terminal's memory or null, `stats` points to counters or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_read_stats(
    terminal: *mut handsfree,
    stats: *mut handsfree_stats,
) -> handsfree_status {
    status(alive(terminal).and_then(|terminal| {
        if stats.is_null() {
            return Err(HANDSFREE_ERROR_NULL);
        }
        if !stats.is_aligned() {
            return Err(HANDSFREE_ERROR_ALIGNMENT);
        }
        // SAFETY: counters may be read by anybody; the rest is the contract above.
        let now = unsafe { (*terminal).stats.read() };
        let found = handsfree_stats {
            capture_periods: now.intake.periods,
            capture_frames: now.intake.frames,
            capture_overruns: now.intake.overrun_frames,
            capture_gaps: now.intake.gaps,
            playback_periods: now.outlet.periods,
            playback_frames: now.outlet.frames,
            playback_underruns: now.outlet.underruns,
            playback_gaps: now.outlet.gaps,
            delivered_frames: now.capture.frames,
            reference_lost_sample_frames: now.capture.reference_lost_sample_frames,
            reference_silence_frames: now.capture.reference_silence_frames,
            starved_frames: now.playback.starved_frames,
            clipped_samples: now.playback.clipped_samples,
            delay_us: now.capture.delay_us,
            xruns: now.xruns(),
        };
        // SAFETY: by the contract above.
        unsafe { stats.write(found) };
        Ok(())
    }))
}
