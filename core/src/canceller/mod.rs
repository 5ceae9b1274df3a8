//! Worker side: the echo canceller, which subtracts the loudspeaker's echo from the microphone and suppresses
//! what is left of it, while both sides speak.
//!
//! | part | algorithm |
//! |---|---|
//! | `kalman` | main filter: partitioned frequency-domain Kalman filter |
//! | `shadow` | shadow filter: normalised LMS, for changed echo paths |
//! | `loudspeaker_model` | what a loudspeaker adds to a linear echo, of the next four |
//! | `loudspeaker_curve` | curve of a loudspeaker that distorts, in front of the main filter |
//! | `far_end_width` | speech or tones |
//! | `least_squares` | fit of that curve |
//! | `band_echo` | power of the echo in bands, from the far end's power |
//! | `selection` | the quieter output, copies between the filters |
//! | `residual` | power of the echo that is left |
//! | `suppressor` | Wiener gains, near-end presence, comfort noise |
//! | `window` | windowed frames for the next two |
//! | `noise_reduction` | Wiener gains for the room's noise |
//! | `ceiling` | never louder than the microphone |
//! | `storage` | full or halved memory |
//!
//! [`EchoCanceller`] joins them, and [`echo_canceller!`](crate::echo_canceller!) sizes it.

mod band_echo;
mod bands;
mod ceiling;
mod far_end_width;
mod frame;
mod high_pass;
mod kalman;
mod lanes;
mod least_squares;
mod levels;
mod loudspeaker_curve;
mod loudspeaker_model;
mod noise_reduction;
mod path_shift;
mod reading;
mod residual;
mod selection;
mod settings;
mod shadow;
mod sizes;
mod sizing;
mod spectra;
mod storage;
mod subnormal;
mod suppressor;
mod window;

use self::frame::FrameMemory;
use self::high_pass::{HighPassShape, VoiceHighPass};
use self::kalman::KalmanFilter;
use self::loudspeaker_model::LoudspeakerModel;
use self::noise_reduction::NoiseReduction;
use self::path_shift::PathShift;
pub use self::reading::CancellerReading;
use self::residual::ResidualEcho;
use self::selection::OutputSelection;
pub use self::settings::CancellerSettings;
use self::shadow::ShadowFilter;
pub use self::sizing::CancellerSizing;
use self::sizing::MAX_LOUDSPEAKERS;
use self::spectra::ReferenceSpectra;
use self::storage::RandomBits;
pub use self::storage::{CancellerStorage, FullStorage, LeanStorage};
use self::suppressor::ResidualSuppressor;
use crate::capture::{EchoReport, EchoShift, ProcessError, VoiceProcessor, VoiceStats};
use crate::format::Format;
use crate::frame::{PcmMut, PcmRef};
use crate::limits::{FRAME_NS, FRAMES_PER_SECOND};
use crate::time::Duration;
use crate::timing::ReferenceQuality;

/// Echo canceller for one microphone and one or two loudspeaker channels, in full duplex.
///
/// [`echo_canceller!`](crate::echo_canceller!) defines its type from a rate and a tail. All its memory is in the
/// value: put it into a `static` and give [`Session::split`](crate::Session::split) a `&mut` of it.
/// [`new`](Self::new) is all zero bytes, so that a static needs no flash, and [`reset`](VoiceProcessor::reset)
/// works in place.
///
/// The reference must be aligned to the microphone, as [`capture::Pipeline`](crate::capture::Pipeline) does
/// it: the echo of a reverse frame begins in the capture frame of the same call. The output is 10 ms late, or
/// not late if [`suppressor`](CancellerSettings::suppressor) is off. No frame of the output has more than 0.4 dB
/// more energy than the microphone's of the same time.
///
/// ```
/// use handsfree_core::canceller::FullStorage;
/// use handsfree_core::capture::VoiceProcessor;
/// use handsfree_core::{Duration, Format, PcmMut, PcmRef};
///
/// handsfree_core::echo_canceller! {
///     type Canceller = EchoCanceller<FullStorage> { rate_hz: 8_000, tail_ms: 32 };
/// }
///
/// let format = Format::new(8_000, 1)?;
/// let mut canceller = Box::new(Canceller::new());
/// let mut noise = 1u32;
/// let mut loudest = 0;
/// for frame in 0..200 {
///     let far: [i16; 80] = std::array::from_fn(|_| {
///         noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
///         (noise >> 18) as i16 - 8_192
///     });
///     let mut near = far.map(|sample| sample / 2);
///     canceller.process_reverse(PcmRef { format, samples: &far })?;
///     canceller.process_capture(PcmMut { format, samples: &mut near }, Duration::ZERO)?;
///     if frame >= 100 {
///         loudest = near.iter().fold(loudest, |loudest, sample| sample.abs().max(loudest));
///     }
/// }
/// assert!(loudest < 100, "an echo of 4096 became {loudest}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct EchoCanceller<
    const HOP: usize,
    const BINS: usize,
    const PARTITIONS: usize,
    const SHADOW: usize,
    const LOUDSPEAKERS: usize = 1,
    S: CancellerStorage = FullStorage,
    const MODELS: usize = 0,
> {
    /// Settings in a form of which the default is 0.
    settings: StoredSettings,
    /// Whether the memory has its first values; `new` leaves them to the first frame.
    is_prepared: bool,
    /// Whether a reverse frame came since the last capture frame.
    has_far: bool,
    far_high_pass: [VoiceHighPass; LOUDSPEAKERS],
    near_high_pass: VoiceHighPass,
    far: [[f32; HOP]; LOUDSPEAKERS],
    last_far: [[f32; HOP]; LOUDSPEAKERS],
    reference: [ReferenceSpectra<S, BINS, PARTITIONS>; LOUDSPEAKERS],
    main: [KalmanFilter<S, BINS, PARTITIONS>; LOUDSPEAKERS],
    shadow: [ShadowFilter<S, BINS, SHADOW>; LOUDSPEAKERS],
    /// Expected power of the main filter's error: fast and slow mean.
    main_noise: [[f32; BINS]; 2],
    shadow_noise: [f32; BINS],
    main_power: f32,
    shadow_power: f32,
    path_change: f32,
    frames: u32,
    selection: OutputSelection,
    path_shift: PathShift,
    /// Likelihoods that the error of the last frame and of this one is echo: of a path that shifted, or of a loudspeaker's
    /// curve that changed.
    echo_error: [f32; 2],
    residual: ResidualEcho<BINS>,
    suppressor: ResidualSuppressor<BINS>,
    random: RandomBits,
    last_error: [f32; HOP],
    /// The linear output.
    linear: [f32; HOP],
    last_echo: [f32; HOP],
    overlap: [f32; HOP],
    /// Energy of the last microphone frame, for the output of that time.
    last_near_energy: f32,
    /// Energy of the last reverse frame, whose samples are in the newest reference spectrum too.
    last_far_energy: f32,
    /// Energy of the last output and of the microphone's frame of the same time.
    kept: (f32, f32),
    levels: levels::EchoLevels,
    path_changes: u32,
    divergences: u32,
    memory: FrameMemory<HOP, BINS>,
    noise_reduction: NoiseReduction<BINS>,
    /// The loudspeaker's model, if it is learned.
    model: [LoudspeakerModel<HOP, SHADOW, PARTITIONS>; MODELS],
}

/// Number of standard deviations by which an uncertain reference is assumed to be wrong.
const UNCERTAIN_SIGMAS: f32 = 2.0;

/// [`CancellerSettings`] of which the default is all zero bytes.
#[derive(Clone, Copy, Debug)]
struct StoredSettings {
    echo_over_talker: i8,
    no_suppressor: bool,
    no_comfort_noise: bool,
    noise_reduction_db: u8,
    no_high_pass: bool,
    no_correction: bool,
}

impl<
    const HOP: usize,
    const BINS: usize,
    const PARTITIONS: usize,
    const SHADOW: usize,
    const LOUDSPEAKERS: usize,
    S: CancellerStorage,
    const MODELS: usize,
> EchoCanceller<HOP, BINS, PARTITIONS, SHADOW, LOUDSPEAKERS, S, MODELS>
{
    const HIGH_PASS: HighPassShape = HighPassShape::new(HOP);

    /// Returns a canceller with default settings that has learned nothing. All its bytes are 0.
    #[must_use]
    pub const fn new() -> Self {
        const {
            assert!(
                matches!(HOP, 80 | 160 | 320 | 480) && BINS == HOP + 1,
                "HOP: expected 80, 160, 320 or 480"
            );
            assert!(PARTITIONS >= 2 && SHADOW >= 1 && SHADOW <= PARTITIONS);
            assert!(
                MODELS == 0 || MODELS == 1 && LOUDSPEAKERS == 1,
                "MODELS: expected 0, or 1 with one loudspeaker"
            );
            assert!(LOUDSPEAKERS >= 1 && LOUDSPEAKERS <= MAX_LOUDSPEAKERS);
        }
        Self {
            settings: StoredSettings {
                echo_over_talker: 0,
                no_suppressor: false,
                no_comfort_noise: false,
                noise_reduction_db: 0,
                no_high_pass: false,
                no_correction: false,
            },
            is_prepared: false,
            has_far: false,
            far_high_pass: [VoiceHighPass::new(); LOUDSPEAKERS],
            near_high_pass: VoiceHighPass::new(),
            far: [[0.0; HOP]; LOUDSPEAKERS],
            last_far: [[0.0; HOP]; LOUDSPEAKERS],
            reference: [const { ReferenceSpectra::new() }; LOUDSPEAKERS],
            main: [const { KalmanFilter::new() }; LOUDSPEAKERS],
            shadow: [const { ShadowFilter::new() }; LOUDSPEAKERS],
            main_noise: [[0.0; BINS]; 2],
            shadow_noise: [0.0; BINS],
            main_power: 0.0,
            shadow_power: 0.0,
            path_change: 0.0,
            frames: 0,
            selection: OutputSelection::new(),
            path_shift: PathShift::new(),
            echo_error: [0.0; 2],
            residual: ResidualEcho::new(),
            suppressor: ResidualSuppressor::new(),
            random: RandomBits::new(),
            last_error: [0.0; HOP],
            linear: [0.0; HOP],
            last_echo: [0.0; HOP],
            overlap: [0.0; HOP],
            last_near_energy: 0.0,
            last_far_energy: 0.0,
            kept: (0.0, 0.0),
            levels: levels::EchoLevels::new(),
            path_changes: 0,
            divergences: 0,
            memory: FrameMemory::new(),
            noise_reduction: NoiseReduction::new(),
            model: [const { LoudspeakerModel::new() }; MODELS],
        }
    }

    /// Changes the settings from the next frame on; what was learned stays.
    pub fn configure(&mut self, settings: CancellerSettings) {
        self.settings = StoredSettings {
            echo_over_talker: settings.echo_over_talker,
            no_suppressor: !settings.suppressor,
            no_comfort_noise: !settings.comfort_noise,
            noise_reduction_db: settings.noise_reduction_db,
            no_high_pass: !settings.high_pass,
            no_correction: !settings.corrected_linear,
        };
    }

    /// Returns the settings.
    #[must_use]
    pub const fn settings(&self) -> CancellerSettings {
        CancellerSettings {
            echo_over_talker: self.settings.echo_over_talker,
            suppressor: !self.settings.no_suppressor,
            comfort_noise: !self.settings.no_comfort_noise,
            noise_reduction_db: self.settings.noise_reduction_db,
            high_pass: !self.settings.no_high_pass,
            corrected_linear: !self.settings.no_correction,
        }
    }

    /// Returns the samples of the last frame without residual suppression: the linear output, for speech
    /// recognition. It is 10 ms earlier than the output with suppression.
    pub fn linear(&self) -> impl ExactSizeIterator<Item = i16> {
        self.linear.iter().map(|&x| ceiling::to_i16(x))
    }

    /// Checks a frame's format and length.
    fn check(found: Format, samples: usize, channels: usize) -> Result<(), ProcessError> {
        let rate_hz = HOP as u32 * FRAMES_PER_SECOND;
        if found.rate_hz() != rate_hz || found.channels() != channels {
            return Err(match Format::new(rate_hz, channels as u32) {
                Ok(expected) => ProcessError::Format { expected, found },
                Err(_) => ProcessError::Length { expected: HOP * channels, found: samples },
            });
        }
        let expected = HOP * channels;
        if samples != expected {
            return Err(ProcessError::Length { expected, found: samples });
        }
        Ok(())
    }
}

impl<
    const HOP: usize,
    const BINS: usize,
    const PARTITIONS: usize,
    const SHADOW: usize,
    const LOUDSPEAKERS: usize,
    S: CancellerStorage,
    const MODELS: usize,
> Default for EchoCanceller<HOP, BINS, PARTITIONS, SHADOW, LOUDSPEAKERS, S, MODELS>
{
    fn default() -> Self {
        Self::new()
    }
}

impl<
    const HOP: usize,
    const BINS: usize,
    const PARTITIONS: usize,
    const SHADOW: usize,
    const LOUDSPEAKERS: usize,
    S: CancellerStorage,
    const MODELS: usize,
> VoiceProcessor for EchoCanceller<HOP, BINS, PARTITIONS, SHADOW, LOUDSPEAKERS, S, MODELS>
{
    fn process_reverse(&mut self, far: PcmRef<'_>) -> Result<(), ProcessError> {
        Self::check(far.format, far.samples.len(), LOUDSPEAKERS)?;
        if !self.is_prepared {
            self.prepare();
        }
        let channels = self.far.iter_mut().zip(&mut self.far_high_pass).enumerate();
        for (channel, (to, high_pass)) in channels {
            high_pass.flush();
            for (to, &sample) in to.iter_mut().zip(far.samples.iter().skip(channel).step_by(LOUDSPEAKERS)) {
                let x = ceiling::from_i16(sample);
                *to = if self.settings.no_high_pass { x } else { high_pass.next(&Self::HIGH_PASS, x) };
            }
        }
        for (model, channel) in self.model.iter_mut().zip(&mut self.far) {
            let samples = far.samples.iter().map(|&sample| ceiling::from_i16(sample));
            model.distort(samples, channel, (!self.settings.no_high_pass).then_some(&Self::HIGH_PASS));
        }
        self.has_far = true;
        Ok(())
    }

    fn process_capture(&mut self, near: PcmMut<'_>, _delay: Duration) -> Result<(), ProcessError> {
        Self::check(near.format, near.samples.len(), 1)?;
        if let Some((samples, _)) = near.samples.split_first_chunk_mut::<HOP>() {
            self.frame(samples);
        }
        Ok(())
    }

    fn stats(&self) -> VoiceStats {
        let mut stats = self.levels.stats();
        if self.levels.is_known() {
            stats.delay_ms = Some((10 * self.strongest_partition()) as i32);
            stats.residual_echo_likelihood = Some(self.levels.residual_likelihood());
        }
        stats
    }

    fn echo_report(&self) -> Option<EchoReport> {
        if !self.is_prepared || !self.levels.is_known() {
            return None;
        }
        Some(EchoReport {
            lag: Duration::from_millis(10 * self.strongest_partition() as i64),
            strength_db: -self.levels.stats().erl_db?,
            convergence: self.levels.convergence(),
        })
    }

    fn echo_shift(&self) -> Option<EchoShift> {
        if self.is_prepared { self.path_shift.shift(HOP) } else { None }
    }

    fn on_reference_moved(&mut self) {
        if self.is_prepared {
            self.forget_path();
        }
    }

    fn on_reference_uncertain(&mut self, deviation: Duration) {
        if self.is_prepared {
            let sample_frames =
                UNCERTAIN_SIGMAS * deviation.as_nanos() as f32 * const { HOP as f32 / FRAME_NS as f32 };
            self.main.iter_mut().for_each(|main| main.doubt_position(sample_frames));
        }
    }

    fn near_end_likelihood(&self) -> Option<f32> {
        self.is_prepared.then(|| self.suppressor.presence())
    }

    /// Half of the tail, so that the rest holds the room's reverberation.
    fn reach(&self) -> Duration {
        Duration::from_millis(10 * PARTITIONS as i64 / 2)
    }

    fn reset(&mut self) {
        self.is_prepared = false;
    }

    /// Full precision with full storage, medium with lean storage.
    #[inline]
    fn reference_quality() -> ReferenceQuality {
        S::REFERENCE_QUALITY
    }
}

#[cfg(test)]
mod tests;
