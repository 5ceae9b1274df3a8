//! Application side: converts samples of a track's source into samples of the mix.

use crate::dsp::{Progress, Quality, Resampler, ResamplerConfig};
use crate::error::ConfigError;
use crate::format::{ChannelMap, Format};
use crate::frame;
use crate::limits::MAX_CHANNELS;
use crate::playback::track::matching::{Matching, MatchingLoop};

/// Number of samples converted at a time, which bounds the stack.
pub(crate) const CHUNK_SAMPLES: usize = 128;

/// Number of sections of the source that may be on their way to the loudspeaker at once. An interruption or a
/// flush begins a new section.
const MAX_SECTIONS: usize = 4;

/// Format and conversion of a track's source.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SourceConfig {
    /// Nominal rate of the source, 4 to 192 kHz, in hertz; 10 ms need not be a whole number of sample frames.
    pub rate_hz: u32,
    /// Number of interleaved channels, 1 to 8. One channel goes to all channels of the mix, several channels go
    /// to a mono mix as their mean, otherwise each channel goes to the one of the same number if there is one.
    pub channels: u32,
    /// Quality of the conversion.
    pub quality: &'static Quality,
    /// Settings for a source with a clock of its own, such as a network.
    pub matching: Option<Matching>,
}

/// Relation of source positions to track positions, since the source was last interrupted or flushed.
#[derive(Clone, Copy, Debug, Default)]
struct SourceSection {
    /// First track position and first source position of the section.
    track_from: u64,
    source_from: f64,
    /// A track position and the source position that belongs to it, and the number of source sample frames for
    /// one of the track.
    track: u64,
    source: f64,
    step: f64,
}

impl SourceSection {
    fn source_at(&self, track: u64) -> f64 {
        let ahead = track as i64 - self.track as i64;
        (self.source + ahead as f64 * self.step).max(self.source_from)
    }
}

/// The source's side of a track: conversion, and the relation of source to track positions.
#[derive(Debug)]
pub(crate) struct SourceConverter<const MEMORY: usize> {
    rate_hz: u32,
    channels: usize,
    /// Nominal number of source sample frames for one of the mix.
    step: f64,
    map: ChannelMap,
    resampler: Resampler<MEMORY>,
    /// Whether the source has the mix's format, so that nothing is converted.
    direct: bool,
    /// Number of source sample frames taken so far.
    pub(crate) taken: u64,
    /// Sections, the newest last.
    sections: [SourceSection; MAX_SECTIONS],
    pub(crate) matching: Option<MatchingLoop>,
    /// Bytes of an incomplete sample frame.
    bytes: [u8; 2 * MAX_CHANNELS as usize],
    held_bytes: usize,
    pub(crate) dropped_bytes: u32,
}

impl<const MEMORY: usize> SourceConverter<MEMORY> {
    /// Without memory there is only a copy to make, and the resampler need not be linked.
    pub(crate) const RESAMPLES: bool = MEMORY > 0;

    /// Returns a source of the mix's own format.
    pub(crate) fn unconverted(format: Format) -> Self {
        Self::unconfigured(format.rate_hz(), format.channels(), ChannelMap::identity(format), 1.0)
    }

    fn unconfigured(rate_hz: u32, channels: usize, map: ChannelMap, step: f64) -> Self {
        let first = SourceSection { step, ..SourceSection::default() };
        Self {
            rate_hz,
            channels,
            step,
            map,
            resampler: Resampler::new(),
            direct: true,
            taken: 0,
            sections: [first; MAX_SECTIONS],
            matching: None,
            bytes: [0; 2 * MAX_CHANNELS as usize],
            held_bytes: 0,
            dropped_bytes: 0,
        }
    }

    pub(crate) fn new(config: SourceConfig, format: Format) -> Result<Self, ConfigError> {
        if config.channels == 0 || config.channels > u32::from(MAX_CHANNELS) {
            return Err(ConfigError::Channels { channels: config.channels });
        }
        let map = ChannelMap::natural(config.channels, format.channels() as u32)?;
        let step = f64::from(config.rate_hz) / f64::from(format.rate_hz().max(1));
        let mut source = Self::unconfigured(config.rate_hz, config.channels as usize, map, step);
        source.resampler.configure(ResamplerConfig {
            from_hz: config.rate_hz,
            to_hz: format.rate_hz(),
            channels: format.channels() as u32,
            quality: config.quality,
            steerable: config.matching.is_some(),
        })?;
        source.matching = config.matching.map(MatchingLoop::new);
        source.direct = config.rate_hz == format.rate_hz() && map.is_identity() && config.matching.is_none();
        Ok(source)
    }

    pub(crate) const fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    pub(crate) const fn channels(&self) -> usize {
        self.channels
    }

    pub(crate) const fn is_direct(&self) -> bool {
        self.direct
    }

    /// Converts what fits of `samples` into `out`, which the caller queues.
    pub(crate) fn convert(&mut self, samples: &[i16], out: &mut [i16]) -> Progress {
        let to_channels = self.map.to_channels().max(1);
        let mut mapped = [0i16; CHUNK_SAMPLES];
        self.map.apply(samples, &mut mapped);
        let fitting = (samples.len() / self.channels.max(1)).min(CHUNK_SAMPLES / to_channels);
        let mapped = mapped.get(..fitting * to_channels).unwrap_or(&[]);
        let progress =
            if Self::RESAMPLES { self.resampler.push(mapped, out) } else { copy(mapped, out, to_channels) };
        let sample_frames = progress.consumed / to_channels;
        Progress { consumed: sample_frames * self.channels, produced: progress.produced }
    }

    /// Writes what the conversion still holds and returns how many samples that were, 0 once it holds nothing.
    pub(crate) fn flush(&mut self, out: &mut [i16]) -> usize {
        if self.direct || !Self::RESAMPLES { 0 } else { self.resampler.flush(out) }
    }

    /// Drops what the conversion holds. The next sample pushed is no continuation and is at track position
    /// `track`.
    pub(crate) fn interrupt(&mut self, track: u64) {
        if !self.direct && Self::RESAMPLES {
            self.resampler.restart();
        }
        if let Some(matching) = &mut self.matching {
            matching.restart();
        }
        self.end_section(track);
    }

    /// Begins a new section after a flush: what is pushed next is at track position `track`.
    pub(crate) fn end_section(&mut self, track: u64) {
        self.begin_section(track);
        self.dropped_bytes = self.dropped_bytes.saturating_add(self.held_bytes as u32);
        self.held_bytes = 0;
    }

    fn begin_section(&mut self, track: u64) {
        if self.direct {
            // Source and track positions are equal, in every section.
            return;
        }
        let source = self.taken as f64;
        let section =
            SourceSection { track_from: track, source_from: source, track, source, step: self.step };
        if self.newest().track_from < track {
            self.sections.rotate_left(1);
        }
        *self.newest() = section;
    }

    fn newest(&mut self) -> &mut SourceSection {
        let [.., newest] = &mut self.sections;
        newest
    }

    /// Sets `track` as the position of what is pushed next, after silence was queued before it.
    pub(crate) fn delay_section(&mut self, track: u64) {
        self.newest().track = track;
    }

    /// Reads the source faster by `ppm` from here on. The source position at `track` is all that was taken,
    /// less what the conversion holds.
    pub(crate) fn steer(&mut self, track: u64, ppm: f64) {
        let steered_ppm = self.resampler.steer(ppm);
        let source = self.taken as f64 - self.resampler.backlog_sample_frames();
        let step = self.step * (1.0 + steered_ppm * 1e-6);
        let newest = self.newest();
        (newest.track, newest.source, newest.step) = (track, source, step);
    }

    /// Returns the source position that belongs to a track position; both count completed sample frames.
    pub(crate) fn position_of(&self, track: u64) -> u64 {
        let mut end = self.taken;
        for section in self.sections.iter().rev() {
            if track >= section.track_from {
                // Covers rounding in doubles.
                return (libm::floor(section.source_at(track) + 1e-6) as u64).min(end);
            }
            end = section.source_from as u64;
        }
        end
    }

    /// Takes bytes until a sample frame is complete and returns whether one is.
    pub(crate) fn take_bytes(&mut self, bytes: &mut &[u8]) -> bool {
        let wanted = 2 * self.channels;
        let taken = (wanted - self.held_bytes).min(bytes.len());
        let (now, later) = bytes.split_at(taken);
        if let Some(target) = self.bytes.get_mut(self.held_bytes..self.held_bytes + taken) {
            target.copy_from_slice(now);
        }
        self.held_bytes += taken;
        *bytes = later;
        self.held_bytes == wanted
    }

    pub(crate) const fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Returns the sample frame that [`Self::take_bytes`] completed.
    pub(crate) fn held_samples(&self) -> [i16; MAX_CHANNELS as usize] {
        let mut samples = [0; MAX_CHANNELS as usize];
        for (sample, bytes) in samples.iter_mut().zip(self.bytes.chunks_exact(2)) {
            *sample = bytes.first_chunk().map_or(0, |bytes| i16::from_le_bytes(*bytes));
        }
        samples
    }

    /// Keeps the first `count` bytes of the incomplete sample frame.
    pub(crate) fn forget_bytes_after(&mut self, count: usize) {
        self.held_bytes = self.held_bytes.min(count);
    }
}

/// Copies as many whole sample frames as fit.
fn copy(from: &[i16], to: &mut [i16], channels: usize) -> Progress {
    let fitting = from.len().min(to.len());
    let copied = fitting - fitting % channels.max(1);
    frame::copy(from, to.get_mut(..copied).unwrap_or(&mut []));
    Progress { consumed: copied, produced: copied }
}
