//! Worker side, with readers on any thread: levels and echo reduction while the terminal runs.

use std::sync::atomic::{AtomicU32, Ordering};

use handsfree_core::capture::{LevelMeter, Levels};

/// Mean square from which a loudspeaker frame counts as sound: -55 dBFS, with full scale 1. Quieter sound leaves no
/// echo that can be measured.
const SOUND_THRESHOLD: f64 = 3.2e-6;
/// Number of frames during which the room still reverberates after the loudspeaker's last sound: 200 ms.
const REVERBERATION_FRAMES: u32 = 20;
/// Weight of a new frame in the averages, which gives a time constant of one second.
const SMOOTHING: f64 = 0.01;
/// Number of frames with echo before echo reduction is reported: half a second, so that the average is
/// meaningful.
const MIN_ECHO_FRAMES: u32 = 50;
/// Number of frames without echo after which the echo reduction is outdated: 3 s.
const STALE_FRAMES: u32 = 300;

/// Figures that the worker measures and any thread may read.
///
/// `microphone` and `loudspeaker` are the levels of the voice processor's inputs. They keep their values while
/// the voice processor is bypassed. `cleaned` is the level of the terminal's output, behind the chain of frame
/// processors.
#[derive(Debug)]
pub struct Meters {
    /// Level of the microphone.
    pub microphone: Levels,
    /// Level of the echo reference: the loudspeaker's signal for the same microphone frame.
    pub loudspeaker: Levels,
    /// Level of the cleaned microphone.
    pub cleaned: Levels,
    erle_db: AtomicU32,
    drift_ppm: AtomicU32,
    reference_jumps: AtomicU32,
    voice_changes: AtomicU32,
}

/// Bits that stand for an unknown figure.
const UNKNOWN: u32 = f32::NAN.to_bits();

impl Meters {
    pub(crate) const fn new() -> Self {
        Self {
            microphone: Levels::new(),
            loudspeaker: Levels::new(),
            cleaned: Levels::new(),
            erle_db: AtomicU32::new(UNKNOWN),
            drift_ppm: AtomicU32::new(UNKNOWN),
            reference_jumps: AtomicU32::new(0),
            voice_changes: AtomicU32::new(0),
        }
    }

    /// Returns the echo reduction in dB: the voice processor's input power over its output power while the
    /// loudspeaker sounds, averaged over the last second with echo.
    ///
    /// Without a talker this is the echo return loss enhancement (ERLE), together with the effect of noise
    /// suppression. A talker makes it smaller, and so does a gain control that amplifies the residual echo.
    /// Returns `None` before half a second of echo, and from 3 s after the last echo.
    #[must_use]
    pub fn erle_db(&self) -> Option<f32> {
        known(&self.erle_db)
    }

    /// Returns the rate of the loudspeaker's clock minus that of the microphone's, in ppm; `None` until it is
    /// known, which takes some seconds.
    #[must_use]
    pub fn drift_ppm(&self) -> Option<f32> {
        known(&self.drift_ppm)
    }

    /// Returns how often the echo reference jumped to another position, including the first alignment.
    #[must_use]
    pub fn reference_jumps(&self) -> u32 {
        self.reference_jumps.load(Ordering::Relaxed)
    }

    /// Returns how often the voice processor was replaced; wraps at 2^32.
    #[must_use]
    pub fn voice_changes(&self) -> u32 {
        self.voice_changes.load(Ordering::Relaxed)
    }

    /// Counts a replacement of the voice processor. Worker side only.
    pub(crate) fn count_voice_change(&self) {
        self.voice_changes.store(self.voice_changes().wrapping_add(1), Ordering::Relaxed);
    }

    // Relaxed, here and above: each figure is one word, and readers may combine figures of different frames.
    pub(crate) fn show_clocks(&self, drift_ppm: Option<f64>, reference_jumps: u32) {
        self.drift_ppm.store(drift_ppm.map_or(UNKNOWN, |ppm| (ppm as f32).to_bits()), Ordering::Relaxed);
        self.reference_jumps.store(reference_jumps, Ordering::Relaxed);
    }
}

fn known(word: &AtomicU32) -> Option<f32> {
    Some(f32::from_bits(word.load(Ordering::Relaxed))).filter(|value| !value.is_nan())
}

/// Meter that compares a voice processor's input with its output. Worker side.
#[derive(Debug)]
pub(crate) struct EchoMeter {
    meters: &'static Meters,
    microphone: LevelMeter<'static>,
    loudspeaker: LevelMeter<'static>,
    /// Mean square of the current microphone frame before processing.
    heard: f64,
    /// Mean square before processing, over the last second with echo.
    before: f64,
    /// Mean square after processing, over the last second with echo.
    after: f64,
    frames_with_echo: u32,
    since_sound: u32,
}

impl EchoMeter {
    pub(crate) fn new(meters: &'static Meters) -> Self {
        Self {
            meters,
            microphone: LevelMeter::new(&meters.microphone),
            loudspeaker: LevelMeter::new(&meters.loudspeaker),
            heard: 0.0,
            before: 0.0,
            after: 0.0,
            frames_with_echo: 0,
            since_sound: STALE_FRAMES,
        }
    }

    pub(crate) fn played(&mut self, far: &[i16]) {
        self.loudspeaker.measure(far);
        self.since_sound =
            if mean_square(far) >= SOUND_THRESHOLD { 0 } else { self.since_sound.saturating_add(1) };
    }

    pub(crate) fn heard(&mut self, near: &[i16]) {
        self.microphone.measure(near);
        self.heard = mean_square(near);
    }

    pub(crate) fn cleaned(&mut self, near: &[i16]) {
        if self.since_sound <= REVERBERATION_FRAMES {
            self.before += SMOOTHING * (self.heard - self.before);
            self.after += SMOOTHING * (mean_square(near) - self.after);
            self.frames_with_echo = self.frames_with_echo.saturating_add(1);
        }
        let is_known =
            self.frames_with_echo >= MIN_ECHO_FRAMES && self.since_sound < STALE_FRAMES && self.before > 0.0;
        // The lower bound is below the power of the smallest 16-bit sample, and avoids a division by zero.
        let erle_db = (10.0 * (self.before / self.after.max(1e-11)).log10()) as f32;
        self.meters.erle_db.store(if is_known { erle_db.to_bits() } else { UNKNOWN }, Ordering::Relaxed);
    }
}

/// Returns the mean square with full scale 1.
fn mean_square(samples: &[i16]) -> f64 {
    let energy: u64 = samples.iter().map(|&s| u64::from(u32::from(s.unsigned_abs()).pow(2))).sum();
    energy as f64 / (samples.len().max(1) as f64 * f64::from(1u32 << 30))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter() -> (EchoMeter, &'static Meters) {
        let meters = Box::leak(Box::new(Meters::new()));
        (EchoMeter::new(meters), meters)
    }

    fn frames(meter: &mut EchoMeter, count: u32, [far, near, clean]: [i16; 3]) {
        for _ in 0..count {
            meter.played(&[far; 480]);
            meter.heard(&[near; 480]);
            meter.cleaned(&[clean; 480]);
        }
    }

    #[test]
    fn erle_is_the_ratio_of_powers() {
        let (mut meter, meters) = meter();
        frames(&mut meter, MIN_ECHO_FRAMES - 1, [10_000, 1_000, 10]);
        assert_eq!(meters.erle_db(), None, "too few frames with echo");
        frames(&mut meter, 1, [10_000, 1_000, 10]);
        assert!((meters.erle_db().unwrap() - 40.0).abs() < 0.01, "{:?}", meters.erle_db());
        frames(&mut meter, 500, [10_000, 1_000, 100]);
        assert!((meters.erle_db().unwrap() - 20.0).abs() < 0.1, "{:?}", meters.erle_db());
    }

    #[test]
    fn sound_without_echo_does_not_change_erle() {
        let (mut meter, meters) = meter();
        frames(&mut meter, 200, [10_000, 1_000, 10]);
        frames(&mut meter, 250, [0, 20_000, 20_000]);
        // The first of these frames count as echo, because the room still reverberates.
        let with_tail = meters.erle_db().unwrap();
        frames(&mut meter, 40, [0, 20_000, 20_000]);
        assert_eq!(meters.erle_db(), Some(with_tail), "a talker alone changes nothing");
        frames(&mut meter, 20, [0, 20_000, 20_000]);
        assert_eq!(meters.erle_db(), None, "the last echo is too long ago");
    }

    #[test]
    fn erle_stays_finite_in_complete_silence() {
        let (mut meter, meters) = meter();
        frames(&mut meter, 100, [10_000, 0, 0]);
        assert_eq!(meters.erle_db(), None, "there was no echo to remove");
        frames(&mut meter, 100, [10_000, 30_000, 0]);
        assert!(meters.erle_db().unwrap().is_finite());
    }

    #[test]
    fn drift_is_unknown_until_it_is_set() {
        let meters = Meters::new();
        assert_eq!(meters.drift_ppm(), None);
        meters.show_clocks(Some(-123.5), 2);
        assert_eq!((meters.drift_ppm(), meters.reference_jumps()), (Some(-123.5), 2));
        meters.show_clocks(None, 3);
        assert_eq!(meters.drift_ppm(), None);
    }
}
