//! Application side: a test tone in frames.

use core::f32::consts::TAU;

use crate::error::ConfigError;
use crate::format::Format;
use crate::frame::{Frame, Stamp};
use crate::time::Duration;

/// What a [`Sine`] is to be.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SineConfig {
    /// Above 0 and below half the sample rate, in hertz.
    pub frequency_hz: f64,
    /// At least one sample frame; rounded to the nearest.
    pub duration: Duration,
    /// Rate and channels; every channel has the same samples.
    pub format: Format,
    /// Peak, 0 to 1, where 1 is full scale.
    pub amplitude: f32,
}

impl SineConfig {
    /// A tone of 0.3 of full scale, as loud as is pleasant on headphones.
    #[must_use]
    pub const fn new(frequency_hz: f64, duration: Duration, format: Format) -> Self {
        Self { frequency_hz, duration, format, amplitude: 0.3 }
    }
}

/// A sine that starts at phase 0, in frames of 10 ms; the last one is shorter where the duration is no whole number
/// of them.
///
/// The phase is a 64-bit integer, so the frequency is that of the `f64` asked for, to its last bit: a day of 20 kHz is
/// off by less than 10^-6 of a cycle, and nothing is rounded twice on the way. Samples are rounded to nearest without
/// dither, 98 dB above the noise at full scale. Costs one `sinf` a sample frame.
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
    /// In 2^-64 of a cycle.
    phase: u64,
    step: u64,
    position: u64,
    end: u64,
}

impl<const CAP: usize> Sine<CAP> {
    /// Checks the configuration.
    ///
    /// # Errors
    /// [`ConfigError::ToneFrequency`], [`ConfigError::ToneDuration`], [`ConfigError::ToneAmplitude`], and
    /// [`ConfigError::FrameTooLarge`] when 10 ms do not fit `CAP` samples. Each names the value.
    pub fn new(config: SineConfig) -> Result<Self, ConfigError> {
        let SineConfig { frequency_hz, duration, format, amplitude } = config;
        let rate_hz = format.rate_hz();
        // The NaN is outside too.
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
        let turn = 2.0 * (1u64 << 63) as f64;
        Ok(Self {
            format: format.fitting(CAP)?,
            peak: amplitude * f32::from(i16::MAX),
            phase: 0,
            step: (frequency_hz / f64::from(rate_hz) * turn) as u64,
            position: 0,
            end,
        })
    }

    /// Rate and channels of the frames.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Sample frames still to come.
    #[must_use]
    pub const fn remaining_sample_frames(&self) -> u64 {
        self.end - self.position
    }

    /// Fills `frame` with the next 10 ms, or what is left of them; false when nothing is left, and `frame` is
    /// untouched. Its stamp says the position from the tone's start and nothing else.
    pub fn next_frame(&mut self, frame: &mut Frame<CAP>) -> bool {
        let left = usize::try_from(self.remaining_sample_frames()).unwrap_or(usize::MAX);
        if left == 0 {
            return false;
        }
        frame.begin(self.format);
        frame.stamp = Stamp { position: self.position, ..Stamp::ZERO };
        let samples = frame.extend(left.min(self.format.sample_frames()));
        for channels in samples.chunks_exact_mut(self.format.channels().max(1)) {
            // Half a cycle to either side of 0, where a float is finest.
            let cycles = (self.phase as i64 >> 32) as f32 / (1u64 << 32) as f32;
            channels.fill(round(self.peak * libm::sinf(TAU * cycles)));
            self.phase = self.phase.wrapping_add(self.step);
            self.position += 1;
        }
        true
    }
}

fn round(sample: f32) -> i16 {
    // A float cast saturates.
    (if sample < 0.0 { sample - 0.5 } else { sample + 0.5 }) as i16
}

/// The whole number of sample frames nearest to `duration`; 0 where it is negative.
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
    fn a_configuration_is_checked_by_value() {
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
    fn a_day_later_the_phase_is_where_the_frequency_says() {
        let mut sine = Sine::<480>::new(config(19_999.7, 86_400_000)).unwrap();
        let day = 48_000u64 * 86_400;
        sine.phase = sine.step.wrapping_mul(day);
        let cycles = sine.phase as f64 / 2.0f64.powi(64);
        // 19999.7 Hz x 86400 s are 1727974080 cycles.
        let off = cycles - cycles.round();
        assert!(off.abs() < 1e-6, "{off} cycles");
    }
}
