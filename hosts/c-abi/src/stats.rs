//! Application side: the counters of a terminal.

use crate::error::handsfree_status::*;
use crate::error::{handsfree_status, status};
use crate::terminal::{alive, handsfree};

/// Counters of a terminal. They wrap at 2^32.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct handsfree_stats {
    /// Number of periods of the microphone.
    pub capture_periods: u32,
    /// Number of frames passed from the microphone to the main loop.
    pub capture_frames: u32,
    /// Number of frames dropped because the main loop did not process them in time.
    pub capture_overruns: u32,
    /// Number of jumps of the microphone's position.
    pub capture_gaps: u32,
    /// Number of periods of the loudspeaker.
    pub playback_periods: u32,
    /// Number of frames played.
    pub playback_frames: u32,
    /// Number of runs of silence because the main loop had produced no frame.
    pub playback_underruns: u32,
    /// Number of jumps of the loudspeaker's position.
    pub playback_gaps: u32,
    /// Number of frames delivered to the application.
    pub delivered_frames: u32,
    /// Number of sample frames of the echo reference that were lost.
    pub reference_lost_sample_frames: u32,
    /// Number of frames with a silent echo reference, because nothing played or the reference was late.
    pub reference_silence_frames: u32,
    /// Number of frames in which an open track had no samples.
    pub starved_frames: u32,
    /// Number of samples of the mix that were clipped.
    pub clipped_samples: u32,
    /// Delay from loudspeaker to microphone according to the devices' times, in microseconds.
    pub delay_us: u32,
    /// Total number of overruns, underruns, gaps and stalls.
    pub xruns: u32,
}

/// Stores the counters in `stats`. May be called in any context.
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
        // SAFETY: counters may be read in any context; the pointer is valid by the contract above.
        let current = unsafe { (*terminal).stats.read() };
        let found = handsfree_stats {
            capture_periods: current.intake.periods,
            capture_frames: current.intake.frames,
            capture_overruns: current.intake.overrun_frames,
            capture_gaps: current.intake.gaps,
            playback_periods: current.outlet.periods,
            playback_frames: current.outlet.frames,
            playback_underruns: current.outlet.underruns,
            playback_gaps: current.outlet.gaps,
            delivered_frames: current.capture.frames,
            reference_lost_sample_frames: current.capture.reference_lost_sample_frames,
            reference_silence_frames: current.capture.reference_silence_frames,
            starved_frames: current.playback.starved_frames,
            clipped_samples: current.playback.clipped_samples,
            delay_us: current.capture.delay_us,
            xruns: current.xruns(),
        };
        // SAFETY: by the contract above.
        unsafe { stats.write(found) };
        Ok(())
    }))
}
