//! Acoustic path from the loudspeaker to the microphone: attenuation, a delay and one reflection. Both
//! devices run on their own true clocks, whose drift the session has to estimate.

use core::sync::atomic::{AtomicBool, AtomicI16, Ordering};

use crate::{CAP, CAPTURE_TICKS, PLAYBACK_TICKS};

/// Delay of the direct sound, in sample frames.
pub const DELAY_SAMPLE_FRAMES: usize = 40;
/// Additional delay of the reflection, in sample frames.
pub const REFLECTION_SAMPLE_FRAMES: usize = 24;

/// Sample frames by which playback starts after capture.
pub const PLAYBACK_STARTS_LATER: u32 = 10;

const LEN: usize = 2_048;

/// Last samples that the loudspeaker played, by stream position modulo the length.
static PLAYED: [AtomicI16; LEN] = [const { AtomicI16::new(0) }; LEN];

/// Whether somebody talks beside the microphone.
static TALKS: AtomicBool = AtomicBool::new(false);

/// Number of microphone samples in which the loudspeaker's clock gains one sample.
const GAINS_ONE_IN: u32 = CAPTURE_TICKS / (CAPTURE_TICKS - PLAYBACK_TICKS) - 1;
const _: () = assert!(CAPTURE_TICKS / 25 * 9_999 == PLAYBACK_TICKS / 25 * 10_000 && GAINS_ONE_IN == 9_999);

/// Lets somebody talk beside the microphone, or be silent.
pub fn talk(talks: bool) {
    TALKS.store(talks, Ordering::Relaxed);
}

/// Returns what the talker says at a position: two tones that no noise of the loudspeaker has, with a mean square of
/// [`TALKER_MEAN_SQUARE`].
#[must_use]
pub fn talker(position: u32) -> i16 {
    // 500 and 1000 Hz at 16 kHz, as eighths of a period: 0, 0.7, 1, 0.7, ...
    let wave = |eighth: u32| [0, 1_414, 2_000, 1_414, 0, -1_414, -2_000, -1_414][eighth as usize % 8];
    wave(position / 4) + wave(position / 2)
}

/// Mean square of [`talker`].
pub const TALKER_MEAN_SQUARE: u32 = 4_000_000;

/// Plays the period that starts at `position`.
pub fn play(position: u32, samples: &[i16]) {
    for (index, &sample) in (position as usize..).zip(samples) {
        if let Some(cell) = PLAYED.get(index % LEN) {
            cell.store(sample, Ordering::Relaxed);
        }
    }
}

fn played(position: u32) -> i32 {
    PLAYED.get(position as usize % LEN).map_or(0, |cell| i32::from(cell.load(Ordering::Relaxed)))
}

/// Returns the played signal at `position + part / GAINS_ONE_IN`, interpolated linearly.
fn interpolated(position: u32, part: u32) -> i32 {
    let (low, high) = (played(position), played(position.wrapping_add(1)));
    low + (high - low) * part as i32 / GAINS_ONE_IN as i32
}

/// Fills `samples` with the microphone's period that starts at `position`.
pub fn capture(position: u32, samples: &mut [i16]) {
    // A written period plays during the following one.
    let delay = (2 * CAP + DELAY_SAMPLE_FRAMES) as u32 + PLAYBACK_STARTS_LATER;
    let talks = TALKS.load(Ordering::Relaxed);
    for (k, sample) in (position..).zip(samples) {
        let at = (k + k / GAINS_ONE_IN).wrapping_sub(delay);
        let part = k % GAINS_ONE_IN;
        *sample = ((interpolated(at, part)
            + interpolated(at.wrapping_sub(REFLECTION_SAMPLE_FRAMES as u32), part))
            / 4) as i16;
        if talks {
            *sample = sample.saturating_add(talker(k));
        }
    }
}
