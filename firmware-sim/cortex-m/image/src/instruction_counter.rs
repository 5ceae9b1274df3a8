//! Instruction counts, derived from the clock: in QEMU each instruction takes the same time.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::machine;

/// Time that QEMU takes for an instruction, in nanoseconds (`-icount shift=6`).
pub const INSTRUCTION_NS: u32 = 64;

/// Whether a measurement is active. Measured code then runs with interrupts masked, so that only it is counted.
pub static MEASURING: AtomicBool = AtomicBool::new(false);

/// Number of instructions that one part of the firmware executes per run.
pub struct InstructionCounter {
    runs: AtomicU32,
    total: AtomicU32,
    most: AtomicU32,
}

impl InstructionCounter {
    /// Makes a counter without measurements.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a static needs it const")]
    pub const fn new() -> Self {
        Self { runs: AtomicU32::new(0), total: AtomicU32::new(0), most: AtomicU32::new(0) }
    }

    /// Runs `work` and counts its instructions while [`MEASURING`] is set.
    pub fn measure<T>(&self, work: impl FnOnce() -> T) -> T {
        self.measure_without(|| 0, work)
    }

    /// Runs `work` and counts its instructions while [`MEASURING`] is set, without those by which
    /// `excluded_total` grows in the meantime.
    pub fn measure_without<T>(&self, excluded_total: impl Fn() -> u32, work: impl FnOnce() -> T) -> T {
        if !MEASURING.load(Ordering::Relaxed) {
            return work();
        }
        critical_section::with(|_| {
            let excluded = excluded_total();
            let started = machine::counter();
            let result = work();
            let ticks = machine::counter().wrapping_sub(started);
            self.add(instructions(ticks).saturating_sub(excluded_total().wrapping_sub(excluded)));
            result
        })
    }

    fn add(&self, instructions: u32) {
        self.runs.store(self.runs.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.total.store(self.total.load(Ordering::Relaxed).wrapping_add(instructions), Ordering::Relaxed);
        self.most.store(self.most.load(Ordering::Relaxed).max(instructions), Ordering::Relaxed);
    }

    /// Resets the counter.
    pub fn reset(&self) {
        for word in [&self.runs, &self.total, &self.most] {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Returns the number of measured runs.
    #[must_use]
    pub fn runs(&self) -> u32 {
        self.runs.load(Ordering::Relaxed)
    }

    /// Returns the instructions of all measured runs.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.total.load(Ordering::Relaxed)
    }

    /// Returns the mean number of instructions per run.
    #[must_use]
    pub fn mean(&self) -> u32 {
        self.total() / self.runs().max(1)
    }

    /// Returns the largest number of instructions of a run.
    #[must_use]
    pub fn most(&self) -> u32 {
        self.most.load(Ordering::Relaxed)
    }
}

/// Converts ticks to instructions.
#[must_use]
pub fn instructions(ticks: u32) -> u32 {
    (u64::from(ticks) * machine::TICK_NS as u64 / u64::from(INSTRUCTION_NS)) as u32
}
