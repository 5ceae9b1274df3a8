//! Worker side: a gain as a step of the chain, which is set from outside while it runs.

use crate::atomics::{AtomicU32, Ordering};

use crate::capture::processor::{FrameProcessor, ProcessError};
use crate::dsp::Ramp;
use crate::frame::PcmMut;
use crate::sample::Gain;
use crate::stats::Counter;

/// The gain of a [`GainStep`], and the number of samples that it clipped. It lives outside the step, which
/// borrows it, and belongs to one step only.
#[derive(Debug)]
pub struct GainSetting {
    /// A [`Gain`] in Q16.
    q16: AtomicU32,
    clipped_samples: Counter,
}

impl GainSetting {
    /// Returns a setting with its initial gain.
    #[must_use]
    pub const fn new(gain: Gain) -> Self {
        Self { q16: AtomicU32::new(gain.q16()), clipped_samples: Counter::new() }
    }

    /// Sets another gain, which is reached within the next frame. Any side, wait-free; of several calls the
    /// last one counts.
    pub fn set(&self, gain: Gain) {
        // Relaxed: the gain is one word and orders nothing else.
        self.q16.store(gain.q16(), Ordering::Relaxed);
    }

    /// Returns the gain that was set last.
    #[must_use]
    pub fn get(&self) -> Gain {
        Gain::from_q16(self.q16.load(Ordering::Relaxed))
    }

    /// Returns the number of samples so far that did not fit 16 bits and were clipped to full scale; it wraps
    /// at 2^32. Any side.
    #[must_use]
    pub fn clipped_samples(&self) -> u32 {
        self.clipped_samples.get()
    }
}

/// A gain over all channels, rounded to nearest and clipped at full scale.
///
/// A change is a linear ramp over one frame, 10 ms, so it does not click. At unity samples pass bit-exact and
/// cost nothing; otherwise each costs a 64-bit multiplication and a comparison (0.4 us for 480 samples on a
/// small server core). A switch in a chain turns the step off without a ramp; setting [`Gain::UNITY`] removes
/// the gain inaudibly.
///
/// ```
/// use handsfree_core::capture::{FrameProcessor, GainSetting, GainStep};
/// use handsfree_core::{Format, Gain, PcmMut};
///
/// static VOLUME: GainSetting = GainSetting::new(Gain::UNITY);
/// let mut step = GainStep::new(&VOLUME);
/// VOLUME.set(Gain::linear(4.0)?);
/// let mut samples = [10_000; 80];
/// step.process(PcmMut { format: Format::new(8_000, 1)?, samples: &mut samples })?;
/// assert!(samples[0] < 11_000, "the ramp has just begun");
/// assert_eq!(samples[79], i16::MAX);
/// assert!(VOLUME.clipped_samples() > 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct GainStep<'a> {
    setting: &'a GainSetting,
    ramp: Ramp,
}

impl<'a> GainStep<'a> {
    /// Returns a step that begins at the gain that is set, without a ramp.
    #[must_use]
    pub fn new(setting: &'a GainSetting) -> Self {
        Self { setting, ramp: Ramp::at(setting.get()) }
    }
}

/// Scales all samples by one gain and returns how many were clipped.
fn scale(samples: &mut [i16], gain: Gain) -> u32 {
    let mut clipped = 0;
    for sample in samples {
        let wide = gain.amplify(*sample);
        let clamped = wide.clamp(i32::from(i16::MIN), i32::from(i16::MAX));
        clipped += u32::from(clamped != wide);
        *sample = clamped as i16;
    }
    clipped
}

impl FrameProcessor for GainStep<'_> {
    fn process(&mut self, frame: PcmMut<'_>) -> Result<(), ProcessError> {
        let channels = frame.format.channels().max(1);
        let target = self.setting.get();
        if target != self.ramp.target() {
            self.ramp.move_to(target, (frame.samples.len() / channels) as u32);
        }
        if self.ramp.is_unity() {
            return Ok(());
        }
        let clipped = match self.ramp.stands().then(|| self.ramp.target()) {
            Some(gain) => scale(frame.samples, gain),
            None => {
                let sample_frames = frame.samples.chunks_exact_mut(channels);
                sample_frames.map(|sample_frame| scale(sample_frame, self.ramp.next())).sum()
            }
        };
        if clipped > 0 {
            self.setting.clipped_samples.add(clipped);
        }
        Ok(())
    }

    /// Makes the next frame begin at the gain that is set, without a ramp.
    fn reset(&mut self) {
        self.ramp = Ramp::at(self.setting.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Format;

    fn run(step: &mut GainStep<'_>, samples: &mut [i16]) {
        let format = Format::new(48_000, (samples.len() / 480) as u32).unwrap();
        step.process(PcmMut { format, samples }).unwrap();
    }

    #[test]
    fn unity_gain_passes_every_sample_bit_exact() {
        let setting = GainSetting::new(Gain::UNITY);
        let mut step = GainStep::new(&setting);
        let all: std::vec::Vec<i16> = (i16::MIN..=i16::MAX).collect();
        for chunk in all.chunks_exact(480) {
            let mut samples = chunk.to_vec();
            run(&mut step, &mut samples);
            assert_eq!(samples, chunk);
        }
        assert_eq!(setting.clipped_samples(), 0);
    }

    #[test]
    fn a_gain_change_is_a_monotonic_ramp_over_one_frame() {
        for (from, to) in [(0.0, 1.0), (1.0, 0.0), (0.25, 0.75), (1.0, 0.999)] {
            let setting = GainSetting::new(Gain::linear(from).unwrap());
            let mut step = GainStep::new(&setting);
            let mut still = [20_000; 960];
            run(&mut step, &mut still);
            assert!(still.iter().all(|&sample| sample == (20_000.0 * from) as i16));
            setting.set(Gain::linear(to).unwrap());
            let mut moving = [20_000; 960];
            run(&mut step, &mut moving);
            let mut before = still[0];
            for pair in moving.chunks_exact(2) {
                assert_eq!(pair[0], pair[1]);
                assert!(if to > from { pair[0] >= before } else { pair[0] <= before });
                let most = 20_000.0 * (to - from).abs() / 480.0 + 1.0;
                assert!(f32::from((pair[0] - before).abs()) <= most, "a click from {before} to {}", pair[0]);
                before = pair[0];
            }
            assert_eq!(i32::from(before), (20_000.0 * to).round() as i32);
        }
    }

    #[test]
    fn samples_out_of_range_are_clipped_and_counted() {
        let setting = GainSetting::new(Gain::linear(2.0).unwrap());
        let mut step = GainStep::new(&setting);
        let mut samples = [0; 480];
        samples[..6].copy_from_slice(&[16_383, 16_384, -16_384, -16_385, i16::MAX, i16::MIN]);
        run(&mut step, &mut samples);
        assert_eq!(samples[..6], [32_766, i16::MAX, i16::MIN, i16::MIN, i16::MAX, i16::MIN]);
        assert_eq!(setting.clipped_samples(), 4, "twice 16384 is one too many, twice -16384 is not");
    }

    #[test]
    fn a_reset_jumps_to_the_gain_that_is_set() {
        let setting = GainSetting::new(Gain::UNITY);
        let mut step = GainStep::new(&setting);
        setting.set(Gain::SILENT);
        step.reset();
        let mut samples = [20_000; 480];
        run(&mut step, &mut samples);
        assert_eq!(samples, [0; 480]);
    }
}
