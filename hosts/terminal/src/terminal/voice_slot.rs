//! Worker and control side: a voice processor that can be replaced between two frames.
//!
//! A new one is made, with all that this allocates, where that is allowed; the worker only swaps two
//! pointers, and no frame passes unprocessed meanwhile. Resetting the one in use would cost a loan of it,
//! one to three frames with the echo in them, and needs frames to flow at that moment.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use handsfree_core::capture::{ProcessError, VoiceProcessor, VoiceStats};
use handsfree_core::{Duration, PcmMut, PcmRef};

use super::meters::EchoMeter;
use crate::try_only::{Busy, TryOnly};

/// Any voice processor, on its way between threads.
pub type AnyVoice = Box<dyn VoiceProcessor + Send>;

struct Parked {
    voice: Option<AnyVoice>,
    /// It is the next one, not the one before.
    is_next: bool,
}

struct Exchange {
    parked: TryOnly<Parked>,
    /// Only a hint, so that the worker does not try the lock at each frame.
    waiting: AtomicBool,
}

/// The voice processor in use, measured. Worker side.
pub(crate) struct VoiceSlot {
    current: AnyVoice,
    exchange: Arc<Exchange>,
    meter: EchoMeter,
    is_new: bool,
}

/// Replaces the voice processor of a running terminal.
#[derive(Clone)]
pub(crate) struct VoiceExchange(Arc<Exchange>);

impl VoiceSlot {
    pub(crate) fn new(voice: AnyVoice, meter: EchoMeter) -> Self {
        let parked = TryOnly::new(Parked { voice: None, is_next: false });
        let exchange = Arc::new(Exchange { parked, waiting: AtomicBool::new(false) });
        Self { current: voice, exchange, meter, is_new: false }
    }

    pub(crate) fn exchange(&self) -> VoiceExchange {
        VoiceExchange(Arc::clone(&self.exchange))
    }

    /// Whether the processor was replaced since this was last asked.
    pub(crate) fn take_new(&mut self) -> bool {
        std::mem::take(&mut self.is_new)
    }

    /// Wait-free; frees nothing, for the old one stays parked.
    fn take_next(&mut self) {
        // Relaxed: the lock orders what matters.
        if !self.exchange.waiting.load(Ordering::Relaxed) {
            return;
        }
        let Some(mut parked) = self.exchange.parked.attempt() else { return };
        if !std::mem::take(&mut parked.is_next) {
            return;
        }
        if let Some(next) = &mut parked.voice {
            std::mem::swap(next, &mut self.current);
            self.is_new = true;
        }
        self.exchange.waiting.store(false, Ordering::Relaxed);
    }
}

impl VoiceExchange {
    /// Puts `voice` in place of the present one, from the next frame on; of several the last. The one
    /// before is freed at the next replacement, or with the terminal.
    ///
    /// # Errors
    /// [`Busy`] when the worker does not let go; it holds what is exchanged for some nanoseconds.
    pub(crate) fn replace(&self, voice: AnyVoice) -> Result<(), Busy> {
        let old = {
            let mut parked = self.0.parked.wait()?;
            parked.is_next = true;
            self.0.waiting.store(true, Ordering::Relaxed);
            parked.voice.replace(voice)
        };
        // Not while the lock is held: that would make the worker miss its try.
        drop(old);
        Ok(())
    }

    /// Whether a replacement waits for a frame.
    #[cfg(test)]
    fn is_waiting(&self) -> bool {
        self.0.waiting.load(Ordering::Relaxed)
    }
}

impl VoiceProcessor for VoiceSlot {
    /// A reverse frame begins each pair, so this is where processors change.
    fn process_reverse(&mut self, far: PcmRef<'_>) -> Result<(), ProcessError> {
        self.take_next();
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

    fn reset(&mut self) {
        self.current.reset();
    }
}

impl fmt::Debug for VoiceSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VoiceSlot").field("is_new", &self.is_new).finish_non_exhaustive()
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

    /// Fills frames with its number, and counts when it is freed and on which thread.
    struct Numbered(i16, Arc<AtomicU32>, std::thread::ThreadId);

    impl VoiceProcessor for Numbered {
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

    impl Drop for Numbered {
        fn drop(&mut self) {
            assert_eq!(std::thread::current().id(), self.2, "freed by who made it, not by the worker");
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn pair(slot: &mut VoiceSlot) -> i16 {
        let format = Format::new(8_000, 1).unwrap();
        let mut samples = [0; 80];
        slot.process_reverse(PcmRef { format, samples: &[0; 80] }).unwrap();
        slot.process_capture(PcmMut { format, samples: &mut samples }, Duration::ZERO).unwrap();
        samples[0]
    }

    #[test]
    fn the_last_of_several_is_in_force_from_the_next_pair_on_and_control_frees_the_others() {
        let freed = Arc::new(AtomicU32::new(0));
        let voice = |number| Numbered(number, Arc::clone(&freed), std::thread::current().id());
        let meter = EchoMeter::new(Box::leak(Box::new(Meters::new())));
        let slot = VoiceSlot::new(Box::new(voice(1)), meter);
        let exchange = slot.exchange();
        let worker = |mut slot: VoiceSlot| {
            let round = move || (pair(&mut slot), slot);
            std::thread::spawn(round).join().unwrap()
        };
        let (heard, slot) = worker(slot);
        assert_eq!(heard, 1);
        exchange.replace(Box::new(voice(2))).unwrap();
        exchange.replace(Box::new(voice(3))).unwrap();
        assert_eq!(freed.load(Ordering::Relaxed), 1, "the second was never used");
        assert!(exchange.is_waiting());
        let (heard, mut slot) = worker(slot);
        assert_eq!(heard, 3);
        assert!(!exchange.is_waiting());
        assert_eq!(freed.load(Ordering::Relaxed), 1, "the worker frees nothing");
        exchange.replace(Box::new(voice(4))).unwrap();
        assert_eq!(freed.load(Ordering::Relaxed), 2);
        assert!(slot.take_new() && !slot.take_new());
    }

    #[test]
    fn between_reverse_and_capture_nothing_changes() {
        let freed = Arc::new(AtomicU32::new(0));
        let voice = |number| Numbered(number, Arc::clone(&freed), std::thread::current().id());
        let meter = EchoMeter::new(Box::leak(Box::new(Meters::new())));
        let mut slot = VoiceSlot::new(Box::new(voice(1)), meter);
        let format = Format::new(8_000, 1).unwrap();
        let mut samples = [0; 80];
        slot.process_reverse(PcmRef { format, samples: &[0; 80] }).unwrap();
        slot.exchange().replace(Box::new(voice(2))).unwrap();
        slot.process_capture(PcmMut { format, samples: &mut samples }, Duration::ZERO).unwrap();
        assert_eq!(samples[0], 1);
        assert_eq!(pair(&mut slot), 2);
    }
}
