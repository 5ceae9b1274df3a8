//! Application side: controls a track while it plays.

use embassy_sync::blocking_mutex::raw::RawMutex;

use crate::error::ConfigError;
use crate::limits::{MAX_FADE, MIN_FADE};
use crate::playback::ducking::Ducking;
use crate::playback::slot::TrackCommand;
use crate::playback::starvation_fade::STARVATION_FADE;
use crate::playback::track::{Track, TrackError};
use crate::sample::Gain;
use crate::time::Duration;

/// Controls. Each costs a few stores, and the mixer acts on it with its next frame.
impl<M: RawMutex, const CAP: usize, const SLOTS: usize, const MEMORY: usize>
    Track<'_, '_, M, CAP, SLOTS, MEMORY>
{
    /// Moves the gain to `gain` within `ramp`, from the next mixed frame on, without a click.
    ///
    /// # Errors
    /// Returns [`TrackError::Full`] while the mixer has not yet taken earlier commands.
    pub fn set_gain(&mut self, gain: Gain, ramp: Duration) -> Result<(), TrackError> {
        let ramp_sample_frames = ramp.in_sample_frames(self.format().rate());
        self.command(TrackCommand::Gain { gain, ramp_sample_frames })
    }

    /// Makes this track a background, which fades down while any track speaks that is not a background, or for
    /// `None` a voice again.
    ///
    /// # Errors
    /// Returns the errors of [`set_gain`](Self::set_gain).
    pub fn set_ducking(&mut self, ducking: Option<Ducking>) -> Result<(), TrackError> {
        self.command(TrackCommand::Duck(ducking))
    }

    /// Sets what happens to frames that arrive too late. By default they are played late and nothing is lost.
    /// With `skip`, meant for a live source among others, as many frames are dropped as were missing, so that
    /// the track stays in time with the others.
    /// [`PlaybackStats::late_frames`](crate::PlaybackStats::late_frames) counts them.
    ///
    /// # Errors
    /// Returns the errors of [`set_gain`](Self::set_gain).
    pub fn set_skip_late(&mut self, skip: bool) -> Result<(), TrackError> {
        self.command(TrackCommand::SkipLate(skip))
    }

    /// Sets whether a track fades out, from its last sample on, when its queue runs empty while it is open, and fades in with what
    /// is pushed next. Each fade takes 3 ms, so that speech that arrives too slowly does not click. By default it does not fade,
    /// and every sample is heard as it was pushed. A frame that [`flush`](Self::flush) cut short and the end of a finished
    /// track have no fade. A tap gets the fade in, but not the fade out.
    ///
    /// # Errors
    /// Returns the errors of [`set_gain`](Self::set_gain).
    pub fn set_fade_starved(&mut self, fade: bool) -> Result<(), TrackError> {
        self.command(TrackCommand::FadeStarved(fade.then_some(&STARVATION_FADE)))
    }

    /// Sets the fade of pauses and interruptions, by default 5 ms.
    ///
    /// # Errors
    /// Returns [`TrackError::Config`] for a fade that is not 3 to 10 ms.
    pub fn set_fade(&mut self, fade: Duration) -> Result<(), TrackError> {
        if fade < MIN_FADE || fade > MAX_FADE {
            return Err(TrackError::Config(ConfigError::Fade { us: fade.as_micros() }));
        }
        self.fade = fade;
        Ok(())
    }

    /// Fades out within the next 10 ms of the mix and plays silence. What is queued stays, and further audio
    /// queues behind it.
    pub fn pause(&mut self) {
        if let Some(port) = &self.port
            && !core::mem::replace(&mut self.paused, true)
        {
            port.shared.set_paused(Some(self.fade.in_sample_frames(self.pool.format().rate())));
        }
    }

    /// Resumes where [`pause`](Self::pause) stopped, with a fade.
    pub fn resume(&mut self) {
        if let Some(port) = &self.port
            && core::mem::replace(&mut self.paused, false)
        {
            port.shared.set_paused(None);
        }
    }

    /// Returns whether the track is paused.
    #[must_use]
    pub const fn is_paused(&self) -> bool {
        self.paused
    }

    /// Fades out within the next 10 ms of the mix and drops what was pushed. A pause ends. Until silence, the
    /// loudspeaker plays at most the fade, the playback ring's fill and what the device holds;
    /// [`interrupted_at`](Self::interrupted_at) returns the exact sample frame at which the voice stopped.
    /// Under manual control nothing is taken until [`enable_input`](Self::enable_input).
    pub fn interrupt(&mut self) {
        self.cut();
        if let Some(port) = &self.port {
            // After the interruption, see `SlotShared::interrupt`.
            port.shared.set_paused(None);
        }
        self.paused = false;
        self.accepting = !self.manual;
    }

    /// Drops what was pushed, with a fade if it sounds. Pause and input state stay unchanged.
    pub fn clear(&mut self) {
        self.cut();
    }

    fn cut(&mut self) {
        let fade = self.fade.in_sample_frames(self.format().rate());
        let Some(port) = self.port.as_mut() else { return };
        port.pending.begin(port.pending.format());
        port.epoch = port.epoch.wrapping_add(1);
        port.shared.interrupt(port.epoch, fade);
        self.source.interrupt(self.queued);
        self.utterance.interrupt(self.queued);
    }

    /// Lets the track take audio. With `manual` control the next interruption closes the input until this is
    /// called again, so that late samples of an interrupted answer are refused.
    pub fn enable_input(&mut self, manual: bool) {
        self.manual = manual;
        self.accepting = true;
    }

    /// Returns whether the track takes audio.
    #[must_use]
    pub const fn accepts_input(&self) -> bool {
        self.accepting
    }

    fn command(&mut self, command: TrackCommand) -> Result<(), TrackError> {
        let port = self.port.as_mut().ok_or(TrackError::Full)?;
        port.commands.push(command).map_err(|_| TrackError::Full)
    }
}
