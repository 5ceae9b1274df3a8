//! Sound files: 16-bit WAV, and noise in which each place is unique.

use std::io::Cursor;

use hound::{SampleFormat, WavReader, WavSpec, WavWriter};

use crate::{MachineFailure, Result};

/// A sound with interleaved channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sound {
    /// Sample rate, in hertz.
    pub rate: u32,
    /// Number of channels.
    pub channels: u16,
    /// Interleaved samples.
    pub samples: Vec<i16>,
}

impl Sound {
    /// Creates noise without zero samples, so that it differs from surrounding silence. Equal seeds give equal noise.
    #[must_use]
    pub fn noise(rate: u32, channels: u16, sample_frames: usize, seed: u64) -> Self {
        let mut state = seed;
        // Knuth's linear congruential generator; its high bits are random enough to make each place unique.
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 48) as i16 | 1
        };
        let samples = (0..sample_frames * usize::from(channels)).map(|_| next()).collect();
        Self { rate, channels, samples }
    }

    /// Returns the sound followed by silence. A loopback card passes played samples on at the end of each capture period, so
    /// that samples after the last such moment before the player stops are lost; the silence takes their place.
    #[must_use]
    pub fn then_silence(&self, sample_frames: usize) -> Self {
        let mut longer = self.clone();
        longer.samples.resize(self.samples.len() + sample_frames * usize::from(self.channels), 0);
        longer
    }

    /// Returns the sound as a WAV file.
    ///
    /// # Errors
    /// If the format cannot be written.
    pub fn to_wav(&self) -> Result<Vec<u8>> {
        let spec = WavSpec {
            channels: self.channels,
            sample_rate: self.rate,
            bits_per_sample: 16,
            sample_format: SampleFormat::Int,
        };
        let mut file = Cursor::new(Vec::new());
        let mut writer = WavWriter::new(&mut file, spec).map_err(MachineFailure::of("WAV"))?;
        for sample in &self.samples {
            writer.write_sample(*sample).map_err(MachineFailure::of("WAV"))?;
        }
        writer.finalize().map_err(MachineFailure::of("WAV"))?;
        Ok(file.into_inner())
    }

    /// Reads a WAV file.
    ///
    /// # Errors
    /// If it is not a 16-bit WAV file.
    pub fn from_wav(file: &[u8]) -> Result<Self> {
        let mut reader = WavReader::new(file).map_err(MachineFailure::of("WAV"))?;
        let WavSpec { channels, sample_rate: rate, .. } = reader.spec();
        let samples =
            reader.samples().collect::<std::result::Result<_, _>>().map_err(MachineFailure::of("WAV"))?;
        Ok(Self { rate, channels, samples })
    }

    /// Returns the position of `part` in `whole`, in sample frames, if only silence surrounds it.
    ///
    /// # Errors
    /// If `part` is incomplete; the message contains the number of matching samples. If there is other sound around it.
    pub fn alone_in(part: &Self, whole: &Self) -> Result<usize> {
        if (part.rate, part.channels) != (whole.rate, whole.channels) {
            return Err(MachineFailure::new("the sounds differ in rate or channel count"));
        }
        let start = whole.samples.iter().position(|sample| *sample != 0);
        let start = start.ok_or_else(|| MachineFailure::new("the sound contains only silence"))?;
        let heard = &whole.samples[start..];
        let same = heard.iter().zip(&part.samples).take_while(|(heard, played)| heard == played).count();
        if same < part.samples.len() {
            return Err(MachineFailure::new(format!(
                "only the first {same} of {} samples match",
                part.samples.len()
            )));
        }
        if heard[same..].iter().any(|sample| *sample != 0) {
            return Err(MachineFailure::new("there is other sound after it"));
        }
        Ok(start / usize::from(part.channels))
    }
}
