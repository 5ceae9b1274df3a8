//! Interrupt side: conversion between cpal's sample formats and the core's.
//!
//! Formats that the core supports pass without a copy. Other formats are converted piece by piece in an array
//! on the stack, so no memory is allocated for them.

use cpal::{Data, SampleFormat, SizedSample};
use handsfree_core::{DeviceSample, I24};

/// Supported sample formats in order of preference.
pub(crate) const FORMATS: [SampleFormat; 9] = [
    SampleFormat::I16,
    SampleFormat::F32,
    SampleFormat::I32,
    SampleFormat::I24,
    SampleFormat::F64,
    SampleFormat::U16,
    SampleFormat::U32,
    SampleFormat::U8,
    SampleFormat::I8,
];

/// Returns the rank of a format, lower being better, or `None` for an unsupported format. `wide` prefers more
/// than 16 bits, for a quiet microphone with a gain.
pub(crate) fn rank(format: SampleFormat, wide: bool) -> Option<usize> {
    let rank = FORMATS.iter().position(|&known| known == format)?;
    Some(if wide && rank == 0 { 4 } else { rank })
}

/// Number of samples that are converted at once. It exceeds the channel count of any device, so a piece holds
/// at least one sample frame.
const PIECE_SAMPLES: usize = 512;

/// The samples of a callback of the microphone.
#[cfg_attr(
    not(all(target_os = "linux", feature = "pulseaudio")),
    allow(dead_code, reason = "cpal's streams have samples of `Data` only")
)]
pub(crate) enum CapturedSamples<'a> {
    Cpal(&'a Data),
    I16(&'a [i16]),
    I32(&'a [i32]),
    I24(&'a [I24]),
    F32(&'a [f32]),
}

impl CapturedSamples<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Cpal(data) => data.len(),
            Self::I16(samples) => samples.len(),
            Self::I32(samples) => samples.len(),
            Self::I24(samples) => samples.len(),
            Self::F32(samples) => samples.len(),
        }
    }
}

/// The samples that a callback of the loudspeaker fills in.
#[cfg_attr(
    not(all(target_os = "linux", feature = "pulseaudio")),
    allow(dead_code, reason = "cpal's streams have samples of `Data` only")
)]
pub(crate) enum SamplesToPlay<'a> {
    Cpal(&'a mut Data),
    I16(&'a mut [i16]),
    I32(&'a mut [i32]),
    I24(&'a mut [I24]),
    F32(&'a mut [f32]),
}

impl SamplesToPlay<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Cpal(data) => data.len(),
            Self::I16(samples) => samples.len(),
            Self::I32(samples) => samples.len(),
            Self::I24(samples) => samples.len(),
            Self::F32(samples) => samples.len(),
        }
    }
}

/// Receives a period piece by piece in the core's formats.
pub(crate) trait PieceSink {
    fn take<S: DeviceSample>(&mut self, samples: &[S]);
}

/// Writes a period piece by piece in the core's formats.
pub(crate) trait PieceSource {
    fn fill<S: DeviceSample>(&mut self, samples: &mut [S]);
}

/// A sample format of cpal that is converted to one of the core.
trait ConvertedSample: SizedSample {
    type Core: DeviceSample;
    fn to_core(self) -> Self::Core;
    fn from_core(sample: Self::Core) -> Self;
}

macro_rules! converted_samples {
    ($($format:ty => $core:ty, $to:expr, $from:expr;)*) => {
        $(impl ConvertedSample for $format {
            type Core = $core;
            #[inline]
            fn to_core(self) -> $core {
                let to: fn(Self) -> $core = $to;
                to(self)
            }
            #[inline]
            fn from_core(sample: $core) -> Self {
                let from: fn($core) -> Self = $from;
                from(sample)
            }
        })*
    };
}

converted_samples! {
    cpal::I24 => I24, |s| I24(s.inner()), |s| cpal::I24::new_unchecked(s.0);
    u8 => i16, |s| (i16::from(s) - 128) << 8, |s| ((i32::from(s) + 0x80).min(i32::from(i16::MAX)) >> 8) as u8 ^ 0x80;
    i8 => i16, |s| i16::from(s) << 8, |s| ((i32::from(s) + 0x80).min(i32::from(i16::MAX)) >> 8) as i8;
    u16 => i16, |s| (s ^ 0x8000) as i16, |s| s as u16 ^ 0x8000;
    u32 => i32, |s| (s ^ 0x8000_0000) as i32, |s| s as u32 ^ 0x8000_0000;
    f64 => f32, |s| s as f32, f64::from;
}

/// Passes a callback's samples to `sink` in pieces of at most `longest_sample_frames`. Returns `false` if the
/// format is unsupported, which does not happen for a stream that [`rank`] accepted.
pub(crate) fn read_pieces(
    samples: &CapturedSamples<'_>,
    channels: usize,
    longest_sample_frames: usize,
    sink: &mut impl PieceSink,
) -> bool {
    fn direct<S: DeviceSample + SizedSample>(data: &Data, longest: usize, sink: &mut impl PieceSink) -> bool {
        data.as_slice::<S>().is_some_and(|samples| pieces(samples, longest, sink))
    }
    fn converted<S: ConvertedSample>(data: &Data, longest: usize, sink: &mut impl PieceSink) -> bool {
        let Some(samples) = data.as_slice::<S>() else { return false };
        let mut memory = [S::Core::SILENCE; PIECE_SAMPLES];
        for piece in samples.chunks(longest) {
            let converted = memory.get_mut(..piece.len()).unwrap_or_default();
            converted.iter_mut().zip(piece).for_each(|(core, sample)| *core = sample.to_core());
            sink.take(converted);
        }
        true
    }
    fn pieces<S: DeviceSample>(samples: &[S], longest: usize, sink: &mut impl PieceSink) -> bool {
        samples.chunks(longest).for_each(|piece| sink.take(piece));
        true
    }
    let (direct_samples, converted_samples) = piece_samples(channels, longest_sample_frames);
    let data = match samples {
        CapturedSamples::Cpal(data) => data,
        CapturedSamples::I16(samples) => return pieces(samples, direct_samples, sink),
        CapturedSamples::I32(samples) => return pieces(samples, direct_samples, sink),
        CapturedSamples::I24(samples) => return pieces(samples, direct_samples, sink),
        CapturedSamples::F32(samples) => return pieces(samples, direct_samples, sink),
    };
    match data.sample_format() {
        SampleFormat::I16 => direct::<i16>(data, direct_samples, sink),
        SampleFormat::I32 => direct::<i32>(data, direct_samples, sink),
        SampleFormat::F32 => direct::<f32>(data, direct_samples, sink),
        SampleFormat::I24 => converted::<cpal::I24>(data, converted_samples, sink),
        SampleFormat::U8 => converted::<u8>(data, converted_samples, sink),
        SampleFormat::I8 => converted::<i8>(data, converted_samples, sink),
        SampleFormat::U16 => converted::<u16>(data, converted_samples, sink),
        SampleFormat::U32 => converted::<u32>(data, converted_samples, sink),
        SampleFormat::F64 => converted::<f64>(data, converted_samples, sink),
        _ => false,
    }
}

/// Fills a callback's samples from `source` in pieces of at most `longest_sample_frames`. Returns `false` if
/// the format is unsupported.
pub(crate) fn write_pieces(
    samples: &mut SamplesToPlay<'_>,
    channels: usize,
    longest_sample_frames: usize,
    source: &mut impl PieceSource,
) -> bool {
    fn direct<S: DeviceSample + SizedSample>(
        data: &mut Data,
        longest: usize,
        source: &mut impl PieceSource,
    ) -> bool {
        data.as_slice_mut::<S>().is_some_and(|samples| pieces(samples, longest, source))
    }
    fn converted<S: ConvertedSample>(data: &mut Data, longest: usize, source: &mut impl PieceSource) -> bool {
        let Some(samples) = data.as_slice_mut::<S>() else { return false };
        let mut memory = [S::Core::SILENCE; PIECE_SAMPLES];
        for piece in samples.chunks_mut(longest) {
            let converted = memory.get_mut(..piece.len()).unwrap_or_default();
            source.fill(converted);
            piece.iter_mut().zip(converted).for_each(|(sample, core)| *sample = S::from_core(*core));
        }
        true
    }
    fn pieces<S: DeviceSample>(samples: &mut [S], longest: usize, source: &mut impl PieceSource) -> bool {
        samples.chunks_mut(longest).for_each(|piece| source.fill(piece));
        true
    }
    let (direct_samples, converted_samples) = piece_samples(channels, longest_sample_frames);
    let data = match samples {
        SamplesToPlay::Cpal(data) => data,
        SamplesToPlay::I16(samples) => return pieces(samples, direct_samples, source),
        SamplesToPlay::I32(samples) => return pieces(samples, direct_samples, source),
        SamplesToPlay::I24(samples) => return pieces(samples, direct_samples, source),
        SamplesToPlay::F32(samples) => return pieces(samples, direct_samples, source),
    };
    match data.sample_format() {
        SampleFormat::I16 => direct::<i16>(data, direct_samples, source),
        SampleFormat::I32 => direct::<i32>(data, direct_samples, source),
        SampleFormat::F32 => direct::<f32>(data, direct_samples, source),
        SampleFormat::I24 => converted::<cpal::I24>(data, converted_samples, source),
        SampleFormat::U8 => converted::<u8>(data, converted_samples, source),
        SampleFormat::I8 => converted::<i8>(data, converted_samples, source),
        SampleFormat::U16 => converted::<u16>(data, converted_samples, source),
        SampleFormat::U32 => converted::<u32>(data, converted_samples, source),
        SampleFormat::F64 => converted::<f64>(data, converted_samples, source),
        _ => false,
    }
}

/// Returns the number of samples of a direct piece and of a converted piece. Both are whole sample frames, at
/// least one.
fn piece_samples(channels: usize, longest_sample_frames: usize) -> (usize, usize) {
    let channels = channels.clamp(1, PIECE_SAMPLES);
    let longest = longest_sample_frames.max(1);
    (longest * channels, longest.min(PIECE_SAMPLES / channels).max(1) * channels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use handsfree_core::Gain;

    /// Collects samples, converted to 16 bits, and the lengths of the pieces.
    #[derive(Default)]
    struct CollectedPieces {
        samples: Vec<i16>,
        lengths: Vec<usize>,
    }

    impl PieceSink for CollectedPieces {
        fn take<S: DeviceSample>(&mut self, samples: &[S]) {
            self.samples.extend(samples.iter().map(|sample| sample.to_pcm(Gain::UNITY).0));
            self.lengths.push(samples.len());
        }
    }

    /// Writes the given samples.
    struct GivenSamples<'s>(std::slice::Iter<'s, i16>);

    impl PieceSource for GivenSamples<'_> {
        fn fill<S: DeviceSample>(&mut self, samples: &mut [S]) {
            for (out, sample) in samples.iter_mut().zip(&mut self.0) {
                *out = S::from_pcm(*sample);
            }
        }
    }

    fn data(memory: &mut [u64], samples: usize, format: SampleFormat) -> Data {
        assert!(samples * format.sample_size() <= size_of_val(memory));
        // SAFETY: the memory is long enough and aligned for every format, and every bit pattern is a valid
        // sample. The test keeps the memory borrowed while it uses the result.
        unsafe { Data::from_parts(memory.as_mut_ptr().cast(), samples, format) }
    }

    #[test]
    fn every_format_carries_every_16_bit_sample() {
        let samples: Vec<i16> = (i16::MIN..=i16::MAX).collect();
        let mut memory = vec![0; samples.len()];
        for format in FORMATS {
            let mut data = data(&mut memory, samples.len(), format);
            assert!(
                write_pieces(&mut SamplesToPlay::Cpal(&mut data), 1, 480, &mut GivenSamples(samples.iter())),
                "{format}"
            );
            let mut found = CollectedPieces::default();
            assert!(read_pieces(&CapturedSamples::Cpal(&data), 1, 480, &mut found), "{format}");
            let tolerance = if format.sample_size() == 1 { 0x80 } else { 0 };
            let worst = found.samples.iter().zip(&samples).map(|(a, b)| a.abs_diff(*b)).max();
            // The highest 8-bit value lies below full scale.
            assert!(worst <= Some(if tolerance > 0 { 0xFF } else { 0 }), "{format}: {worst:?}");
            let off = found.samples.iter().zip(&samples).filter(|(a, b)| a.abs_diff(**b) > tolerance).count();
            assert!(off <= 0x7F, "{format}: {off} of {}", samples.len());
            assert_eq!(found.samples.len(), samples.len(), "{format}");
            assert_eq!(found.samples[0x8000], 0, "{format}: silence");
        }
    }

    #[test]
    fn pieces_are_whole_sample_frames_within_the_granted_length() {
        let mut memory = vec![0; 4_096];
        for (format, channels, longest) in
            [(SampleFormat::I16, 3, 100), (SampleFormat::U8, 3, 100), (SampleFormat::U8, 64, 480)]
        {
            let samples = 1_000 * channels / channels.min(30);
            let data = data(&mut memory, samples, format);
            let mut found = CollectedPieces::default();
            assert!(read_pieces(&CapturedSamples::Cpal(&data), channels, longest, &mut found));
            assert_eq!(found.lengths.iter().sum::<usize>(), samples);
            let (last, whole) = found.lengths.split_last().unwrap();
            assert!(whole.iter().all(|piece| piece % channels == 0 && *piece <= longest * channels));
            assert!(*last <= longest * channels);
        }
    }

    #[test]
    fn an_unsupported_format_is_refused() {
        let mut memory = vec![0; 16];
        let mut found = CollectedPieces::default();
        assert!(!read_pieces(
            &CapturedSamples::Cpal(&data(&mut memory, 8, SampleFormat::DsdU8)),
            1,
            8,
            &mut found
        ));
        assert!(!write_pieces(
            &mut SamplesToPlay::Cpal(&mut data(&mut memory, 8, SampleFormat::U64)),
            1,
            8,
            &mut GivenSamples([].iter())
        ));
        assert!(found.samples.is_empty());
        assert_eq!(rank(SampleFormat::DsdU8, false), None);
        assert_eq!(rank(SampleFormat::I16, false), Some(0));
        assert!(rank(SampleFormat::I16, true) > rank(SampleFormat::I24, true));
    }
}
