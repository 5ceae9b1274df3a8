//! Application side: the tracks that are played.

use core::slice;

use handsfree_core::{Duration, Gain, Instant};

use crate::error::handsfree_status::*;
use crate::error::{StatusResult, count, handsfree_status, status};
use crate::terminal::{OpenTrack, alive, handsfree};

/// Opens a track with the terminal's rate and the loudspeaker's channels, and stores its number in
/// `track`.
///
/// # Safety
/// `terminal` is a terminal's memory or null, `track` points to a number or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_track_open(terminal: *mut handsfree, track: *mut u32) -> handsfree_status {
    // SAFETY: by the contract above.
    status(unsafe { open(terminal, track) })
}

unsafe fn open(terminal: *mut handsfree, number: *mut u32) -> StatusResult<()> {
    let terminal = alive(terminal)?;
    if number.is_null() {
        return Err(HANDSFREE_ERROR_NULL);
    }
    // SAFETY: only the main loop uses them, and the pool does not move while a track exists.
    let (pool, tracks) = unsafe { (&(*terminal).pool, &mut (*terminal).tracks) };
    let slot = tracks.iter_mut().find(|slot| slot.is_none()).ok_or(HANDSFREE_ERROR_NO_TRACK)?;
    let track = pool.open()?;
    // SAFETY: by the caller's contract.
    unsafe { number.write_unaligned(track.id()) };
    *slot = Some(track);
    Ok(())
}

/// Queues `count` samples, a whole number of sample frames. Returns the number of samples accepted,
/// which is smaller than `count` when the queue is full, or an error code.
///
/// # Safety
/// `terminal` is a terminal's memory or null, `samples` points to `count` samples or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_track_push(
    terminal: *mut handsfree,
    track: u32,
    samples: *const i16,
    count: usize,
) -> i32 {
    // SAFETY: by the contract above.
    self::count(unsafe { push(terminal, track, samples, count) })
}

unsafe fn push(terminal: *mut handsfree, track: u32, samples: *const i16, count: usize) -> StatusResult<u32> {
    with(terminal, track, |track| {
        if samples.is_null() {
            return Err(HANDSFREE_ERROR_NULL);
        }
        if !samples.is_aligned() {
            return Err(HANDSFREE_ERROR_ALIGNMENT);
        }
        if !count.is_multiple_of(track.channels().max(1)) || count > isize::MAX as usize / 2 {
            return Err(HANDSFREE_ERROR_LENGTH);
        }
        // SAFETY: by the caller's contract.
        Ok(track.push(unsafe { slice::from_raw_parts(samples, count) })? as u32)
    })
}

/// Completes an utterance: queues the last samples even if they do not fill a frame of 10 ms. Without
/// this call after the last push, those samples wait for the next push. Returns HANDSFREE_ERROR_FULL
/// while the queue has no space.
///
/// # Safety
/// `terminal` is a terminal's memory or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_track_flush(terminal: *mut handsfree, track: u32) -> handsfree_status {
    status(with(terminal, track, |track| Ok(track.flush()?)))
}

/// Changes the track's gain within `ramp_ms` milliseconds. `gain_q16` is the gain in units of 1/65536,
/// from 0 to 64 * 65536.
///
/// # Safety
/// `terminal` is a terminal's memory or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_track_gain(
    terminal: *mut handsfree,
    track: u32,
    gain_q16: u32,
    ramp_ms: u32,
) -> handsfree_status {
    status(with(terminal, track, |track| {
        let gain = Gain::linear(gain_q16 as f32 / 65_536.0)?;
        Ok(track.set_gain(gain, Duration::from_millis(i64::from(ramp_ms)))?)
    }))
}

/// Pauses a track with a fade-out. Its queue is kept.
///
/// # Safety
/// `terminal` is a terminal's memory or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_track_pause(terminal: *mut handsfree, track: u32) -> handsfree_status {
    status(with(terminal, track, |track| {
        track.pause();
        Ok(())
    }))
}

/// Resumes a track where it was paused.
///
/// # Safety
/// `terminal` is a terminal's memory or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_track_resume(terminal: *mut handsfree, track: u32) -> handsfree_status {
    status(with(terminal, track, |track| {
        track.resume();
        Ok(())
    }))
}

/// Interrupts a track: fades it out and discards its queue.
///
/// # Safety
/// `terminal` is a terminal's memory or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_track_interrupt(terminal: *mut handsfree, track: u32) -> handsfree_status {
    status(with(terminal, track, |track| {
        track.interrupt();
        Ok(())
    }))
}

/// Stores in `heard` the number of sample frames of the track that the loudspeaker has played up to the
/// time `now_ns` on the clock of the periods.
///
/// # Safety
/// `terminal` is a terminal's memory or null, `heard` points to a number or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_track_heard(
    terminal: *mut handsfree,
    track: u32,
    now_ns: i64,
    heard: *mut u64,
) -> handsfree_status {
    status(with(terminal, track, |track| {
        if heard.is_null() {
            return Err(HANDSFREE_ERROR_NULL);
        }
        // SAFETY: by the contract above.
        unsafe { heard.write_unaligned(track.played_position(Instant::from_nanos(now_ns))) };
        Ok(())
    }))
}

/// Closes a track after its queue was played. Its number becomes invalid. Returns HANDSFREE_ERROR_FULL
/// while the queue has no space for the last samples; the track stays open then.
///
/// # Safety
/// `terminal` is a terminal's memory or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_track_finish(terminal: *mut handsfree, track: u32) -> handsfree_status {
    status(take(terminal, track, |slot, track| match track.finish() {
        Ok(()) => Ok(()),
        Err(track) => {
            *slot = Some(track);
            Err(HANDSFREE_ERROR_FULL)
        }
    }))
}

/// Closes a track at once with a fade-out. Its number becomes invalid.
///
/// # Safety
/// `terminal` is a terminal's memory or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_track_drop(terminal: *mut handsfree, track: u32) -> handsfree_status {
    status(take(terminal, track, |_, track| {
        drop(track);
        Ok(())
    }))
}

fn slot(terminal: *mut handsfree, number: u32) -> StatusResult<&'static mut Option<OpenTrack>> {
    let terminal = alive(terminal)?;
    // SAFETY: only the main loop uses the tracks, and every function ends its use before it returns.
    let tracks = unsafe { &mut (*terminal).tracks };
    let is_requested =
        |slot: &&mut Option<OpenTrack>| slot.as_ref().is_some_and(|track| track.id() == number);
    tracks.iter_mut().find(is_requested).ok_or(HANDSFREE_ERROR_UNKNOWN_TRACK)
}

fn with<T>(
    terminal: *mut handsfree,
    number: u32,
    work: impl FnOnce(&mut OpenTrack) -> StatusResult<T>,
) -> StatusResult<T> {
    work(slot(terminal, number)?.as_mut().ok_or(HANDSFREE_ERROR_UNKNOWN_TRACK)?)
}

fn take(
    terminal: *mut handsfree,
    number: u32,
    work: impl FnOnce(&mut Option<OpenTrack>, OpenTrack) -> StatusResult<()>,
) -> StatusResult<()> {
    let slot = slot(terminal, number)?;
    let track = slot.take().ok_or(HANDSFREE_ERROR_UNKNOWN_TRACK)?;
    work(slot, track)
}
