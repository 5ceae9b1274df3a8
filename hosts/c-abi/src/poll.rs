//! The main loop's side of both directions.

use core::slice;

use handsfree_core::timing::RateEstimate;
use handsfree_core::{Frame, Instant};

use crate::error::handsfree_status::*;
use crate::error::{Answer, count};
use crate::sizes::{HANDSFREE_FRAME_SAMPLES, HANDSFREE_POLL_SAMPLES};
use crate::terminal::{alive, handsfree};

/// Drift is told once it is known to within this.
const SETTLED_PPM: f64 = 20.0;

/// Makes frames for the loudspeaker as far as its ring wants them. Answers how many, or a code. To be
/// called whenever an interrupt completed a frame, at least every few milliseconds.
///
/// # Safety
/// `terminal` is a terminal's memory or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_playback_poll(terminal: *mut handsfree) -> i32 {
    count(alive(terminal).map(|terminal| {
        // SAFETY: the main loop's own.
        let (playback, pool) = unsafe { (&mut (*terminal).playback, &(*terminal).pool) };
        let made = playback.poll();
        pool.dispatch();
        made as u32
    }))
}

/// Processes what the microphone recorded. Answers how many samples it put to `samples`, which must have
/// room for HANDSFREE_POLL_SAMPLES, or a code. `now_ns` is the time, on the same clock as the periods'.
///
/// # Safety
/// `terminal` is a terminal's memory or null, `samples` points to `room` samples or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_capture_poll(
    terminal: *mut handsfree,
    now_ns: i64,
    samples: *mut i16,
    room: usize,
) -> i32 {
    // SAFETY: by the contract above.
    count(unsafe { poll(terminal, now_ns, samples, room) })
}

/// How much faster the loudspeaker's clock runs than the microphone's, in parts in 10^9, to `drift_ppb`.
/// Answers 1 once it is known to within 20 ppm, 0 before, or a code.
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
        // SAFETY: the pipeline is the main loop's own.
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

unsafe fn poll(terminal: *mut handsfree, now_ns: i64, samples: *mut i16, room: usize) -> Answer<u32> {
    let terminal = alive(terminal)?;
    if samples.is_null() {
        return Err(HANDSFREE_ERROR_NULL);
    }
    if !samples.is_aligned() {
        return Err(HANDSFREE_ERROR_ALIGNMENT);
    }
    if room < HANDSFREE_POLL_SAMPLES {
        return Err(HANDSFREE_ERROR_LENGTH);
    }
    // SAFETY: by the caller's contract; the pipeline is the main loop's own.
    let (samples, capture) = unsafe { (slice::from_raw_parts_mut(samples, room), &mut (*terminal).capture) };
    let mut places = samples.iter_mut();
    let mut delivered = 0;
    let now = || Instant::from_nanos(now_ns);
    capture.poll(&now, &mut |frame: &Frame<HANDSFREE_FRAME_SAMPLES>| {
        for (&sample, place) in frame.samples().iter().zip(places.by_ref()) {
            *place = sample;
            delivered += 1;
        }
    });
    Ok(delivered)
}
