//! Worker side: keeps the playback ring filled from the mixer.

use crate::devices::SharedPlaybackTarget;
use crate::dsp::FrameConverter;
use crate::event::{EventSender, SessionEvent};
use crate::frame::Frame;
use crate::playback::adaptive_fill::AdaptiveFill;
use crate::playback::limiter::Limiter;
use crate::playback::mixer::{Mixer, MixerMemory};
use crate::playback::tap::TrackTap;
use crate::ring::FrameProducer;
use crate::stall::StallReporter;
use crate::stats::PlaybackCounters;

/// Working memory of the playback worker, part of a session.
#[derive(Debug)]
pub(crate) struct PlaybackMemory<const CAP: usize, const SLOTS: usize> {
    pub(crate) mixer: MixerMemory<CAP>,
    pub(crate) frames: PlaybackFrames<CAP, SLOTS>,
}

#[derive(Debug)]
pub(crate) struct PlaybackFrames<const CAP: usize, const SLOTS: usize> {
    mixed: Frame<CAP, SLOTS>,
    converted: Frame<CAP, SLOTS>,
    converter: FrameConverter<CAP>,
}

impl<const CAP: usize, const SLOTS: usize> PlaybackMemory<CAP, SLOTS> {
    pub(crate) const fn new() -> Self {
        Self {
            mixer: MixerMemory::new(),
            frames: PlaybackFrames {
                mixed: Frame::EMPTY,
                converted: Frame::EMPTY,
                converter: FrameConverter::new(),
            },
        }
    }
}

/// The parts of a session that its playback worker borrows.
#[derive(Debug)]
pub(crate) struct PlaybackPipelineParts<'a, const CAP: usize, const SLOTS: usize> {
    pub(crate) ring: FrameProducer<'a, CAP, SLOTS>,
    pub(crate) frames: &'a mut PlaybackFrames<CAP, SLOTS>,
    pub(crate) counters: &'a PlaybackCounters,
    pub(crate) target: &'a SharedPlaybackTarget,
    pub(crate) events: EventSender<'a>,
    pub(crate) stalls: StallReporter<'a>,
}

/// The worker half of playback: mixes frames ahead of the playback interrupt.
#[derive(Debug)]
pub struct Pipeline<'a, const CAP: usize, const SLOTS: usize> {
    halves: PlaybackPipelineParts<'a, CAP, SLOTS>,
    mixer: Mixer<'a, CAP, SLOTS>,
}

impl<'a, const CAP: usize, const SLOTS: usize> Pipeline<'a, CAP, SLOTS> {
    pub(crate) fn new(halves: PlaybackPipelineParts<'a, CAP, SLOTS>, mixer: Mixer<'a, CAP, SLOTS>) -> Self {
        halves.frames.converter.reset();
        Self { halves, mixer }
    }

    /// Fills the playback ring up to its target and returns how many frames it made.
    ///
    /// Worker side: call it whenever the playback interrupt may have taken a frame. The target is the device's
    /// period plus the configured slack and never more, so a worker that was late does not catch up with a
    /// burst. While no playback stream runs nothing is mixed and tracks wait.
    pub fn poll(&mut self) -> usize {
        self.poll_tapped(&mut ())
    }

    /// Polls like [`poll`](Self::poll) and passes each track's audio and events to `tap`, such as a
    /// [`Tee`](crate::tee::Tee)'s feed.
    pub fn poll_tapped(&mut self, tap: &mut impl TrackTap<CAP>) -> usize {
        self.poll_held(tap, |_, target| target)
    }

    /// Polls like [`poll_tapped`](Self::poll_tapped), but fills the ring only as far as `fill` chooses: to fewer frames than the
    /// target while the worker is punctual, so that sound is played earlier. Each change of the number of frames is
    /// reported as [`SessionEvent::PlaybackFillChanged`].
    pub fn poll_adaptive(&mut self, fill: &mut AdaptiveFill<'_>, tap: &mut impl TrackTap<CAP>) -> usize {
        if !self.halves.target.is_set() {
            fill.stop();
            return self.poll_tapped(tap);
        }
        let before = fill.frames();
        let made = self.poll_held(tap, |now, target| fill.choose(now, target));
        fill.add(made);
        if before != 0 && fill.frames() != before {
            self.halves.events.send(SessionEvent::PlaybackFillChanged {
                frames: fill.frames() as u32,
                most_frames: fill.most_frames() as u32,
            });
        }
        made
    }

    /// Fills the ring up to the number of frames that `choose` returns for its fill and target.
    #[inline]
    fn poll_held(
        &mut self,
        tap: &mut impl TrackTap<CAP>,
        choose: impl FnOnce(usize, usize) -> usize,
    ) -> usize {
        self.halves.stalls.poll(&mut self.halves.events);
        let events = &mut self.halves.events;
        let mut send = |event| events.send(event);
        let Some(target) = self.halves.target.get() else {
            self.mixer.mark_silent();
            self.mixer.idle(&mut |event| {
                send(event);
                tap.on_event(event);
            });
            return 0;
        };
        let fill = self.halves.ring.len();
        self.halves.counters.ring_fill.set(fill as u32);
        let ring_frames = choose(fill, usize::from(target.ring_frames).min(self.halves.ring.capacity()));
        let mut made = 0;
        while made < ring_frames && self.halves.ring.len() < ring_frames {
            let PlaybackFrames { mixed, converted, converter } = &mut *self.halves.frames;
            self.mixer.mix(mixed, tap, self.halves.counters, &mut send);
            let ready = if mixed.format().rate() == target.format.rate() {
                converter.reset();
                mixed
            } else {
                converter.convert(mixed, target.format.rate(), converted);
                converted.stamp = mixed.stamp;
                converted
            };
            if !self.halves.ring.push_copy(ready) {
                break;
            }
            self.halves.counters.frames.add(1);
            made += 1;
        }
        made
    }

    /// Sets what the mixer does with sums beyond 16 bits, from the next frame on.
    pub fn set_limiter(&mut self, limiter: Limiter) {
        self.mixer.set_limiter(limiter);
    }
}
