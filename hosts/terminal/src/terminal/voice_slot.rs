//! Worker and control side: a voice processor that can be replaced between two frames.
//!
//! The control side makes the new processor, which allocates. The worker only swaps two pointers, so no frame
//! passes unprocessed. Resetting the current processor instead would take it away from the worker for one to
//! three frames; these would keep their echo. A reset would also work only while frames flow.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use handsfree_core::capture::{EchoReport, EchoShift, ProcessError, VoiceProcessor, VoiceStats};
use handsfree_core::{Duration, PcmMut, PcmRef};

use super::meters::EchoMeter;
use crate::try_only::{Busy, TryOnly};

/// Any voice processor that can be sent between threads.
pub type AnyVoice = Box<dyn VoiceProcessor + Send>;

/// Voice processor that is not in use: the next one, or the one that was replaced.
struct ParkedVoice {
    voice: Option<AnyVoice>,
    /// Code of the next processor's configuration; `None` when the parked processor was replaced.
    next: Option<u64>,
}

struct Exchange {
    parked: TryOnly<ParkedVoice>,
    /// Whether a new processor waits. This lets the worker skip the lock otherwise.
    waiting: AtomicBool,
}

/// Slot with the current voice processor and its echo meter. Worker side.
pub(crate) struct VoiceSlot {
    current: AnyVoice,
    exchange: Arc<Exchange>,
    meter: EchoMeter,
}

/// Handle that replaces the voice processor in a slot while the terminal runs. Control side.
#[derive(Clone)]
pub(crate) struct VoiceExchange(Arc<Exchange>);

impl VoiceSlot {
    pub(crate) fn new(voice: AnyVoice, meter: EchoMeter) -> Self {
        let parked = TryOnly::new(ParkedVoice { voice: None, next: None });
        let exchange = Arc::new(Exchange { parked, waiting: AtomicBool::new(false) });
        Self { current: voice, exchange, meter }
    }

    pub(crate) fn exchange(&self) -> VoiceExchange {
        VoiceExchange(Arc::clone(&self.exchange))
    }

    /// Switches to the next processor, if one waits, and returns the code of its configuration. The worker
    /// calls this between two rounds. Wait-free; frees nothing, because the old processor is parked.
    pub(crate) fn take_next(&mut self) -> Option<u64> {
        // Relaxed: the lock orders the accesses.
        if !self.exchange.waiting.load(Ordering::Relaxed) {
            return None;
        }
        let mut parked = self.exchange.parked.attempt()?;
        let config_code = parked.next.take()?;
        if let Some(next) = &mut parked.voice {
            std::mem::swap(next, &mut self.current);
        }
        self.exchange.waiting.store(false, Ordering::Relaxed);
        Some(config_code)
    }
}

impl VoiceExchange {
    /// Replaces the processor by `voice` from the worker's next round on. `config_code` is the code of its
    /// configuration. Of several replacements before that round, the last one takes effect. The old processor
    /// is freed at the next replacement or with the terminal.
    ///
    /// # Errors
    /// Returns [`Busy`] when the slot stays locked, although the worker only locks it for some nanoseconds.
    pub(crate) fn replace(&self, voice: AnyVoice, config_code: u64) -> Result<(), Busy> {
        let old = {
            let mut parked = self.0.parked.wait()?;
            parked.next = Some(config_code);
            self.0.waiting.store(true, Ordering::Relaxed);
            parked.voice.replace(voice)
        };
        // Freeing takes time, and the worker tries the lock only once, so the lock is released first.
        drop(old);
        Ok(())
    }

    /// Returns whether a replacement waits for the worker.
    #[cfg(test)]
    fn is_waiting(&self) -> bool {
        self.0.waiting.load(Ordering::Relaxed)
    }
}

impl VoiceProcessor for VoiceSlot {
    fn process_reverse(&mut self, far: PcmRef<'_>) -> Result<(), ProcessError> {
        self.meter.played(far.samples);
        self.current.process_reverse(far)
    }

    fn process_capture(&mut self, mut near: PcmMut<'_>, delay: Duration) -> Result<(), ProcessError> {
        self.meter.heard(near.samples);
        let outcome = self.current.process_capture(near.reborrow(), delay);
        self.meter.cleaned(near.samples);
        outcome
    }

    fn stats(&self) -> VoiceStats {
        self.current.stats()
    }

    fn echo_report(&self) -> Option<EchoReport> {
        self.current.echo_report()
    }

    fn echo_shift(&self) -> Option<EchoShift> {
        self.current.echo_shift()
    }

    fn on_reference_moved(&mut self) {
        self.current.on_reference_moved();
    }

    fn on_reference_uncertain(&mut self, deviation: Duration) {
        self.current.on_reference_uncertain(deviation);
    }

    fn near_end_likelihood(&self) -> Option<f32> {
        self.current.near_end_likelihood()
    }

    fn reach(&self) -> Duration {
        self.current.reach()
    }

    fn reset(&mut self) {
        self.current.reset();
    }
}

impl fmt::Debug for VoiceSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VoiceSlot").finish_non_exhaustive()
    }
}

impl fmt::Debug for VoiceExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VoiceExchange").field("waiting", &self.0.waiting).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::meters::Meters;
    use super::*;
    use handsfree_core::Format;
    use std::sync::atomic::AtomicU32;

    /// Voice processor that fills frames with its number, counts when it is freed, and checks on which thread.
    struct NumberedVoice(i16, Arc<AtomicU32>, std::thread::ThreadId);

    impl VoiceProcessor for NumberedVoice {
        fn process_reverse(&mut self, _: PcmRef<'_>) -> Result<(), ProcessError> {
            Ok(())
        }
        fn process_capture(&mut self, near: PcmMut<'_>, _: Duration) -> Result<(), ProcessError> {
            near.samples.fill(self.0);
            Ok(())
        }
        fn stats(&self) -> VoiceStats {
            VoiceStats::default()
        }
        fn reset(&mut self) {}
    }

    impl Drop for NumberedVoice {
        fn drop(&mut self) {
            assert_eq!(std::thread::current().id(), self.2, "freed by the control thread, not by the worker");
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Runs a round of the worker with one frame. Returns the code of the processor taken before it, and the
    /// first sample.
    fn round(slot: &mut VoiceSlot) -> (Option<u64>, i16) {
        let taken = slot.take_next();
        let format = Format::new(8_000, 1).unwrap();
        let mut samples = [0; 80];
        slot.process_reverse(PcmRef { format, samples: &[0; 80] }).unwrap();
        slot.process_capture(PcmMut { format, samples: &mut samples }, Duration::ZERO).unwrap();
        (taken, samples[0])
    }

    #[test]
    fn the_last_replacement_wins_and_control_frees_the_rest() {
        let freed = Arc::new(AtomicU32::new(0));
        let voice = |number| NumberedVoice(number, Arc::clone(&freed), std::thread::current().id());
        let meter = EchoMeter::new(Box::leak(Box::new(Meters::new())));
        let slot = VoiceSlot::new(Box::new(voice(1)), meter);
        let exchange = slot.exchange();
        let worker = |mut slot: VoiceSlot| {
            let work = move || (round(&mut slot), slot);
            std::thread::spawn(work).join().unwrap()
        };
        let (heard, slot) = worker(slot);
        assert_eq!(heard, (None, 1));
        exchange.replace(Box::new(voice(2)), 20).unwrap();
        exchange.replace(Box::new(voice(3)), 30).unwrap();
        assert_eq!(freed.load(Ordering::Relaxed), 1, "the second was never used");
        assert!(exchange.is_waiting());
        let (heard, slot) = worker(slot);
        assert_eq!(heard, (Some(30), 3));
        assert!(!exchange.is_waiting());
        assert_eq!(freed.load(Ordering::Relaxed), 1, "the worker frees nothing");
        exchange.replace(Box::new(voice(4)), 40).unwrap();
        assert_eq!(freed.load(Ordering::Relaxed), 2);
        let (heard, mut slot) = worker(slot);
        assert_eq!(heard, (Some(40), 4));
        assert_eq!(round(&mut slot), (None, 4));
    }
}
