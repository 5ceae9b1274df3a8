//! Worker side: what the echo itself says of the delay, turned into corrections of the reference.
//!
//! Timestamps can lie (Bluetooth, USB, HDMI). Where the echo is heard is the truth, but it takes
//! seconds of speech to be sure of it. So the times lead, and the ear corrects: a lag that the
//! canceller would mind is moved at once, drift that no timestamp shows is steered against.

use crate::frame::PcmRef;
use crate::time::Duration;
use crate::timing::acoustic_delay::AcousticDelay;

/// Confidence from which a lag is acted on.
const TRUSTED: f32 = 0.6;
/// An echo this much earlier than the lead is in danger of coming before its reference.
const EARLY: Duration = Duration::from_micros(1_500);
/// An echo this much later than the lead is beyond what cancellers search well by themselves; below
/// it a move would cost them more than it gains.
const LATE: Duration = Duration::from_millis(100);
/// Frames between two corrections of the rate (1 s).
const STEER_EVERY_FRAMES: u16 = 100;
/// Least certainty for steering.
const STEER_UNCERTAINTY_PPM: f64 = 20.0;
/// Drift that is certain by so many standard deviations is steered against.
const STEER_SIGMAS: f64 = 4.0;
/// Drift below this is left to the canceller.
const STEER_LEAST_PPM: f64 = 1.0;

/// What is to be changed about the reading of the reference.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Correction {
    /// Read so much later (older sound).
    pub(crate) shift: Duration,
    /// Read so much more slowly, in ppm.
    pub(crate) slower_ppm: f64,
}

/// Listens for the echo and says what to change.
#[derive(Debug)]
pub(crate) struct EchoFollower<'a> {
    ear: AcousticDelay<'a>,
    until_steering: u16,
    confidence: f32,
}

impl<'a> EchoFollower<'a> {
    pub(crate) const fn new(ear: AcousticDelay<'a>) -> Self {
        Self { ear, until_steering: STEER_EVERY_FRAMES, confidence: 0.0 }
    }

    /// How sure the ear is, from 0 to 1.
    pub(crate) const fn confidence(&self) -> f32 {
        self.confidence
    }

    /// Hears a frame of both directions; `lead` is how far the reference is to be ahead.
    pub(crate) fn hear(&mut self, far: PcmRef<'_>, near: PcmRef<'_>, lead: Duration) -> Option<Correction> {
        self.ear.observe(far, near);
        let echo = self.ear.echo()?;
        self.confidence = echo.confidence;
        if echo.confidence < TRUSTED {
            return None;
        }
        let off = echo.lag - lead;
        let mut correction = Correction::default();
        if off < -EARLY.min(lead) || off > LATE {
            correction.shift = off;
        }
        self.until_steering = self.until_steering.saturating_sub(1);
        if self.until_steering == 0 {
            self.until_steering = STEER_EVERY_FRAMES;
            correction.slower_ppm = self.drift_to_steer().unwrap_or(0.0);
        }
        (correction != Correction::default()).then_some(correction)
    }

    /// What was really done about a correction.
    pub(crate) fn done(&mut self, correction: Correction) {
        if correction.shift != Duration::ZERO {
            self.ear.shifted(correction.shift);
        }
        if correction.slower_ppm != 0.0 {
            self.ear.steered(correction.slower_ppm);
        }
    }

    fn drift_to_steer(&self) -> Option<f64> {
        let drift = self.ear.drift()?;
        let least_ppm = (STEER_SIGMAS * drift.uncertainty_ppm).max(STEER_LEAST_PPM);
        (drift.uncertainty_ppm < STEER_UNCERTAINTY_PPM && drift.ppm.abs() > least_ppm).then_some(drift.ppm)
    }
}
