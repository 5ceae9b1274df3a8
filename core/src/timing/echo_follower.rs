//! Worker side: what the echo itself says of the delay, turned into corrections of the reference.
//!
//! Timestamps can lie (Bluetooth, USB, HDMI). Where the echo is heard is the truth, but it takes
//! seconds of speech to be sure of it. So the times lead, and the ear corrects: a lag that the
//! canceller would mind is moved at once, drift that no timestamp shows is steered against.

use crate::frame::PcmRef;
use crate::time::Duration;
use crate::timing::acoustic_delay::AcousticDelay;
use crate::timing::delay_estimator::DelayEstimator;
use crate::timing::echo_reference::EchoReference;
use crate::timing::stream_clock::StreamClock;

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

/// What the ear hears of one frame, and what it corrects.
pub(crate) struct Hearing<'h, 'r, const CAP: usize> {
    pub(crate) far: PcmRef<'h>,
    pub(crate) near: PcmRef<'h>,
    pub(crate) reference: &'h mut EchoReference<'r, CAP>,
    /// The microphone's clock.
    pub(crate) clock: &'h StreamClock,
    pub(crate) delay: &'h mut DelayEstimator,
}

type Hear<const CAP: usize> = for<'a, 'h, 'r> fn(&mut EchoFollower<'a, CAP>, Hearing<'h, 'r, CAP>);
type Disbelieve<const CAP: usize> =
    for<'a, 'r> fn(&mut EchoFollower<'a, CAP>, &mut EchoReference<'r, CAP>, Duration);

/// Listens for the echo and corrects the reference.
///
/// What it does is called through pointers that only [`new`](Self::new) names, so that an image that
/// never listens does not link it: 64 KiB, with the double precision that nothing else needs.
#[derive(Debug)]
pub(crate) struct EchoFollower<'a, const CAP: usize> {
    hear: Hear<CAP>,
    disbelieve: Disbelieve<CAP>,
    ear: AcousticDelay<'a>,
    until_look: u16,
    seen_ppm: f64,
    looks: u8,
    confidence: f32,
}

impl<'a, const CAP: usize> EchoFollower<'a, CAP> {
    pub(crate) const fn new(ear: AcousticDelay<'a>) -> Self {
        Self {
            hear,
            disbelieve,
            ear,
            until_look: LOOK_EVERY_FRAMES,
            seen_ppm: 0.0,
            looks: 0,
            confidence: 0.0,
        }
    }

    /// Hears a frame of both directions.
    pub(crate) fn hear(&mut self, hearing: Hearing<'_, '_, CAP>) {
        (self.hear)(self, hearing);
    }

    /// Reads the reference so much later, for its times are not believed.
    pub(crate) fn disbelieve(&mut self, reference: &mut EchoReference<'_, CAP>, shift: Duration) {
        (self.disbelieve)(self, reference, shift);
    }

    /// What was really done about a correction.
    fn done(&mut self, correction: Correction) {
        if correction.shift != Duration::ZERO {
            self.ear.shifted(correction.shift);
        }
        if correction.slower_ppm != 0.0 {
            self.ear.steered(correction.slower_ppm);
        }
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

fn hear<const CAP: usize>(follower: &mut EchoFollower<'_, CAP>, hearing: Hearing<'_, '_, CAP>) {
    let Hearing { far, near, reference, clock, delay } = hearing;
    if let Some(correction) = correction(follower, far, near, reference, clock) {
        follower.done(reference.correct(correction));
    }
    if reference.later() != Duration::ZERO {
        delay.on_echo(reference.later(), follower.confidence);
    }
}

fn correction<const CAP: usize>(
    follower: &mut EchoFollower<'_, CAP>,
    far: PcmRef<'_>,
    near: PcmRef<'_>,
    reference: &EchoReference<'_, CAP>,
    clock: &StreamClock,
) -> Option<Correction> {
    follower.ear.observe(far, near);
    let echo = follower.ear.echo()?;
    follower.confidence = echo.confidence;
    if echo.confidence < TRUSTED {
        return None;
    }
    let lead = reference.lead();
    let off = echo.lag - lead;
    let mut correction = Correction::default();
    if off < -EARLY.min(lead) || off > LATE {
        correction.shift = echo.lag - lead.max(AIM);
    }
    follower.until_look = follower.until_look.saturating_sub(1);
    if follower.until_look == 0 {
        follower.until_look = LOOK_EVERY_FRAMES;
        let doubt_ppm = reference
            .rate()
            .zip(clock.rate())
            .map_or(0.0, |(playback, capture)| playback.uncertainty_ppm + capture.uncertainty_ppm);
        correction.slower_ppm = follower.look(doubt_ppm).unwrap_or(0.0);
    }
    (correction != Correction::default()).then_some(correction)
}

fn disbelieve<const CAP: usize>(
    follower: &mut EchoFollower<'_, CAP>,
    reference: &mut EchoReference<'_, CAP>,
    shift: Duration,
) {
    follower.done(reference.correct(Correction { shift, slower_ppm: 0.0 }));
}
