//! Application side: where audio to be played is handed in, and where it is asked what was heard.

mod control;
mod heard;
mod matching;
mod mixing;
mod pool;
mod source;
mod wait;

use core::fmt;

use embassy_sync::blocking_mutex::raw::RawMutex;

pub use self::heard::TrackEvent;
use self::heard::Utterance;
pub use self::matching::Matching;
pub use self::mixing::MixingTrack;
pub use self::pool::TrackPool;
pub use self::source::SourceConfig;
use self::source::{CHUNK, Source};
use crate::error::ConfigError;
use crate::format::Format;
use crate::frame::copy;
use crate::playback::slot::{Closing, TrackPort};
use crate::time::Duration;

/// The fade of pauses and interruptions unless set.
const DEFAULT_FADE: Duration = Duration::from_millis(5);

/// Why a track could not do what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TrackError {
    /// All of the session's slots are in use.
    NoSlot {
        /// How many slots there are.
        slots: usize,
    },
    /// The track's frame or command queue is full; try again after some 10 ms.
    Full,
    /// The track was interrupted under manual control and takes nothing until
    /// [`enable_input`](Track::enable_input).
    InputClosed,
    /// The mixer was closed, or its input ended before a track was opened.
    Closed,
    /// The source cannot be converted.
    Config(ConfigError),
}

impl fmt::Display for TrackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSlot { slots } => write!(f, "all {slots} track slots are in use"),
            Self::Full => f.write_str("the track's queue is full"),
            Self::InputClosed => {
                f.write_str("the track was interrupted and takes nothing until its input is enabled")
            }
            Self::Closed => f.write_str("the mixer's input has ended"),
            Self::Config(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for TrackError {}

/// A handle to one stream of audio into the mixer. Application side; never blocks unless it says so.
///
/// Positions are sample frames of the source, counted over all that was pushed since the track was
/// opened, also over what an interruption dropped. [`finish`](Self::finish) plays what was pushed to
/// its end; dropping the handle, at any time, takes the track away with a fade of 10 ms. The slot is
/// free for another track when the playback worker is done.
///
/// ```
/// use embassy_sync::blocking_mutex::raw::NoopRawMutex;
/// use handsfree_core::capture::Bypass;
/// use handsfree_core::{SampleRate, Session, SessionFormat};
///
/// let mut session = Box::new(Session::<480, 2, 8, 8, 16, 101, 48_000>::new());
/// let terminal = SessionFormat { rate: SampleRate::new(48_000)?, near_channels: 1, far_channels: 1 };
/// let halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ())?;
///
/// let mut voice = halves.tracks.open()?;
/// assert_eq!(voice.push(&[100; 700])?, 700);
/// assert_eq!(voice.queued_duration().as_micros(), 14_583);
/// voice.pause();        // fades out, keeps what is queued
/// voice.resume();       // goes on where it stopped
/// voice.interrupt();    // fades out, drops what is queued
/// assert_eq!(voice.queued_duration().as_micros(), 10_000, "until the worker has seen it");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Track<'p, 'a, M: RawMutex, const CAP: usize, const SLOTS: usize, const MEMORY: usize = 0> {
    pool: &'p TrackPool<'a, M, CAP, SLOTS>,
    /// Gone only while the handle goes.
    port: Option<TrackPort<'a, CAP>>,
    id: u32,
    source: Source<MEMORY>,
    /// Sample frames of the mix's rate queued so far.
    queued: u64,
    fade: Duration,
    paused: bool,
    manual: bool,
    accepting: bool,
    refused: u64,
    utterance: Utterance,
}

impl<M: RawMutex, const CAP: usize, const SLOTS: usize, const MEMORY: usize> fmt::Debug
    for Track<'_, '_, M, CAP, SLOTS, MEMORY>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Track").field("id", &self.id).field("position", &self.position()).finish()
    }
}

impl<'p, 'a, M: RawMutex, const CAP: usize, const SLOTS: usize, const MEMORY: usize>
    Track<'p, 'a, M, CAP, SLOTS, MEMORY>
{
    fn new(pool: &'p TrackPool<'a, M, CAP, SLOTS>, port: TrackPort<'a, CAP>, source: Source<MEMORY>) -> Self {
        Self {
            pool,
            id: port.track,
            port: Some(port),
            source,
            queued: 0,
            fade: DEFAULT_FADE,
            paused: false,
            manual: false,
            accepting: true,
            refused: 0,
            utterance: Utterance::new(),
        }
    }
}

impl<M: RawMutex, const CAP: usize, const SLOTS: usize, const MEMORY: usize>
    Track<'_, '_, M, CAP, SLOTS, MEMORY>
{
    /// Identity of this track in events and stamps; never 0.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// Sample frames of the source taken so far.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.source.taken
    }

    /// The mix's format. The source's is [`rate_hz`](Self::rate_hz) and [`channels`](Self::channels).
    #[must_use]
    pub const fn format(&self) -> Format {
        self.pool.format()
    }

    /// The source's rate, in hertz.
    #[must_use]
    pub const fn rate_hz(&self) -> u32 {
        self.source.rate_hz()
    }

    /// The source's channels.
    #[must_use]
    pub const fn channels(&self) -> usize {
        self.source.channels()
    }

    /// Queues interleaved samples of the source, any number of whole sample frames, and returns how
    /// many samples were taken: fewer than given when the queue is full, none of no samples.
    ///
    /// Costs a copy, and the conversion where there is one.
    ///
    /// # Errors
    /// [`TrackError::InputClosed`] after an interruption under manual control,
    /// [`TrackError::Closed`] when the mixer was closed; the samples are counted in
    /// [`refused_sample_frames`](Self::refused_sample_frames).
    pub fn push(&mut self, samples: &[i16]) -> Result<usize, TrackError> {
        let channels = self.channels().max(1);
        self.check_input(samples.len() / channels)?;
        let taken = if self.source.is_direct() {
            let taken = self.queue(samples);
            self.source.taken += (taken / channels) as u64;
            taken
        } else {
            self.push_converted(samples)
        };
        Ok(taken)
    }

    /// Queues 16-bit little-endian samples in bytes, any number of them, and returns how many bytes
    /// were taken. A sample frame that is not complete waits for its rest.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_bytes(&mut self, bytes: &[u8]) -> Result<usize, TrackError> {
        let channels = self.channels().max(1);
        let width = 2 * channels;
        self.check_input(bytes.len() / width)?;
        let mut rest = bytes;
        let mut samples = [0i16; CHUNK];
        while !rest.is_empty() {
            if self.source.held_bytes() > 0 || rest.len() < width {
                let before = (rest, self.source.held_bytes());
                if !self.source.take_bytes(&mut rest) {
                    break;
                }
                let held = self.source.held_samples();
                if self.push(held.get(..channels).unwrap_or(&[]))? == 0 {
                    rest = before.0;
                    self.source.forget_bytes_after(before.1);
                    break;
                }
                self.source.forget_bytes_after(0);
                continue;
            }
            let whole = (rest.len() / width).min(CHUNK / channels) * channels;
            for (sample, bytes) in samples.iter_mut().take(whole).zip(rest.chunks_exact(2)) {
                *sample = bytes.first_chunk().map_or(0, |bytes| i16::from_le_bytes(*bytes));
            }
            let taken = self.push(samples.get(..whole).unwrap_or(&[]))?;
            rest = rest.get(2 * taken..).unwrap_or(&[]);
            if taken < whole {
                break;
            }
        }
        Ok(bytes.len() - rest.len())
    }

    /// Frames of 10 ms in the queue that the mixer has not taken yet; what does not fill a frame is
    /// not among them.
    #[must_use]
    pub fn queued_frames(&self) -> usize {
        self.port.as_ref().map_or(0, |port| port.frames.len())
    }

    /// Sample frames, at the mix's rate, that were pushed and that the mixer has not taken yet. The
    /// last of a stretch that an interruption or [`flush`](Self::flush) cut counts as 10 ms.
    #[must_use]
    pub fn queued_sample_frames(&self) -> usize {
        self.port.as_ref().map_or(0, |port| {
            port.frames.len() * self.format().sample_frames() + port.pending.sample_frames()
        })
    }

    /// How long the mixer can play from what is queued.
    #[must_use]
    pub fn queued_duration(&self) -> Duration {
        Duration::of_sample_frames(self.queued_sample_frames() as u64, self.format().rate())
    }

    /// Samples of the mix, all channels, that the queue has room for; a source of the mix's own
    /// format is taken up to that.
    #[must_use]
    pub fn free_samples(&self) -> usize {
        self.port.as_ref().map_or(0, |port| {
            let free = port.frames.capacity() - port.frames.len();
            (free * self.format().sample_frames() + port.pending.missing()) * self.format().channels()
        })
    }

    /// Sample frames of the source that came while the input was closed, and were not taken.
    #[must_use]
    pub const fn refused_sample_frames(&self) -> u64 {
        self.refused
    }

    /// Bytes that were dropped because the source ended, or was cut off, in the middle of a sample
    /// frame.
    #[must_use]
    pub const fn dropped_bytes(&self) -> u32 {
        self.source.dropped_bytes
    }

    /// How much faster than nominal a matched source runs against the loudspeaker, in ppm, as found
    /// from the fill; good to some 100 ppm, which is what steering needs.
    #[must_use]
    pub fn drift_ppm(&self) -> Option<f64> {
        self.source.matching.map(|matching| matching.drift_ppm())
    }

    /// Hands the mixer what does not fill a frame yet, and the tail of a conversion; what is pushed
    /// next begins with the frame after.
    ///
    /// # Errors
    /// [`TrackError::Full`] when the queue has no room for all of it; what had room is queued, so
    /// try again after some 10 ms.
    pub fn flush(&mut self) -> Result<(), TrackError> {
        let mut tail = [0i16; CHUNK];
        loop {
            let room = self.free_samples().min(CHUNK);
            let produced = self.source.flush(tail.get_mut(..room).unwrap_or(&mut []));
            if produced == 0 {
                if room == 0 && !self.source.is_direct() {
                    return Err(TrackError::Full);
                }
                break;
            }
            self.queue(tail.get(..produced).unwrap_or(&[]));
        }
        let Some(port) = self.port.as_mut() else { return Ok(()) };
        if port.pending.sample_frames() > 0 && !queue_pending(port, self.id, self.queued) {
            return Err(TrackError::Full);
        }
        self.source.end(self.queued);
        Ok(())
    }

    /// Ends the track: what was pushed is played, a tail shorter than a frame included; a pause
    /// ends.
    ///
    /// # Errors
    /// Gives the track back when the queue has no room for the tail; try again after some 10 ms.
    // The handle is the error on purpose: nothing of the tail may be lost.
    #[allow(clippy::result_large_err)]
    pub fn finish(mut self) -> Result<(), Self> {
        if self.flush().is_err() {
            return Err(self);
        }
        self.resume();
        self.close(Closing::Ended);
        Ok(())
    }

    fn close(&mut self, how: Closing) {
        if let Some(port) = self.port.take() {
            port.shared.close(self.id, how);
            self.pool.give_back(port);
        }
    }

    fn check_input(&mut self, sample_frames: usize) -> Result<(), TrackError> {
        let refusal = if self.pool.is_closed() {
            TrackError::Closed
        } else if !self.accepting {
            TrackError::InputClosed
        } else {
            return Ok(());
        };
        self.refused += sample_frames as u64;
        Err(refusal)
    }

    fn push_converted(&mut self, samples: &[i16]) -> usize {
        if Source::<MEMORY>::RESAMPLES
            && let Some(matching) = &mut self.source.matching
        {
            let silence = matching.prime(self.pool.format().rate_hz());
            self.queue_silence(silence);
        }
        let channels = self.channels().max(1);
        let mut taken = 0;
        let mut converted = [0i16; CHUNK];
        loop {
            let rest = samples.get(taken..).unwrap_or(&[]);
            let room = self.free_samples().min(CHUNK);
            let progress = self.source.convert(rest, converted.get_mut(..room).unwrap_or(&mut []));
            self.queue(converted.get(..progress.produced).unwrap_or(&[]));
            taken += progress.consumed;
            self.source.taken += (progress.consumed / channels) as u64;
            if progress.consumed == 0 && progress.produced == 0 {
                break;
            }
        }
        if !Source::<MEMORY>::RESAMPLES {
            return taken;
        }
        let seconds = (taken / channels) as f64 / f64::from(self.source.rate_hz());
        let fill_s = self.queued_sample_frames() as f64 / f64::from(self.format().rate_hz());
        if let Some(matching) = &mut self.source.matching {
            let ppm = matching.look(fill_s, seconds);
            self.source.steer(self.queued, ppm);
        }
        taken
    }

    /// Puts silence before a source, as far as there is room.
    fn queue_silence(&mut self, sample_frames: usize) {
        if sample_frames == 0 {
            return;
        }
        let mut left = (sample_frames * self.format().channels()).min(self.free_samples());
        while left > 0 {
            let queued = self.queue([0; CHUNK].get(..left.min(CHUNK)).unwrap_or(&[]));
            if queued == 0 {
                break;
            }
            left -= queued;
        }
        self.source.delay_section(self.queued);
        self.utterance.delay(self.queued);
    }

    /// Queues samples of the mix's format and returns how many.
    fn queue(&mut self, samples: &[i16]) -> usize {
        let Some(port) = self.port.as_mut() else {
            return 0;
        };
        let channels = self.pool.format().channels().max(1);
        let mut taken = 0;
        loop {
            if port.pending.missing() == 0 && !queue_pending(port, self.id, self.queued) {
                break;
            }
            let rest = samples.get(taken..).unwrap_or(&[]);
            let room = port.pending.extend(rest.len() / channels);
            if room.is_empty() {
                break;
            }
            let copied = copy(rest, room);
            taken += copied;
            self.queued += (copied / channels) as u64;
        }
        taken
    }
}

impl<M: RawMutex, const CAP: usize, const SLOTS: usize, const MEMORY: usize> Drop
    for Track<'_, '_, M, CAP, SLOTS, MEMORY>
{
    fn drop(&mut self) {
        self.close(Closing::Removed);
    }
}

/// Moves the pending frame into the queue; false when there is no room.
fn queue_pending<const CAP: usize>(port: &mut TrackPort<'_, CAP>, id: u32, queued: u64) -> bool {
    let format = port.pending.format();
    port.pending.stamp.track = id;
    port.pending.stamp.epoch = port.epoch;
    port.pending.stamp.position = queued - port.pending.sample_frames() as u64;
    let is_queued = port.frames.push_copy(port.pending);
    if is_queued {
        port.pending.begin(format);
    }
    is_queued
}
