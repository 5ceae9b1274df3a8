//! Worker side: a voice processor that fails or is too slow must not take the microphone with it.

use crate::capture::fuse::{Fuse, GuardState, Turn};
use crate::capture::processor::VoiceProcessor;
use crate::event::{EventSender, SessionEvent};
use crate::frame::{Frame, PcmRef};
use crate::limits::PROCESSOR_DEADLINE;
use crate::stats::CaptureCounters;
use crate::time::{Clock, Duration};

/// What the pipeline does with its voice processor.
pub type VoiceState = GuardState;

#[derive(Debug)]
pub(crate) struct Guard<V> {
    pub(crate) voice: V,
    /// The longest time that the processor may take for a frame.
    pub(crate) limit: Duration,
    fuse: Fuse,
}

impl<V: VoiceProcessor> Guard<V> {
    pub(crate) const fn new(voice: V) -> Self {
        Self { voice, limit: PROCESSOR_DEADLINE, fuse: Fuse::new() }
    }

    pub(crate) const fn state(&self) -> VoiceState {
        self.fuse.state()
    }

    pub(crate) fn rearm(&mut self) {
        self.fuse.rearm();
    }

    pub(crate) fn reverse(
        &mut self,
        far: PcmRef<'_>,
        counters: &CaptureCounters,
        events: &mut EventSender<'_>,
    ) {
        counters.reference_frames.add(1);
        if self.fuse.state() == VoiceState::Armed && self.voice.process_reverse(far).is_err() {
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
        // Not reset after a rest: what it learned is mostly still good, and a reset may allocate.
        if self.fuse.turn() == Turn::Pass {
            counters.voice_bypassed_frames.add(1);
            return;
        }
        backup.copy_samples(frame);
        let begun = clock.now();
        let failed = self.voice.process_capture(frame.pcm_mut(), delay).is_err();
        let slow = clock.now() - begun > self.limit;
        if !failed && !slow {
            self.fuse.hold();
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

    fn trip(&mut self, events: &mut EventSender<'_>) {
        events.send(match self.fuse.blow() {
            Some(fault) => SessionEvent::VoiceTripped { fault },
            None => SessionEvent::VoiceGivenUp,
        });
    }
}
