//! Application side: generates a test tone in frames.

use core::f32::consts::TAU;

use crate::error::ConfigError;
use crate::format::Format;
use crate::frame::{Frame, Stamp};
use crate::sample::nearest_16_bits;
use crate::time::Duration;

/// Configuration of a [`Sine`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SineConfig {
    /// Frequency in hertz, above 0 and below half the sample rate.
    pub frequency_hz: f64,
    /// Duration of the tone, at least one sample frame; rounded to the nearest sample frame.
    pub duration: Duration,
    /// Rate and channels of the frames. Every channel has the same samples.
    pub format: Format,
    /// Peak amplitude from 0 to 1, where 1 is full scale.
    pub amplitude: f32,
}

impl SineConfig {
    /// Returns the configuration of a tone at 0.3 of full scale, a pleasant level on headphones.
    #[must_use]
    pub const fn new(frequency_hz: f64, duration: Duration, format: Format) -> Self {
        Self { frequency_hz, duration, format, amplitude: 0.3 }
    }
}

/// A sine that starts at phase 0, in frames of 10 ms. The last frame is shorter where the duration is not a
/// multiple of 10 ms.
///
/// The phase is a 64-bit integer, so that the frequency is exact to the last bit of the requested `f64`:
/// after a day at 20 kHz the error is less than 10^-6 of a cycle. Samples are rounded once, to nearest and
/// without dither, which leaves the noise 98 dB below full scale. Costs one `sinf` per sample frame.
///
/// ```
/// use handsfree_core::dsp::{Sine, SineConfig};
/// use handsfree_core::{Duration, Format, Frame};
///
/// let format = Format::new(48_000, 1)?;
/// let mut sine = Sine::<480>::new(SineConfig::new(440.0, Duration::from_millis(25), format))?;
/// let mut frame = Frame::silence(format)?;
/// let mut lengths = Vec::new();
/// while sine.next_frame(&mut frame) {
///     lengths.push(frame.sample_frames());
/// }
/// assert_eq!(lengths, [480, 480, 240]);
/// # Ok::<(), handsfree_core::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sine<const CAP: usize> {
    format: Format,
    peak: f32,
    /// Phase in 2^-64 of a cycle.
    phase: u64,
    /// Phase step of a sample frame, in 2^-64 of a cycle.
    step: u64,
    position: u64,
    end: u64,
}

impl<const CAP: usize> Sine<CAP> {
    /// Returns the tone, after checking its configuration.
    ///
    /// # Errors
    /// [`ConfigError::ToneFrequency`], [`ConfigError::ToneDuration`], [`ConfigError::ToneAmplitude`], and
    /// [`ConfigError::FrameTooLarge`] when 10 ms do not fit `CAP` samples. Each error names the invalid value.
    pub fn new(config: SineConfig) -> Result<Self, ConfigError> {
        let SineConfig { frequency_hz, duration, format, amplitude } = config;
        let rate_hz = format.rate_hz();
        // A NaN fails this comparison too.
        if !(frequency_hz > 0.0 && frequency_hz < f64::from(rate_hz) / 2.0) {
            return Err(ConfigError::ToneFrequency { frequency_hz, rate_hz });
        }
        if !(0.0..=1.0).contains(&amplitude) {
            return Err(ConfigError::ToneAmplitude { amplitude });
        }
        let end = sample_frames_in(duration, rate_hz);
        if end == 0 {
            return Err(ConfigError::ToneDuration { duration_us: duration.as_micros() });
        }
        let full_cycle = 2.0 * (1u64 << 63) as f64;
        Ok(Self {
            format: format.fitting(CAP)?,
            peak: amplitude * f32::from(i16::MAX),
            phase: 0,
            step: (frequency_hz / f64::from(rate_hz) * full_cycle) as u64,
            position: 0,
            end,
        })
    }

    /// Returns rate and channels of the frames.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Returns the number of sample frames not yet generated.
    #[must_use]
    pub const fn remaining_sample_frames(&self) -> u64 {
        self.end - self.position
    }

    /// Fills `frame` with the next 10 ms, or with the rest of the tone. Returns false and leaves `frame`
    /// unchanged when nothing remains. The stamp holds only the position from the start of the tone.
    pub fn next_frame(&mut self, frame: &mut Frame<CAP>) -> bool {
        let left = usize::try_from(self.remaining_sample_frames()).unwrap_or(usize::MAX);
        if left == 0 {
            return false;
        }
        frame.begin(self.format);
        frame.stamp = Stamp { position: self.position, ..Stamp::ZERO };
        let samples = frame.extend(left.min(self.format.sample_frames()));
        for channels in samples.chunks_exact_mut(self.format.channels().max(1)) {
            // From -1/2 to 1/2 cycle, because floats are most precise around 0.
            let cycles = (self.phase as i64 >> 32) as f32 / (1u64 << 32) as f32;
            channels.fill(nearest_16_bits(self.peak * libm::sinf(TAU * cycles)));
            self.phase = self.phase.wrapping_add(self.step);
            self.position += 1;
        }
        true
    }
}

/// Returns the number of sample frames nearest to `duration`, or 0 if it is negative.
fn sample_frames_in(duration: Duration, rate_hz: u32) -> u64 {
    let ns = u64::try_from(duration.as_nanos()).unwrap_or(0);
    let rate = u64::from(rate_hz);
    let (seconds, rest_ns) = (ns / 1_000_000_000, ns % 1_000_000_000);
    seconds * rate + (rest_ns * rate + 500_000_000) / 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(frequency_hz: f64, duration_ms: i64) -> SineConfig {
        SineConfig::new(frequency_hz, Duration::from_millis(duration_ms), Format::new(48_000, 1).unwrap())
    }

    #[test]
    fn an_invalid_tone_is_refused_by_value() {
        let refused = |config: SineConfig| Sine::<480>::new(config).map(|_| ()).unwrap_err();
        for frequency_hz in [0.0, -440.0, 24_000.0, f64::INFINITY] {
            let error = refused(config(frequency_hz, 10));
            assert_eq!(error, ConfigError::ToneFrequency { frequency_hz, rate_hz: 48_000 });
        }
        assert!(matches!(refused(config(f64::NAN, 10)), ConfigError::ToneFrequency { .. }));
        for amplitude in [-0.1, 1.01, f32::INFINITY] {
            let error = refused(SineConfig { amplitude, ..config(440.0, 10) });
            assert_eq!(error, ConfigError::ToneAmplitude { amplitude });
        }
        assert_eq!(refused(config(440.0, -5)), ConfigError::ToneDuration { duration_us: -5_000 });
        let short = SineConfig { duration: Duration::from_micros(10), ..config(440.0, 0) };
        assert_eq!(refused(short), ConfigError::ToneDuration { duration_us: 10 });
        let stereo = SineConfig { format: Format::new(48_000, 2).unwrap(), ..config(440.0, 10) };
        assert_eq!(refused(stereo), ConfigError::FrameTooLarge { samples: 960, capacity: 480 });
        let text = refused(config(24_000.0, 10)).to_string();
        assert_eq!(text, "a tone of 24000 Hz: expected above 0 and below 24000 Hz, half the rate");
    }

    #[test]
    fn the_longest_duration_does_not_overflow() {
        let forever = SineConfig { duration: Duration::from_nanos(i64::MAX), ..config(440.0, 0) };
        let sine = Sine::<480>::new(forever).unwrap();
        assert_eq!(sine.remaining_sample_frames(), 442_721_857_769_029);
    }

    #[test]
    fn the_phase_is_exact_after_a_day() {
        let mut sine = Sine::<480>::new(config(19_999.7, 86_400_000)).unwrap();
        let day = 48_000u64 * 86_400;
        sine.phase = sine.step.wrapping_mul(day);
        let cycles = sine.phase as f64 / 2.0f64.powi(64);
        // 19999.7 Hz for 86400 s are 1727974080 cycles.
        let off = cycles - cycles.round();
        assert!(off.abs() < 1e-6, "{off} cycles");
    }
}
