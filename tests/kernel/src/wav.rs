//! The sound that goes in and comes out: WAV of 16 bits, and noise that can be told from any other place in it.

use std::io::Cursor;

use hound::{SampleFormat, WavReader, WavSpec, WavWriter};

use crate::{Failure, Result};

/// A file's samples, channels interleaved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sound {
    /// Sample frames a second.
    pub rate: u32,
    /// Channels.
    pub channels: u16,
    /// All samples.
    pub samples: Vec<i16>,
}

impl Sound {
    /// So many sample frames of noise, never zero, so that silence around it is told apart; the same for the same seed.
    #[must_use]
    pub fn noise(rate: u32, channels: u16, sample_frames: usize, seed: u64) -> Self {
        let mut state = seed;
        // Knuth's generator; its high half is good enough to be unlike itself anywhere else.
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 48) as i16 | 1
        };
        let samples = (0..sample_frames * usize::from(channels)).map(|_| next()).collect();
        Self { rate, channels, samples }
    }

    /// With silence behind it. A loopback card hands on what is played when a period of the capture side ends: what comes
    /// after the last such moment before the player stops is heard by nobody, so let that be silence.
    #[must_use]
    pub fn then_silence(&self, sample_frames: usize) -> Self {
        let mut longer = self.clone();
        longer.samples.resize(self.samples.len() + sample_frames * usize::from(self.channels), 0);
        longer
    }

    /// The file.
    ///
    /// # Errors
    /// When the format cannot be written.
    pub fn to_wav(&self) -> Result<Vec<u8>> {
        let spec = WavSpec {
            channels: self.channels,
            sample_rate: self.rate,
            bits_per_sample: 16,
            sample_format: SampleFormat::Int,
        };
        let mut file = Cursor::new(Vec::new());
        let mut writer = WavWriter::new(&mut file, spec).map_err(Failure::of("WAV"))?;
        for sample in &self.samples {
            writer.write_sample(*sample).map_err(Failure::of("WAV"))?;
        }
        writer.finalize().map_err(Failure::of("WAV"))?;
        Ok(file.into_inner())
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it is no WAV of 16 bits.
    pub fn from_wav(file: &[u8]) -> Result<Self> {
        let mut reader = WavReader::new(file).map_err(Failure::of("WAV"))?;
        let WavSpec { channels, sample_rate: rate, .. } = reader.spec();
        let samples = reader.samples().collect::<std::result::Result<_, _>>().map_err(Failure::of("WAV"))?;
        Ok(Self { rate, channels, samples })
    }

    /// Where all of `part` is in it, in sample frames, with nothing but silence before and after.
    ///
    /// # Errors
    /// When it is not there whole, with how much of it is; when there is other sound around it.
    pub fn alone_in(part: &Self, whole: &Self) -> Result<usize> {
        if (part.rate, part.channels) != (whole.rate, whole.channels) {
            return Err(Failure::new("two rates or channel counts"));
        }
        let start = whole.samples.iter().position(|sample| *sample != 0);
        let start = start.ok_or_else(|| Failure::new("nothing but silence"))?;
        let heard = &whole.samples[start..];
        let same = heard.iter().zip(&part.samples).take_while(|(heard, played)| heard == played).count();
        if same < part.samples.len() {
            return Err(Failure::new(format!("only the first {same} of {} samples", part.samples.len())));
        }
        if heard[same..].iter().any(|sample| *sample != 0) {
            return Err(Failure::new("something comes after it"));
        }
        Ok(start / usize::from(part.channels))
    }
}
