//! Instructions, counted by the clock: QEMU lets each instruction take the same time.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::machine;

/// Nanoseconds that QEMU lets an instruction take (`-icount shift=6`).
pub const INSTRUCTION_NS: u32 = 64;

/// While set, what is measured runs with interrupts masked, so that it is measured alone.
pub static MEASURING: AtomicBool = AtomicBool::new(false);

/// What one part took.
pub struct Gauge {
    runs: AtomicU32,
    total: AtomicU32,
    most: AtomicU32,
}

impl Gauge {
    /// A gauge of nothing so far.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a static needs it const")]
    pub const fn new() -> Self {
        Self { runs: AtomicU32::new(0), total: AtomicU32::new(0), most: AtomicU32::new(0) }
    }

    /// Runs something, measured while [`MEASURING`].
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        self.run_less(|| 0, work)
    }

    /// The same without the instructions that `of_others` has grown by meanwhile.
    pub fn run_less<T>(&self, of_others: impl Fn() -> u32, work: impl FnOnce() -> T) -> T {
        if !MEASURING.load(Ordering::Relaxed) {
            return work();
        }
        critical_section::with(|_| {
            let others = of_others();
            let begun = machine::counter();
            let result = work();
            let ticks = machine::counter().wrapping_sub(begun);
            self.add(instructions(ticks).saturating_sub(of_others().wrapping_sub(others)));
            result
        })
    }

    fn add(&self, instructions: u32) {
        self.runs.store(self.runs.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.total.store(self.total.load(Ordering::Relaxed).wrapping_add(instructions), Ordering::Relaxed);
        self.most.store(self.most.load(Ordering::Relaxed).max(instructions), Ordering::Relaxed);
    }

    /// Forgets what was measured.
    pub fn reset(&self) {
        for word in [&self.runs, &self.total, &self.most] {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// How often it was measured.
    #[must_use]
    pub fn runs(&self) -> u32 {
        self.runs.load(Ordering::Relaxed)
    }

    /// Instructions in all.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.total.load(Ordering::Relaxed)
    }

    /// The mean.
    #[must_use]
    pub fn mean(&self) -> u32 {
        self.total() / self.runs().max(1)
    }

    /// The most.
    #[must_use]
    pub fn most(&self) -> u32 {
        self.most.load(Ordering::Relaxed)
    }
}

/// Instructions in a number of ticks.
fn instructions(ticks: u32) -> u32 {
    (u64::from(ticks) * machine::TICK_NS as u64 / u64::from(INSTRUCTION_NS)) as u32
}
