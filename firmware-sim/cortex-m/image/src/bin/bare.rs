//! The smallest image: the core with two interrupts and a main loop, without executor and log.
//!
//! Its size in flash is that of the core, including the routines of libm and the compiler that the core
//! needs. It must contain no panic; the runner checks its symbols.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::peripheral::NVIC;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use handsfree_core::capture::{Bypass, Intake, IntakeConfig};
use handsfree_core::playback::{Outlet, OutletConfig};
use handsfree_core::{
    ChannelMap, ConfigError, Duration, Frame, Gain, PeriodTime, SampleRate, Session, SessionFormat,
};
use handsfree_image::cell::InterruptCell;
use handsfree_image::machine;
use handsfree_image::pac::Interrupt;
use handsfree_image::{CAP, SLOTS, TerminalSession, clock};
use static_cell::ConstStaticCell;

static SESSION: ConstStaticCell<TerminalSession> = ConstStaticCell::new(Session::new());
static CAPTURED: AtomicU32 = AtomicU32::new(0);
static PLAYED: AtomicU32 = AtomicU32::new(0);
static INTAKE: InterruptCell<Intake<'static, CAP>> = InterruptCell::new();
static OUTLET: InterruptCell<Outlet<'static, CAP, SLOTS>> = InterruptCell::new();

#[cortex_m_rt::entry]
fn main() -> ! {
    let _ = run();
    cortex_m::asm::udf()
}

fn run() -> Result<(), ConfigError> {
    machine::start_counter();
    let rate = SampleRate::new(16_000)?;
    let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
    let Some(session) = SESSION.try_take() else { return Ok(()) };
    let mut halves = session.split::<CriticalSectionRawMutex, _, _>(terminal, Bypass, ())?;
    let map = ChannelMap::natural(1, 1)?;
    let max_period_sample_frames = CAP as u32;
    let gain = Gain::UNITY;
    halves.intake.configure(IntakeConfig { rate, map, gain, max_period_sample_frames, clock_domain: 0 })?;
    halves.outlet.configure(OutletConfig {
        rate,
        map,
        max_period_sample_frames,
        worker_slack_sample_frames: 0,
        latency: Duration::from_millis(20),
        clock_domain: 0,
    })?;
    // SAFETY: both interrupts are still disabled.
    unsafe {
        INTAKE.fill(halves.intake);
        OUTLET.fill(halves.outlet);
        NVIC::unmask(Interrupt::TIMER0);
        NVIC::unmask(Interrupt::TIMER1);
    }
    machine::CAPTURE_DMA.start(250_000);
    machine::PLAYBACK_DMA.start(249_975);
    let Ok(mut track) = halves.tracks.open() else { return Ok(()) };
    let mut captured = Frame::<CAP>::silence(handsfree_core::Format::with_rate(rate, 1)?)?;
    loop {
        halves.playback.poll();
        halves.capture.poll(&clock::now, &mut |frame: &Frame<CAP>| captured.clone_from(frame));
        // Loopback: the loudspeaker plays what the microphone captured.
        let _ = track.push(captured.samples());
        while let Some(_event) = halves.events.poll() {}
        cortex_m::asm::wfi();
    }
}

/// Returns the stream position of the next period and counts the period. Each interrupt has its own counter.
fn position(periods: &AtomicU32) -> u64 {
    let before = periods.load(Ordering::Relaxed);
    periods.store(before.wrapping_add(1), Ordering::Relaxed);
    u64::from(before) * CAP as u64
}

#[unsafe(no_mangle)]
extern "C" fn TIMER0() {
    machine::CAPTURE_DMA.acknowledge();
    let position = position(&CAPTURED);
    let called = clock::now();
    let time = PeriodTime { position, converter: called - Duration::from_millis(10), called };
    let samples = [0i16; CAP];
    // SAFETY: only this interrupt borrows the cell.
    if let Some(intake) = unsafe { INTAKE.borrow() } {
        intake.on_period(&samples, time);
    }
}

#[unsafe(no_mangle)]
extern "C" fn TIMER1() {
    machine::PLAYBACK_DMA.acknowledge();
    let position = position(&PLAYED);
    let called = clock::now();
    let time = PeriodTime { position, converter: called + Duration::from_millis(10), called };
    let mut out = [0i16; CAP];
    // SAFETY: only this interrupt borrows the cell.
    if let Some(outlet) = unsafe { OUTLET.borrow() } {
        outlet.on_period(&mut out, time);
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    cortex_m::asm::udf()
}
