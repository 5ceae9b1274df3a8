//! Application side: players for the loudspeaker, and their tracks.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration as WallDuration;

use handsfree_core::audio_io::{AudioIo, Direction};
use handsfree_core::playback::SourceConfig;
use handsfree_core::{Duration, Gain};
use handsfree_host::watch::EndPlan;

use super::Shared;
use super::error::MediaError;
use super::waiting::Waiters;
use crate::player::{MEMORY, QUALITY};
use crate::terminal::{CAP, SLOTS, SharedClock, Track};

/// How long a change of the volume takes.
const RAMP: Duration = Duration::from_millis(20);
/// The largest factor that a track takes, volume and its own gain together.
const LOUDEST: f32 = 64.0;

/// How a player is to play.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputOptions {
    /// Which device, by its id; the system's default when not said.
    pub output_device: Option<String>,
    /// Channels to open; as many as the device has, at most 2, when not said. All play the same.
    pub device_channels: Option<u32>,
    /// The device's period in sample frames; 10 ms when not said.
    pub period_sample_frames: Option<u32>,
}

/// What a track's samples are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackOptions {
    /// Their rate, 4 to 192 kHz.
    pub rate_hz: u32,
    /// Interleaved channels, 1 to 8.
    pub channels: u32,
}

/// A track as its player and its owner share it.
struct Voice {
    /// Gone once removed.
    track: Option<Box<Track<MEMORY>>>,
    gain: f32,
    volume: f32,
    /// What the worker was told last.
    applied: f32,
    paused: bool,
    /// Its player is started.
    playing: bool,
}

impl Voice {
    fn track(&mut self) -> Result<&mut Track<MEMORY>, MediaError> {
        self.track.as_deref_mut().ok_or(MediaError::Closed)
    }

    /// The volume is part of the mix, so it is in what the echo canceller hears. While nothing plays nobody
    /// takes commands, so a change waits for the start.
    fn apply_gain(&mut self) -> Result<(), MediaError> {
        let factor = (self.gain * self.volume).clamp(0.0, LOUDEST);
        if !self.playing || factor == self.applied {
            return Ok(());
        }
        self.track()?.set_gain(Gain::linear(factor)?, RAMP)?;
        self.applied = factor;
        Ok(())
    }

    fn apply_pause(&mut self) {
        let sounds = self.playing && !self.paused;
        if let Some(track) = &mut self.track {
            if sounds { track.resume() } else { track.pause() }
        }
    }
}

type SharedVoice = Arc<Mutex<Voice>>;

fn lock(voice: &SharedVoice) -> MutexGuard<'_, Voice> {
    voice.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Plays any number of tracks up to [`SLOTS`], started and stopped as one. Dropping it closes it.
pub struct OutputPlayer<Io: AudioIo<'static, CAP, SLOTS>> {
    shared: Arc<Shared<Io>>,
    options: OutputOptions,
    voices: Vec<(u32, SharedVoice)>,
    volume: f32,
    is_started: bool,
}

impl<Io: AudioIo<'static, CAP, SLOTS>> fmt::Debug for OutputPlayer<Io> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutputPlayer")
            .field("options", &self.options)
            .field("tracks", &self.voices.len())
            .field("is_started", &self.is_started)
            .finish_non_exhaustive()
    }
}

impl<Io: AudioIo<'static, CAP, SLOTS>> OutputPlayer<Io> {
    pub(super) fn open(shared: Arc<Shared<Io>>, options: OutputOptions) -> Result<Self, MediaError> {
        if let Some(id) = &options.output_device
            && shared.lock().find(Direction::Playback, Some(id))?.is_none()
        {
            return Err(MediaError::NoSuchDevice { id: id.clone() });
        }
        Ok(Self { shared, options, voices: Vec::new(), volume: 1.0, is_started: false })
    }

    /// A track for samples of any rate and channels; it takes a second of them ahead. It sounds while the
    /// player is started.
    ///
    /// # Errors
    /// [`MediaError::Track`] when all slots are in use, [`MediaError::Config`] for a rate or channels that
    /// cannot be.
    pub fn add_track(&mut self, options: TrackOptions) -> Result<OutputTrack, MediaError> {
        let (tracks, clock) = {
            let inner = self.shared.lock();
            (inner.terminal.tracks(), inner.terminal.clock())
        };
        let source = SourceConfig {
            rate_hz: options.rate_hz,
            channels: options.channels,
            quality: QUALITY,
            matching: None,
        };
        let track = Box::new(tracks.open_source::<MEMORY>(source)?);
        let id = track.id();
        let mut voice = Voice {
            track: Some(track),
            gain: 1.0,
            volume: self.volume,
            applied: 1.0,
            paused: false,
            playing: self.is_started,
        };
        if self.volume != 1.0 {
            // Its first sample is at the volume already, without a ramp.
            voice.track()?.set_gain(Gain::linear(self.volume)?, Duration::ZERO)?;
            voice.applied = self.volume;
        }
        voice.apply_pause();
        let voice = Arc::new(Mutex::new(voice));
        self.voices.push((id, Arc::clone(&voice)));
        let waiters = Arc::clone(&self.shared.waiters);
        Ok(OutputTrack { id, voice, clock, waiters, channels: options.channels as usize })
    }

    /// Fades a track out and gives its slot back; false when it is not this player's.
    pub fn remove_track(&mut self, id: u32) -> bool {
        let Some(at) = self.voices.iter().position(|(this, _)| *this == id) else { return false };
        let (_, voice) = self.voices.swap_remove(at);
        lock(&voice).track = None;
        self.shared.waiters.wake_all();
        true
    }

    /// Opens the loudspeaker, unless another player has, and plays; starting twice does nothing.
    ///
    /// # Errors
    /// [`MediaError::OtherOutput`] while a player plays on another device; what the host says.
    pub fn start(&mut self) -> Result<(), MediaError> {
        if self.is_started {
            return Ok(());
        }
        let mut inner = self.shared.lock();
        if inner.playing == 0 {
            let device = inner.find(Direction::Playback, self.options.output_device.as_deref())?;
            let known = device.map_or(1, |device| device.max_channels);
            let mut plan = EndPlan::new(inner.terminal.config().rate);
            plan.device.clone_from(&self.options.output_device);
            plan.device_channels = self.options.device_channels.unwrap_or(known.clamp(1, 2));
            if let Some(period) = self.options.period_sample_frames {
                plan.period_sample_frames = period;
            }
            inner.start(Direction::Playback, &plan)?;
            inner.output_device.clone_from(&self.options.output_device);
        } else if inner.output_device != self.options.output_device {
            let playing = inner.output_device.clone().unwrap_or_else(|| "the default device".into());
            return Err(MediaError::OtherOutput { playing });
        }
        inner.playing += 1;
        drop(inner);
        self.set_started(true)
    }

    /// Stops, keeping what is queued; the loudspeaker is closed when no player plays. It can be started
    /// again.
    pub fn stop(&mut self) {
        if !self.is_started {
            return;
        }
        // Only a start has something to tell the tracks that they may be too busy to hear.
        _ = self.set_started(false);
        let mut inner = self.shared.lock();
        inner.playing -= 1;
        if inner.playing == 0 {
            inner.keeper.close(Direction::Playback);
        }
    }

    fn set_started(&mut self, is_started: bool) -> Result<(), MediaError> {
        self.is_started = is_started;
        let mut outcome = Ok(());
        for (_, voice) in &self.voices {
            let mut voice = lock(voice);
            voice.playing = is_started;
            outcome = outcome.and(voice.apply_gain());
            voice.apply_pause();
        }
        outcome
    }

    /// Whether it is started.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.is_started
    }

    /// Makes all its tracks louder or quieter, 1 being as they are. The echo canceller hears the same, so it
    /// need not learn anew.
    ///
    /// # Errors
    /// [`MediaError::Config`] for a factor that is not 0 to 64; [`MediaError::Track`] when the worker has
    /// not yet taken the changes before.
    pub fn set_volume(&mut self, volume: f32) -> Result<(), MediaError> {
        Gain::linear(volume)?;
        self.volume = volume;
        for (_, voice) in &self.voices {
            let mut voice = lock(voice);
            voice.volume = volume;
            voice.apply_gain()?;
        }
        Ok(())
    }

    /// The volume that was set last.
    #[must_use]
    pub fn volume(&self) -> f32 {
        self.volume
    }

    /// Stops and removes all tracks.
    pub fn close(self) {
        drop(self);
    }
}

impl<Io: AudioIo<'static, CAP, SLOTS>> Drop for OutputPlayer<Io> {
    fn drop(&mut self) {
        self.stop();
        for (_, voice) in self.voices.drain(..) {
            lock(&voice).track = None;
        }
        self.shared.waiters.wake_all();
    }
}

/// The owner's hand on a track of a player. It may be pushed to from any thread; dropping it leaves what was
/// pushed to the player.
pub struct OutputTrack {
    id: u32,
    voice: SharedVoice,
    clock: SharedClock,
    waiters: Arc<Waiters>,
    channels: usize,
}

impl fmt::Debug for OutputTrack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutputTrack").field("id", &self.id).finish_non_exhaustive()
    }
}

impl OutputTrack {
    /// Names it to its player, and in events.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Queues interleaved samples and returns how many were taken: fewer when the queue of a second is full.
    ///
    /// # Errors
    /// [`MediaError::Closed`] after it was removed.
    pub fn push(&mut self, samples: &[i16]) -> Result<usize, MediaError> {
        Ok(lock(&self.voice).track()?.push(samples)?)
    }

    /// Queues all of the whole sample frames among `samples`, in any executor, and waits where the queue is full,
    /// so also while the player is stopped. A future that is dropped has queued a part.
    ///
    /// # Errors
    /// [`MediaError::Closed`] once it is removed.
    pub async fn push_all(&mut self, samples: &[i16]) -> Result<(), MediaError> {
        let mut rest = self.whole(samples);
        self.waiters.until(|| self.push_some(&mut rest)).await
    }

    /// The same in this thread, at most so long, and returns how many were queued.
    ///
    /// # Errors
    /// [`MediaError::Closed`] once it is removed.
    pub fn push_blocking(&mut self, samples: &[i16], patience: WallDuration) -> Result<usize, MediaError> {
        let whole = self.whole(samples);
        let mut rest = whole;
        match self.waiters.block_until(patience, || self.push_some(&mut rest)) {
            Some(Err(error)) => Err(error),
            Some(Ok(())) | None => Ok(whole.len() - rest.len()),
        }
    }

    fn whole<'s>(&self, samples: &'s [i16]) -> &'s [i16] {
        &samples[..samples.len() - samples.len() % self.channels.max(1)]
    }

    /// Says when nothing is left.
    fn push_some(&self, rest: &mut &[i16]) -> Option<Result<(), MediaError>> {
        let pushed = lock(&self.voice).track().and_then(|track| Ok(track.push(rest)?));
        match pushed {
            Err(error) => Some(Err(error)),
            Ok(taken) => {
                *rest = &rest[taken..];
                rest.is_empty().then_some(Ok(()))
            }
        }
    }

    /// Waits until all that was pushed has left the loudspeaker, in any executor; while the track is paused or
    /// its player stopped, until it goes on.
    ///
    /// # Errors
    /// [`MediaError::Closed`] once it is removed.
    pub async fn wait_for_playout(&mut self) -> Result<(), MediaError> {
        let played_out = || match self.is_played_out() {
            Ok(false) => None,
            Ok(true) => Some(Ok(())),
            Err(error) => Some(Err(error)),
        };
        self.waiters.until(played_out).await
    }

    /// How long it can play from what is queued.
    ///
    /// # Errors
    /// [`MediaError::Closed`] after it was removed.
    pub fn queued_duration(&self) -> Result<Duration, MediaError> {
        Ok(lock(&self.voice).track()?.queued_duration())
    }

    /// Whether all that was pushed has left the loudspeaker.
    ///
    /// # Errors
    /// [`MediaError::Closed`] after it was removed.
    pub fn is_played_out(&self) -> Result<bool, MediaError> {
        let now = self.clock.now();
        let mut voice = lock(&self.voice);
        let track = voice.track()?;
        Ok(track.flush().is_ok() && track.is_played_out(now))
    }

    /// Sample frames of its own rate that have left the loudspeaker.
    ///
    /// # Errors
    /// [`MediaError::Closed`] after it was removed.
    pub fn played_position(&self) -> Result<u64, MediaError> {
        let now = self.clock.now();
        Ok(lock(&self.voice).track()?.played_position(now))
    }

    /// Fades out and keeps what is queued, or goes on.
    pub fn set_paused(&mut self, paused: bool) {
        let mut voice = lock(&self.voice);
        voice.paused = paused;
        voice.apply_pause();
    }

    /// Fades out and drops what is queued.
    ///
    /// # Errors
    /// [`MediaError::Closed`] after it was removed.
    pub fn interrupt(&mut self) -> Result<(), MediaError> {
        let mut voice = lock(&self.voice);
        voice.track()?.interrupt();
        // An interruption ends a pause; a stopped player's tracks stay silent.
        voice.paused = false;
        voice.apply_pause();
        Ok(())
    }

    /// Where the last interruption stopped it: one past the last sample frame of its own rate that left the
    /// loudspeaker, counted from its opening. `None` until that is known, some 10 ms and the device's latency
    /// after [`interrupt`](Self::interrupt), and while there was no interruption.
    ///
    /// # Errors
    /// [`MediaError::Closed`] after it was removed.
    pub fn interrupted_at(&self) -> Result<Option<u64>, MediaError> {
        let now = self.clock.now();
        Ok(lock(&self.voice).track()?.interrupted_at(now))
    }

    /// The same, waiting for it in any executor.
    ///
    /// # Errors
    /// [`MediaError::Closed`] once it is removed.
    pub async fn interrupted(&mut self) -> Result<u64, MediaError> {
        self.waiters.until(|| self.interrupted_at().transpose()).await
    }

    /// Makes it louder or quieter, 1 being as it is, beside the player's volume.
    ///
    /// # Errors
    /// As [`OutputPlayer::set_volume`].
    pub fn set_gain(&mut self, gain: f32) -> Result<(), MediaError> {
        let mut voice = lock(&self.voice);
        Gain::linear(gain)?;
        voice.gain = gain;
        voice.apply_gain()
    }
}
