//! Worker side: the mixer's end of a slot.

use super::{MixProgress, SlotShared, TrackCommand};
use crate::dsp::Ramp;
use crate::limits::MAX_CHANNELS;
use crate::playback::ducking::Ducking;
use crate::playback::starvation_fade::{SampleFrame, StarvationFade};
use crate::queue;
use crate::ring::FrameConsumer;
use crate::sample::Gain;

/// The gains that a track's samples are multiplied with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotGains {
    /// Gain that the application set.
    pub(crate) own: Ramp,
    /// Fade of pauses and interruptions.
    pub(crate) fade: Ramp,
    /// Gain of ducking.
    pub(crate) duck: Ramp,
}

impl SlotGains {
    pub(crate) const UNITY: Self =
        Self { own: Ramp::at(Gain::UNITY), fade: Ramp::at(Gain::UNITY), duck: Ramp::at(Gain::UNITY) };

    /// Returns whether samples pass unchanged.
    pub(crate) fn is_unity(&self) -> bool {
        self.own.is_unity() && self.fade.is_unity() && self.duck.is_unity()
    }

    /// Returns whether none of the three ramps moves, so that all further sample frames have one gain.
    pub(crate) fn are_constant(&self) -> bool {
        self.own.stands() && self.fade.stands() && self.duck.stands()
    }

    /// Returns the gain of the last sample frame.
    pub(crate) const fn now(&self) -> Gain {
        self.own.now().times(self.fade.now()).times(self.duck.now())
    }

    /// Returns the gain of the next sample frame.
    #[inline]
    pub(crate) fn next(&mut self) -> Gain {
        self.own.next().times(self.fade.next()).times(self.duck.next())
    }

    /// Fills `gains`, at most [`GAINS`] of them, with those of the next sample frames.
    pub(crate) fn fill(&mut self, gains: &mut [Gain]) {
        self.own.fill(gains);
        for ramp in [&mut self.fade, &mut self.duck] {
            if ramp.is_unity() {
                continue;
            }
            let mut factors = [Gain::UNITY; GAINS];
            ramp.fill(factors.get_mut(..gains.len()).unwrap_or(&mut []));
            gains.iter_mut().zip(factors).for_each(|(gain, factor)| *gain = gain.times(factor));
        }
    }
}

/// Number of gains that [`SlotGains::fill`] computes together.
pub(crate) const GAINS: usize = 64;

/// The mixer's end of a slot.
pub(crate) struct MixSlot<'a, const CAP: usize> {
    pub(crate) frames: FrameConsumer<'a, CAP>,
    pub(super) commands: queue::QueueReader<'a, TrackCommand>,
    pub(crate) shared: &'a SlotShared,
    /// Identity of the track that plays, 0 for none.
    pub(crate) track: u32,
    /// Number of the last interruption that was carried out.
    pub(crate) epoch: u32,
    /// Track position at which that interruption stopped the track.
    pub(crate) cut: u64,
    /// Track position one past the last sample frame mixed.
    pub(crate) position: u64,
    /// Number of sample frames of the queue's first frame that were mixed before a pause.
    pub(crate) taken: usize,
    pub(crate) gains: SlotGains,
    /// Fade of the last pause, in sample frames, with which the track also resumes.
    pub(crate) fade_sample_frames: u32,
    /// Settings of a background track, which fades down while a voice speaks; `None` for a voice.
    pub(crate) ducking: Option<Ducking>,
    /// Whether the last mixed frame ended with this track's sound, so that stopping needs a fade.
    pub(crate) sounding: bool,
    /// Last sample frame mixed, of a track with a starvation fade.
    pub(crate) last: &'a mut SampleFrame,
    /// Fades of a track that has nothing to play, if it fades then.
    pub(crate) starvation_fade: Option<&'static StarvationFade>,
    pub(crate) paused: bool,
    pub(crate) starving: bool,
    /// Whether late frames are dropped.
    pub(crate) skip_late: bool,
    pub(crate) frames_to_skip: u32,
    pub(super) published: MixProgress,
}

impl<const CAP: usize> MixSlot<'_, CAP> {
    /// Applies the commands that have arrived.
    #[inline(never)]
    pub(crate) fn apply_commands(&mut self) {
        for _ in 0..self.commands.capacity() {
            let Some(command) = self.commands.pop() else { return };
            self.apply_command(command);
        }
    }

    #[cold]
    #[inline(never)]
    fn apply_command(&mut self, command: TrackCommand) {
        match command {
            TrackCommand::Gain { gain, ramp_sample_frames } => {
                self.gains.own.move_to(gain, ramp_sample_frames);
            }
            TrackCommand::Duck(ducking) => {
                self.ducking = ducking;
                if ducking.is_none() {
                    self.gains.duck = Ramp::at(Gain::UNITY);
                }
            }
            TrackCommand::SkipLate(skip) => {
                self.skip_late = skip;
                self.frames_to_skip = 0;
            }
            TrackCommand::FadeStarved(fade) => {
                // What an earlier track left must not be heard.
                *self.last = [0; MAX_CHANNELS as usize];
                self.starvation_fade = fade;
            }
        }
    }

    /// Drops the queue's first frame.
    pub(crate) fn drop_front(&mut self) {
        self.taken = 0;
        self.frames.discard();
    }

    /// Drops frames that were pushed before interruption `epoch`; bounded by the queue's capacity.
    pub(crate) fn drop_older_than(&mut self, epoch: u32) {
        for _ in 0..self.frames.capacity() {
            match self.frames.peek() {
                Some(frame) if (frame.stamp.epoch.wrapping_sub(epoch) as i32) < 0 => self.drop_front(),
                _ => break,
            }
        }
    }

    /// Publishes how far the mixer has come, if that changed.
    #[inline(never)]
    pub(crate) fn report_progress(&mut self) {
        let progress =
            MixProgress { track: self.track, epoch: self.epoch, cut: self.cut, position: self.position };
        if self.published != progress {
            self.published = progress;
            self.shared.publish_progress(progress);
        }
    }

    /// Drops what is queued and frees the slot for the next track.
    #[cold]
    #[inline(never)]
    pub(crate) fn release(&mut self, track: u32) {
        for _ in 0..self.frames.capacity() {
            self.frames.discard();
        }
        for _ in 0..self.commands.capacity() {
            self.commands.discard();
        }
        self.track = 0;
        self.epoch = self.shared.epoch();
        self.taken = 0;
        self.starving = false;
        self.sounding = false;
        self.paused = false;
        self.skip_late = false;
        self.starvation_fade = None;
        self.frames_to_skip = 0;
        self.gains = SlotGains::UNITY;
        self.ducking = None;
        self.cut = 0;
        self.position = 0;
        self.report_progress();
        self.shared.set_done(track);
    }
}
