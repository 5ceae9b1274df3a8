//! Worker side: where the echo really is, whatever the timestamps say.

use crate::format::Format;
use crate::frame::PcmRef;
use crate::time::Duration;
use crate::timing::acoustic::{
    Coarse, CoarseMemory, Decimator, DecimatorTaps, Fine, FineMemory, HOP, NEAR_DELAY, Past, PastMemory,
    Spectra, SpectraMemory, decimation,
};
use crate::timing::stream_clock::RateEstimate;

/// Lag of a peak that only the coarse search has seen, standard deviation in low-rate samples.
const COARSE_SIGMA: f64 = 24.0;
/// How well the direct sound is told from what follows it, in low-rate samples.
const ONSET_SIGMA: f64 = 1.0;

/// Working memory of an [`AcousticDelay`]: 63 KiB, all zero bytes until it is used.
#[derive(Debug)]
pub struct AcousticMemory {
    taps: DecimatorTaps,
    past: PastMemory,
    spectra: SpectraMemory,
    coarse: CoarseMemory,
    fine: FineMemory,
}

impl AcousticMemory {
    /// Memory before its first use; fit for a `static`.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            taps: DecimatorTaps::new(),
            past: PastMemory::new(),
            spectra: SpectraMemory::new(),
            coarse: CoarseMemory::new(),
            fine: FineMemory::new(),
        }
    }
}

impl Default for AcousticMemory {
    fn default() -> Self {
        Self::new()
    }
}

const _: () = assert!(size_of::<AcousticMemory>() < 64 * 1024);

/// Where the echo was found.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct EchoLag {
    /// How much later the echo's direct sound comes than the reference is read; negative if it
    /// comes earlier. At least -100 to 1000 ms.
    pub lag: Duration,
    /// Standard deviation of `lag`: some 0.13 ms, most of it for telling the direct sound from what
    /// follows it; 3 ms while only the coarse search has an answer.
    pub uncertainty: Duration,
    /// 0 for a guess to 1 for certainty. Up to 0.4 it is the coarse search's first find; from 0.6 on
    /// the place and the shape of the echo path have been seen several times.
    pub confidence: f32,
}

/// Hears both directions and finds the echo of one in the other, for timestamps can lie.
///
/// The worker gives it each captured frame and the reference that belongs to it by the timestamps,
/// before the canceller. It answers where the echo is against that reference, and how fast it moves:
/// drift that no timestamp shows. It learns only while the loudspeaker is active; silence freezes it.
///
/// Two stages at a rate of about 8 kHz. The coarse one averages cross-spectra with levelled magnitudes
/// over the whole range (the phase transform of Knapp and Carter, IEEE TASSP 24(4), 1976) and believes
/// a peak that stands out from all the rest. The fine one averages the cross-spectrum there into a
/// template of the echo path and measures from all phases how much later each new block is, from which
/// a Kalman filter takes lag and drift (after Pawig, Enzner and Vary, IEEE TSP 58(1), 2010, and
/// Markovich-Golan, Gannot and Cohen, IWAENC 2012).
///
/// In a closed loop the pipeline tells what it did, and nothing has to be learned anew: see
/// [`shifted`](Self::shifted) and [`steered`](Self::steered).
///
/// ```
/// use handsfree_core::timing::{AcousticDelay, AcousticMemory};
/// use handsfree_core::{Format, PcmRef};
///
/// let format = Format::new(16_000, 1)?;
/// let mut memory = Box::new(AcousticMemory::new());
/// let mut delay = AcousticDelay::new(&mut memory, format, format);
///
/// // Noise from the loudspeaker, and its echo 30 ms later at a tenth of its level.
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
    /// Low-rate samples a second.
    rate: f64,
    down_far: Decimator,
    down_near: Decimator,
    past: Past,
    spectra: Spectra,
    coarse: Coarse,
    fine: Fine,
    /// Shift that is less than a sample.
    rest: f64,
}

impl<'a> AcousticDelay<'a> {
    /// An estimator that has heard nothing, for frames of these formats. Their rates must be equal.
    /// Computes its filter, some 300 sines, and clears the memory.
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
            past: Past::new(&mut memory.past),
            spectra: Spectra::new(&mut memory.spectra),
            coarse: Coarse::new(&mut memory.coarse),
            fine: Fine::new(&mut memory.fine),
            rest: 0.0,
            memory,
        }
    }

    /// Hears 10 ms of the reference as read and of the microphone before any processing; of several
    /// channels, their mean. Frames of another format are not heard.
    ///
    /// Worker side, once for every captured frame, silence included. Bounded: every third or fourth
    /// frame costs two transforms of 512 points, the others a share of the search; on average 86,000
    /// instructions at 16 kHz and 107,000 at 48 kHz. Measured at 48 kHz on a 2020s server core: half the frames under 8 us, 99 % under 19 us.
    pub fn observe(&mut self, far: PcmRef<'_>, near: PcmRef<'_>) {
        if far.format != self.far || near.format != self.near || self.far.rate() != self.near.rate() {
            return;
        }
        let AcousticMemory { taps, past: samples, spectra, coarse, fine } = &mut *self.memory;
        self.down_far.run(taps, far, |sample| self.past.push_far(samples, sample));
        self.down_near.run(taps, near, |sample| self.past.push_near(samples, sample));
        if self.past.hop() {
            let active = self.spectra.hop(spectra, &self.past, samples);
            self.coarse.hop(coarse, spectra, active, self.fine.is_lost());
            self.fine.hop(fine, spectra, &self.spectra, &self.past, samples, active.heard);
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
                self.fine.found(fine, peak);
            }
        }
    }

    /// Where the echo is at this moment, or `None` while there is no idea of it. It takes 1.3 to 3 s of
    /// speech until it may be trusted. While nothing plays the last answer stands.
    #[must_use]
    pub fn echo(&self) -> Option<EchoLag> {
        let (lag, sigma, confidence) = if self.fine.is_settled() {
            let lag = self.fine.lag() + self.fine.drift_slope() * NEAR_DELAY as f64;
            (lag, libm::hypot(ONSET_SIGMA, self.fine.lag_sigma()), self.confidence())
        } else {
            let peak = self.coarse.peak()?;
            (f64::from(peak.lag), COARSE_SIGMA, 0.4 * peak.confidence)
        };
        (confidence > 0.0).then(|| EchoLag { lag: self.time(lag), uncertainty: self.time(sigma), confidence })
    }

    fn confidence(&self) -> f32 {
        let coarse = self.coarse.peak().map_or(0.0, |peak| {
            if (f64::from(peak.lag) - self.fine.lag()).abs() < HOP as f64 { peak.confidence } else { 0.0 }
        });
        self.fine.maturity() * coarse.max((self.fine.agreement() - 0.4) / 0.3).clamp(0.0, 1.0)
    }

    /// How fast the lag grows, in ppm: positive if the reference is read too fast, so that the echo
    /// comes ever later. What [`steered`](Self::steered) was told is already taken off.
    ///
    /// `uncertainty_ppm` is one standard deviation, about 15 after 2 s of speech, 2 after 5 s, 0.5 after
    /// 10 s. Up to 1000 ppm either way are seen.
    #[must_use]
    pub fn drift(&self) -> Option<RateEstimate> {
        (self.fine.is_settled() && self.fine.measurements() > 3).then(|| RateEstimate {
            ppm: self.fine.slope() * 1e6,
            uncertainty_ppm: self.fine.slope_sigma() * 1e6,
        })
    }

    /// The reference is read so much later (positive: older sound) from the next frame on, so that the
    /// lag is smaller by as much. Call it for moves that compensate what [`echo`](Self::echo) said, not for
    /// those that only follow the timestamps.
    ///
    /// All that is known moves along. Costs a turn of all spectra, some 100,000 instructions, unless
    /// the move is less than a low-rate sample (125 us at 8 kHz).
    pub fn shifted(&mut self, by: Duration) {
        let samples = by.as_nanos() as f64 * 1e-9 * self.rate;
        let whole = libm::round(samples + self.rest);
        self.rest += samples - whole;
        let whole = whole as i64;
        self.past.shift(&mut self.memory.past, whole);
        if whole != 0 {
            self.coarse.shift(&mut self.memory.coarse, whole);
        }
        self.fine.shift(&mut self.memory.fine, samples);
    }

    /// The reference is read slower by `ppm` more than before from the next frame on: give it what
    /// [`drift`](Self::drift) said, or a part of it, and what is left will be said next. Cumulative.
    ///
    /// What is heard now was played before, so that the change is seen only after the lag and 128 ms more;
    /// it is accounted for then. Up to eight changes may be under way, so once a second is often enough.
    pub fn steered(&mut self, ppm: f64) {
        self.fine.steer(ppm * 1e-6, self.past.hop_end());
    }

    /// Forgets everything: another room, another loudspeaker.
    pub fn reset(&mut self) {
        let factor = decimation(self.near.rate_hz());
        self.down_far = Decimator::new(factor);
        self.down_near = Decimator::new(factor);
        self.past = Past::new(&mut self.memory.past);
        self.spectra = Spectra::new(&mut self.memory.spectra);
        self.coarse = Coarse::new(&mut self.memory.coarse);
        self.fine = Fine::new(&mut self.memory.fine);
        self.rest = 0.0;
    }

    fn time(&self, samples: f64) -> Duration {
        Duration::from_nanos((samples * 1e9 / self.rate) as i64)
    }
}

#[cfg(test)]
#[path = "acoustic/tests.rs"]
mod tests;
