//! What is played.

use core::slice;

use handsfree_core::{Duration, Gain, Instant};

use crate::error::handsfree_status::*;
use crate::error::{Answer, count, handsfree_status, status};
use crate::terminal::{OpenTrack, alive, handsfree};

/// Opens a track of the terminal's rate and the loudspeaker's channels. `track` gets its number.
///
/// # Safety
/// `terminal` is a terminal's memory or null, `track` points to a number or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_track_open(terminal: *mut handsfree, track: *mut u32) -> handsfree_status {
    // SAFETY: by the contract above.
    status(unsafe { open(terminal, track) })
}

unsafe fn open(terminal: *mut handsfree, number: *mut u32) -> Answer<()> {
    let terminal = alive(terminal)?;
    if number.is_null() {
        return Err(HANDSFREE_ERROR_NULL);
    }
    // SAFETY: the main loop's own; the pool stays where it is as long as any track.
    let (pool, tracks) = unsafe { (&(*terminal).pool, &mut (*terminal).tracks) };
    let place = tracks.iter_mut().find(|place| place.is_none()).ok_or(HANDSFREE_ERROR_NO_TRACK)?;
    let track = pool.open()?;
    // SAFETY: by the caller's contract.
    unsafe { number.write_unaligned(track.id()) };
    *place = Some(track);
    Ok(())
}

/// Queues samples, whole sample frames. Answers how many were taken, fewer where the queue is full, or a
/// code.
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

unsafe fn push(terminal: *mut handsfree, track: u32, samples: *const i16, count: usize) -> Answer<u32> {
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

/// Ends an utterance: hands on what does not fill a frame of 10 ms yet. To be called after its last push, or its
/// last frame waits for the next one. HANDSFREE_ERROR_FULL where the queue has no room for it yet.
///
/// # Safety
/// `terminal` is a terminal's memory or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_track_flush(terminal: *mut handsfree, track: u32) -> handsfree_status {
    status(with(terminal, track, |track| Ok(track.flush()?)))
}

/// Moves to a gain, from 0 to 65536 * 64 in 1/65536, within some milliseconds.
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

/// Fades out and keeps what is queued.
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

/// Goes on where it was paused.
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

/// Fades out and drops what is queued.
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

/// How many sample frames of the track had left the loudspeaker by a time, to `heard`.
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

/// Ends a track: what is queued is played, and its number is no more. HANDSFREE_ERROR_FULL where the queue
/// has no room for the tail yet; then it is still open.
///
/// # Safety
/// `terminal` is a terminal's memory or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_track_finish(terminal: *mut handsfree, track: u32) -> handsfree_status {
    status(take(terminal, track, |place, track| match track.finish() {
        Ok(()) => Ok(()),
        Err(track) => {
            *place = Some(track);
            Err(HANDSFREE_ERROR_FULL)
        }
    }))
}

/// Takes a track away, with a fade.
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

fn place(terminal: *mut handsfree, number: u32) -> Answer<&'static mut Option<OpenTrack>> {
    let terminal = alive(terminal)?;
    // SAFETY: tracks are the main loop's own, and every function ends its use before it returns.
    let tracks = unsafe { &mut (*terminal).tracks };
    let is_it = |place: &&mut Option<OpenTrack>| place.as_ref().is_some_and(|track| track.id() == number);
    tracks.iter_mut().find(is_it).ok_or(HANDSFREE_ERROR_UNKNOWN_TRACK)
}

fn with<T>(
    terminal: *mut handsfree,
    number: u32,
    work: impl FnOnce(&mut OpenTrack) -> Answer<T>,
) -> Answer<T> {
    work(place(terminal, number)?.as_mut().ok_or(HANDSFREE_ERROR_UNKNOWN_TRACK)?)
}

fn take(
    terminal: *mut handsfree,
    number: u32,
    work: impl FnOnce(&mut Option<OpenTrack>, OpenTrack) -> Answer<()>,
) -> Answer<()> {
    let place = place(terminal, number)?;
    let track = place.take().ok_or(HANDSFREE_ERROR_UNKNOWN_TRACK)?;
    work(place, track)
}
