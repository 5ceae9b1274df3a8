//! The whole of a device: two DMA interrupts, a worker and an application in embassy's executor, a log
//! by defmt, and a check of itself at the end.
//!
//! The first seconds are measured undisturbed; from then on a third interrupt and masked stretches
//! delay the others. How long it runs is the image's argument, in seconds.
#![no_std]
#![no_main]

mod executor;
mod finish;
mod interrupts;
mod log;
mod tasks;

use cortex_m::Peripherals;
use cortex_m::peripheral::NVIC;
use embassy_executor::Spawner;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use handsfree_core::capture::IntakeConfig;
use handsfree_core::playback::OutletConfig;
use handsfree_core::{ChannelMap, ConfigError, Duration, Gain, SampleRate, Session, SessionFormat};
use handsfree_image::listener::Listener;
use handsfree_image::machine::{self, Interrupt};
use handsfree_image::room::PLAYBACK_STARTS_LATER;
use handsfree_image::{CAP, CAPTURE_TICKS, PLAYBACK_TICKS, TerminalSession, stack};
use static_cell::{ConstStaticCell, StaticCell};

use crate::tasks::{Halves, Pool};

static SESSION: ConstStaticCell<TerminalSession> = ConstStaticCell::new(Session::new());
static POOL: StaticCell<Pool> = StaticCell::new();

#[cortex_m_rt::entry]
fn main() -> ! {
    stack::paint();
    machine::start_counter();
    executor::run(start)
}

// Not a part of `main`, whose stack is never given back.
#[inline(never)]
fn start(spawner: Spawner) {
    let halves = match split() {
        Ok(halves) => halves,
        Err(error) => finish::refused(error),
    };
    let (worker, pool) = match connect(halves) {
        Ok(parts) => parts,
        Err(error) => finish::refused(error),
    };
    tasks::spawn(spawner, worker, pool);
    start_interrupts();
}

fn split() -> Result<Halves, ConfigError> {
    let rate = SampleRate::new(16_000)?;
    let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
    SESSION.take().split::<CriticalSectionRawMutex, _, _>(terminal, Listener::new(), ())
}

/// Tells the interrupt halves what their devices are like, and hands them over.
fn connect(mut halves: Halves) -> Result<(tasks::Worker, &'static Pool), ConfigError> {
    let rate = SampleRate::new(16_000)?;
    let map = ChannelMap::natural(1, 1)?;
    let max_period_sample_frames = CAP as u32;
    let gain = Gain::UNITY;
    halves.intake.configure(IntakeConfig { rate, map, gain, max_period_sample_frames, clock_domain: 0 })?;
    halves.outlet.configure(OutletConfig {
        rate,
        map,
        max_period_sample_frames,
        worker_slack_sample_frames: CAP as u32,
        latency: Duration::from_millis(20),
        clock_domain: 0,
    })?;
    // SAFETY: the interrupts are still disabled.
    unsafe {
        interrupts::INTAKE.fill(halves.intake);
        interrupts::OUTLET.fill(halves.outlet);
    }
    let worker = tasks::Worker {
        capture: halves.capture,
        playback: halves.playback,
        events: halves.events,
        stats: halves.stats,
    };
    Ok((worker, POOL.init(halves.tracks)))
}

fn start_interrupts() {
    if let Some(mut peripherals) = Peripherals::take() {
        // SAFETY: no critical section depends on priorities, all of them mask everything.
        unsafe {
            peripherals.NVIC.set_priority(Interrupt::Timer0, 0x80);
            peripherals.NVIC.set_priority(Interrupt::Timer1, 0x40);
            peripherals.NVIC.set_priority(Interrupt::DualTimer, 0x20);
        }
    }
    // The loudspeaker's clock gains a tick in ten thousand: begun half a millisecond later, its
    // interrupt wanders into the microphone's when the measurement is over, and once in 100 s again.
    machine::CAPTURE_DMA.start(CAPTURE_TICKS);
    interrupts::hold_for(PLAYBACK_STARTS_LATER * PLAYBACK_TICKS / CAP as u32);
    machine::PLAYBACK_DMA.start(PLAYBACK_TICKS);
    // SAFETY: what the interrupts use is in its place.
    unsafe {
        NVIC::unmask(Interrupt::Timer0);
        NVIC::unmask(Interrupt::Timer1);
        NVIC::unmask(Interrupt::DualTimer);
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    finish::panicked(info)
}
