//! Worker side: keeps the microphone working while the voice processor fails or is too slow.

use crate::capture::circuit_breaker::{BreakerDecision, BreakerState, CircuitBreaker};
use crate::capture::processor::VoiceProcessor;
use crate::event::{EventSender, SessionEvent};
use crate::frame::{Frame, PcmRef};
use crate::limits::PROCESSOR_DEADLINE;
use crate::stats::CaptureCounters;
use crate::time::{Clock, Duration};

#[derive(Debug)]
pub(crate) struct Guard<V> {
    pub(crate) voice: V,
    /// Longest time that the processor may take for a frame, of the worker's own time.
    pub(crate) limit: Duration,
    breaker: CircuitBreaker,
}

impl<V: VoiceProcessor> Guard<V> {
    pub(crate) const fn new(voice: V) -> Self {
        Self { voice, limit: PROCESSOR_DEADLINE, breaker: CircuitBreaker::new() }
    }

    pub(crate) const fn state(&self) -> BreakerState {
        self.breaker.state()
    }

    pub(crate) fn reset_breaker(&mut self) {
        self.breaker.reset();
    }

    pub(crate) fn reverse(
        &mut self,
        far: PcmRef<'_>,
        counters: &CaptureCounters,
        events: &mut EventSender<'_>,
    ) {
        counters.reference_frames.add(1);
        if self.breaker.state() == BreakerState::Active && self.voice.process_reverse(far).is_err() {
            counters.voice_errors.add(1);
            self.trip(events);
        }
    }

    /// Runs the processor over `frame`, which stays unchanged if the processor is bypassed or fails. Returns
    /// whether the frame was processed; `backup` then holds it as it was before.
    pub(crate) fn capture<const CAP: usize>(
        &mut self,
        frame: &mut Frame<CAP>,
        backup: &mut Frame<CAP>,
        delay: Duration,
        clock: &impl Clock,
        counters: &CaptureCounters,
        events: &mut EventSender<'_>,
    ) -> bool {
        // Not reset after a backoff: what it learned is mostly still valid, and a reset may allocate.
        if self.breaker.decide() == BreakerDecision::Bypass {
            counters.voice_bypassed_frames.add(1);
            return false;
        }
        backup.copy_samples(frame);
        let begun = clock.thread_time();
        let failed = self.voice.process_capture(frame.pcm_mut(), delay).is_err();
        let slow = clock.thread_time() - begun > self.limit;
        if !failed && !slow {
            self.breaker.record_success();
            return true;
        }
        frame.copy_samples(backup);
        if failed {
            counters.voice_errors.add(1);
        } else {
            counters.voice_slow_frames.add(1);
        }
        self.trip(events);
        false
    }

    fn trip(&mut self, events: &mut EventSender<'_>) {
        events.send(match self.breaker.record_fault() {
            Some(fault) => SessionEvent::VoiceTripped { fault },
            None => SessionEvent::VoiceDisabled,
        });
    }
}
