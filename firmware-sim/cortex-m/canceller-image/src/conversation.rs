//! A conversation through `handsfree-dma` with the echo canceller: the loudspeaker plays, its echo comes back to the microphone, and
//! for some seconds somebody talks at the same time. A third interrupt delays those of the DMA by up to 2 ms.
//!
//! The image checks that the echo is removed, that the talker is kept, and that nothing is lost.
#![no_std]
#![no_main]

mod output;

use cortex_m::peripheral::NVIC;
use cortex_m_semihosting::debug::{self, EXIT_FAILURE, EXIT_SUCCESS};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use handsfree_core::audio_io::{AudioIo as _, DirectionRequest, Event, StreamHalves, StreamRequest};
use handsfree_core::capture::Intake;
use handsfree_core::playback::Outlet;
use handsfree_core::{Duration, Frame, Gain, SampleRate, Session, SessionFormat};
use handsfree_dma::{DmaError, DmaIo, DmaPort, StreamProperties};
use handsfree_image::noise::Noise;
use handsfree_image::pac::Interrupt;
use handsfree_image::timer_dma::TimerDma;
use handsfree_image::{CAP, SLOTS, TerminalSession, clock, disturbance, machine, room};
use handsfree_vectors::cancellers::Lean64;
use handsfree_vectors::conversation::OUTPUT_ONLY;
use static_cell::ConstStaticCell;

use crate::output::figure;

type Mutex = CriticalSectionRawMutex;

/// Frames in which the clocks and the canceller learn: 8 s.
const LEARNT: u32 = 800;
/// Frames of each part after that: 4 s of echo alone, and 4 s with the talker.
const PART: u32 = 400;
/// Frames at the begin of a part that do not count, because the frames of before are still on their way.
const ON_THE_WAY: u32 = 50;
/// Least reduction of the echo while it is alone: 20 dB, as a ratio of energies.
const LEAST_REDUCTION: u64 = 100;
/// Least and most energy of the talker after the canceller, in percent: -3 to +1 dB.
const TALKER_PERCENT: core::ops::RangeInclusive<u64> = 50..=126;

static SESSION: ConstStaticCell<TerminalSession> = ConstStaticCell::new(Session::new());
static CANCELLER: ConstStaticCell<Lean64> = ConstStaticCell::new(Lean64::new());
static MICROPHONE: DmaPort<Mutex, TimerDma, Intake<'static, CAP>, CAP> = DmaPort::new();
static LOUDSPEAKER: DmaPort<Mutex, TimerDma, Outlet<'static, CAP, SLOTS>, CAP> = DmaPort::new();

#[cortex_m_rt::entry]
fn main() -> ! {
    machine::start_counter();
    // The counter is needed from 0 on, so that the microphone's start is not before it.
    disturbance::busy_wait(100_000);
    let status = if run() == Ok(true) { EXIT_SUCCESS } else { EXIT_FAILURE };
    loop {
        debug::exit(status);
    }
}

/// Energies of the cleaned sound in both parts.
#[derive(Default)]
struct Energies {
    frames: u32,
    echo: u64,
    talk: u64,
}

impl Energies {
    fn add(&mut self, frame: &Frame<CAP>) {
        let energy: u64 = frame.samples().iter().map(|&sample| i64::from(sample).pow(2) as u64).sum();
        self.frames += 1;
        if (LEARNT + ON_THE_WAY..LEARNT + PART).contains(&self.frames) {
            self.echo += energy;
        } else if (LEARNT + PART + ON_THE_WAY..LEARNT + 2 * PART).contains(&self.frames) {
            self.talk += energy;
        }
    }
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
    let (Some(session), Some(canceller)) = (SESSION.try_take(), CANCELLER.try_take()) else {
        return Ok(false);
    };
    canceller.configure(OUTPUT_ONLY);
    let mut halves = session.split::<Mutex, _, _>(terminal, canceller, ())?;
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
    let (mut xruns, mut played, mut energies) = (0u32, 0u64, Energies::default());
    loop {
        while track.push(&period) == Ok(CAP) {
            played += period.iter().map(|&sample| i64::from(sample).pow(2) as u64).sum::<u64>() / CAP as u64;
            noise.fill(&mut period);
        }
        halves.playback.poll();
        halves.capture.poll(&clock::now, &mut |frame: &Frame<CAP>| energies.add(frame));
        while halves.events.poll().is_some() {}
        while let Some(event) = io.poll_event() {
            xruns += u32::from(matches!(event, Event::Xrun { .. }));
        }
        room::talk(energies.frames >= LEARNT + PART);
        if energies.frames >= LEARNT + 2 * PART {
            break;
        }
        cortex_m::asm::wfi();
    }
    let counted = u64::from(PART - ON_THE_WAY) * CAP as u64;
    // Direct sound and reflection have a quarter of the amplitude each, and their sum nearly a half of it at these frequencies.
    let echo_mean_square = played / u64::from(energies.frames) / 8;
    let (left, talk) = (energies.echo / counted, energies.talk / counted);
    let talker_percent = talk * 100 / u64::from(room::TALKER_MEAN_SQUARE);
    figure("frames", energies.frames);
    figure("xruns", xruns);
    figure("echo_mean_square", echo_mean_square as u32);
    figure("left_mean_square", left as u32);
    figure("talker_percent", talker_percent as u32);
    Ok(xruns == 0 && left * LEAST_REDUCTION <= echo_mean_square && TALKER_PERCENT.contains(&talker_percent))
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
