//! A whole device: two DMA interrupts, a worker and an application in embassy's executor, a defmt log, and a
//! self-check at the end.
//!
//! The first seconds are measured without disturbance. After that a third interrupt and periods of masked
//! interrupts delay the others. The image's argument is the length of the run in seconds.
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
use handsfree_image::machine;
use handsfree_image::pac::Interrupt;
use handsfree_image::reference_checker::ReferenceChecker;
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

// This is a function of its own because the stack of `main` is never freed.
#[inline(never)]
fn start(spawner: Spawner) {
    let halves = match split() {
        Ok(halves) => halves,
        Err(error) => finish::setup_failed(error),
    };
    let (worker, pool) = match connect(halves) {
        Ok(parts) => parts,
        Err(error) => finish::setup_failed(error),
    };
    tasks::spawn(spawner, worker, pool);
    start_interrupts();
}

fn split() -> Result<Halves, ConfigError> {
    let rate = SampleRate::new(16_000)?;
    let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
    SESSION.take().split::<CriticalSectionRawMutex, _, _>(terminal, ReferenceChecker::new(), ())
}

/// Configures the interrupt halves for their devices and hands them to the interrupts.
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
        // SAFETY: critical sections mask all interrupts, so they do not depend on priorities.
        unsafe {
            peripherals.NVIC.set_priority(Interrupt::TIMER0, 0x80);
            peripherals.NVIC.set_priority(Interrupt::TIMER1, 0x40);
            peripherals.NVIC.set_priority(Interrupt::DUALTIMER, 0x20);
        }
    }
    // The loudspeaker's clock gains one tick in ten thousand. Starting it half a millisecond later makes its
    // interrupt coincide with the microphone's once the measurement is over, and again every 100 s.
    machine::CAPTURE_DMA.start(CAPTURE_TICKS);
    interrupts::busy_wait(PLAYBACK_STARTS_LATER * PLAYBACK_TICKS / CAP as u32);
    machine::PLAYBACK_DMA.start(PLAYBACK_TICKS);
    // SAFETY: the cells that the interrupts use are filled.
    unsafe {
        NVIC::unmask(Interrupt::TIMER0);
        NVIC::unmask(Interrupt::TIMER1);
        NVIC::unmask(Interrupt::DUALTIMER);
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    finish::panicked(info)
}
