//! Worker side: 10 ms at one rate in, 10 ms at another rate out.

use crate::dsp::kernel::{self, RESOLUTION, ZERO_CROSSINGS};
use crate::format::{Format, SampleRate};
use crate::frame::Frame;
use crate::time::Duration;

/// Converts frames between rates that have whole samples in 10 ms, with a fixed ratio.
///
/// Both rates fit 10 ms, so every frame in gives one frame out and no phase is carried; the only
/// state is the frame before. Equal rates are a bit-exact copy without latency. Otherwise the
/// output lags by 32 samples of the lower rate ([`latency`](Self::latency)).
/// Costs 64 multiplications per output sample and channel, times the ratio when going down.
#[derive(Debug)]
pub struct FrameConverter<const CAP: usize> {
    before: Frame<CAP>,
    to: Option<SampleRate>,
}

impl<const CAP: usize> Default for FrameConverter<CAP> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const CAP: usize> FrameConverter<CAP> {
    /// A converter that has heard silence so far.
    #[must_use]
    pub const fn new() -> Self {
        Self { before: Frame::EMPTY, to: None }
    }

    /// How much later the converted signal comes out than it went in.
    #[must_use]
    pub fn latency(from: SampleRate, to: SampleRate) -> Duration {
        if from == to {
            return Duration::ZERO;
        }
        Duration::of_sample_frames(reach(from, to) as u64, from)
    }

    /// Forgets the frame before.
    pub fn reset(&mut self) {
        self.to = None;
    }

    /// Converts a whole frame to `to`. Stamps are the caller's business. A change of format starts
    /// anew from silence. An output that does not fit `CAP` is cut; [`Session`](crate::Session)
    /// checks that it fits.
    pub fn convert<const A: usize, const B: usize>(
        &mut self,
        input: &Frame<CAP, A>,
        to: SampleRate,
        output: &mut Frame<CAP, B>,
    ) {
        let from = input.format();
        if from.rate() == to {
            output.copy_samples(input);
            self.to = None;
            return;
        }
        let Ok(format) = Format::with_rate(to, from.channels() as u32) else {
            return;
        };
        if self.to != Some(to) || self.before.format() != from {
            self.before.clear(from, from.sample_frames());
            self.to = Some(to);
        }
        output.begin(format);
        let channels = from.channels().max(1);
        let step = Step::new(from.rate(), to);
        let out = output.extend(format.sample_frames());
        for channel in 0..channels {
            let taps = Taps { before: self.before.samples(), now: input.samples(), channel, channels };
            for (m, sample) in out.iter_mut().skip(channel).step_by(channels).enumerate() {
                *sample = step.interpolate(m, &taps);
            }
        }
        self.before.copy_samples(input);
    }
}

/// Sample frames of the input on either side of a point that shape it.
fn reach(from: SampleRate, to: SampleRate) -> usize {
    let (from, to) = (from.sample_frames(), to.sample_frames().max(1));
    (ZERO_CROSSINGS * from.max(to)).div_ceil(to)
}

/// The last two frames of one channel as one signal; position 0 is the newer frame's first sample.
struct Taps<'a> {
    before: &'a [i16],
    now: &'a [i16],
    channel: usize,
    channels: usize,
}

impl Taps<'_> {
    #[inline]
    fn at(&self, position: isize) -> f32 {
        let (half, at) = if position < 0 {
            (self.before, position + (self.before.len() / self.channels) as isize)
        } else {
            (self.now, position)
        };
        half.get(at as usize * self.channels + self.channel).copied().map_or(0.0, f32::from)
    }
}

struct Step {
    from: usize,
    to: usize,
    reach: isize,
    scale: f32,
}

impl Step {
    fn new(from: SampleRate, to: SampleRate) -> Self {
        let (from_frames, to_frames) = (from.sample_frames(), to.sample_frames().max(1));
        let scale = if to_frames < from_frames { to_frames as f32 / from_frames as f32 } else { 1.0 };
        Self { from: from_frames, to: to_frames, reach: reach(from, to) as isize, scale }
    }

    /// Output sample `m` of the frame: the input at `m * from / to - reach`.
    fn interpolate(&self, m: usize, taps: &Taps<'_>) -> i16 {
        let exact = m * self.from;
        let base = (exact / self.to) as isize - self.reach;
        let fraction = (exact % self.to) as f32 / self.to as f32;
        let stride = self.scale * RESOLUTION as f32;
        let mut sum = 0.0;
        for n in 0..self.reach {
            let left = (n as f32 + fraction) * stride;
            let right = (n as f32 + 1.0 - fraction) * stride;
            sum += taps.at(base - n) * kernel::at(left) + taps.at(base + 1 + n) * kernel::at(right);
        }
        let scaled = sum * self.scale;
        let rounded = if scaled < 0.0 { scaled - 0.5 } else { scaled + 0.5 };
        (rounded as i32).clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Signal-to-noise ratio of a sine through the converter, in dB, against the ideal sine.
    fn sine_snr_db(from_hz: u32, to_hz: u32, tone_hz: f64) -> f64 {
        let from = Format::new(from_hz, 1).unwrap();
        let to = SampleRate::new(to_hz).unwrap();
        let latency_s = FrameConverter::<1920>::latency(from.rate(), to).as_nanos() as f64 / 1e9;
        let mut converter = FrameConverter::<1920>::new();
        let mut input = Frame::<1920>::EMPTY;
        let mut output = Frame::<1920>::EMPTY;
        let wave = |t: f64| 20_000.0 * (core::f64::consts::TAU * tone_hz * t).sin();
        let (mut signal, mut noise) = (0.0, 0.0);
        for frame in 0..50 {
            input.begin(from);
            for (i, s) in input.extend(usize::MAX).iter_mut().enumerate() {
                let t = (frame * from.sample_frames() + i) as f64 / f64::from(from_hz);
                *s = wave(t).round() as i16;
            }
            converter.convert(&input, to, &mut output);
            assert_eq!(output.sample_frames(), to.sample_frames());
            if frame < 2 {
                continue;
            }
            for (i, &s) in output.samples().iter().enumerate() {
                let t = (frame * to.sample_frames() + i) as f64 / f64::from(to_hz) - latency_s;
                signal += wave(t).powi(2);
                noise += (wave(t) - f64::from(s)).powi(2);
            }
        }
        10.0 * (signal / noise).log10()
    }

    #[test]
    fn sines_in_the_pass_band_come_through() {
        for (from, to) in
            [(48_000, 16_000), (16_000, 48_000), (44_100, 48_000), (48_000, 44_100), (96_000, 8_000)]
        {
            let band = f64::from(from.min(to)) / 2.0;
            for part in [0.05, 0.3, 0.6, 0.8] {
                let snr = sine_snr_db(from, to, part * band);
                assert!(snr > 70.0, "{from} -> {to} at {part} of the band: {snr:.1} dB");
            }
        }
    }

    #[test]
    fn tones_above_the_lower_band_are_rejected() {
        let from = Format::new(48_000, 1).unwrap();
        let to = SampleRate::new(16_000).unwrap();
        let mut converter = FrameConverter::<480>::new();
        let mut input = Frame::<480>::EMPTY;
        let mut output = Frame::<480>::EMPTY;
        for frame in 0..20 {
            input.begin(from);
            for (i, s) in input.extend(480).iter_mut().enumerate() {
                let t = (frame * 480 + i) as f64 / 48_000.0;
                *s = (20_000.0 * (core::f64::consts::TAU * 10_000.0 * t).sin()) as i16;
            }
            converter.convert(&input, to, &mut output);
        }
        let peak = output.samples().iter().map(|s| s.unsigned_abs()).max().unwrap();
        assert!(peak <= 4, "alias of {peak} from a tone of 20000");
    }

    #[test]
    fn equal_rates_are_a_copy_and_channels_stay_apart() {
        let format = Format::new(48_000, 2).unwrap();
        let mut input = Frame::<960>::EMPTY;
        input.begin(format);
        for (i, s) in input.extend(480).iter_mut().enumerate() {
            *s = if i % 2 == 0 { 1_000 } else { -2_000 };
        }
        let mut output = Frame::<960>::EMPTY;
        let mut converter = FrameConverter::new();
        converter.convert(&input, format.rate(), &mut output);
        assert_eq!(input.samples(), output.samples());
        for _ in 0..3 {
            converter.convert(&input, SampleRate::new(16_000).unwrap(), &mut output);
        }
        for pair in output.samples().chunks_exact(2) {
            assert!((pair[0] - 1_000).abs() <= 1 && (pair[1] + 2_000).abs() <= 2, "{pair:?}");
        }
    }
}
