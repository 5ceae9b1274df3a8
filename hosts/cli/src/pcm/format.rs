//! Any side: rate and channels of plain 16-bit samples, and their bytes.

use handsfree::failure::Failure;

/// Lowest and highest rate of plain samples, in hertz: those of telephones and of studios.
pub const RATES_HZ: std::ops::RangeInclusive<u32> = 8_000..=48_000;
/// Largest number of channels of plain samples.
pub const MAX_CHANNELS: u32 = 2;

/// Rate and channels of interleaved 16-bit little-endian samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PcmFormat {
    /// Sample rate, in hertz.
    pub rate_hz: u32,
    /// Number of interleaved channels.
    pub channels: u32,
}

impl PcmFormat {
    /// Returns the format if plain samples may have it.
    ///
    /// # Errors
    /// Returns an error that names the value and the allowed range.
    pub fn new(rate_hz: u32, channels: u32) -> Result<Self, Failure> {
        if !RATES_HZ.contains(&rate_hz) {
            return Err(Failure::usage(format!(
                "rate {rate_hz} Hz: expected {} to {}",
                RATES_HZ.start(),
                RATES_HZ.end()
            )));
        }
        if !(1..=MAX_CHANNELS).contains(&channels) {
            return Err(Failure::usage(format!("{channels} channels: expected 1 or 2")));
        }
        Ok(Self { rate_hz, channels })
    }

    /// Returns the format if a track may have it: also unusual rates, and up to eight channels.
    ///
    /// # Errors
    /// Returns an error that names the value and the allowed range.
    pub fn of_track(rate_hz: u32, channels: u32) -> Result<Self, Failure> {
        if !(4_000..=192_000).contains(&rate_hz) {
            return Err(Failure::usage(format!("rate {rate_hz} Hz: expected 4000 to 192000")));
        }
        if !(1..=8).contains(&channels) {
            return Err(Failure::usage(format!("{channels} channels: expected 1 to 8")));
        }
        Ok(Self { rate_hz, channels })
    }

    /// Returns the number of bytes of one sample frame.
    #[must_use]
    pub const fn frame_bytes(self) -> usize {
        2 * self.channels as usize
    }

    /// Appends mono samples as bytes, each in every channel.
    pub fn append_mono(self, samples: &[i16], bytes: &mut Vec<u8>) {
        for sample in samples {
            for _ in 0..self.channels {
                bytes.extend_from_slice(&sample.to_le_bytes());
            }
        }
    }
}

/// Collects bytes that arrive in pieces of any length into whole sample frames.
#[derive(Debug)]
pub struct FrameBytes {
    frame_bytes: usize,
    /// Begin of a sample frame whose other bytes have not arrived.
    rest: Vec<u8>,
}

impl FrameBytes {
    /// Makes an empty collector.
    #[must_use]
    pub fn new(format: PcmFormat) -> Self {
        Self { frame_bytes: format.frame_bytes(), rest: Vec::new() }
    }

    /// Returns the samples of all sample frames that are complete with these bytes.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<i16> {
        self.rest.extend_from_slice(bytes);
        let whole = self.rest.len() - self.rest.len() % self.frame_bytes;
        let samples = self
            .rest
            .get(..whole)
            .unwrap_or(&[])
            .chunks_exact(2)
            .map(|pair| pair.first_chunk().map_or(0, |pair| i16::from_le_bytes(*pair)))
            .collect();
        self.rest.drain(..whole);
        samples
    }

    /// Returns the number of bytes of an incomplete sample frame.
    #[must_use]
    pub fn incomplete_bytes(&self) -> usize {
        self.rest.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_whole_however_the_bytes_arrive() {
        let format = PcmFormat::new(16_000, 2).unwrap();
        let samples: Vec<i16> = (0..100).map(|n| n * 321).collect();
        let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        for step in 1..9 {
            let mut collector = FrameBytes::new(format);
            let mut found = Vec::new();
            for piece in bytes.chunks(step) {
                let part = collector.take(piece);
                assert_eq!(part.len() % 2, 0, "whole sample frames");
                found.extend(part);
            }
            assert_eq!((found, collector.incomplete_bytes()), (samples.clone(), 0), "{step} bytes");
        }
        let mut collector = FrameBytes::new(format);
        assert!(collector.take(&[1, 2, 3]).is_empty());
        assert_eq!(collector.incomplete_bytes(), 3);
    }

    #[test]
    fn other_rates_and_channel_counts_are_refused() {
        for (rate_hz, channels) in [(7_999, 1), (48_001, 1), (16_000, 0), (16_000, 3)] {
            assert_eq!(PcmFormat::new(rate_hz, channels).unwrap_err().code(), 2);
        }
        let mut bytes = Vec::new();
        PcmFormat::new(8_000, 2).unwrap().append_mono(&[1, -2], &mut bytes);
        assert_eq!(bytes, [1, 0, 1, 0, 254, 255, 254, 255]);
    }
}
