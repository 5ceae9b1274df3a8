//! Application side: the five qualities of a [`Resampler`](crate::dsp::Resampler), each with its own table.

use super::phase::RatioPhase;
use super::tables::KernelShape;
use crate::dsp::products::blend;

/// Precision and cost of a [`Resampler`](crate::dsp::Resampler).
///
/// A resampler refers to its quality by reference, so an image links only the tables of the qualities it
/// names. The guaranteed bounds are 50, 70, 90, 110 and 125 dB. The table shows measured values, the worst of
/// nine pairs of rates from 4 to 192 kHz (a test checks the table and prints its parts):
///
/// | quality | taps | pass band | SNR | rejection | latency 48 to 16 kHz | 16 to 48 kHz | table | memory 48 to 16 kHz | 44.1 to 48 kHz | the same, fast |
/// |---|---|---|---|---|---|---|---|---|---|---|
/// | quick | 16 | 0.56 | 51 dB | 53 dB | 23 | 8 | 960 | 256 | 192 | 10432 |
/// | low | 48 | 0.81 | 74 dB | 73 dB | 71 | 24 | 2880 | 768 | 576 | 31296 |
/// | medium | 96 | 0.875 | 95 dB | 94 dB | 143 | 48 | 10368 | 1536 | 1152 | 62592 |
/// | high | 160 | 0.905 | 115 dB | 114 dB | 239 | 80 | 32640 | 2560 | 1920 | 104320 |
/// | very_high | 256 | 0.93 | 129 dB | 132 dB | 383 | 128 | 76800 | 4096 | 3072 | 166912 |
///
/// The pass band is a share of the lower Nyquist frequency. The transition band fills the rest, and the stop
/// band begins at that frequency. The SNR is the worst part of a sweep through the pass band, including
/// ripple, images and arithmetic, for `f32` samples; 16 bits are limited to 98 dB. Rejection is the
/// attenuation of a sweep through the stop band. Latency is in samples of the input, measured with an
/// impulse. Table and memory are in bytes, memory for one channel; "the same, fast" is the memory with
/// prepared rows.
///
/// ```
/// use handsfree_core::dsp::Quality;
///
/// assert_eq!(Quality::MEDIUM.name(), "medium");
/// assert_eq!(Quality::MEDIUM.taps(), 96);
/// assert!(Quality::QUICK.table_bytes() < 1_024);
/// ```
#[derive(Debug)]
pub struct Quality {
    name: &'static str,
    shape: KernelShape,
    pass_band: f32,
    snr_db: f32,
    rows: &'static [f32],
}

macro_rules! quality {
    ($name:ident, $text:literal, taps $taps:literal, phases $phases:literal, rejection_db $rejection:literal,
     pass_band $pass:literal, snr_db $snr:literal) => {
        static $name: Quality = {
            const SHAPE: KernelShape = KernelShape {
                taps: $taps,
                phases: $phases,
                rejection_db: $rejection,
                cutoff: (1.0 + $pass) / 2.0,
            };
            static ROWS: [f32; SHAPE.len()] = SHAPE.rows();
            Quality { name: $text, shape: SHAPE, pass_band: $pass, snr_db: $snr, rows: &ROWS }
        };
    };
}

// Phases are multiples of 12, so that ratios of 8, 16, 24, 32, 48 and 96 kHz need no interpolation. With
// cubic interpolation between rows there are as many as the bound requires.
quality!(QUICK, "quick", taps 16, phases 12, rejection_db 56.0, pass_band 0.56, snr_db 50.0);
quality!(LOW, "low", taps 48, phases 12, rejection_db 74.0, pass_band 0.81, snr_db 70.0);
quality!(MEDIUM, "medium", taps 96, phases 24, rejection_db 94.0, pass_band 0.875, snr_db 90.0);
quality!(HIGH, "high", taps 160, phases 48, rejection_db 114.0, pass_band 0.905, snr_db 110.0);
quality!(VERY_HIGH, "very_high", taps 256, phases 72, rejection_db 131.0, pass_band 0.93, snr_db 125.0);

// The quality of frame conversion: about the longest kernel for which two frames hold every input of an
// output, at any pair of rates.
static FRAMES: Quality = {
    const SHAPE: KernelShape = KernelShape { taps: 64, phases: 24, rejection_db: 94.0, cutoff: 0.915 };
    static ROWS: [f32; SHAPE.len()] = SHAPE.rows();
    Quality { name: "frames", shape: SHAPE, pass_band: 0.82, snr_db: 85.0, rows: &ROWS }
};

impl Quality {
    pub(crate) const FRAMES: &'static Self = &FRAMES;

    /// At least 50 dB, for alarms, buttons and previews.
    pub const QUICK: &'static Self = &QUICK;
    /// At least 70 dB, for narrowband speech on small processors.
    pub const LOW: &'static Self = &LOW;
    /// At least 90 dB, for speech and music; the error is below the noise of 16 bits.
    pub const MEDIUM: &'static Self = &MEDIUM;
    /// At least 110 dB, for measurement and for signals that are resampled again.
    pub const HIGH: &'static Self = &HIGH;
    /// At least 125 dB, close to the limit of 32-bit floats.
    pub const VERY_HIGH: &'static Self = &VERY_HIGH;
    /// All five qualities, for hosts that choose by name. Links all five tables (about 130 KB).
    ///
    /// ```
    /// use handsfree_core::dsp::Quality;
    ///
    /// let high = Quality::ALL.into_iter().find(|quality| quality.name() == "high");
    /// assert_eq!(high.map(Quality::taps), Some(160));
    /// ```
    pub const ALL: [&'static Self; 5] = [Self::QUICK, Self::LOW, Self::MEDIUM, Self::HIGH, Self::VERY_HIGH];

    /// Returns the name: `quick`, `low`, `medium`, `high` or `very_high`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the number of multiplications per sample at the higher rate. Half of it is the latency in
    /// samples at the lower rate.
    #[must_use]
    pub const fn taps(&self) -> usize {
        self.shape.taps
    }

    /// Returns the end of the pass band as a share of the lower Nyquist frequency. The stop band begins at 1.
    #[must_use]
    pub const fn pass_band(&self) -> f32 {
        self.pass_band
    }

    /// Returns the least signal-to-noise ratio within the pass band, which is also the least rejection beyond
    /// the lower Nyquist frequency, in dB, for `f32` samples.
    #[must_use]
    pub const fn snr_db(&self) -> f32 {
        self.snr_db
    }

    /// Returns the size of the table in bytes of read-only memory.
    #[must_use]
    pub const fn table_bytes(&self) -> usize {
        self.shape.len() * size_of::<f32>()
    }

    /// Returns the least number of `f32` words that a [`Resampler`](crate::dsp::Resampler) needs.
    ///
    /// ```
    /// use handsfree_core::dsp::{Quality, Resampler};
    ///
    /// let resampler = Resampler::<{ Quality::LOW.memory(48_000, 16_000, 1) }>::new();
    /// assert!(size_of_val(&resampler) < 1_024);
    /// ```
    #[must_use]
    pub const fn memory(&self, from_hz: u32, to_hz: u32, channels: usize) -> usize {
        self.state_words(from_hz > to_hz, channels)
    }

    /// Returns the number of `f32` words with which a [`Resampler`](crate::dsp::Resampler) computes the rows
    /// of this ratio once, instead of interpolating between rows for every sample.
    ///
    /// This is about three times as fast for ratios such as 44.1 to 48 kHz and gives bit-identical samples.
    /// It is more than [`memory`](Self::memory) only where the table lacks rows for the ratio.
    ///
    /// ```
    /// use handsfree_core::dsp::Quality;
    ///
    /// let quality = Quality::MEDIUM;
    /// assert_eq!(quality.fast_memory(16_000, 48_000, 1), quality.memory(16_000, 48_000, 1));
    /// let rows = quality.fast_memory(44_100, 48_000, 1) - quality.memory(44_100, 48_000, 1);
    /// assert_eq!(rows, 160 * quality.taps());
    /// ```
    #[must_use]
    pub const fn fast_memory(&self, from_hz: u32, to_hz: u32, channels: usize) -> usize {
        let fractions = RatioPhase::fractions(from_hz, to_hz) as usize;
        let rows = if self.phases().is_multiple_of(fractions) { 0 } else { fractions * self.taps() };
        self.memory(from_hz, to_hz, channels) + rows
    }

    /// Returns the number of words for signals and one interpolated row.
    pub(crate) const fn state_words(&self, down: bool, channels: usize) -> usize {
        let rows_per_channel = if down { 3 } else { 2 };
        (rows_per_channel * channels + 1) * self.shape.taps
    }

    /// Returns the index in the window of the last sample at or before the position.
    pub(crate) const fn centre(&self) -> usize {
        self.shape.taps / 2 - 1
    }

    pub(crate) const fn phases(&self) -> usize {
        self.shape.phases
    }

    /// Returns the row for `phase` phases after a sample, from 0 to [`phases`](Self::phases).
    #[inline]
    pub(crate) fn row(&self, phase: usize) -> &'static [f32] {
        let start = (phase + 1) * self.shape.taps;
        self.rows.get(start..start + self.shape.taps).unwrap_or(&[])
    }

    /// Computes the row for a fraction of a sample, in 1/2^32, by Lagrange's cubic through four rows.
    #[inline]
    pub(crate) fn interpolate(&self, fraction_q32: u32, row: &mut [f32]) {
        let taps = self.shape.taps;
        let scaled = u64::from(fraction_q32) * self.shape.phases as u64;
        let phase = (scaled >> 32) as usize;
        let x = (scaled as u32) as f32 * (1.0 / 4_294_967_296.0);
        let (before, after, beyond) = (x + 1.0, 1.0 - x, 2.0 - x);
        let weights = [
            -x * after * beyond * (1.0 / 6.0),
            before * after * beyond * 0.5,
            before * x * beyond * 0.5,
            -before * x * after * (1.0 / 6.0),
        ];
        blend(row, self.rows.get(phase * taps..(phase + 4) * taps).unwrap_or(&[]), weights);
    }
}
