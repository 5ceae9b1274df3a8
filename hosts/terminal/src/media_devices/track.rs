//! Application side: the tracks of players.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration as WallDuration;

use handsfree_core::{Duration, Gain};

use super::error::MediaError;
use super::waiting::Waiters;
use crate::terminal::{SOURCE_MEMORY, SharedClock, Track};

/// How long a change of the volume takes.
const RAMP: Duration = Duration::from_millis(20);
/// The largest factor that a track takes, volume and its own gain together.
const LOUDEST: f32 = 64.0;

/// What a track's samples are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackOptions {
    /// Their rate, 4 to 192 kHz.
    pub rate_hz: u32,
    /// Interleaved channels, 1 to 8.
    pub channels: u32,
}

/// A track as its player and its owner share it.
pub(super) struct Voice {
    /// Gone once removed.
    pub(super) track: Option<Box<Track<SOURCE_MEMORY>>>,
    pub(super) gain: f32,
    pub(super) volume: f32,
    /// What the worker was told last.
    pub(super) applied: f32,
    pub(super) paused: bool,
    /// Its player is started.
    pub(super) playing: bool,
}

impl Voice {
    pub(super) fn track(&mut self) -> Result<&mut Track<SOURCE_MEMORY>, MediaError> {
        self.track.as_deref_mut().ok_or(MediaError::Closed)
    }

    /// The volume is part of the mix, so it is in what the echo canceller hears. While nothing plays nobody
    /// takes commands, so a change waits for the start.
    pub(super) fn apply_gain(&mut self) -> Result<(), MediaError> {
        let factor = (self.gain * self.volume).clamp(0.0, LOUDEST);
        if !self.playing || factor == self.applied {
            return Ok(());
        }
        self.track()?.set_gain(Gain::linear(factor)?, RAMP)?;
        self.applied = factor;
        Ok(())
    }

    pub(super) fn apply_pause(&mut self) {
        let sounds = self.playing && !self.paused;
        if let Some(track) = &mut self.track {
            if sounds { track.resume() } else { track.pause() }
        }
    }
}

pub(super) type SharedVoice = Arc<Mutex<Voice>>;

pub(super) fn lock(voice: &SharedVoice) -> MutexGuard<'_, Voice> {
    voice.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The owner's hand on a track of a player. It may be pushed to from any thread; dropping it leaves what was
/// pushed to the player.
pub struct OutputTrack {
    pub(super) id: u32,
    pub(super) voice: SharedVoice,
    pub(super) clock: SharedClock,
    pub(super) waiters: Arc<Waiters>,
    pub(super) channels: usize,
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
    /// As [`OutputPlayer::set_volume`](super::OutputPlayer::set_volume).
    pub fn set_gain(&mut self, gain: f32) -> Result<(), MediaError> {
        let mut voice = lock(&self.voice);
        Gain::linear(gain)?;
        voice.gain = gain;
        voice.apply_gain()
    }
}
