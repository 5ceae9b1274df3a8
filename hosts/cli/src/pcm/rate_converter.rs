//! Application side: converts a stream of mono samples to another rate.

use handsfree::failure::Failure;
use handsfree::terminal::{SOURCE_MEMORY, SOURCE_QUALITY};
use handsfree_core::dsp::{Resampler, ResamplerConfig};

/// Number of samples written at once: 10 ms at 48 kHz.
const CHUNK: usize = 480;

/// Converter of one mono stream. Its output is aligned with its input, and comes later by the resampler's latency.
pub struct RateConverter(Box<Resampler<SOURCE_MEMORY>>);

impl std::fmt::Debug for RateConverter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateConverter").finish_non_exhaustive()
    }
}

impl RateConverter {
    /// Makes a converter. Equal rates are copied.
    ///
    /// # Errors
    /// Returns an error that names a rate that cannot be converted.
    pub fn new(from_hz: u32, to_hz: u32) -> Result<Self, Failure> {
        let mut resampler = Box::new(Resampler::new());
        resampler.configure(ResamplerConfig {
            from_hz,
            to_hz,
            channels: 1,
            quality: SOURCE_QUALITY,
            steerable: false,
        })?;
        Ok(Self(resampler))
    }

    /// Converts all samples, and appends what is ready.
    pub fn push(&mut self, samples: &[i16], out: &mut Vec<i16>) {
        let mut rest = samples;
        let mut chunk = [0i16; CHUNK];
        while !rest.is_empty() {
            let progress = self.0.push(rest, &mut chunk);
            out.extend_from_slice(chunk.get(..progress.produced).unwrap_or(&[]));
            rest = rest.get(progress.consumed..).unwrap_or(&[]);
            if progress.consumed == 0 && progress.produced == 0 {
                break;
            }
        }
    }

    /// Ends the stream, and appends its last samples. The next samples begin a new stream.
    pub fn flush(&mut self, out: &mut Vec<i16>) {
        let mut chunk = [0i16; CHUNK];
        while let produced @ 1.. = self.0.flush(&mut chunk) {
            out.extend_from_slice(chunk.get(..produced).unwrap_or(&[]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_has_its_length_at_every_rate() {
        for (from_hz, to_hz) in
            [(48_000, 16_000), (16_000, 44_100), (44_100, 48_000), (48_000, 48_000), (8_000, 11_025)]
        {
            let mut converter = RateConverter::new(from_hz, to_hz).unwrap();
            for round in 0..2 {
                let mut out = Vec::new();
                for chunk in vec![900i16; from_hz as usize].chunks(137) {
                    converter.push(chunk, &mut out);
                }
                converter.flush(&mut out);
                assert_eq!(out.len(), to_hz as usize, "{from_hz} to {to_hz}, round {round}");
                assert!((out[out.len() / 2] - 900).abs() <= 1, "{from_hz} to {to_hz}");
            }
        }
    }
}
