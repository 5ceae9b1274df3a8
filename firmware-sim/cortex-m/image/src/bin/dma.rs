//! The core behind `handsfree-dma`: converters that are timers, with DMA counters and a ring of two periods each, behind the same
//! trait as a real peripheral.
//!
//! The image plays noise through an acoustic path to the microphone for ten seconds, while a third interrupt delays the others
//! by up to 2 ms. Then it delays them once by 45 ms, longer than the rings, and checks that the lost samples are reported as xruns
//! and that afterwards the reference matches the echo again. It prints its counters.
#![no_std]
#![no_main]

use cortex_m::peripheral::NVIC;
use cortex_m_semihosting::{debug, hprintln};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use handsfree_core::audio_io::{AudioIo as _, DirectionRequest, Event, StreamHalves, StreamRequest};
use handsfree_core::capture::Intake;
use handsfree_core::playback::Outlet;
use handsfree_core::{Duration, Frame, Gain, SampleRate, Session, SessionFormat};
use handsfree_dma::{DmaError, DmaIo, DmaPort, StreamProperties};
use handsfree_image::machine;
use handsfree_image::noise::Noise;
use handsfree_image::pac::Interrupt;
use handsfree_image::reference_checker::{self, ReferenceChecker};
use handsfree_image::timer_dma::TimerDma;
use handsfree_image::{CAP, SLOTS, TerminalSession, clock, disturbance};
use static_cell::ConstStaticCell;

type Mutex = CriticalSectionRawMutex;

/// Frames of each of the two parts.
const FRAMES: u32 = 1_000;
/// Frames in which the clocks learn, at the begin of each part.
const LEARNT: u32 = 300;
/// Largest part of the echo that the reference may leave unexplained in any second: -20 dB, which this noise has when it is moved by
/// nine tenths of a sample. A DMA's counter tells whole samples only.
const MOST_PPM: u32 = 10_000;

static SESSION: ConstStaticCell<TerminalSession> = ConstStaticCell::new(Session::new());
static MICROPHONE: DmaPort<Mutex, TimerDma, Intake<'static, CAP>, CAP> = DmaPort::new();
static LOUDSPEAKER: DmaPort<Mutex, TimerDma, Outlet<'static, CAP, SLOTS>, CAP> = DmaPort::new();

#[cortex_m_rt::entry]
fn main() -> ! {
    machine::start_counter();
    // The counter is needed from 0 on, so that the microphone's start is not before it.
    disturbance::busy_wait(100_000);
    let passed = run().unwrap_or(false);
    debug::exit(if passed { debug::EXIT_SUCCESS } else { debug::EXIT_FAILURE });
    cortex_m::asm::udf()
}

fn run() -> Result<bool, DmaError> {
    let rate = SampleRate::new(16_000)?;
    let properties = |name| StreamProperties {
        name,
        rate,
        slots: 1,
        period_sample_frames: CAP as u32,
        periods: 2,
        latency: Duration::ZERO,
        clock_domain: 0,
    };
    MICROPHONE.install(properties("microphone"), TimerDma::MICROPHONE)?;
    LOUDSPEAKER.install(properties("loudspeaker"), TimerDma::LOUDSPEAKER)?;
    let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
    let Some(session) = SESSION.try_take() else { return Ok(false) };
    let mut halves = session.split::<Mutex, _, _>(terminal, ReferenceChecker::new(), ())?;
    let asked = DirectionRequest {
        device: None,
        rate,
        device_channels: 1,
        map: None,
        period_sample_frames: CAP as u32,
        worker_slack_sample_frames: CAP as u32,
        gain: Gain::UNITY,
    };
    let mut io = DmaIo::new(&MICROPHONE, &LOUDSPEAKER);
    let stream = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
    let request = StreamRequest { capture: Some(asked), playback: Some(asked) };
    if let Err(refused) = io.start(&request, stream) {
        return Err(refused.error);
    }
    // SAFETY: the ports have their halves.
    unsafe {
        NVIC::unmask(Interrupt::TIMER0);
        NVIC::unmask(Interrupt::TIMER1);
        NVIC::unmask(Interrupt::DUALTIMER);
    }
    disturbance::start();
    let Ok(mut track) = halves.tracks.open() else { return Ok(false) };
    let mut noise = Noise::new(1);
    let mut period = [0i16; CAP];
    noise.fill(&mut period);
    let (mut xruns, mut lost, mut frames) = (0u32, 0u32, 0u32);
    let (mut first, mut restart_at) = (None, LEARNT);
    loop {
        while track.push(&period) == Ok(CAP) {
            noise.fill(&mut period);
        }
        halves.playback.poll();
        halves.capture.poll(&clock::now, &mut |_: &Frame<CAP>| frames += 1);
        while halves.events.poll().is_some() {}
        while let Some(event) = io.poll_event() {
            if let Event::Xrun { sample_frames, .. } = event {
                xruns += 1;
                lost += sample_frames;
            }
        }
        // The clocks need some seconds until the reference fits. Two frames may come at once.
        if frames >= restart_at {
            reference_checker::restart();
            restart_at = if first.is_none() { FRAMES + LEARNT } else { u32::MAX };
        }
        if frames >= FRAMES && first.is_none() {
            first = Some((reference_checker::worst_ppm(), reference_checker::seconds(), xruns));
            cortex_m::interrupt::free(|_| disturbance::busy_wait(45 * 25_000));
        }
        if let Some((worst_ppm, seconds, first_xruns)) = first
            && frames >= 2 * FRAMES
        {
            let stats = halves.stats.read();
            let drift_ppm = halves.capture.drift_ppm().map_or(0, |ppm| ppm as i32);
            let (again_ppm, again_seconds) = (reference_checker::worst_ppm(), reference_checker::seconds());
            hprintln!(
                "DMA: {} frames captured, {} played, drift {} ppm; reference to {} ppm in {} s with interrupts up to 2 ms late, no \
                     xrun ({}); one 45 ms late: {} xruns told, {} sample frames; then reference to {} ppm in {} s",
                stats.capture.frames,
                stats.outlet.frames,
                drift_ppm,
                worst_ppm,
                seconds,
                first_xruns,
                xruns,
                lost,
                again_ppm,
                again_seconds
            );
            return Ok(first_xruns == 0
                && xruns >= 2
                && (300..2_000).contains(&lost)
                && worst_ppm <= MOST_PPM
                && again_ppm <= MOST_PPM
                && seconds >= 6
                && again_seconds >= 6
                && (98..=102).contains(&drift_ppm));
        }
        cortex_m::asm::wfi();
    }
}

/// Interrupt of the microphone's DMA.
#[unsafe(no_mangle)]
extern "C" fn TIMER0() {
    machine::CAPTURE_DMA.acknowledge();
    MICROPHONE.on_interrupt();
}

/// Interrupt of the loudspeaker's DMA.
#[unsafe(no_mangle)]
extern "C" fn TIMER1() {
    machine::PLAYBACK_DMA.acknowledge();
    LOUDSPEAKER.on_interrupt();
}

/// Interrupt that delays the others.
#[unsafe(no_mangle)]
extern "C" fn DUALTIMER() {
    disturbance::on_interrupt();
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    cortex_m::asm::udf()
}
