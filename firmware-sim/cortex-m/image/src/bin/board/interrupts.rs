//! Interrupt side: the capture and the playback interrupt, and a third interrupt that delays them.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;
use handsfree_core::capture::Intake;
use handsfree_core::playback::Outlet;
use handsfree_core::{Duration, PeriodTime};
use handsfree_image::cell::InterruptCell;
use handsfree_image::instruction_counter::InstructionCounter;
use handsfree_image::machine::{self, TICK_NS};
use handsfree_image::noise::Noise;
use handsfree_image::{CAP, CAPTURE_TICKS, PLAYBACK_TICKS, SLOTS, clock, room};

/// Signal that wakes the worker.
pub(crate) static WORK: Signal<CriticalSectionRawMutex, ()> = Signal::new();

pub(crate) static INTAKE: InterruptCell<Intake<'static, CAP>> = InterruptCell::new();
pub(crate) static OUTLET: InterruptCell<Outlet<'static, CAP, SLOTS>> = InterruptCell::new();

pub(crate) static CAPTURE_COST: InstructionCounter = InstructionCounter::new();
pub(crate) static PLAYBACK_COST: InstructionCounter = InstructionCounter::new();

/// Whether the third interrupt delays the others.
pub(crate) static DISTURBANCE_ENABLED: AtomicBool = AtomicBool::new(false);
pub(crate) static DISTURBANCES: AtomicU32 = AtomicU32::new(0);
/// Number of playback interrupts that preempted a capture interrupt.
pub(crate) static NESTED: AtomicU32 = AtomicU32::new(0);
/// Longest delay of an interrupt, in ticks.
pub(crate) static LATEST_TICKS: AtomicU32 = AtomicU32::new(0);

static IN_CAPTURE: AtomicBool = AtomicBool::new(false);
static CAPTURED: AtomicU32 = AtomicU32::new(0);
static PLAYED: AtomicU32 = AtomicU32::new(0);
static SEED: AtomicU32 = AtomicU32::new(0x5EED);

fn count(counter: &AtomicU32) -> u32 {
    let before = counter.load(Ordering::Relaxed);
    counter.store(before.wrapping_add(1), Ordering::Relaxed);
    before
}

fn note_lateness(ticks: u32) {
    LATEST_TICKS.store(LATEST_TICKS.load(Ordering::Relaxed).max(ticks), Ordering::Relaxed);
}

const fn ticks(count: u32) -> Duration {
    Duration::from_nanos(count as i64 * TICK_NS)
}

/// Capture interrupt: the period that just ended is in the DMA's buffer. The DMA's counter gives the time of
/// its end even if this interrupt is late.
#[unsafe(no_mangle)]
extern "C" fn TIMER0() {
    machine::CAPTURE_DMA.acknowledge();
    IN_CAPTURE.store(true, Ordering::Relaxed);
    let (called, since) =
        critical_section::with(|_| (clock::now(), machine::CAPTURE_DMA.since(CAPTURE_TICKS)));
    note_lateness(since);
    let position = count(&CAPTURED).wrapping_mul(CAP as u32);
    let mut samples = [0i16; CAP];
    room::capture(position, &mut samples);
    let converter = called - ticks(since) - ticks(CAPTURE_TICKS);
    let time = PeriodTime { position: u64::from(position), converter, called };
    // SAFETY: only this interrupt borrows the cell.
    if let Some(intake) = unsafe { INTAKE.borrow() }
        && CAPTURE_COST.measure(|| intake.on_period(&samples, time)) > 0
    {
        WORK.signal(());
    }
    IN_CAPTURE.store(false, Ordering::Relaxed);
}

/// Playback interrupt: fills the period that follows the one that just started.
#[unsafe(no_mangle)]
extern "C" fn TIMER1() {
    machine::PLAYBACK_DMA.acknowledge();
    if IN_CAPTURE.load(Ordering::Relaxed) {
        count(&NESTED);
    }
    let (called, since) =
        critical_section::with(|_| (clock::now(), machine::PLAYBACK_DMA.since(PLAYBACK_TICKS)));
    note_lateness(since);
    let position = count(&PLAYED).wrapping_mul(CAP as u32);
    let mut samples = [0i16; CAP];
    let converter = called - ticks(since) + ticks(PLAYBACK_TICKS);
    let time = PeriodTime { position: u64::from(position), converter, called };
    // SAFETY: only this interrupt borrows the cell.
    if let Some(outlet) = unsafe { OUTLET.borrow() }
        && PLAYBACK_COST.measure(|| outlet.on_period(&mut samples, time)) > 0
    {
        WORK.signal(());
    }
    room::play(position, &samples);
}

/// Disturbing interrupt: occupies the processor for up to 2 ms every 3 to 13 ms, at a priority above the
/// other two.
#[unsafe(no_mangle)]
extern "C" fn DUALTIMER() {
    machine::acknowledge_disturbance();
    if !DISTURBANCE_ENABLED.load(Ordering::Relaxed) {
        return;
    }
    count(&DISTURBANCES);
    let mut noise = Noise::new(SEED.load(Ordering::Relaxed));
    let (busy, pause) = (noise.word() % 50_000, 75_000 + noise.word() % 250_000);
    SEED.store(noise.word(), Ordering::Relaxed);
    busy_wait(busy);
    machine::disturb_in(pause);
}

/// Occupies the processor for a number of ticks.
pub(crate) fn busy_wait(ticks: u32) {
    let started = machine::counter();
    while machine::counter().wrapping_sub(started) < ticks {}
}
