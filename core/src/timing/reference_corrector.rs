//! Worker side: corrects the echo reference by the acoustic delay estimate.
//!
//! Timestamps can be wrong (Bluetooth, USB, HDMI). The echo in the microphone is the truth, but a certain
//! estimate of it takes seconds of speech. So timestamps set the alignment, and acoustic delay estimation
//! corrects it: a lag that would disturb the canceller is moved at once, and drift that no timestamp shows is
//! steered against.

use crate::frame::PcmRef;
use crate::time::Duration;
use crate::timing::acoustic::AcousticDelay;
use crate::timing::delay_estimator::DelayEstimator;
use crate::timing::echo_reference::{Correction, EchoReference};
use crate::timing::stream_clock::StreamClock;

/// Least confidence of a lag that is acted on.
const TRUSTED: f32 = 0.6;
/// An echo that is earlier than the lead by more than this may come before its reference.
const EARLY: Duration = Duration::from_micros(1_500);
/// An echo that is later than the lead by more than this is beyond the range that cancellers search well.
/// Below it, a shift would cost the canceller more than it gains.
const LATE: Duration = Duration::from_millis(100);
/// Least lag after a shift; covers the error of the estimator.
const TARGET_LAG: Duration = Duration::from_millis(3);
/// Frames between two checks of the drift (1 s).
const DRIFT_CHECK_FRAMES: u16 = 100;
/// Number of successive checks that must agree before the drift is steered against: clocks that are still
/// learning a new rate show a drift that passes.
const STEER_AFTER_CHECKS: u8 = 3;
/// Relative difference within which two checks agree; [`STEER_LEAST_PPM`] counts as agreement too.
const CHECKS_AGREE: f64 = 0.3;
/// Largest uncertainty of a drift that is steered against, in ppm.
const STEER_UNCERTAINTY_PPM: f64 = 20.0;
/// Least drift that is steered against, in standard deviations.
const STEER_SIGMAS: f64 = 4.0;
/// Least drift that is steered against, in ppm. Less is left to the canceller, and lies within the
/// uncertainty of the clocks.
const STEER_LEAST_PPM: f64 = 2.0;

/// One frame of both directions, and what the corrector acts on.
pub(crate) struct CorrectorInput<'i, 'r, const CAP: usize> {
    pub(crate) far: PcmRef<'i>,
    pub(crate) near: PcmRef<'i>,
    pub(crate) reference: &'i mut EchoReference<'r, CAP>,
    /// Clock of the microphone.
    pub(crate) clock: &'i StreamClock,
    pub(crate) delay: &'i mut DelayEstimator,
}

type ObserveFn<const CAP: usize> =
    for<'a, 'i, 'r> fn(&mut ReferenceCorrector<'a, CAP>, CorrectorInput<'i, 'r, CAP>);
type DistrustFn<const CAP: usize> =
    for<'a, 'r> fn(&mut ReferenceCorrector<'a, CAP>, &mut EchoReference<'r, CAP>, Duration);

/// Finds the echo and corrects the reference.
///
/// Its functions are called through pointers that only [`new`](Self::new) names, so that an image that does
/// not use it does not link it: 64 KiB, with double precision that nothing else needs.
#[derive(Debug)]
pub(crate) struct ReferenceCorrector<'a, const CAP: usize> {
    observe: ObserveFn<CAP>,
    distrust: DistrustFn<CAP>,
    acoustic_delay: AcousticDelay<'a>,
    /// Frames until the next check of the drift.
    until_check: u16,
    /// Drift found by the last check.
    checked_ppm: f64,
    /// Number of successive checks that agreed on a drift.
    agreeing_checks: u8,
    confidence: f32,
}

impl<'a, const CAP: usize> ReferenceCorrector<'a, CAP> {
    pub(crate) const fn new(acoustic_delay: AcousticDelay<'a>) -> Self {
        Self {
            observe,
            distrust,
            acoustic_delay,
            until_check: DRIFT_CHECK_FRAMES,
            checked_ppm: 0.0,
            agreeing_checks: 0,
            confidence: 0.0,
        }
    }

    /// Takes a frame of both directions and corrects the reference if needed.
    pub(crate) fn observe(&mut self, input: CorrectorInput<'_, '_, CAP>) {
        (self.observe)(self, input);
    }

    /// Reads the reference later by `shift`, because its timestamps are distrusted.
    pub(crate) fn distrust_timestamps(&mut self, reference: &mut EchoReference<'_, CAP>, shift: Duration) {
        (self.distrust)(self, reference, shift);
    }

    /// Reports a correction that was applied to the acoustic delay estimator.
    fn on_applied(&mut self, correction: Correction) {
        if correction.shift != Duration::ZERO {
            self.acoustic_delay.on_reference_shifted(correction.shift);
        }
        if correction.slower_ppm != 0.0 {
            self.acoustic_delay.on_reference_steered(correction.slower_ppm);
        }
    }

    /// Checks the drift. Returns it once enough successive checks agree. `clock_uncertainty_ppm` is the
    /// uncertainty of the clocks' own ratio.
    fn check_drift(&mut self, clock_uncertainty_ppm: f64) -> Option<f64> {
        let drift = self.acoustic_delay.drift()?;
        let least_ppm = (STEER_SIGMAS * (drift.uncertainty_ppm + clock_uncertainty_ppm)).max(STEER_LEAST_PPM);
        let is_certain = drift.uncertainty_ppm < STEER_UNCERTAINTY_PPM && drift.ppm.abs() > least_ppm;
        let apart_ppm = (drift.ppm - self.checked_ppm).abs();
        let agrees = apart_ppm < (CHECKS_AGREE * drift.ppm.abs()).max(STEER_LEAST_PPM);
        self.agreeing_checks = match (is_certain, agrees) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => self.agreeing_checks + 1,
        };
        self.checked_ppm = drift.ppm;
        if self.agreeing_checks < STEER_AFTER_CHECKS {
            return None;
        }
        self.agreeing_checks = 0;
        Some(drift.ppm)
    }
}

fn observe<const CAP: usize>(
    corrector: &mut ReferenceCorrector<'_, CAP>,
    input: CorrectorInput<'_, '_, CAP>,
) {
    let CorrectorInput { far, near, reference, clock, delay } = input;
    if let Some(correction) = correction(corrector, far, near, reference, clock) {
        corrector.on_applied(reference.correct(correction));
    }
    if reference.later() != Duration::ZERO {
        delay.on_echo(reference.later(), corrector.confidence);
    }
}

fn correction<const CAP: usize>(
    corrector: &mut ReferenceCorrector<'_, CAP>,
    far: PcmRef<'_>,
    near: PcmRef<'_>,
    reference: &EchoReference<'_, CAP>,
    clock: &StreamClock,
) -> Option<Correction> {
    corrector.acoustic_delay.observe(far, near);
    let echo = corrector.acoustic_delay.echo()?;
    corrector.confidence = echo.confidence;
    if echo.confidence < TRUSTED {
        return None;
    }
    let lead = reference.lead();
    let error = echo.lag - lead;
    let mut correction = Correction::default();
    if error < -EARLY.min(lead) || error > LATE {
        correction.shift = echo.lag - lead.max(TARGET_LAG);
    }
    corrector.until_check = corrector.until_check.saturating_sub(1);
    if corrector.until_check == 0 {
        corrector.until_check = DRIFT_CHECK_FRAMES;
        let clock_uncertainty_ppm = reference
            .rate()
            .zip(clock.rate())
            .map_or(0.0, |(playback, capture)| playback.uncertainty_ppm + capture.uncertainty_ppm);
        correction.slower_ppm = corrector.check_drift(clock_uncertainty_ppm).unwrap_or(0.0);
    }
    (correction != Correction::default()).then_some(correction)
}

fn distrust<const CAP: usize>(
    corrector: &mut ReferenceCorrector<'_, CAP>,
    reference: &mut EchoReference<'_, CAP>,
    shift: Duration,
) {
    corrector.on_applied(reference.correct(Correction { shift, slower_ppm: 0.0 }));
}
