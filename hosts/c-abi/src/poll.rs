//! Worker side: the functions that process both directions in the main loop.

use core::slice;

use handsfree_core::Instant;
use handsfree_core::timing::RateEstimate;

use crate::error::handsfree_status::*;
use crate::error::{StatusResult, count};
use crate::sizes::HANDSFREE_POLL_SAMPLES;
use crate::speech::PollSink;
use crate::terminal::{alive, handsfree};

/// Uncertainty below which the drift is reported.
const SETTLED_PPM: f64 = 20.0;

/// Produces as many frames for the loudspeaker as its ring needs. Returns the number of frames, or an
/// error code. Call it whenever an interrupt completed a frame, and at least every few milliseconds.
///
/// # Safety
/// `terminal` is a terminal's memory or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_playback_poll(terminal: *mut handsfree) -> i32 {
    count(alive(terminal).map(|terminal| {
        // SAFETY: only the main loop uses the pipeline and the tracks.
        let (playback, pool) = unsafe { (&mut (*terminal).playback, &(*terminal).pool) };
        let frames = playback.poll();
        pool.dispatch();
        frames as u32
    }))
}

/// Processes what the microphone recorded and writes the cleaned samples to `samples`. `capacity` is the
/// length of `samples`, at least HANDSFREE_POLL_SAMPLES. `now_ns` is the present time on the clock of
/// the periods. Returns the number of samples written, or an error code.
///
/// # Safety
/// `terminal` is a terminal's memory or null, `samples` points to `capacity` samples or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_capture_poll(
    terminal: *mut handsfree,
    now_ns: i64,
    samples: *mut i16,
    capacity: usize,
) -> i32 {
    // SAFETY: by the contract above.
    count(unsafe { poll(terminal, now_ns, samples, capacity) })
}

/// Stores in `drift_ppb` how much faster the loudspeaker's clock runs than the microphone's, in parts
/// per billion. Returns 1 once the drift is known to within 20 ppm, 0 before that (`drift_ppb` is
/// unchanged then), or an error code.
///
/// # Safety
/// `terminal` is a terminal's memory or null, `drift_ppb` points to a number or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_drift(terminal: *mut handsfree, drift_ppb: *mut i32) -> i32 {
    count(alive(terminal).and_then(|terminal| {
        if drift_ppb.is_null() {
            return Err(HANDSFREE_ERROR_NULL);
        }
        if !drift_ppb.is_aligned() {
            return Err(HANDSFREE_ERROR_ALIGNMENT);
        }
        // SAFETY: only the main loop uses the pipeline.
        let capture = unsafe { &(*terminal).capture };
        let is_settled = |(playback, capture): &(RateEstimate, RateEstimate)| {
            playback.uncertainty_ppm + capture.uncertainty_ppm < SETTLED_PPM
        };
        let Some(drift_ppm) = capture.rates().filter(is_settled).and_then(|_| capture.drift_ppm()) else {
            return Ok(0);
        };
        // SAFETY: by the contract above.
        unsafe { drift_ppb.write((drift_ppm * 1e3) as i32) };
        Ok(1)
    }))
}

unsafe fn poll(
    terminal: *mut handsfree,
    now_ns: i64,
    samples: *mut i16,
    capacity: usize,
) -> StatusResult<u32> {
    let terminal = alive(terminal)?;
    if samples.is_null() {
        return Err(HANDSFREE_ERROR_NULL);
    }
    if !samples.is_aligned() {
        return Err(HANDSFREE_ERROR_ALIGNMENT);
    }
    if capacity < HANDSFREE_POLL_SAMPLES {
        return Err(HANDSFREE_ERROR_LENGTH);
    }
    // SAFETY: by the caller's contract; only the main loop uses the pipeline.
    let (samples, capture, polled) = unsafe {
        (slice::from_raw_parts_mut(samples, capacity), &mut (*terminal).capture, &mut (*terminal).polled)
    };
    let now = || Instant::from_nanos(now_ns);
    let mut sink = PollSink::new(samples, polled);
    capture.poll(&now, &mut sink);
    Ok(sink.delivered)
}
