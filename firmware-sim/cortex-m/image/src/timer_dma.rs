//! Timers in place of converters, with DMA counters and a ring of two periods each, behind the trait of `handsfree-dma`.

use core::sync::atomic::{AtomicU32, Ordering};

use handsfree_core::Instant;
use handsfree_dma::DmaStream;

use crate::machine::{self, Timer};
use crate::room::{self, PLAYBACK_STARTS_LATER};
use crate::{CAP, CAPTURE_TICKS, PLAYBACK_TICKS, clock};

/// Number of samples in a ring: two periods.
const RING: u64 = 2 * CAP as u64;
/// Ticks by which the timers' interrupts are later than the DMA's counters, so that they are never before them.
const LATE_TICKS: u32 = 50;

/// Tick at which the loudspeaker's DMA started. The microphone's has run for some samples then.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// A timer in place of a converter with its DMA.
#[derive(Debug)]
pub struct TimerDma {
    timer: Timer,
    /// Ticks in a period.
    ticks: u32,
    is_playback: bool,
    started: u64,
}

impl TimerDma {
    /// The microphone, whose interrupt is `TIMER0`.
    pub const MICROPHONE: Self =
        Self { timer: machine::CAPTURE_DMA, ticks: CAPTURE_TICKS, is_playback: false, started: 0 };
    /// The loudspeaker, whose interrupt is `TIMER1`.
    pub const LOUDSPEAKER: Self =
        Self { timer: machine::PLAYBACK_DMA, ticks: PLAYBACK_TICKS, is_playback: true, started: 0 };

    /// Returns the number of samples since the start.
    fn samples(&self) -> u64 {
        clock::ticks().saturating_sub(self.started) * CAP as u64 / u64::from(self.ticks).max(1)
    }
}

impl DmaStream for TimerDma {
    type Sample = i16;

    fn start(&mut self) {
        let now = clock::ticks();
        let later = u64::from(PLAYBACK_STARTS_LATER * CAPTURE_TICKS / CAP as u32);
        if self.is_playback {
            STARTED.store(now as u32, Ordering::Relaxed);
            self.started = now;
        } else {
            self.started = u64::from(STARTED.load(Ordering::Relaxed)).saturating_sub(later);
        }
        // The interrupt comes when the DMA has filled or played half of its ring.
        let passed = clock::ticks().saturating_sub(self.started) % u64::from(self.ticks).max(1);
        self.timer.start_within(self.ticks - passed as u32 + LATE_TICKS, self.ticks);
    }

    fn stop(&mut self) {}

    fn moved(&self) -> usize {
        (self.samples() % RING) as usize
    }

    fn take_fault(&mut self) -> bool {
        false
    }

    fn read(&mut self, index: usize, samples: &mut [i16]) {
        let now = self.samples();
        let behind = (now + RING - index as u64) % RING;
        let whole = if behind >= samples.len() as u64 { behind } else { behind + RING };
        room::capture(now.saturating_sub(whole) as u32, samples);
    }

    fn write(&mut self, index: usize, samples: &[i16]) {
        let now = self.samples();
        let position = now + (index as u64 + RING - now % RING) % RING;
        // The room counts from the first sample that is not the ring's silence.
        if let Some(position) = position.checked_sub(RING) {
            room::play(position as u32, samples);
        }
    }

    fn now(&self) -> Instant {
        clock::now()
    }
}
