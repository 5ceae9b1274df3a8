//! Worker side: finds which stretch of the played audio was at the loudspeaker while a captured frame was at
//! the microphone.

use crate::capture::processor::{EchoShift, VoiceProcessor};
use crate::dsp::fractional::{FullReader, MediumReader, QuickReader};
use crate::format::Format;
use crate::frame::{Frame, Stamp};
use crate::limits::MAX_REFERENCE_WAIT;
use crate::time::{Clock, Duration, Instant};
use crate::timing::{
    AcousticDelay, AcousticMemory, CorrectorInput, DelayEstimator, EchoEventOutput, EchoFrames,
    EchoReference, Observation, RateEstimate, Reading, ReferenceCorrector, ReferenceMemory, ReferenceQuality,
    StreamClock,
};

/// Default time by which the reference runs ahead of the microphone: more than timestamps err, less than a
/// canceller notices. AEC3 counts delays in blocks of 4 ms and restarts whenever it decides for another one,
/// the second of which begins at 6 ms: with 3 ms a reflection made it waver, for half a minute at worst.
const DEFAULT_LEAD: Duration = Duration::from_millis(2);

/// Number of consecutive frames with a late reference after which its timestamps are distrusted (1 s).
const DISTRUST_AFTER_FRAMES: u16 = 100;

/// Shortfall up to which a missing reference is expected within the next periods, so that waiting is
/// worthwhile.
const EXPECTED_SOON: Duration = Duration::from_millis(50);

/// Longest time that a frame waits until it is decided if the loudspeaker stalled. Then the reference is read where
/// it was expected.
const MAX_HOLD: Duration = Duration::from_millis(60);

/// Rate difference, as a fraction, up to which two clocks may be one clock that is measured twice.
const CLOCKS_DIFFER: f32 = 5e-6;
/// Rate difference up to which two clocks may be one, in standard deviations of both rates, in addition to
/// [`CLOCKS_DIFFER`].
const CLOCKS_DIFFER_SIGMAS: f32 = 6.0;

/// Outcome of reading the reference for a captured frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AlignedRead {
    /// The reference was read.
    Ready,
    /// The reference is not known yet, and the frame should wait for it.
    Wait,
    /// The reference is not known and the frame has waited long enough: silence takes its place.
    Missing,
}

/// A captured frame that needs its reference.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitingFrame {
    /// Position of the frame on the output.
    pub(crate) position: u64,
    /// Time at which the frame was taken from the ring.
    pub(crate) since: Option<Instant>,
    /// Time at which its interrupt completed it.
    pub(crate) arrived: Instant,
    /// Longest time that it may wait from then on.
    pub(crate) longest_wait: Duration,
    /// Whether no frame follows it in the ring.
    pub(crate) is_newest: bool,
}

/// The time of both directions: the history of what was played, the clock of each device, and what corrects
/// them.
///
/// Timestamps set the alignment; acoustic delay estimation, if memory was lent for it, corrects it.
#[derive(Debug)]
pub(crate) struct Alignment<'a, const CAP: usize> {
    reference: EchoReference<'a, CAP>,
    corrector: Option<ReferenceCorrector<'a, CAP>>,
    /// The microphone's clock; the loudspeaker's belongs to `reference`.
    clock: StreamClock,
    delay: DelayEstimator,
    /// A frame waited for the longest time; later frames do not until the reference is back.
    wait_expired: bool,
    /// Number of consecutive frames for which silence took the place of a late reference.
    late_frames: u16,
}

impl<'a, const CAP: usize> Alignment<'a, CAP> {
    pub(crate) fn new(
        memory: &'a mut ReferenceMemory<CAP>,
        history: &'a mut [i16],
        near: Format,
        far: Format,
    ) -> Self {
        Self {
            reference: EchoReference::new(memory, history, far, DEFAULT_LEAD),
            corrector: None,
            clock: StreamClock::new(near.rate()),
            delay: DelayEstimator::new(),
            wait_expired: false,
            late_frames: 0,
        }
    }

    /// Adds a frame that was played to the history.
    pub(crate) fn on_played<const SLOTS: usize>(&mut self, frame: &Frame<CAP, SLOTS>) {
        if frame.stamp.fresh {
            self.delay.reset_render();
        }
        self.delay.on_render(frame.stamp.latency);
        self.reference.push(frame);
        if let Some(by) = self.reference.take_undecided_jump() {
            if self.clock.shows_jump(by) {
                self.move_with_host(by);
            } else {
                self.reference.jump(by);
            }
        }
    }

    /// Applies a jump that the times of both devices show: that of the host's clock, or of both after a pause of the computer. It is
    /// the same for both, so that the reference stays where it is.
    #[cold]
    fn move_with_host(&mut self, by: Duration) {
        self.clock.move_with_host(by);
        self.reference.move_with_host(by);
    }

    /// Lets the latency and the microphone's clock learn from a captured frame with the stamp that it has on
    /// the output.
    pub(crate) fn on_captured(&mut self, stamp: &Stamp) {
        if stamp.fresh {
            self.delay.reset_capture();
            self.reference.forget_motion();
        }
        self.delay.on_capture(stamp.latency);
        if stamp.fresh
            && let Some(late) = self.clock.restart(stamp.position, stamp.time)
        {
            self.clock.jump(late);
            self.reference.doubt_position(self.clock.variances_ns2().0);
        }
        if let Observation::Jumped(by) = self.clock.observe(stamp.position, stamp.time) {
            if self.reference.clock().shows_jump(by) {
                self.move_with_host(by);
            } else {
                self.clock.jump(by);
                self.reference.doubt_position(self.clock.variances_ns2().0);
            }
        }
    }

    /// Reads what was played while the captured frame was at the microphone into `far`, in `format`. `clock` is
    /// read only if the reference is late.
    pub(crate) fn read<V: VoiceProcessor>(
        &mut self,
        frame: WaitingFrame,
        one_clock: bool,
        far: &mut Frame<CAP>,
        format: Format,
        clock: &impl Clock,
    ) -> AlignedRead {
        let WaitingFrame { position, since, arrived, longest_wait, is_newest } = frame;
        let locked = one_clock && !self.clocks_differ();
        // From its arrival, so that the frames behind one that waits do not each wait anew and fill the ring.
        let begun = since.map_or(arrived, |since| since.min(arrived));
        let mut reading = self.read_reference::<V>(position, locked, true, far, format);
        if reading == Reading::Undecided {
            if clock.now() - begun < MAX_HOLD {
                return AlignedRead::Wait;
            }
            reading = self.read_reference::<V>(position, locked, false, far, format);
        }
        match reading {
            Reading::Aligned | Reading::Jumped => {
                self.wait_expired = false;
                self.late_frames = 0;
                AlignedRead::Ready
            }
            Reading::Late | Reading::Undecided => {
                let waited = clock.now() - begun;
                self.wait_expired |= waited >= longest_wait;
                // Even after a wait that expired, the newest frame waits for a reference that is expected
                // soon: otherwise a reference that was away would never be found again.
                let soon = self.reference.shortfall(&self.clock, position) < EXPECTED_SOON;
                if waited < longest_wait && (!self.wait_expired || soon && is_newest) {
                    return AlignedRead::Wait;
                }
                self.count_late_frame(position);
                AlignedRead::Missing
            }
        }
    }

    fn read_reference<V: VoiceProcessor>(
        &mut self,
        position: u64,
        locked: bool,
        may_hold: bool,
        far: &mut Frame<CAP>,
        format: Format,
    ) -> Reading {
        // Known when compiled, so that only one kernel is linked.
        match V::reference_quality() {
            ReferenceQuality::Full => {
                self.reference.read::<FullReader>(&self.clock, position, locked, may_hold, far, format)
            }
            ReferenceQuality::Medium => {
                self.reference.read::<MediumReader>(&self.clock, position, locked, may_hold, far, format)
            }
            ReferenceQuality::Quick => {
                self.reference.read::<QuickReader>(&self.clock, position, locked, may_hold, far, format)
            }
        }
    }

    /// Distrusts the timestamps of a reference that is late for a second while the loudspeaker's frames keep
    /// coming: it is not late, but its times are wrong. From then on the newest reference is read, and the
    /// acoustic delay estimate finds the right place.
    fn count_late_frame(&mut self, position: u64) {
        let Some(corrector) = &mut self.corrector else { return };
        self.late_frames = self.late_frames.saturating_add(1);
        if self.late_frames < DISTRUST_AFTER_FRAMES {
            return;
        }
        self.late_frames = 0;
        let shift = self.reference.shortfall(&self.clock, position);
        if shift > Duration::ZERO && shift < self.delay.render_latency().abs() + MAX_REFERENCE_WAIT {
            corrector.distrust_timestamps(&mut self.reference, shift + MAX_REFERENCE_WAIT);
        }
    }

    /// Returns whether the measured rates contradict devices that claim to share a clock.
    fn clocks_differ(&self) -> bool {
        let (playback, capture) = (self.reference.clock(), &self.clock);
        let (Some(played), Some(captured)) = (playback.rate_variance(), capture.rate_variance()) else {
            return false;
        };
        let beyond = (capture.slower_than(playback).abs() - CLOCKS_DIFFER) / CLOCKS_DIFFER_SIGMAS;
        // Compares with the sum of both standard deviations by squares, without a root.
        let twice_product = beyond * beyond - (played + captured);
        beyond > 0.0 && twice_product > 0.0 && twice_product * twice_product > 4.0 * played * captured
    }

    /// Lets the acoustic delay estimate, if there is one, learn from an aligned pair of frames and correct
    /// the next reads. Tells the voice processor if the reference moves while the echo stays where it is.
    pub(crate) fn observe_echo<V: VoiceProcessor>(
        &mut self,
        frames: EchoFrames<'_>,
        voice: &mut V,
        output: EchoEventOutput<'_, '_>,
    ) {
        let Some(corrector) = &mut self.corrector else { return };
        let moved_alone = corrector.observe(CorrectorInput {
            frames,
            convergence: voice.echo_report().map(|report| report.convergence),
            reach: voice.reach(),
            reference: &mut self.reference,
            clock: &self.clock,
            delay: &mut self.delay,
            output,
        });
        if moved_alone {
            voice.on_reference_moved();
        }
    }

    /// Returns once the standard deviation of the position of the last reading, after a jump of a device's latency or a pause.
    pub(crate) fn take_uncertainty(&mut self) -> Option<Duration> {
        self.reference.take_uncertainty()
    }

    /// Lets the next read follow the echo, which the canceller found `shift` from its expected place in this frame.
    pub(crate) fn follow(&mut self, shift: EchoShift) {
        self.reference.follow(shift);
    }

    /// Corrects the alignment by the acoustic delay from now on. Named only where it is asked for, so that
    /// other images do not link it.
    pub(crate) fn use_acoustic_delay(&mut self, memory: &'a mut AcousticMemory, far: Format, near: Format) {
        self.corrector = Some(ReferenceCorrector::new(AcousticDelay::new(memory, far, near)));
    }

    pub(crate) const fn delay_estimator(&self) -> &DelayEstimator {
        &self.delay
    }

    /// Returns both clocks against the host's, playback first.
    pub(crate) fn rates(&self) -> Option<(RateEstimate, RateEstimate)> {
        Some((self.reference.rate()?, self.clock.rate()?))
    }

    /// Returns the loudspeaker's clock minus the microphone's in ppm, including the drift that only the echo
    /// shows.
    pub(crate) fn drift_ppm(&self) -> Option<f64> {
        let (playback, capture) = self.rates()?;
        Some(playback.ppm - capture.ppm + self.reference.hidden_drift_ppm())
    }

    pub(crate) const fn jumps(&self) -> u32 {
        self.reference.jumps()
    }

    pub(crate) fn lead(&self) -> Duration {
        self.reference.lead()
    }

    pub(crate) fn set_lead(&mut self, lead: Duration) {
        self.reference.set_lead(lead);
    }
}
