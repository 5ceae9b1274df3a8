//! Worker to anybody: levels and echo reduction while the terminal runs.

use std::sync::atomic::{AtomicU32, Ordering};

use handsfree_core::capture::{LevelMeter, Levels};

/// A frame of the loudspeaker counts as sound from this mean square on: -55 dBFS, full scale at 1.
const SOUNDS: f64 = 3.2e-6;
/// After its last sound the loudspeaker's echo still rings in the room for so many frames.
const RING_FRAMES: u32 = 20;
/// How much of a frame the sums take up: a memory of a second.
const UPTAKE: f64 = 0.01;
/// Frames with echo before a figure is given.
const LEAST_FRAMES: u32 = 50;
/// Frames without echo after which the figure is too old.
const STALE_FRAMES: u32 = 300;

/// What the worker measures; read from any thread.
///
/// `microphone` and `loudspeaker` are what the voice processor is given, `cleaned` is what leaves the
/// terminal, the chain included. The first two stand still while the voice processor is bypassed.
#[derive(Debug)]
pub struct Meters {
    /// What the microphone heard.
    pub microphone: Levels,
    /// What the loudspeaker played at that time.
    pub loudspeaker: Levels,
    /// What leaves the terminal.
    pub cleaned: Levels,
    erle_db: AtomicU32,
    drift_ppm: AtomicU32,
    reference_jumps: AtomicU32,
    voice_changes: AtomicU32,
}

/// The words of what is not known.
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

    /// How much quieter the voice processor makes the microphone while the loudspeaker sounds, in dB:
    /// the power that goes in over the power that comes out, averaged over the last second with echo.
    ///
    /// With nobody talking that is the echo return loss enhancement, and what the noise suppression takes
    /// out counts with it; a talker, and a gain control that raises what is left, make it smaller. `None`
    /// before half a second of echo was heard, and 3 s after the last of it.
    #[must_use]
    pub fn erle_db(&self) -> Option<f32> {
        known(&self.erle_db)
    }

    /// The loudspeaker's clock minus the microphone's, in ppm.
    #[must_use]
    pub fn drift_ppm(&self) -> Option<f32> {
        known(&self.drift_ppm)
    }

    /// How often the echo reference had to jump to another place, the first time included.
    #[must_use]
    pub fn reference_jumps(&self) -> u32 {
        self.reference_jumps.load(Ordering::Relaxed)
    }

    /// How often the voice processor was replaced.
    #[must_use]
    pub fn voice_changes(&self) -> u32 {
        self.voice_changes.load(Ordering::Relaxed)
    }

    /// By the worker alone.
    pub(crate) fn count_voice_change(&self) {
        self.voice_changes.store(self.voice_changes().wrapping_add(1), Ordering::Relaxed);
    }

    // Relaxed, here and above: each is one word, and nobody needs them to be of the same frame.
    pub(crate) fn show_clocks(&self, drift_ppm: Option<f64>, reference_jumps: u32) {
        self.drift_ppm.store(drift_ppm.map_or(UNKNOWN, |ppm| (ppm as f32).to_bits()), Ordering::Relaxed);
        self.reference_jumps.store(reference_jumps, Ordering::Relaxed);
    }
}

fn known(word: &AtomicU32) -> Option<f32> {
    Some(f32::from_bits(word.load(Ordering::Relaxed))).filter(|value| !value.is_nan())
}

/// Compares what goes into a voice processor with what comes out of it. Worker side.
#[derive(Debug)]
pub(crate) struct EchoMeter {
    meters: &'static Meters,
    microphone: LevelMeter<'static>,
    loudspeaker: LevelMeter<'static>,
    /// Of the frame that is being processed.
    heard: f64,
    /// Mean squares over the last second with echo.
    before: f64,
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
        self.since_sound = if mean_square(far) >= SOUNDS { 0 } else { self.since_sound.saturating_add(1) };
    }

    pub(crate) fn heard(&mut self, near: &[i16]) {
        self.microphone.measure(near);
        self.heard = mean_square(near);
    }

    pub(crate) fn cleaned(&mut self, near: &[i16]) {
        if self.since_sound <= RING_FRAMES {
            self.before += UPTAKE * (self.heard - self.before);
            self.after += UPTAKE * (mean_square(near) - self.after);
            self.frames_with_echo = self.frames_with_echo.saturating_add(1);
        }
        let is_known =
            self.frames_with_echo >= LEAST_FRAMES && self.since_sound < STALE_FRAMES && self.before > 0.0;
        // What is left is no more exact than a 16-bit sample.
        let erle_db = (10.0 * (self.before / self.after.max(1e-11)).log10()) as f32;
        self.meters.erle_db.store(if is_known { erle_db.to_bits() } else { UNKNOWN }, Ordering::Relaxed);
    }
}

/// Full scale at 1.
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
    fn the_reduction_is_that_of_the_power() {
        let (mut meter, meters) = meter();
        frames(&mut meter, LEAST_FRAMES - 1, [10_000, 1_000, 10]);
        assert_eq!(meters.erle_db(), None, "too early to tell");
        frames(&mut meter, 1, [10_000, 1_000, 10]);
        assert!((meters.erle_db().unwrap() - 40.0).abs() < 0.01, "{:?}", meters.erle_db());
        frames(&mut meter, 500, [10_000, 1_000, 100]);
        assert!((meters.erle_db().unwrap() - 20.0).abs() < 0.1, "{:?}", meters.erle_db());
    }

    #[test]
    fn what_is_heard_without_a_loudspeaker_does_not_count() {
        let (mut meter, meters) = meter();
        frames(&mut meter, 200, [10_000, 1_000, 10]);
        frames(&mut meter, 250, [0, 20_000, 20_000]);
        // Of these the first count as echo that still rings.
        let with_tail = meters.erle_db().unwrap();
        frames(&mut meter, 40, [0, 20_000, 20_000]);
        assert_eq!(meters.erle_db(), Some(with_tail), "a talker alone changes nothing");
        frames(&mut meter, 20, [0, 20_000, 20_000]);
        assert_eq!(meters.erle_db(), None, "it is too long ago");
    }

    #[test]
    fn complete_silence_is_no_division_by_zero() {
        let (mut meter, meters) = meter();
        frames(&mut meter, 100, [10_000, 0, 0]);
        assert_eq!(meters.erle_db(), None, "no echo, so nothing of it was taken out");
        frames(&mut meter, 100, [10_000, 30_000, 0]);
        assert!(meters.erle_db().unwrap().is_finite());
    }

    #[test]
    fn drift_is_unknown_until_it_is_told() {
        let meters = Meters::new();
        assert_eq!(meters.drift_ppm(), None);
        meters.show_clocks(Some(-123.5), 2);
        assert_eq!((meters.drift_ppm(), meters.reference_jumps()), (Some(-123.5), 2));
        meters.show_clocks(None, 3);
        assert_eq!(meters.drift_ppm(), None);
    }
}
