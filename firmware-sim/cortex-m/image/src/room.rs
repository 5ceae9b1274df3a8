//! From the loudspeaker to the microphone: attenuated, delayed, with one reflection, and on the true
//! clocks of both sides, which the session has to find out by itself.

use core::sync::atomic::{AtomicI16, Ordering};

use crate::{CAP, CAPTURE_TICKS, PLAYBACK_TICKS};

/// Sample frames that sound takes through the room.
pub const DELAY: usize = 40;
/// And the reflection so many more.
pub const REFLECTION: usize = 24;

/// Sample frames by which playback begins after capture.
pub const PLAYBACK_STARTS_LATER: u32 = 10;

const LEN: usize = 2_048;

/// What the loudspeaker played last, by its position.
static TAPE: [AtomicI16; LEN] = [const { AtomicI16::new(0) }; LEN];

/// Microphone samples in which the loudspeaker's clock gains one.
const GAINS_ONE_IN: u32 = CAPTURE_TICKS / (CAPTURE_TICKS - PLAYBACK_TICKS) - 1;
const _: () = assert!(CAPTURE_TICKS / 25 * 9_999 == PLAYBACK_TICKS / 25 * 10_000 && GAINS_ONE_IN == 9_999);

/// Plays the period that begins at a position.
pub fn play(position: u32, samples: &[i16]) {
    for (place, &sample) in (position as usize..).zip(samples) {
        if let Some(cell) = TAPE.get(place % LEN) {
            cell.store(sample, Ordering::Relaxed);
        }
    }
}

fn played(position: u32) -> i32 {
    TAPE.get(position as usize % LEN).map_or(0, |cell| i32::from(cell.load(Ordering::Relaxed)))
}

/// The sound at a position and a part of `GAINS_ONE_IN` behind it.
fn between(position: u32, part: u32) -> i32 {
    let (low, high) = (played(position), played(position.wrapping_add(1)));
    low + (high - low) * part as i32 / GAINS_ONE_IN as i32
}

/// What the microphone hears in the period that begins at a position.
pub fn hear(position: u32, samples: &mut [i16]) {
    // A period that is written plays during the one after.
    let late = (2 * CAP + DELAY) as u32 + PLAYBACK_STARTS_LATER;
    for (k, sample) in (position..).zip(samples) {
        let at = (k + k / GAINS_ONE_IN).wrapping_sub(late);
        let part = k % GAINS_ONE_IN;
        *sample = ((between(at, part) + between(at.wrapping_sub(REFLECTION as u32), part)) / 4) as i16;
    }
}
