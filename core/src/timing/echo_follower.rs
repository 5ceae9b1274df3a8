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
/// Where an echo is moved to that must be moved: late enough for what the ear errs by.
const AIM: Duration = Duration::from_millis(3);
/// Frames between two looks at the drift (1 s).
const LOOK_EVERY_FRAMES: u16 = 100;
/// Looks in a row that must see the same drift before it is steered against: clocks that are just
/// learning a new rate show a drift that passes.
const STEER_AFTER_LOOKS: u8 = 3;
/// Looks agree within this much of each other, or this many ppm.
const LOOKS_AGREE: f64 = 0.3;
/// Least certainty for steering.
const STEER_UNCERTAINTY_PPM: f64 = 20.0;
/// Drift that is certain by so many standard deviations is steered against.
const STEER_SIGMAS: f64 = 4.0;
/// Drift below this is left to the canceller, and to the clocks' own doubt.
const STEER_LEAST_PPM: f64 = 2.0;

/// What is to be changed about the reading of the reference.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Correction {
    /// Read so much later (older sound).
    pub(crate) shift: Duration,
    /// Read so much more slowly, in ppm.
    pub(crate) slower_ppm: f64,
}

type Hear = for<'a> fn(&mut EchoFollower<'a>, PcmRef<'_>, PcmRef<'_>, Duration, f64) -> Option<Correction>;

/// Listens for the echo and says what to change.
///
/// What it does is called through pointers that only [`new`](Self::new) names, so that an image that
/// never listens does not link it: some 40 KB.
#[derive(Debug)]
pub(crate) struct EchoFollower<'a> {
    hear: Hear,
    done: for<'b> fn(&mut EchoFollower<'b>, Correction),
    ear: AcousticDelay<'a>,
    until_look: u16,
    seen_ppm: f64,
    looks: u8,
    confidence: f32,
}

impl<'a> EchoFollower<'a> {
    pub(crate) const fn new(ear: AcousticDelay<'a>) -> Self {
        Self { hear, done, ear, until_look: LOOK_EVERY_FRAMES, seen_ppm: 0.0, looks: 0, confidence: 0.0 }
    }

    /// How sure the ear is, from 0 to 1.
    pub(crate) const fn confidence(&self) -> f32 {
        self.confidence
    }

    /// Hears a frame of both directions; `lead` is how far the reference is to be ahead, `doubt_ppm`
    /// how well the clocks know their own rates.
    pub(crate) fn hear(
        &mut self,
        far: PcmRef<'_>,
        near: PcmRef<'_>,
        lead: Duration,
        doubt_ppm: f64,
    ) -> Option<Correction> {
        (self.hear)(self, far, near, lead, doubt_ppm)
    }

    /// What was really done about a correction.
    pub(crate) fn done(&mut self, correction: Correction) {
        (self.done)(self, correction);
    }

    /// The drift to steer against, once it was seen often enough.
    fn look(&mut self, doubt_ppm: f64) -> Option<f64> {
        let drift = self.ear.drift()?;
        let least_ppm = (STEER_SIGMAS * (drift.uncertainty_ppm + doubt_ppm)).max(STEER_LEAST_PPM);
        let seen = drift.uncertainty_ppm < STEER_UNCERTAINTY_PPM && drift.ppm.abs() > least_ppm;
        let apart_ppm = (drift.ppm - self.seen_ppm).abs();
        let agrees = apart_ppm < (LOOKS_AGREE * drift.ppm.abs()).max(STEER_LEAST_PPM);
        self.looks = match (seen, agrees) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => self.looks + 1,
        };
        self.seen_ppm = drift.ppm;
        if self.looks < STEER_AFTER_LOOKS {
            return None;
        }
        self.looks = 0;
        Some(drift.ppm)
    }
}

fn hear(
    follower: &mut EchoFollower<'_>,
    far: PcmRef<'_>,
    near: PcmRef<'_>,
    lead: Duration,
    doubt_ppm: f64,
) -> Option<Correction> {
    follower.ear.observe(far, near);
    let echo = follower.ear.echo()?;
    follower.confidence = echo.confidence;
    if echo.confidence < TRUSTED {
        return None;
    }
    let off = echo.lag - lead;
    let mut correction = Correction::default();
    if off < -EARLY.min(lead) || off > LATE {
        correction.shift = echo.lag - lead.max(AIM);
    }
    follower.until_look = follower.until_look.saturating_sub(1);
    if follower.until_look == 0 {
        follower.until_look = LOOK_EVERY_FRAMES;
        correction.slower_ppm = follower.look(doubt_ppm).unwrap_or(0.0);
    }
    (correction != Correction::default()).then_some(correction)
}

fn done(follower: &mut EchoFollower<'_>, correction: Correction) {
    if correction.shift != Duration::ZERO {
        follower.ear.shifted(correction.shift);
    }
    if correction.slower_ppm != 0.0 {
        follower.ear.steered(correction.slower_ppm);
    }
}
