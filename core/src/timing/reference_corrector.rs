//! Worker side: corrects the echo reference by the acoustic delay estimate, and notices an echo that is lost.
//!
//! Timestamps can be wrong (Bluetooth, USB, HDMI). The echo in the microphone is the truth, but a certain
//! estimate of it takes seconds of speech. So timestamps set the alignment, and acoustic delay estimation
//! corrects it: drift that no timestamp shows is steered against, and a reference that the canceller cannot use
//! is moved. A canceller that removes the echo outweighs both: its reference is left where it is.

use crate::audio_io::Direction;
use crate::event::{EventSender, SessionEvent};
use crate::format::SampleRate;
use crate::frame::PcmRef;
use crate::stats::CaptureCounters;
use crate::time::Duration;
use crate::timing::acoustic::AcousticDelay;
use crate::timing::cancellation_meter::{Cancellation, CancellationMeter};
use crate::timing::delay_estimator::DelayEstimator;
use crate::timing::echo_reference::{Correction, EchoReference};
use crate::timing::stream_clock::{RateEstimate, StreamClock};

/// Least confidence of a lag that is acted on.
const TRUSTED: f32 = 0.6;
/// An echo that is earlier than the lead by more than this may come before its reference.
const EARLY: Duration = Duration::from_micros(1_500);
/// An echo that is earlier than its reference by more than this is no error of the estimator (3 sigmas).
const SURELY_EARLY: Duration = Duration::from_micros(400);
/// An echo that is later than the lead by more than this is beyond the range that cancellers search well.
/// Below it, a shift would cost the canceller more than it gains.
const LATE: Duration = Duration::from_millis(100);
/// Distance from the lead up to which the echo is where the times say: the way through the air.
const SAME_PLACE: Duration = Duration::from_millis(15);
/// Least lag after a shift; covers the error of the estimator.
const TARGET_LAG: Duration = Duration::from_millis(3);
/// Active frames for which a canceller may fail to remove an echo within its reach before the reference is
/// moved for it (4 s). Most cancellers have found it by then, and would have to begin anew after a move.
const CHANCE_FRAMES: u16 = 400;
/// Convergence from which on a canceller's own report outweighs everything else: 6 dB of the echo are removed.
const CONVERGED: f32 = 0.75;
/// Convergence below which a canceller removes the echo only in part: 13 dB.
const PARTLY_BELOW: f32 = 0.95;
/// Successive active frames in which the echo is removed only in part (2 s) before the reference is moved to an echo out
/// of reach. A canceller that is still learning may finish within that time.
const PARTLY_FRAMES: u8 = 200;
/// Successive active frames in which the echo is removed (1 s) before it can be lost: what a suppressor does at first is no
/// cancellation.
const WORKING_FRAMES: u8 = 100;
/// Active frames without cancellation after which an echo that was removed before counts as lost (1.5 s).
const LOST_FRAMES: u16 = 150;
/// Active frames without a peak of the search after which a lost echo is searched elsewhere in the history
/// (6 s).
const SEARCH_FRAMES: u16 = 600;
/// Distance to the next stretch of the history that is searched: the range of the acoustic search with some
/// overlap.
const SEARCH_STEP: Duration = Duration::from_millis(900);
/// Rate error beyond which a device is not at the rate that it states, in ppm.
const UNTRUE_PPM: f64 = 20_500.0;
/// Uncertainty of a rate that is reported as untrue, in ppm.
const UNTRUE_UNCERTAINTY_PPM: f64 = 1_000.0;
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

/// One frame of the reference, and of the microphone before and after the voice processor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EchoFrames<'i> {
    pub(crate) far: PcmRef<'i>,
    pub(crate) before: PcmRef<'i>,
    pub(crate) after: PcmRef<'i>,
}

/// Where the corrector counts and reports what it finds.
pub(crate) struct EchoEventOutput<'i, 'e> {
    pub(crate) counters: &'i CaptureCounters,
    pub(crate) events: &'i mut EventSender<'e>,
    /// Nominal rate of the loudspeaker's device.
    pub(crate) played: SampleRate,
    /// Nominal rate of the microphone's device.
    pub(crate) captured: SampleRate,
}

impl EchoEventOutput<'_, '_> {
    fn report(self, event: SessionEvent) {
        match event {
            SessionEvent::EchoLost => self.counters.echo_lost.add(1),
            SessionEvent::EchoFound { .. } => self.counters.echo_found.add(1),
            _ => {}
        }
        self.events.send(event);
    }
}

/// One frame of both directions, and what the corrector acts on.
pub(crate) struct CorrectorInput<'i, 'r, 'e, const CAP: usize> {
    pub(crate) frames: EchoFrames<'i>,
    /// Part of the echo's power that the voice processor itself reports to remove.
    pub(crate) convergence: Option<f32>,
    /// Longest lag at which the voice processor cancels.
    pub(crate) reach: Duration,
    pub(crate) reference: &'i mut EchoReference<'r, CAP>,
    /// Clock of the microphone.
    pub(crate) clock: &'i StreamClock,
    pub(crate) delay: &'i mut DelayEstimator,
    pub(crate) output: EchoEventOutput<'i, 'e>,
}

type ObserveFn<const CAP: usize> =
    for<'a, 'i, 'r, 'e> fn(&mut ReferenceCorrector<'a, CAP>, CorrectorInput<'i, 'r, 'e, CAP>) -> bool;
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
    checked_ppm: f32,
    /// Number of successive checks that agreed on a drift.
    agreeing_checks: u8,
    confidence: f32,
    /// Last trusted lag of the echo against the reference.
    lag: Duration,
    meter: CancellationMeter,
    /// Number of successive active frames in which the echo was removed, up to [`WORKING_FRAMES`], which stays until the echo is
    /// lost.
    working_frames: u8,
    is_lost: bool,
    /// Number of successive active frames in which the canceller did not work.
    failing_frames: u16,
    /// Number of successive active frames in which the canceller removed the echo only in part.
    partly_frames: u8,
    /// Active frames since the search began where it is.
    searched_frames: u16,
    /// Shift at which a lost echo was searched first.
    search_from: Duration,
    /// Directions whose untrue rate was reported.
    untrue: [bool; 2],
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
            lag: Duration::ZERO,
            meter: CancellationMeter::new(),
            working_frames: 0,
            is_lost: false,
            failing_frames: 0,
            partly_frames: 0,
            searched_frames: 0,
            search_from: Duration::ZERO,
            untrue: [false; 2],
        }
    }

    /// Takes a frame of both directions, corrects the reference if needed, and reports an echo that was lost or
    /// found. Returns whether the reference was moved while the echo stayed where it was.
    pub(crate) fn observe(&mut self, input: CorrectorInput<'_, '_, '_, CAP>) -> bool {
        (self.observe)(self, input)
    }

    /// Reads the reference later by `shift`, because its timestamps are distrusted.
    pub(crate) fn distrust_timestamps(&mut self, reference: &mut EchoReference<'_, CAP>, shift: Duration) {
        (self.distrust)(self, reference, shift);
    }

    /// Reports a correction that was applied to the acoustic delay estimator.
    fn on_applied(&mut self, correction: Correction) {
        if correction.shift != Duration::ZERO {
            self.acoustic_delay.on_reference_shifted(correction.shift);
            self.lag = self.lag - correction.shift;
            self.meter.restart();
            self.failing_frames = 0;
            self.partly_frames = 0;
            self.searched_frames = 0;
        }
        if correction.slower_ppm != 0.0 {
            self.acoustic_delay.on_reference_steered(correction.slower_ppm);
        }
    }

    /// Returns whether the echo was removed since the start or since it was lost.
    const fn has_cancelled(&self) -> bool {
        self.working_frames >= WORKING_FRAMES
    }

    /// Checks the drift. Returns it once enough successive checks agree. `clock_uncertainty_ppm` is the
    /// uncertainty of the clocks' own ratio.
    fn check_drift(&mut self, clock_uncertainty_ppm: f64) -> Option<f64> {
        let drift = self.acoustic_delay.drift()?;
        let least_ppm = (STEER_SIGMAS * (drift.uncertainty_ppm + clock_uncertainty_ppm)).max(STEER_LEAST_PPM);
        let is_certain = drift.uncertainty_ppm < STEER_UNCERTAINTY_PPM && drift.ppm.abs() > least_ppm;
        let apart_ppm = (drift.ppm - f64::from(self.checked_ppm)).abs();
        let agrees = apart_ppm < (CHECKS_AGREE * drift.ppm.abs()).max(STEER_LEAST_PPM);
        self.agreeing_checks = match (is_certain, agrees) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => self.agreeing_checks + 1,
        };
        self.checked_ppm = drift.ppm as f32;
        if self.agreeing_checks < STEER_AFTER_CHECKS {
            return None;
        }
        self.agreeing_checks = 0;
        Some(drift.ppm)
    }
}

fn observe<const CAP: usize>(
    corrector: &mut ReferenceCorrector<'_, CAP>,
    input: CorrectorInput<'_, '_, '_, CAP>,
) -> bool {
    let CorrectorInput { frames, convergence, reach, reference, clock, delay, output } = input;
    corrector.acoustic_delay.observe(frames.far, frames.before);
    let mut event = corrector.weigh_cancellation(frames, convergence);
    // If a canceller worked until now and fails, the echo moved, and what it learned fits again after the correction.
    let echo_stayed = !corrector.has_cancelled() || corrector.failing_frames == 0;
    let mut correction = corrector.correction(reference, clock, reach);
    let moved_alone = correction.shift != Duration::ZERO && echo_stayed;
    if correction.shift != Duration::ZERO {
        event = Some(SessionEvent::EchoFound { lag_ms: 0 });
        corrector.is_lost = false;
    } else if corrector.is_lost {
        correction.shift = corrector.next_search(reference);
    }
    if correction != Correction::default() {
        corrector.on_applied(reference.correct(correction));
    }
    // The echo of a reference that is left where it is may be far from it.
    let apart = corrector.lag - reference.lead();
    let apart = if apart.abs() > SAME_PLACE { apart } else { Duration::ZERO };
    let later = reference.later() + apart;
    if later != Duration::ZERO {
        delay.on_echo(later, corrector.confidence);
    }
    if let Some(SessionEvent::EchoFound { lag_ms }) = &mut event {
        *lag_ms = whole_ms(later);
    }
    if let Some(event) = event.or_else(|| corrector.untrue_rate(reference, clock, &output)) {
        output.report(event);
    }
    moved_alone
}

impl<const CAP: usize> ReferenceCorrector<'_, CAP> {
    /// Counts for how long the canceller has not worked, and notices an echo that is lost or removed again.
    fn weigh_cancellation(
        &mut self,
        frames: EchoFrames<'_>,
        convergence: Option<f32>,
    ) -> Option<SessionEvent> {
        // A tone is cancelled at many delays, so it does not show that the reference fits.
        let shows_delay = self.acoustic_delay.hears_wide_sound();
        if !self.meter.observe(frames.far, frames.before, frames.after) || !shows_delay {
            return None;
        }
        self.searched_frames = self.searched_frames.saturating_add(1);
        self.failing_frames = self.failing_frames.saturating_add(1);
        let partly = convergence.is_some_and(|convergence| convergence < PARTLY_BELOW);
        self.partly_frames = if partly { self.partly_frames.saturating_add(1) } else { 0 };
        let converged = convergence.is_some_and(|convergence| convergence >= CONVERGED);
        if converged || self.meter.cancellation() == Cancellation::Works {
            self.failing_frames = 0;
            self.working_frames = (self.working_frames + 1).min(WORKING_FRAMES);
            let found = core::mem::take(&mut self.is_lost);
            return found.then_some(SessionEvent::EchoFound { lag_ms: 0 });
        }
        if !self.has_cancelled() {
            self.working_frames = 0;
        }
        let fails = self.meter.cancellation() == Cancellation::Fails;
        // A talker as loud as the echo hides the cancellation, but not the place of the echo.
        let lost = fails && self.failing_frames > LOST_FRAMES && self.acoustic_delay.has_lost_echo();
        if !lost || !self.has_cancelled() {
            return None;
        }
        self.working_frames = 0;
        self.is_lost = true;
        self.searched_frames = 0;
        Some(SessionEvent::EchoLost)
    }

    /// Returns the correction that the acoustic delay estimate calls for, if it is worth more than it costs the
    /// canceller.
    fn correction(
        &mut self,
        reference: &EchoReference<'_, CAP>,
        clock: &StreamClock,
        reach: Duration,
    ) -> Correction {
        let mut correction = Correction::default();
        let Some(echo) = self.acoustic_delay.echo() else { return correction };
        self.confidence = echo.confidence;
        if echo.confidence < TRUSTED {
            return correction;
        }
        let lead = reference.lead();
        let error = echo.lag - lead;
        self.lag = echo.lag;
        let early = echo.lag < (lead - EARLY).max(-SURELY_EARLY);
        let is_due = early || error > reach || error > LATE && self.failing_frames > CHANCE_FRAMES;
        let out_of_reach = echo.lag < -SURELY_EARLY || error > reach;
        let is_cut_off = out_of_reach && self.partly_frames >= PARTLY_FRAMES;
        if is_due && self.failing_frames > 0 || is_cut_off {
            correction.shift = echo.lag - lead.max(TARGET_LAG);
        }
        self.until_check = self.until_check.saturating_sub(1);
        if self.until_check == 0 {
            self.until_check = DRIFT_CHECK_FRAMES;
            let clock_uncertainty_ppm = reference
                .rate()
                .zip(clock.rate())
                .map_or(0.0, |(playback, capture)| playback.uncertainty_ppm + capture.uncertainty_ppm);
            // Clocks that learn a new rate will take away what would be steered against.
            if clock.learns_rate_again() || reference.clock().learns_rate_again() {
                self.agreeing_checks = 0;
            } else {
                correction.slower_ppm = self.check_drift(clock_uncertainty_ppm).unwrap_or(0.0);
            }
        }
        correction
    }

    /// Returns the shift to the next stretch of the history in which a lost echo is searched, when the current
    /// one has shown nothing: towards older sound, then from the start again.
    fn next_search(&mut self, reference: &EchoReference<'_, CAP>) -> Duration {
        if self.searched_frames < SEARCH_FRAMES || self.acoustic_delay.echo().is_some() {
            return Duration::ZERO;
        }
        self.searched_frames = 0;
        let later = reference.later();
        if later <= self.search_from {
            self.search_from = later;
        }
        if SEARCH_STEP < reference.longest_shift() { SEARCH_STEP } else { self.search_from - later }
    }

    /// Returns the event of a device that is not at the rate that it states.
    fn untrue_rate(
        &mut self,
        reference: &EchoReference<'_, CAP>,
        clock: &StreamClock,
        output: &EchoEventOutput<'_, '_>,
    ) -> Option<SessionEvent> {
        let directions = [
            (Direction::Playback, reference.rate(), output.played),
            (Direction::Capture, clock.rate(), output.captured),
        ];
        for ((direction, rate, nominal), reported) in directions.into_iter().zip(&mut self.untrue) {
            let Some(rate) = rate else { continue };
            let untrue = rate.ppm.abs() > UNTRUE_PPM && rate.uncertainty_ppm < UNTRUE_UNCERTAINTY_PPM;
            if untrue && !core::mem::replace(reported, true) {
                return Some(SessionEvent::RateUntrue { direction, rate_hz: measured_hz(rate, nominal) });
            }
            *reported &= rate.ppm.abs() > UNTRUE_PPM;
        }
        None
    }
}

fn measured_hz(rate: RateEstimate, nominal: SampleRate) -> u32 {
    libm::round(f64::from(nominal.hz()) * (1.0 + rate.ppm * 1e-6)) as u32
}

fn whole_ms(duration: Duration) -> i32 {
    i32::try_from((duration.as_micros() + 500).div_euclid(1_000)).unwrap_or(i32::MAX)
}

fn distrust<const CAP: usize>(
    corrector: &mut ReferenceCorrector<'_, CAP>,
    reference: &mut EchoReference<'_, CAP>,
    shift: Duration,
) {
    corrector.on_applied(reference.correct(Correction { shift, slower_ppm: 0.0 }));
}
