//! Application side: samples of a track's source into samples of the mix.

use crate::dsp::{Progress, Quality, Resampler, ResamplerConfig};
use crate::error::ConfigError;
use crate::format::{ChannelMap, Format};
use crate::frame;
use crate::limits::MAX_CHANNELS;
use crate::playback::track::matching::{Matching, MatchingLoop};

/// Samples converted at a time.
pub(crate) const CHUNK: usize = 128;

/// Stretches of the source that may be on their way to the loudspeaker at once, each cut off from the
/// one before it by an interruption or a flush.
const SECTIONS: usize = 4;

/// What a track's source is like.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SourceConfig {
    /// The source's nominal rate, 4 to 192 kHz, whole 10 ms or not.
    pub rate_hz: u32,
    /// Its channels, 1 to 8, interleaved: one goes to all of the mix's, several to a mix of one as
    /// their mean, otherwise each to its own as far as there are.
    pub channels: u32,
    /// How the source is converted.
    pub quality: &'static Quality,
    /// Set for a source with a clock of its own, such as a network.
    pub matching: Option<Matching>,
}

/// Which source position belongs to which track position, since the source was last cut off.
#[derive(Clone, Copy, Debug, Default)]
struct Section {
    /// The first positions.
    track_from: u64,
    source_from: f64,
    /// Positions that belong together, and how many source sample frames a track's one is.
    track: u64,
    source: f64,
    step: f64,
}

impl Section {
    fn source_at(&self, track: u64) -> f64 {
        let ahead = track as i64 - self.track as i64;
        (self.source + ahead as f64 * self.step).max(self.source_from)
    }
}

/// The source's side of a track.
#[derive(Debug)]
pub(crate) struct Source<const MEMORY: usize> {
    rate_hz: u32,
    channels: usize,
    /// Sample frames of the source in one of the mix, nominally.
    step: f64,
    map: ChannelMap,
    resampler: Resampler<MEMORY>,
    /// The source has the mix's format, so nothing is converted.
    direct: bool,
    /// Sample frames taken so far.
    pub(crate) taken: u64,
    /// The newest section last.
    sections: [Section; SECTIONS],
    pub(crate) matching: Option<MatchingLoop>,
    /// Bytes of a sample frame that is not complete.
    bytes: [u8; 2 * MAX_CHANNELS as usize],
    held_bytes: usize,
    pub(crate) dropped_bytes: u32,
}

impl<const MEMORY: usize> Source<MEMORY> {
    /// Without memory there is only a copy to be made, and nothing of the resampler need be linked.
    pub(crate) const RESAMPLES: bool = MEMORY > 0;

    /// A source of the mix's own format.
    pub(crate) fn same(format: Format) -> Self {
        Self::unconfigured(format.rate_hz(), format.channels(), ChannelMap::identity(format), 1.0)
    }

    fn unconfigured(rate_hz: u32, channels: usize, map: ChannelMap, step: f64) -> Self {
        let first = Section { step, ..Section::default() };
        Self {
            rate_hz,
            channels,
            step,
            map,
            resampler: Resampler::new(),
            direct: true,
            taken: 0,
            sections: [first; SECTIONS],
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
        let mut mapped = [0i16; CHUNK];
        self.map.apply(samples, &mut mapped);
        let fitting = (samples.len() / self.channels.max(1)).min(CHUNK / to_channels);
        let mapped = mapped.get(..fitting * to_channels).unwrap_or(&[]);
        let progress =
            if Self::RESAMPLES { self.resampler.push(mapped, out) } else { copy(mapped, out, to_channels) };
        let sample_frames = progress.consumed / to_channels;
        Progress { consumed: sample_frames * self.channels, produced: progress.produced }
    }

    /// Writes what the conversion still holds; 0 once that is nothing.
    pub(crate) fn flush(&mut self, out: &mut [i16]) -> usize {
        if self.direct || !Self::RESAMPLES { 0 } else { self.resampler.flush(out) }
    }

    /// Forgets what the conversion holds: the next sample pushed is no continuation and comes at
    /// `track` of the mix.
    pub(crate) fn cut(&mut self, track: u64) {
        if !self.direct && Self::RESAMPLES {
            self.resampler.restart();
        }
        if let Some(matching) = &mut self.matching {
            matching.restart();
        }
        self.end(track);
    }

    /// The source pauses here, all of it flushed: what is pushed next comes at `track` of the mix.
    pub(crate) fn end(&mut self, track: u64) {
        self.begin_section(track);
        self.dropped_bytes = self.dropped_bytes.saturating_add(self.held_bytes as u32);
        self.held_bytes = 0;
    }

    fn begin_section(&mut self, track: u64) {
        if self.direct {
            // Positions are the mix's own, in every section.
            return;
        }
        let source = self.taken as f64;
        let section = Section { track_from: track, source_from: source, track, source, step: self.step };
        if self.newest().track_from < track {
            self.sections.rotate_left(1);
        }
        *self.newest() = section;
    }

    fn newest(&mut self) -> &mut Section {
        let [.., newest] = &mut self.sections;
        newest
    }

    /// Says that `track` is where what is pushed next begins, after silence before it.
    pub(crate) fn delay_section(&mut self, track: u64) {
        self.newest().track = track;
    }

    /// Reads the source faster by `ppm` from here on: all that was taken, less what the conversion
    /// holds, is at `track`.
    pub(crate) fn steer(&mut self, track: u64, ppm: f64) {
        let steered_ppm = self.resampler.steer(ppm);
        let source = self.taken as f64 - self.resampler.backlog_sample_frames();
        let step = self.step * (1.0 + steered_ppm * 1e-6);
        let newest = self.newest();
        (newest.track, newest.source, newest.step) = (track, source, step);
    }

    /// The source's position that belongs to one of the track's, both counted in sample frames that
    /// are over.
    pub(crate) fn position_of(&self, track: u64) -> u64 {
        let mut end = self.taken;
        for section in self.sections.iter().rev() {
            if track >= section.track_from {
                // Against rounding in doubles.
                return (libm::floor(section.source_at(track) + 1e-6) as u64).min(end);
            }
            end = section.source_from as u64;
        }
        end
    }

    /// Takes bytes until a sample frame is complete; true when one is in `sample_frame` then.
    pub(crate) fn take_bytes(&mut self, bytes: &mut &[u8]) -> bool {
        let wanted = 2 * self.channels;
        let taken = (wanted - self.held_bytes).min(bytes.len());
        let (now, later) = bytes.split_at(taken);
        if let Some(room) = self.bytes.get_mut(self.held_bytes..self.held_bytes + taken) {
            room.copy_from_slice(now);
        }
        self.held_bytes += taken;
        *bytes = later;
        self.held_bytes == wanted
    }

    pub(crate) const fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// The sample frame that [`Self::take_bytes`] completed.
    pub(crate) fn held_samples(&self) -> [i16; MAX_CHANNELS as usize] {
        let mut samples = [0; MAX_CHANNELS as usize];
        for (sample, bytes) in samples.iter_mut().zip(self.bytes.chunks_exact(2)) {
            *sample = bytes.first_chunk().map_or(0, |bytes| i16::from_le_bytes(*bytes));
        }
        samples
    }

    /// Keeps the first `count` bytes that are held.
    pub(crate) fn forget_bytes_after(&mut self, count: usize) {
        self.held_bytes = self.held_bytes.min(count);
    }
}

/// Copies whole sample frames, as many as fit.
fn copy(from: &[i16], to: &mut [i16], channels: usize) -> Progress {
    let fitting = from.len().min(to.len());
    let copied = fitting - fitting % channels.max(1);
    frame::copy(from, to.get_mut(..copied).unwrap_or(&mut []));
    Progress { consumed: copied, produced: copied }
}
