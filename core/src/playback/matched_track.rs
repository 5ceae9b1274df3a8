//! Application side: a track whose source has a clock of its own, such as a network.

use embassy_sync::blocking_mutex::raw::RawMutex;

use crate::dsp::{Quality, Resampler, ResamplerConfig};
use crate::error::ConfigError;
use crate::playback::track::Track;

/// Samples converted at a time.
const CHUNK: usize = 128;
/// The fill is averaged over so many seconds, for it moves in steps of a frame.
const AVERAGE_S: f64 = 4.0;
/// The loop settles in some of these, in seconds. Packets and frames beat slowly against each other,
/// which the fill shows as some milliseconds up and down; a faster loop would follow that.
const LOOP_S: f64 = 24.0;
/// Most that the source is played faster or slower, in ppm.
const MAX_PPM: f64 = 5_000.0;
/// Fill further than this from the target, in seconds, is not learned from: it is a burst or a stall.
const LEARN_WITHIN_S: f64 = 0.1;

/// What a matched track's source is like.
#[derive(Clone, Copy, Debug)]
pub struct SourceConfig {
    /// The source's nominal rate, 4 to 192 kHz; its channels are the track's.
    pub rate_hz: u32,
    /// How the source is converted.
    pub quality: &'static Quality,
    /// How much of the source is to wait in the queue, in milliseconds: at least the longest time
    /// between two pushes, at most what the queue holds less that.
    pub target_ms: u32,
}

/// A track that is fed at another rate and by another clock than the loudspeaker's: what is pushed
/// is converted, a little faster or slower, so that the queue neither grows nor starves.
///
/// The queue's mean fill against its target steers the ratio by a proportional-integral loop with a
/// time constant of 24 s; the integral is the two clocks' drift. All of it runs in the application's
/// thread, in [`push`](Self::push); mixer and interrupt see an ordinary track. `MEMORY` is what
/// [`Quality::memory`] says for the two rates.
pub struct MatchedTrack<'p, 'a, M: RawMutex, const CAP: usize, const SLOTS: usize, const MEMORY: usize> {
    track: Track<'p, 'a, M, CAP, SLOTS>,
    resampler: Resampler<MEMORY>,
    source_hz: f64,
    track_hz: f64,
    target_s: f64,
    mean_off_s: f64,
    drift: f64,
    primed: bool,
}

impl<M: RawMutex, const CAP: usize, const SLOTS: usize, const MEMORY: usize> core::fmt::Debug
    for MatchedTrack<'_, '_, M, CAP, SLOTS, MEMORY>
{
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("MatchedTrack")
            .field("track", &self.track)
            .field("drift_ppm", &self.drift_ppm())
            .finish()
    }
}

impl<'p, 'a, M: RawMutex, const CAP: usize, const SLOTS: usize, const MEMORY: usize>
    MatchedTrack<'p, 'a, M, CAP, SLOTS, MEMORY>
{
    /// Matches a track's source. Application side.
    ///
    /// # Errors
    /// Names a rate that is not 4 to 192 kHz, or a `MEMORY` that is too small.
    pub fn new(track: Track<'p, 'a, M, CAP, SLOTS>, source: SourceConfig) -> Result<Self, ConfigError> {
        let format = track.format();
        let mut resampler = Resampler::new();
        resampler.configure(ResamplerConfig {
            from_hz: source.rate_hz,
            to_hz: format.rate_hz(),
            channels: format.channels() as u32,
            quality: source.quality,
            steerable: true,
        })?;
        Ok(Self {
            track,
            resampler,
            source_hz: f64::from(source.rate_hz),
            track_hz: f64::from(format.rate_hz()),
            target_s: f64::from(source.target_ms) * 1e-3,
            mean_off_s: 0.0,
            drift: 0.0,
            primed: false,
        })
    }

    /// Queues interleaved samples of the source's rate and returns how many were taken: fewer than
    /// given when the queue is full. Never blocks.
    ///
    /// The first push puts silence before the source, up to the target, so that the queue starts
    /// where it is to stay.
    pub fn push(&mut self, samples: &[i16]) -> usize {
        if !self.primed {
            self.prime();
        }
        let mut taken = 0;
        let mut converted = [0i16; CHUNK];
        loop {
            let rest = samples.get(taken..).unwrap_or(&[]);
            let room = self.track.room().min(CHUNK);
            let progress = self.resampler.push(rest, converted.get_mut(..room).unwrap_or(&mut []));
            self.track.push(converted.get(..progress.produced).unwrap_or(&[]));
            taken += progress.consumed;
            if progress.consumed == 0 && progress.produced == 0 {
                break;
            }
        }
        let sample_frames = taken / self.track.format().channels();
        self.steer(sample_frames as f64 / self.source_hz);
        taken
    }

    /// How much faster than nominal the source runs against the loudspeaker, in ppm, as found from
    /// the fill; good to some 100 ppm, which is what steering needs.
    #[must_use]
    pub fn drift_ppm(&self) -> f64 {
        self.drift * 1e6
    }

    /// The track, to change its gain or to ask about its queue.
    pub fn track_mut(&mut self) -> &mut Track<'p, 'a, M, CAP, SLOTS> {
        &mut self.track
    }

    /// Ends the track; what was pushed is played to its end.
    ///
    /// # Errors
    /// Gives the track back when the queue has no room for the tail; try again after some 10 ms.
    // The handle is the error on purpose: nothing of the tail may be lost.
    #[allow(clippy::result_large_err)]
    pub fn finish(mut self) -> Result<(), Self> {
        let mut tail = [0i16; CHUNK];
        loop {
            let room = self.track.room().min(CHUNK);
            if room == 0 {
                return Err(self);
            }
            let produced = self.resampler.flush(tail.get_mut(..room).unwrap_or(&mut []));
            if produced == 0 {
                break;
            }
            self.track.push(tail.get(..produced).unwrap_or(&[]));
        }
        let Self { track, resampler, source_hz, track_hz, target_s, mean_off_s, drift, primed } = self;
        track.finish().map_err(|track| Self {
            track,
            resampler,
            source_hz,
            track_hz,
            target_s,
            mean_off_s,
            drift,
            primed,
        })
    }

    fn prime(&mut self) {
        self.primed = true;
        let wanted = (self.target_s * self.track_hz) as usize * self.track.format().channels();
        let mut left = wanted.min(self.track.room());
        while left > 0 {
            let pushed = self.track.push([0; CHUNK].get(..left.min(CHUNK)).unwrap_or(&[]));
            if pushed == 0 {
                break;
            }
            left -= pushed;
        }
    }

    /// Looks at the fill after `seconds` of the source and sets the ratio.
    fn steer(&mut self, seconds: f64) {
        let off_s = self.track.queued_sample_frames() as f64 / self.track_hz - self.target_s;
        self.mean_off_s += (off_s - self.mean_off_s) * (seconds / AVERAGE_S).min(1.0);
        if self.mean_off_s.abs() < LEARN_WITHIN_S {
            self.drift += self.mean_off_s * seconds / (LOOP_S * LOOP_S);
            self.drift = self.drift.clamp(-MAX_PPM * 1e-6, MAX_PPM * 1e-6);
        }
        // Damping of 1: the proportional part is twice the loop's frequency.
        let faster = self.drift + self.mean_off_s * 2.0 / LOOP_S;
        self.resampler.steer((faster * 1e6).clamp(-MAX_PPM, MAX_PPM));
    }
}
