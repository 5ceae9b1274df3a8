//! Worker side: estimates the delay of the echo from the signals alone, without timestamps.

use super::coarse_search::{CoarseSearch, CoarseSearchMemory};
use super::decimator::{Decimator, DecimatorTaps};
use super::fine_search::{FineSearch, FineSearchMemory};
use super::low_rate_history::{LowRateHistory, LowRateMemory};
use super::spectrum::{Spectra, SpectraMemory};
use super::{HOP, NEAR_DELAY, decimation};
use crate::format::Format;
use crate::frame::PcmRef;
use crate::time::Duration;
use crate::timing::stream_clock::RateEstimate;

/// Standard deviation of a lag that only the coarse search has found, in low-rate samples.
const COARSE_SIGMA: f64 = 24.0;
/// Standard deviation of the distinction between the direct sound and early reflections, in low-rate samples.
const ONSET_SIGMA: f64 = 1.0;

/// Working memory of an [`AcousticDelay`]: 63 KiB, all zero bytes before its first use.
#[derive(Debug)]
pub struct AcousticMemory {
    taps: DecimatorTaps,
    history: LowRateMemory,
    spectra: SpectraMemory,
    coarse: CoarseSearchMemory,
    fine: FineSearchMemory,
}

impl AcousticMemory {
    /// Returns memory before its first use, fit for a `static`.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            taps: DecimatorTaps::new(),
            history: LowRateMemory::new(),
            spectra: SpectraMemory::new(),
            coarse: CoarseSearchMemory::new(),
            fine: FineSearchMemory::new(),
        }
    }
}

impl Default for AcousticMemory {
    fn default() -> Self {
        Self::new()
    }
}

const _: () = assert!(size_of::<AcousticMemory>() < 64 * 1024);

/// The lag at which the echo was found.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct EchoLag {
    /// Time by which the direct sound of the echo comes later than the reference is read; negative if it
    /// comes earlier. Covers at least -100 to +1000 ms.
    pub lag: Duration,
    /// Standard deviation of `lag`: about 0.13 ms, most of it for distinguishing the direct sound from early
    /// reflections; 3 ms while only the coarse search has an answer.
    pub uncertainty: Duration,
    /// Confidence from 0, a guess, to 1, certainty. Values up to 0.4 come from the coarse search alone. From
    /// 0.6 on, the position and the shape of the echo path have been confirmed several times.
    pub confidence: f32,
}

/// Estimates lag and drift of the echo from the signals of both directions, because timestamps can be wrong.
///
/// The worker passes each captured frame, before the canceller, with the reference that belongs to it by the
/// timestamps. The estimator reports the lag of the echo against that reference and how fast the lag changes:
/// drift that no timestamp shows. It learns only while the loudspeaker is active; silence leaves its state as
/// it is.
///
/// It has two stages at a rate of about 8 kHz. The coarse search averages whitened cross-spectra over the
/// whole range of lags (the phase transform of Knapp and Carter, IEEE TASSP 24(4), 1976) and accepts a peak
/// that stands out from the rest. The fine search averages the cross-spectrum around that peak into a
/// template of the echo path and measures from the phases of all bins how much later each new block is. A
/// Kalman filter turns that into lag and drift (after Pawig, Enzner and Vary, IEEE TSP 58(1), 2010, and
/// Markovich-Golan, Gannot and Cohen, IWAENC 2012).
///
/// In a closed loop, a caller that moves the reference reports it with
/// [`on_reference_shifted`](Self::on_reference_shifted) and
/// [`on_reference_steered`](Self::on_reference_steered), so that nothing has to be learned anew.
///
/// ```
/// use handsfree_core::timing::{AcousticDelay, AcousticMemory};
/// use handsfree_core::{Format, PcmRef};
///
/// let format = Format::new(16_000, 1)?;
/// let mut memory = Box::new(AcousticMemory::new());
/// let mut delay = AcousticDelay::new(&mut memory, format, format);
///
/// // The loudspeaker plays noise; its echo comes 30 ms later at a tenth of the level.
/// let mut noise = 1u32;
/// let mut played = vec![0i16; 480];
/// for _ in 0..400 {
///     let far: Vec<i16> = (0..160)
///         .map(|_| {
///             noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
///             (noise >> 16) as i16 / 4
///         })
///         .collect();
///     played.extend_from_slice(&far);
///     let near: Vec<i16> = played.drain(..160).map(|sample| sample / 10).collect();
///     delay.observe(PcmRef { format, samples: &far }, PcmRef { format, samples: &near });
/// }
/// let echo = delay.echo().unwrap();
/// assert!((echo.lag.as_millis_f64() - 30.0).abs() < 0.2 && echo.confidence > 0.9, "{echo:?}");
/// assert!(delay.drift().unwrap().ppm.abs() < 5.0);
/// # Ok::<(), handsfree_core::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct AcousticDelay<'a> {
    memory: &'a mut AcousticMemory,
    far: Format,
    near: Format,
    /// Low-rate samples per second.
    rate: f64,
    down_far: Decimator,
    down_near: Decimator,
    history: LowRateHistory,
    spectra: Spectra,
    coarse: CoarseSearch,
    fine: FineSearch,
    /// Part of the shifts so far that is less than a low-rate sample, in samples.
    fractional_shift: f64,
    /// Whether the loudspeaker's last hop was active and wide enough to show a delay.
    wide_sound: bool,
}

impl<'a> AcousticDelay<'a> {
    /// Returns an estimator for frames of these formats. Their rates must be equal. Computes its filter,
    /// about 300 sines, and clears the memory.
    #[must_use]
    pub fn new(memory: &'a mut AcousticMemory, far: Format, near: Format) -> Self {
        let factor = decimation(near.rate_hz());
        memory.taps.design(factor);
        Self {
            far,
            near,
            rate: f64::from(near.rate_hz()) / factor as f64,
            down_far: Decimator::new(factor),
            down_near: Decimator::new(factor),
            history: LowRateHistory::new(&mut memory.history),
            spectra: Spectra::new(&mut memory.spectra),
            coarse: CoarseSearch::new(&mut memory.coarse),
            fine: FineSearch::new(&mut memory.fine),
            fractional_shift: 0.0,
            wide_sound: false,
            memory,
        }
    }

    /// Takes 10 ms of the reference as it is read (`far`) and of the microphone before any processing
    /// (`near`). Several channels are averaged. Ignores frames of another format.
    ///
    /// Worker side, once for every captured frame, silence included. Its cost is bounded: every third or
    /// fourth frame costs two transforms of 512 points, the others a share of the search; on average 86,000
    /// instructions at 16 kHz and 107,000 at 48 kHz. Measured at 48 kHz on a 2020s server core: half the
    /// frames under 8 us, 99 % under 19 us.
    pub fn observe(&mut self, far: PcmRef<'_>, near: PcmRef<'_>) {
        if far.format != self.far || near.format != self.near || self.far.rate() != self.near.rate() {
            return;
        }
        let AcousticMemory { taps, history: samples, spectra, coarse, fine } = &mut *self.memory;
        self.down_far.run(taps, far, |sample| self.history.push_far(samples, sample));
        self.down_near.run(taps, near, |sample| self.history.push_near(samples, sample));
        if self.history.next_hop() {
            let active = self.spectra.hop(spectra, &self.history, samples);
            self.wide_sound = active.played;
            self.coarse.hop(coarse, spectra, active, self.fine.path_moves());
            self.fine.hop(fine, spectra, &self.spectra, &self.history, samples, active.heard);
            self.coarse.accumulate(coarse, spectra);
            return;
        }
        self.coarse.accumulate(coarse, spectra);
        if self.fine.is_due() {
            self.fine.measure(fine, spectra);
        }
        for _ in 0..2 {
            if self.coarse.scan(coarse)
                && let Some(peak) = self.coarse.peak()
            {
                self.fine.on_coarse_peak(fine, peak);
            }
        }
    }

    /// Returns the lag of the echo at this moment, or `None` before it has been found. A trustworthy answer
    /// takes 1.3 to 3 s of speech. While nothing plays, the last answer stays.
    #[must_use]
    pub fn echo(&self) -> Option<EchoLag> {
        let (lag, sigma, confidence) = if self.fine.is_settled() {
            let lag = self.fine.lag() + self.fine.current_slope() * NEAR_DELAY as f64;
            (lag, libm::hypot(ONSET_SIGMA, self.fine.lag_sigma()), self.confidence())
        } else {
            let peak = self.coarse.peak()?;
            (f64::from(peak.lag), COARSE_SIGMA, 0.4 * peak.confidence)
        };
        (confidence > 0.0).then(|| EchoLag { lag: self.time(lag), uncertainty: self.time(sigma), confidence })
    }

    /// Returns whether the loudspeaker plays a sound that shows a delay.
    #[must_use]
    pub(crate) fn hears_wide_sound(&self) -> bool {
        self.wide_sound
    }

    /// Returns whether the echo is no longer where it was found: its path has not been confirmed for about a
    /// second in which the loudspeaker was active.
    #[must_use]
    pub(crate) fn has_lost_echo(&self) -> bool {
        self.fine.has_lost_path()
    }

    fn confidence(&self) -> f32 {
        let coarse = self.coarse.peak().map_or(0.0, |peak| {
            if (f64::from(peak.lag) - self.fine.lag()).abs() < HOP as f64 { peak.confidence } else { 0.0 }
        });
        self.fine.maturity() * coarse.max((self.fine.agreement() - 0.4) / 0.3).clamp(0.0, 1.0)
    }

    /// Returns how fast the lag grows, in ppm: positive if the reference is read too fast, so that the echo
    /// comes ever later. Steering reported with [`on_reference_steered`](Self::on_reference_steered) is
    /// already subtracted.
    ///
    /// `uncertainty_ppm` is one standard deviation, about 15 after 2 s of speech, 2 after 5 s and 0.5 after
    /// 10 s. Drift of up to 1000 ppm in either direction is measured.
    #[must_use]
    pub fn drift(&self) -> Option<RateEstimate> {
        (self.fine.is_settled() && self.fine.measurements() > 3).then(|| RateEstimate {
            ppm: self.fine.remaining_slope() * 1e6,
            uncertainty_ppm: self.fine.slope_sigma() * 1e6,
        })
    }

    /// Reports that the reference is read later by `by` (positive: older sound) from the next frame on, so
    /// that the lag is smaller by as much. Call it for shifts that compensate the lag that
    /// [`echo`](Self::echo) returned, not for shifts that only follow the timestamps.
    ///
    /// Everything learned moves along. Costs a phase rotation of all spectra, about 100,000 instructions,
    /// unless the shift is less than a low-rate sample (125 us at 8 kHz).
    pub fn on_reference_shifted(&mut self, by: Duration) {
        let samples = by.as_nanos() as f64 * 1e-9 * self.rate;
        let whole = libm::round(samples + self.fractional_shift);
        self.fractional_shift += samples - whole;
        let whole = whole as i64;
        self.history.shift(&mut self.memory.history, whole);
        if whole != 0 {
            self.coarse.shift(&mut self.memory.coarse, whole);
        }
        self.fine.shift(&mut self.memory.fine, samples);
    }

    /// Reports that the reference is read slower by `ppm` more than before from the next frame on.
    /// Cumulative. Steer by the drift that [`drift`](Self::drift) returned, or by a part of it; the next call
    /// returns what remains.
    ///
    /// The microphone hears now what was played earlier, so a change shows only after the lag plus 128 ms; it
    /// is accounted for then. Up to eight changes may be pending, so steer about once a second.
    pub fn on_reference_steered(&mut self, ppm: f64) {
        self.fine.steer(ppm * 1e-6, self.history.hop_end());
    }

    /// Forgets everything, for another room or another loudspeaker.
    pub fn reset(&mut self) {
        let factor = decimation(self.near.rate_hz());
        self.down_far = Decimator::new(factor);
        self.down_near = Decimator::new(factor);
        self.history = LowRateHistory::new(&mut self.memory.history);
        self.spectra = Spectra::new(&mut self.memory.spectra);
        self.coarse = CoarseSearch::new(&mut self.memory.coarse);
        self.fine = FineSearch::new(&mut self.memory.fine);
        self.fractional_shift = 0.0;
    }

    fn time(&self, samples: f64) -> Duration {
        Duration::from_nanos((samples * 1e9 / self.rate) as i64)
    }
}
