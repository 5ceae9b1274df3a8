//! A hands-free voice terminal on a Raspberry Pi Pico 2. README.md has the wiring.
//!
//! ```text
//! SWI_IRQ_1, above all tasks   audio(): moves periods of 10 ms between the DMA and the session's halves
//! main executor                worker(): both pipelines and the canceller; prompt(): the application
//! ```
#![no_std]
#![no_main]

mod i2s;

use core::mem::swap;

use defmt_rtt as _;
use embassy_executor::{InterruptExecutor, Spawner};
use embassy_futures::join::join;
use embassy_futures::select::{Either, select};
use embassy_rp::gpio::{Input, Pull};
use embassy_rp::interrupt::{InterruptExt as _, Priority};
use embassy_rp::peripherals::{DMA_CH0, DMA_CH1, PIO0};
use embassy_rp::pio::{Pio, StateMachine, StateMachineRx, StateMachineTx};
use embassy_rp::{bind_interrupts, dma, interrupt, pio};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;
use handsfree_core::canceller::{CancellerSettings, LeanStorage};
use handsfree_core::capture::{Intake, IntakeConfig};
use handsfree_core::playback::{Outlet, OutletConfig, TrackPool};
use handsfree_core::{
    ChannelMap, ConfigError, Duration, Events, Frame, Instant, SampleRate, Session, SessionFormat, capture,
    playback,
};
use handsfree_dma::BufferTimes;
use panic_probe as _;
use static_cell::{ConstStaticCell, StaticCell};

type Mutex = CriticalSectionRawMutex;
type Pool = TrackPool<'static, Mutex, CAP, SLOTS>;

const RATE_HZ: u32 = 16_000;
/// Samples in a frame of 10 ms.
const CAP: usize = 160;
const SLOTS: usize = 2;
/// Words in a period of the interface: two slots.
const WORDS: usize = 2 * CAP;
/// Both interfaces have one clock.
const CLOCK_DOMAIN: u32 = 1;
/// Sample frames that wait in the FIFO and the shift register when the DMA has moved its last word.
const FIFO_SAMPLE_FRAMES: usize = 2;
/// Delay of the INMP441's filter: 17.9 samples, by its datasheet.
const MICROPHONE_LATENCY: Duration = Duration::from_micros(1_119);

handsfree_core::echo_canceller! {
    type Canceller = EchoCanceller<LeanStorage> { rate_hz: 16_000, tail_ms: 128 };
}

static SESSION: ConstStaticCell<Session<CAP, SLOTS, 4, 4, 4, 8, 4_000>> =
    ConstStaticCell::new(Session::new());
static CANCELLER: ConstStaticCell<Canceller> = ConstStaticCell::new(Canceller::new());
static POOL: StaticCell<Pool> = StaticCell::new();
static PERIODS: ConstStaticCell<[[u32; WORDS]; 4]> = ConstStaticCell::new([[0; WORDS]; 4]);
/// Signals that a period has completed a frame.
static WORK: Signal<Mutex, ()> = Signal::new();
static AUDIO: InterruptExecutor = InterruptExecutor::new();
/// Seconds of the prompt.
const PROMPT_S: usize = 3;
/// A recorded voice: 16-bit samples at the terminal's rate.
static PROMPT: [u8; PROMPT_S * 2 * RATE_HZ as usize] = samples(include_bytes!("../../../clips/far.wav"));

bind_interrupts!(struct Interrupts {
    PIO0_IRQ_0 => pio::InterruptHandler<PIO0>;
    DMA_IRQ_0 => dma::InterruptHandler<DMA_CH0>, dma::InterruptHandler<DMA_CH1>;
});

/// Returns the first samples of a WAV file with the shortest header.
const fn samples<const LENGTH: usize>(file: &[u8]) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    let mut at = 0;
    while at < LENGTH {
        bytes[at] = file[44 + at];
        at += 1;
    }
    bytes
}

#[embassy_rp::interrupt]
unsafe fn SWI_IRQ_1() {
    // SAFETY: this is the interrupt that the executor was started on.
    unsafe { AUDIO.on_interrupt() }
}

fn now() -> Instant {
    Instant::from_nanos(embassy_time::Instant::now().as_micros() as i64 * 1_000)
}

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    let peripherals = embassy_rp::init(embassy_rp::config::Config::default());
    let Pio { mut common, mut sm0, .. } = Pio::new(peripherals.PIO0, Interrupts);
    i2s::start(
        &mut common,
        &mut sm0,
        RATE_HZ,
        peripherals.PIN_10,
        peripherals.PIN_11,
        peripherals.PIN_12,
        peripherals.PIN_13,
    );
    let dma = (
        dma::Channel::new(peripherals.DMA_CH0, Interrupts),
        dma::Channel::new(peripherals.DMA_CH1, Interrupts),
    );
    let Terminal { intake, outlet, capture, playback, pool, events } = match terminal() {
        Ok(terminal) => terminal,
        Err(error) => {
            defmt::error!("{}", error);
            return;
        }
    };
    interrupt::SWI_IRQ_1.set_priority(Priority::P1);
    let high = AUDIO.start(interrupt::SWI_IRQ_1);
    let button = Input::new(peripherals.PIN_15, Pull::Up);
    let tasks =
        (audio(sm0, dma, intake, outlet), worker(capture, playback, pool, events), prompt(pool, button));
    match tasks {
        (Ok(audio), Ok(worker), Ok(prompt)) => {
            high.spawn(audio);
            spawner.spawn(worker);
            spawner.spawn(prompt);
        }
        _ => defmt::error!("a task was started twice"),
    }
}

struct Terminal {
    intake: Intake<'static, CAP>,
    outlet: Outlet<'static, CAP, SLOTS>,
    capture: CapturePipeline,
    playback: playback::Pipeline<'static, CAP, SLOTS>,
    pool: &'static Pool,
    events: Events<'static>,
}

type CapturePipeline = capture::Pipeline<'static, CAP, SLOTS, &'static mut Canceller, ()>;

/// Splits the session and configures its halves for the interface.
fn terminal() -> Result<Terminal, ConfigError> {
    let rate = SampleRate::new(RATE_HZ)?;
    let canceller = CANCELLER.take();
    canceller.configure(CancellerSettings { corrected_linear: false, ..CancellerSettings::default() });
    let format = SessionFormat { rate, near_channels: 1, far_channels: 1 };
    let mut halves = SESSION.take().split::<Mutex, _, _>(format, canceller, ())?;
    // The microphone's L/R pin is low: it speaks in the left slot.
    let map = ChannelMap::select(2, &[0])?;
    halves.intake.configure(IntakeConfig { map, clock_domain: CLOCK_DOMAIN, ..IntakeConfig::new(rate) })?;
    halves.outlet.configure(OutletConfig {
        map: ChannelMap::natural(1, 2)?,
        worker_slack_sample_frames: CAP as u32,
        latency: Duration::from_millis(20),
        clock_domain: CLOCK_DOMAIN,
        ..OutletConfig::new(rate)
    })?;
    Ok(Terminal {
        intake: halves.intake,
        outlet: halves.outlet,
        capture: halves.capture,
        playback: halves.playback,
        pool: POOL.init(halves.tracks),
        events: halves.events,
    })
}

/// Moves periods between the DMA and the halves. Each direction begins its next transfer as soon as its last one has ended, before
/// it processes a period, so the state machine waits only if this task is later than a FIFO holds: 125 us.
#[embassy_executor::task]
async fn audio(
    mut machine: StateMachine<'static, PIO0, 0>,
    mut dma: (dma::Channel<'static>, dma::Channel<'static>),
    intake: Intake<'static, CAP>,
    outlet: Outlet<'static, CAP, SLOTS>,
) {
    let Ok(rate) = SampleRate::new(RATE_HZ) else { return };
    let (microphone, loudspeaker) = machine.rx_tx();
    let [heard, hearing, playing, next] = PERIODS.take().each_mut();
    join(
        hear(microphone, &mut dma.0, intake, rate, [heard, hearing]),
        play(loudspeaker, &mut dma.1, outlet, rate, [playing, next]),
    )
    .await;
}

/// Gives the intake each period that the DMA has filled.
async fn hear(
    fifo: &mut StateMachineRx<'static, PIO0, 0>,
    dma: &mut dma::Channel<'static>,
    mut intake: Intake<'static, CAP>,
    rate: SampleRate,
    [mut heard, mut hearing]: [&mut [u32; WORDS]; 2],
) {
    let mut times = BufferTimes::new(rate, MICROPHONE_LATENCY);
    let mut samples = [0i32; WORDS];
    let mut captured_at = None;
    loop {
        let reading = fifo.dma_pull(dma, hearing, false);
        if let Some(called) = captured_at {
            samples.iter_mut().zip(heard.iter()).for_each(|(sample, &word)| *sample = word as i32);
            if intake.on_period(&samples, times.captured(CAP, called)) > 0 {
                WORK.signal(());
            }
        }
        reading.await;
        captured_at = Some(now());
        swap(&mut heard, &mut hearing);
    }
}

/// Lets the outlet fill the period after the one that the DMA plays.
async fn play(
    fifo: &mut StateMachineTx<'static, PIO0, 0>,
    dma: &mut dma::Channel<'static>,
    mut outlet: Outlet<'static, CAP, SLOTS>,
    rate: SampleRate,
    [mut playing, mut next]: [&mut [u32; WORDS]; 2],
) {
    let mut times = BufferTimes::new(rate, Duration::ZERO);
    let mut samples = [0i32; WORDS];
    loop {
        let called = now();
        let writing = fifo.dma_push(dma, playing, false);
        if outlet.on_period(&mut samples, times.played(CAP, CAP + FIFO_SAMPLE_FRAMES, called)) > 0 {
            WORK.signal(());
        }
        next.iter_mut().zip(samples.iter()).for_each(|(word, &sample)| *word = sample as u32);
        writing.await;
        swap(&mut playing, &mut next);
    }
}

/// Runs both pipelines, and logs once a second.
#[embassy_executor::task]
async fn worker(
    mut capture: CapturePipeline,
    mut playback: playback::Pipeline<'static, CAP, SLOTS>,
    pool: &'static Pool,
    mut events: Events<'static>,
) {
    let (mut frames, mut energy, mut busy_us) = (0u32, 0u64, 0u64);
    loop {
        WORK.wait().await;
        let begin = embassy_time::Instant::now();
        playback.poll();
        capture.poll(&now, &mut |frame: &Frame<CAP>| {
            // A product sends the cleaned frame from here.
            energy +=
                frame.samples().iter().map(|&sample| u64::from(i32::from(sample).pow(2) as u32)).sum::<u64>();
            frames += 1;
        });
        pool.dispatch();
        busy_us += begin.elapsed().as_micros();
        while let Some(event) = events.poll() {
            event.log();
        }
        if frames >= 100 {
            let level = energy / (u64::from(frames) * CAP as u64);
            let stats = capture.voice_stats();
            defmt::info!(
                "cleaned microphone {=i32} dBFS; echo reduced by {} dB; {=u64} % of the processor",
                level_db(level as u32),
                stats.erle_db,
                busy_us / (u64::from(frames) * 100)
            );
            (frames, energy, busy_us) = (0, 0, 0);
        }
    }
}

/// Returns the level of a mean square of 16-bit samples in dBFS, to 3 dB.
fn level_db(mean_square: u32) -> i32 {
    3 * (32 - mean_square.leading_zeros() as i32) - 90
}

/// Says the prompt again and again; the button interrupts it.
#[embassy_executor::task]
async fn prompt(pool: &'static Pool, mut button: Input<'static>) {
    let mut track = match pool.open() {
        Ok(track) => track,
        Err(error) => {
            defmt::error!("{}", error);
            return;
        }
    };
    loop {
        match select(track.push_all_bytes(&PROMPT), button.wait_for_low()).await {
            Either::First(Ok(())) => {}
            Either::First(Err(error)) => defmt::error!("{}", error),
            Either::Second(()) => {
                track.interrupt();
                let heard = track.interrupted(&now).await;
                defmt::info!("interrupted after {=u64} sample frames were heard", heard);
                button.wait_for_high().await;
            }
        }
    }
}
