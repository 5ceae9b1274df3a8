//! Application side: takes audio to be played and tells what of it was played.

mod control;
mod error;
mod matching;
mod mixing;
mod playout;
mod pool;
mod source;
mod wait;

use core::fmt;

use embassy_sync::blocking_mutex::raw::RawMutex;

pub use self::error::TrackError;
pub use self::matching::Matching;
pub use self::mixing::MixingTrack;
pub use self::playout::TrackEvent;
use self::playout::Utterance;
pub use self::pool::TrackPool;
pub use self::source::SourceConfig;
use self::source::{CHUNK_SAMPLES, SourceConverter};
use crate::format::Format;
use crate::frame::copy;
use crate::playback::slot::{CloseMode, TrackPort};
use crate::time::Duration;

/// Default fade of pauses and interruptions: long enough not to click, within the allowed 3 to 10 ms.
const DEFAULT_FADE: Duration = Duration::from_millis(5);

/// A handle to one stream of audio into the mixer. Application side; only methods that say so block.
///
/// Positions are sample frames of the source, counted over everything pushed since the track was opened,
/// including what an interruption dropped. [`finish`](Self::finish) plays what was pushed to its end. Dropping
/// the handle, at any time, removes the track with a fade of 10 ms. The slot is free for another track when the
/// playback worker is done with it.
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
    /// `None` only while the handle is dropped or finished.
    port: Option<TrackPort<'a, CAP>>,
    id: u32,
    source: SourceConverter<MEMORY>,
    /// Number of sample frames queued so far, at the mix's rate.
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
    fn new(
        pool: &'p TrackPool<'a, M, CAP, SLOTS>,
        port: TrackPort<'a, CAP>,
        source: SourceConverter<MEMORY>,
    ) -> Self {
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
    /// Returns the identity of this track in events and stamps; never 0.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// Returns how many sample frames of the source were taken so far.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.source.taken
    }

    /// Returns the mix's format. The source's format is [`rate_hz`](Self::rate_hz) and
    /// [`channels`](Self::channels).
    #[must_use]
    pub const fn format(&self) -> Format {
        self.pool.format()
    }

    /// Returns the source's rate, in hertz.
    #[must_use]
    pub const fn rate_hz(&self) -> u32 {
        self.source.rate_hz()
    }

    /// Returns the number of the source's channels.
    #[must_use]
    pub const fn channels(&self) -> usize {
        self.source.channels()
    }

    /// Queues interleaved samples of the source, any number of whole sample frames, and returns how many
    /// samples were taken: fewer than given when the queue is full.
    ///
    /// Costs a copy, and the conversion where the formats differ.
    ///
    /// # Errors
    /// Returns [`TrackError::InputClosed`] after an interruption under manual control and
    /// [`TrackError::Closed`] after the mixer was closed. The samples are counted in
    /// [`refused_sample_frames`](Self::refused_sample_frames) then.
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

    /// Queues 16-bit little-endian samples in bytes, any number of bytes, and returns how many bytes were
    /// taken. An incomplete sample frame is kept until its remaining bytes arrive.
    ///
    /// # Errors
    /// Returns the errors of [`push`](Self::push).
    pub fn push_bytes(&mut self, bytes: &[u8]) -> Result<usize, TrackError> {
        let channels = self.channels().max(1);
        let width = 2 * channels;
        // Two divisions, because the compiler cannot know that `width` is not 0.
        self.check_input(bytes.len() / 2 / channels)?;
        let mut rest = bytes;
        let mut samples = [0i16; CHUNK_SAMPLES];
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
            let whole = (rest.len() / 2 / channels).min(CHUNK_SAMPLES / channels) * channels;
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

    /// Returns how many 10 ms frames are in the queue. Samples that do not fill a frame yet are not counted.
    #[must_use]
    pub fn queued_frames(&self) -> usize {
        self.port.as_ref().map_or(0, |port| port.frames.len())
    }

    /// Returns how many sample frames, at the mix's rate, were pushed and not yet taken by the mixer. The last
    /// frame before an interruption or a [`flush`](Self::flush) counts as 10 ms even if it is shorter.
    #[must_use]
    pub fn queued_sample_frames(&self) -> usize {
        self.port.as_ref().map_or(0, |port| {
            port.frames.len() * self.format().sample_frames() + port.pending.sample_frames()
        })
    }

    /// Returns how long the mixer can play from what is queued.
    #[must_use]
    pub fn queued_duration(&self) -> Duration {
        Duration::of_sample_frames(self.queued_sample_frames() as u64, self.format().rate())
    }

    /// Returns the free capacity of the queue, in samples of the mix's format over all channels. A source of
    /// the mix's own format is taken up to that many samples.
    #[must_use]
    pub fn free_samples(&self) -> usize {
        self.port.as_ref().map_or(0, |port| {
            let free = port.frames.capacity() - port.frames.len();
            (free * self.format().sample_frames() + port.pending.missing()) * self.format().channels()
        })
    }

    /// Returns how many sample frames of the source were refused while the input was closed.
    #[must_use]
    pub const fn refused_sample_frames(&self) -> u64 {
        self.refused
    }

    /// Returns how many bytes were dropped because the source ended, or was interrupted, within a sample frame.
    #[must_use]
    pub const fn dropped_bytes(&self) -> u32 {
        self.source.dropped_bytes
    }

    /// Returns how much faster than nominal a matched source runs against the loudspeaker, in ppm, as derived
    /// from the queue's fill. Accurate to about 100 ppm, which is what steering needs.
    #[must_use]
    pub fn drift_ppm(&self) -> Option<f64> {
        self.source.matching.map(|matching| matching.drift_ppm())
    }

    /// Queues what does not fill a frame yet, and the tail of a conversion. What is pushed next begins with the
    /// next frame.
    ///
    /// # Errors
    /// Returns [`TrackError::Full`] when the queue has no space for all of it. What fitted is queued; a retry
    /// after about 10 ms continues.
    pub fn flush(&mut self) -> Result<(), TrackError> {
        let mut tail = [0i16; CHUNK_SAMPLES];
        loop {
            let free = self.free_samples().min(CHUNK_SAMPLES);
            let produced = self.source.flush(tail.get_mut(..free).unwrap_or(&mut []));
            if produced == 0 {
                if free == 0 && !self.source.is_direct() {
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
        self.source.end_section(self.queued);
        Ok(())
    }

    /// Ends the track. Everything pushed is played, including a tail shorter than a frame, and a pause ends.
    ///
    /// # Errors
    /// Returns the track when the queue has no space for the tail. A retry after about 10 ms may succeed.
    // The handle is the error on purpose: nothing of the tail may be lost.
    #[allow(clippy::result_large_err)]
    pub fn finish(mut self) -> Result<(), Self> {
        if self.flush().is_err() {
            return Err(self);
        }
        self.resume();
        self.close(CloseMode::Drain);
        Ok(())
    }

    fn close(&mut self, how: CloseMode) {
        if let Some(port) = self.port.take() {
            port.shared.close(self.id, how);
            self.pool.return_port(port);
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
        if SourceConverter::<MEMORY>::RESAMPLES
            && let Some(matching) = &mut self.source.matching
        {
            let silence = matching.take_initial_silence(self.pool.format().rate_hz());
            self.queue_silence(silence);
        }
        let channels = self.channels().max(1);
        let mut taken = 0;
        let mut converted = [0i16; CHUNK_SAMPLES];
        loop {
            let rest = samples.get(taken..).unwrap_or(&[]);
            let free = self.free_samples().min(CHUNK_SAMPLES);
            let progress = self.source.convert(rest, converted.get_mut(..free).unwrap_or(&mut []));
            self.queue(converted.get(..progress.produced).unwrap_or(&[]));
            taken += progress.consumed;
            self.source.taken += (progress.consumed / channels) as u64;
            if progress.consumed == 0 && progress.produced == 0 {
                break;
            }
        }
        if !SourceConverter::<MEMORY>::RESAMPLES {
            return taken;
        }
        let seconds = (taken / channels) as f64 / f64::from(self.source.rate_hz());
        let fill_s = self.queued_sample_frames() as f64 / f64::from(self.format().rate_hz());
        if let Some(matching) = &mut self.source.matching {
            let ppm = matching.update(fill_s, seconds);
            self.source.steer(self.queued, ppm);
        }
        taken
    }

    /// Queues silence before a source, as far as there is space.
    fn queue_silence(&mut self, sample_frames: usize) {
        if sample_frames == 0 {
            return;
        }
        let mut left = (sample_frames * self.format().channels()).min(self.free_samples());
        while left > 0 {
            let queued = self.queue([0; CHUNK_SAMPLES].get(..left.min(CHUNK_SAMPLES)).unwrap_or(&[]));
            if queued == 0 {
                break;
            }
            left -= queued;
        }
        self.source.delay_section(self.queued);
        self.utterance.delay(self.queued);
    }

    /// Queues samples of the mix's format and returns how many were queued.
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
            let target = port.pending.extend(rest.len() / channels);
            if target.is_empty() {
                break;
            }
            let copied = copy(rest, target);
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
        self.close(CloseMode::Remove);
    }
}

/// Moves the pending frame into the queue and returns whether there was space.
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
