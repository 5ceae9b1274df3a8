//! Worker side: a voice processor that fails or is too slow must not take the microphone with it.

use crate::capture::processor::VoiceProcessor;
use crate::event::{EventSender, SessionEvent};
use crate::frame::{Frame, PcmRef};
use crate::limits::{VOICE_DEADLINE_NS, VOICE_REARMS, VOICE_REST_FRAMES};
use crate::stats::CaptureCounters;
use crate::time::{Clock, Duration};

/// Frames without a fault after which earlier faults are forgiven (10 minutes).
const FORGIVEN_AFTER_FRAMES: u32 = 60_000;

/// What the pipeline does with its voice processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoiceState {
    /// Every frame goes through it.
    Armed,
    /// It failed; frames pass unprocessed until it is tried again.
    Resting {
        /// Frames left to pass.
        frames: u16,
    },
    /// It failed too often and stays bypassed until [`Pipeline::rearm`](super::Pipeline::rearm).
    GivenUp,
}

#[derive(Debug)]
pub(crate) struct Guard<V> {
    pub(crate) voice: V,
    state: VoiceState,
    faults: u8,
    healthy_frames: u32,
}

impl<V: VoiceProcessor> Guard<V> {
    pub(crate) const fn new(voice: V) -> Self {
        Self { voice, state: VoiceState::Armed, faults: 0, healthy_frames: 0 }
    }

    pub(crate) const fn state(&self) -> VoiceState {
        self.state
    }

    pub(crate) fn rearm(&mut self) {
        self.state = VoiceState::Armed;
        self.faults = 0;
    }

    pub(crate) fn reverse(
        &mut self,
        far: PcmRef<'_>,
        counters: &CaptureCounters,
        events: &mut EventSender<'_>,
    ) {
        counters.reference_frames.add(1);
        if self.state == VoiceState::Armed && self.voice.process_reverse(far).is_err() {
            counters.voice_errors.add(1);
            self.trip(events);
        }
    }

    /// Runs the processor over `frame`, or leaves the frame as it is. `backup` is scratch memory.
    pub(crate) fn capture<const CAP: usize>(
        &mut self,
        frame: &mut Frame<CAP>,
        backup: &mut Frame<CAP>,
        delay: Duration,
        clock: &impl Clock,
        counters: &CaptureCounters,
        events: &mut EventSender<'_>,
    ) {
        if self.rests() {
            counters.voice_bypassed_frames.add(1);
            return;
        }
        backup.copy_samples(frame);
        let begun = clock.now();
        let failed = self.voice.process_capture(frame.pcm_mut(), delay).is_err();
        let slow = clock.now() - begun > Duration::from_nanos(VOICE_DEADLINE_NS);
        if !failed && !slow {
            self.forgive();
            return;
        }
        frame.copy_samples(backup);
        if failed {
            counters.voice_errors.add(1);
        } else {
            counters.voice_slow_frames.add(1);
        }
        self.trip(events);
    }

    fn rests(&mut self) -> bool {
        match self.state {
            VoiceState::Armed => false,
            VoiceState::GivenUp => true,
            VoiceState::Resting { frames: 0 } => {
                // Not reset: what it learned is mostly still good, and a reset may allocate.
                self.state = VoiceState::Armed;
                false
            }
            VoiceState::Resting { frames } => {
                self.state = VoiceState::Resting { frames: frames - 1 };
                true
            }
        }
    }

    fn forgive(&mut self) {
        if self.faults > 0 {
            self.healthy_frames += 1;
            if self.healthy_frames >= FORGIVEN_AFTER_FRAMES {
                self.faults = 0;
            }
        }
    }

    fn trip(&mut self, events: &mut EventSender<'_>) {
        self.healthy_frames = 0;
        if self.faults >= VOICE_REARMS {
            self.state = VoiceState::GivenUp;
            events.send(SessionEvent::VoiceGivenUp);
        } else {
            self.faults += 1;
            self.state = VoiceState::Resting { frames: VOICE_REST_FRAMES };
            events.send(SessionEvent::VoiceTripped { fault: self.faults });
        }
    }
}
