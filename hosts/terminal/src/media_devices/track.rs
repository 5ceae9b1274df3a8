//! Application side: the tracks of players.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration as WallDuration;

use handsfree_core::playback::Ducking;
use handsfree_core::{Duration, Gain};

use super::error::MediaError;
use super::waiting::Waiters;
use crate::speech::BargeInAction;
use crate::terminal::{SOURCE_MEMORY, SharedClock, Track};

/// Length of the ramp of a volume change: long enough to be free of clicks.
const RAMP: Duration = Duration::from_millis(20);
/// Largest factor that a track takes, for the product of the player's volume and the track's own gain.
const MAX_FACTOR: f32 = 64.0;
/// Factor of a track that is turned down while a person speaks: -15 dB, quiet enough to be spoken over.
const DUCKED: f32 = 0.178;

/// Format of a track's samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackOptions {
    /// Rate of the samples in hertz, 4000 to 192000.
    pub rate_hz: u32,
    /// Number of interleaved channels, 1 to 8.
    pub channels: u32,
}

/// Track that is shared by its player and its [`OutputTrack`].
pub(super) struct PlayerTrack {
    /// `None` once the track is removed.
    pub(super) track: Option<Box<Track<SOURCE_MEMORY>>>,
    pub(super) gain: f32,
    pub(super) volume: f32,
    /// Factor that was sent to the worker last.
    pub(super) applied: f32,
    pub(super) paused: bool,
    /// Whether the track is turned down while a person speaks.
    pub(super) ducked: bool,
    /// Whether the track's player is started.
    pub(super) playing: bool,
}

impl PlayerTrack {
    pub(super) fn track(&mut self) -> Result<&mut Track<SOURCE_MEMORY>, MediaError> {
        self.track.as_deref_mut().ok_or(MediaError::Closed)
    }

    /// Applies volume and gain in the mixer, so that the echo reference contains them too. While the player is
    /// stopped, the worker takes no commands, so the change is sent at the start.
    pub(super) fn apply_gain(&mut self) -> Result<(), MediaError> {
        let ducked = if self.ducked { DUCKED } else { 1.0 };
        let factor = (self.gain * self.volume * ducked).clamp(0.0, MAX_FACTOR);
        if !self.playing || factor == self.applied {
            return Ok(());
        }
        let track = self.track()?;
        let ramp = if track.position() == 0 { Duration::ZERO } else { RAMP };
        track.set_gain(Gain::linear(factor)?, ramp)?;
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

pub(super) type SharedPlayerTrack = Arc<Mutex<PlayerTrack>>;

pub(super) fn lock(player_track: &SharedPlayerTrack) -> MutexGuard<'_, PlayerTrack> {
    player_track.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Handle of a player's track. Any thread may push to it. After it is dropped, the player still plays the
/// queued samples.
pub struct OutputTrack {
    pub(super) id: u32,
    pub(super) player_track: SharedPlayerTrack,
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
    /// Returns the number that identifies the track to its player and in events.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Queues interleaved samples and returns how many were taken. When the queue of one second is full, that
    /// is fewer than given.
    ///
    /// # Errors
    /// Returns [`MediaError::Closed`] after the track was removed.
    pub fn push(&mut self, samples: &[i16]) -> Result<usize, MediaError> {
        Ok(lock(&self.player_track).track()?.push(samples)?)
    }

    /// Queues all whole sample frames of `samples` in any executor. It waits while the queue is full, even
    /// while the player is stopped. Dropping the future may leave a part of the samples queued.
    ///
    /// # Errors
    /// Returns [`MediaError::Closed`] once the track is removed.
    pub async fn push_all(&mut self, samples: &[i16]) -> Result<(), MediaError> {
        let mut rest = self.whole(samples);
        self.waiters.until(|| self.push_some(&mut rest)).await
    }

    /// Queues all whole sample frames of `samples`, and blocks while the queue is full, at most for `timeout`.
    /// Returns how many samples were queued.
    ///
    /// # Errors
    /// Returns [`MediaError::Closed`] once the track is removed.
    pub fn push_blocking(&mut self, samples: &[i16], timeout: WallDuration) -> Result<usize, MediaError> {
        let whole = self.whole(samples);
        let mut rest = whole;
        match self.waiters.block_until(timeout, || self.push_some(&mut rest)) {
            Some(Err(error)) => Err(error),
            Some(Ok(())) | None => Ok(whole.len() - rest.len()),
        }
    }

    fn whole<'s>(&self, samples: &'s [i16]) -> &'s [i16] {
        &samples[..samples.len() - samples.len() % self.channels.max(1)]
    }

    /// Queues as much of `rest` as fits, and returns a value when nothing is left.
    fn push_some(&self, rest: &mut &[i16]) -> Option<Result<(), MediaError>> {
        let pushed = lock(&self.player_track).track().and_then(|track| Ok(track.push(rest)?));
        match pushed {
            Err(error) => Some(Err(error)),
            Ok(taken) => {
                *rest = &rest[taken..];
                rest.is_empty().then_some(Ok(()))
            }
        }
    }

    /// Waits in any executor until everything pushed has left the loudspeaker. The future stays pending while
    /// the track is paused or its player is stopped.
    ///
    /// # Errors
    /// Returns [`MediaError::Closed`] once the track is removed.
    pub async fn wait_for_playout(&mut self) -> Result<(), MediaError> {
        let played_out = || match self.is_played_out() {
            Ok(false) => None,
            Ok(true) => Some(Ok(())),
            Err(error) => Some(Err(error)),
        };
        self.waiters.until(played_out).await
    }

    /// Returns the duration of the queued samples.
    ///
    /// # Errors
    /// Returns [`MediaError::Closed`] after the track was removed.
    pub fn queued_duration(&self) -> Result<Duration, MediaError> {
        Ok(lock(&self.player_track).track()?.queued_duration())
    }

    /// Returns whether everything pushed has left the loudspeaker.
    ///
    /// # Errors
    /// Returns [`MediaError::Closed`] after the track was removed.
    pub fn is_played_out(&self) -> Result<bool, MediaError> {
        let now = self.clock.now();
        let mut player_track = lock(&self.player_track);
        let track = player_track.track()?;
        Ok(track.flush().is_ok() && track.is_played_out(now))
    }

    /// Returns how many sample frames, at the track's own rate, have left the loudspeaker.
    ///
    /// # Errors
    /// Returns [`MediaError::Closed`] after the track was removed.
    pub fn played_position(&self) -> Result<u64, MediaError> {
        let now = self.clock.now();
        Ok(lock(&self.player_track).track()?.played_position(now))
    }

    /// Pauses the track with a fade and keeps its queue, or resumes it.
    pub fn set_paused(&mut self, paused: bool) {
        let mut player_track = lock(&self.player_track);
        player_track.paused = paused;
        player_track.apply_pause();
    }

    /// Fades the track out and drops its queue.
    ///
    /// # Errors
    /// Returns [`MediaError::Closed`] after the track was removed.
    pub fn interrupt(&mut self) -> Result<(), MediaError> {
        let mut player_track = lock(&self.player_track);
        player_track.track()?.interrupt();
        // An interruption ends a pause, but the tracks of a stopped player remain silent.
        player_track.paused = false;
        player_track.apply_pause();
        Ok(())
    }

    /// Fades the track out and drops its queue, like [`interrupt`](Self::interrupt), but a paused track stays
    /// paused. [`interrupted_at`](Self::interrupted_at) then returns where it stopped.
    ///
    /// # Errors
    /// Returns [`MediaError::Closed`] after the track was removed.
    pub fn clear(&mut self) -> Result<(), MediaError> {
        lock(&self.player_track).track()?.clear();
        Ok(())
    }

    /// Does what a [`BargeIn`](crate::speech::BargeIn) policy asks for: pauses the track, turns it down by 15 dB,
    /// lets it go on, or interrupts it. After an interruption [`interrupted_at`](Self::interrupted_at) returns the
    /// sample that was heard last, which is where the track was paused, if it was.
    ///
    /// # Errors
    /// Returns [`MediaError::Closed`] after the track was removed, and [`MediaError::Track`] when the worker has
    /// not yet taken the previous changes.
    pub fn follow(&mut self, action: BargeInAction) -> Result<(), MediaError> {
        let mut player_track = lock(&self.player_track);
        player_track.track()?;
        player_track.paused = action == BargeInAction::Pause;
        player_track.ducked = action == BargeInAction::Duck;
        if action == BargeInAction::Interrupt {
            player_track.track()?.interrupt();
        }
        player_track.apply_pause();
        player_track.apply_gain()
    }

    /// Makes the track a background, which fades down while any other track speaks that is not a background, or for
    /// `None` a voice again.
    ///
    /// # Errors
    /// Returns [`MediaError::Closed`] after the track was removed, and [`MediaError::Track`] when the worker has
    /// not yet taken the previous changes.
    pub fn set_ducking(&mut self, ducking: Option<Ducking>) -> Result<(), MediaError> {
        Ok(lock(&self.player_track).track()?.set_ducking(ducking)?)
    }

    /// Returns where the last interruption stopped the track: the position behind the last sample frame that
    /// left the loudspeaker, at the track's own rate, counted from the track's opening. Returns `None` if there
    /// was no interruption, and until the position is known, which takes about 10 ms plus the device's latency
    /// after [`interrupt`](Self::interrupt).
    ///
    /// # Errors
    /// Returns [`MediaError::Closed`] after the track was removed.
    pub fn interrupted_at(&self) -> Result<Option<u64>, MediaError> {
        let now = self.clock.now();
        Ok(lock(&self.player_track).track()?.interrupted_at(now))
    }

    /// Waits in any executor for the position that [`interrupted_at`](Self::interrupted_at) returns.
    ///
    /// # Errors
    /// Returns [`MediaError::Closed`] once the track is removed.
    pub async fn interrupted(&mut self) -> Result<u64, MediaError> {
        self.waiters.until(|| self.interrupted_at().transpose()).await
    }

    /// Sets the track's gain as a factor, multiplied with the player's volume; 1 leaves the track unchanged. The
    /// gain changes within 20 ms, and before the first samples at once.
    ///
    /// # Errors
    /// Returns the errors of [`OutputPlayer::set_volume`](super::OutputPlayer::set_volume).
    pub fn set_gain(&mut self, gain: f32) -> Result<(), MediaError> {
        let mut player_track = lock(&self.player_track);
        Gain::linear(gain)?;
        player_track.gain = gain;
        player_track.apply_gain()
    }
}
