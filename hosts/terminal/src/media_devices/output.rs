//! Application side: players for the loudspeaker.

use std::fmt;
use std::sync::{Arc, Mutex};

use handsfree_core::audio_io::{AudioIo, Direction};
use handsfree_core::playback::SourceConfig;
use handsfree_core::{Duration, Gain};
use handsfree_host::supervisor::DirectionConfig;

use super::SharedDevices;
use super::error::MediaError;
use super::track::{OutputTrack, PlayerTrack, SharedPlayerTrack, TrackOptions, lock};
use crate::host::AnyIo;
use crate::terminal::{CAP, SLOTS, SOURCE_MEMORY, SOURCE_QUALITY};

/// Settings of a player.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputOptions {
    /// Id of the device; `None` selects the system's default.
    pub output_device: Option<String>,
    /// Number of channels to open; `None` opens all channels of the device, at most 2. All channels play the
    /// same signal.
    pub device_channels: Option<u32>,
    /// Period of the device, in sample frames; `None` selects 10 ms.
    pub period_sample_frames: Option<u32>,
}

/// Player of several tracks that start and stop together. Dropping it closes it. All players together have at most
/// [`SLOTS`] tracks.
pub struct OutputPlayer<Io: AudioIo<'static, CAP, SLOTS> = AnyIo> {
    shared: Arc<SharedDevices<Io>>,
    options: OutputOptions,
    tracks: Vec<(u32, SharedPlayerTrack)>,
    volume: f32,
    is_started: bool,
}

impl<Io: AudioIo<'static, CAP, SLOTS>> fmt::Debug for OutputPlayer<Io> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutputPlayer")
            .field("options", &self.options)
            .field("tracks", &self.tracks.len())
            .field("is_started", &self.is_started)
            .finish_non_exhaustive()
    }
}

impl<Io: AudioIo<'static, CAP, SLOTS>> OutputPlayer<Io> {
    pub(super) const fn new(shared: Arc<SharedDevices<Io>>, options: OutputOptions) -> Self {
        Self { shared, options, tracks: Vec::new(), volume: 1.0, is_started: false }
    }

    /// Adds a track for samples of any rate and channel count, with a queue of one second. The track plays
    /// while the player is started.
    ///
    /// # Errors
    /// Returns [`MediaError::Track`] when all slots are in use, and [`MediaError::Config`] for an invalid rate
    /// or channel count.
    pub fn add_track(&mut self, options: TrackOptions) -> Result<OutputTrack, MediaError> {
        let (tracks, clock) = {
            let inner = self.shared.lock();
            (inner.terminal.tracks(), inner.terminal.clock())
        };
        let source = SourceConfig {
            rate_hz: options.rate_hz,
            channels: options.channels,
            quality: SOURCE_QUALITY,
            matching: None,
        };
        let mut track = Box::new(tracks.open_source::<SOURCE_MEMORY>(source)?);
        track.set_fade_starved(true)?;
        let id = track.id();
        let mut player_track = PlayerTrack {
            track: Some(track),
            gain: 1.0,
            volume: self.volume,
            applied: 1.0,
            paused: false,
            ducked: false,
            playing: self.is_started,
        };
        if self.volume != 1.0 {
            // No ramp, so that the first sample already has this volume.
            player_track.track()?.set_gain(Gain::linear(self.volume)?, Duration::ZERO)?;
            player_track.applied = self.volume;
        }
        player_track.apply_pause();
        let player_track = Arc::new(Mutex::new(player_track));
        self.tracks.push((id, Arc::clone(&player_track)));
        let waiters = Arc::clone(&self.shared.waiters);
        Ok(OutputTrack { id, player_track, clock, waiters, channels: options.channels as usize })
    }

    /// Fades a track out and frees its slot. Returns false when the track does not belong to this player.
    pub fn remove_track(&mut self, id: u32) -> bool {
        let Some(at) = self.tracks.iter().position(|(this, _)| *this == id) else { return false };
        let (_, player_track) = self.tracks.swap_remove(at);
        lock(&player_track).track = None;
        self.shared.waiters.wake_all();
        true
    }

    /// Starts to play, and opens the loudspeaker unless another player has opened it. Starting twice has no effect.
    ///
    /// # Errors
    /// Returns [`MediaError::OtherOutput`] while a player uses another device, [`MediaError::NoSuchDevice`] for one that
    /// does not exist, and the host's error when it cannot open the device.
    pub fn start(&mut self) -> Result<(), MediaError> {
        if self.is_started {
            return Ok(());
        }
        let mut inner = self.shared.lock();
        if inner.playing == 0 {
            let device = inner.find(Direction::Playback, self.options.output_device.as_deref())?;
            let max_channels = device.map_or(1, |device| device.max_channels);
            let mut config = DirectionConfig::new(inner.terminal.config().rate);
            config.device.clone_from(&self.options.output_device);
            config.device_channels = self.options.device_channels.unwrap_or(max_channels.clamp(1, 2));
            if let Some(period) = self.options.period_sample_frames {
                config.period_sample_frames = period;
            }
            inner.start(Direction::Playback, &config)?;
            inner.output_device.clone_from(&self.options.output_device);
        } else if inner.output_device != self.options.output_device {
            let playing = inner.output_device.clone().unwrap_or_else(|| "the default device".into());
            return Err(MediaError::OtherOutput { playing });
        }
        inner.playing += 1;
        drop(inner);
        self.set_started(true)
    }

    /// Stops playing and keeps the queued samples. The loudspeaker is closed when its last player stops. The
    /// player can be started again.
    pub fn stop(&mut self) {
        if !self.is_started {
            return;
        }
        // Only starting sends commands to the tracks, and only commands can be refused.
        _ = self.set_started(false);
        let mut inner = self.shared.lock();
        inner.playing -= 1;
        if inner.playing == 0 {
            inner.supervisor.close(Direction::Playback);
        }
    }

    fn set_started(&mut self, is_started: bool) -> Result<(), MediaError> {
        self.is_started = is_started;
        let mut outcome = Ok(());
        for (_, player_track) in &self.tracks {
            let mut player_track = lock(player_track);
            player_track.playing = is_started;
            outcome = outcome.and(player_track.apply_gain());
            player_track.apply_pause();
        }
        outcome
    }

    /// Returns whether the player is started.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.is_started
    }

    /// Sets the volume of all the player's tracks as a factor; 1 leaves them unchanged. The volume also applies
    /// to the echo reference, so the echo canceller need not converge again.
    ///
    /// # Errors
    /// Returns [`MediaError::Config`] for a factor outside 0 to 64, and [`MediaError::Track`] when the worker
    /// has not yet taken the previous changes.
    pub fn set_volume(&mut self, volume: f32) -> Result<(), MediaError> {
        Gain::linear(volume)?;
        self.volume = volume;
        for (_, player_track) in &self.tracks {
            let mut player_track = lock(player_track);
            player_track.volume = volume;
            player_track.apply_gain()?;
        }
        Ok(())
    }

    /// Returns the volume that was set last.
    #[must_use]
    pub fn volume(&self) -> f32 {
        self.volume
    }

    /// Stops the player and removes all its tracks.
    pub fn close(self) {
        drop(self);
    }
}

impl<Io: AudioIo<'static, CAP, SLOTS>> Drop for OutputPlayer<Io> {
    fn drop(&mut self) {
        self.stop();
        for (_, player_track) in self.tracks.drain(..) {
            lock(&player_track).track = None;
        }
        self.shared.waiters.wake_all();
    }
}
