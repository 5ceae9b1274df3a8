//! A hands-free voice terminal on an STM32F407G-DISC1. README.md has the wiring.
//!
//! ```text
//! DMA1_STREAM3, DMA1_STREAM5   the interrupts of handsfree-dma: periods of 10 ms between the DMA's rings and the session's halves
//! main executor                worker(): both pipelines and the canceller; control(): events and restarts; prompt(): the application
//! ```
#![no_std]
#![no_main]

mod codec;
mod i2s;

use defmt_rtt as _;
use embassy_executor::Spawner;
use embassy_stm32::exti::{self, ExtiInput};
use embassy_stm32::gpio::{AfType, Flex, Level, Output, OutputType, Pull, Speed};
use embassy_stm32::i2c::I2c;
use embassy_stm32::interrupt::{InterruptExt as _, Priority};
use embassy_stm32::mode::Async;
use embassy_stm32::pac::RCC;
use embassy_stm32::rcc::{
    AHBPrescaler, APBPrescaler, Hse, HseMode, Pll, PllMul, PllPDiv, PllPreDiv, PllRDiv, PllSource, Sysclk,
};
use embassy_stm32::time::mhz;
use embassy_stm32::{bind_interrupts, interrupt};
use embassy_time::Timer;
use handsfree_board::{
    BoardSession, CAP, Mutex, PERIOD, Pool, Pressed, Prompt, RATE_HZ, SLOTS, WORK, Worker, terminal,
};
use handsfree_core::audio_io::{AudioIo as _, DirectionRequest, StreamHalves, StreamRequest};
use handsfree_core::canceller::{CancellerSettings, LeanStorage};
use handsfree_core::capture::Intake;
use handsfree_core::playback::Outlet;
use handsfree_core::{ChannelMap, Duration, Gain, SampleRate, Session};
use handsfree_dma::{DmaError, DmaIo, DmaPort, StreamProperties};
use i2s::I2s;
use panic_probe as _;
use static_cell::{ConstStaticCell, StaticCell};

/// Interval at which control looks for events and faults.
const CONTROL: embassy_time::Duration = embassy_time::Duration::from_millis(20);
/// Length of the codec's reset, and of the time that it takes after it; its datasheet asks for less.
const RESET: embassy_time::Duration = embassy_time::Duration::from_millis(2);
/// Delay of the INMP441's filter: 17.9 samples, by its datasheet.
const MICROPHONE_LATENCY: Duration = Duration::from_micros(1_119);
/// Delay of the CS43L22's filter at this rate: 9.4 samples, by its datasheet.
const LOUDSPEAKER_LATENCY: Duration = Duration::from_micros(588);

handsfree_core::echo_canceller! {
    type Canceller = EchoCanceller<LeanStorage> { rate_hz: 16_000, tail_ms: 128 };
}

type MicrophonePort = DmaPort<Mutex, I2s, Intake<'static, CAP>, PERIOD>;
type LoudspeakerPort = DmaPort<Mutex, I2s, Outlet<'static, CAP, SLOTS>, PERIOD>;
type Io = DmaIo<'static, 'static, Mutex, I2s, I2s, CAP, SLOTS, PERIOD, PERIOD>;

static MICROPHONE: MicrophonePort = DmaPort::new();
static LOUDSPEAKER: LoudspeakerPort = DmaPort::new();
static SESSION: ConstStaticCell<BoardSession> = ConstStaticCell::new(Session::new());
static CANCELLER: ConstStaticCell<Canceller> = ConstStaticCell::new(Canceller::new());
static POOL: StaticCell<Pool> = StaticCell::new();

bind_interrupts!(struct Interrupts {
    EXTI0 => exti::InterruptHandler<interrupt::typelevel::EXTI0>;
});

#[interrupt]
fn DMA1_STREAM3() {
    i2s::clear_interrupt(true);
    if MICROPHONE.on_interrupt() > 0 {
        WORK.signal(());
    }
}

#[interrupt]
fn DMA1_STREAM5() {
    i2s::clear_interrupt(false);
    if LOUDSPEAKER.on_interrupt() > 0 {
        WORK.signal(());
    }
}

/// Returns the clocks: 168 MHz for the processor and 106.5 MHz for the I2S, from the board's crystal of 8 MHz.
fn clocks() -> embassy_stm32::Config {
    let mut config = embassy_stm32::Config::default();
    let rcc = &mut config.rcc;
    rcc.hse = Some(Hse { freq: mhz(8), mode: HseMode::Oscillator });
    rcc.pll_src = PllSource::HSE;
    rcc.pll = Some(Pll {
        prediv: PllPreDiv::DIV8,
        mul: PllMul::MUL336,
        divp: Some(PllPDiv::DIV2),
        divq: None,
        divr: None,
    });
    rcc.plli2s = Some(Pll {
        prediv: PllPreDiv::DIV8,
        mul: PllMul::MUL213,
        divp: None,
        divq: None,
        divr: Some(PllRDiv::DIV2),
    });
    rcc.sys = Sysclk::PLL1_P;
    rcc.ahb_pre = AHBPrescaler::DIV1;
    rcc.apb1_pre = APBPrescaler::DIV4;
    rcc.apb2_pre = APBPrescaler::DIV2;
    config
}

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    let p = embassy_stm32::init(clocks());
    // The pins of both interfaces: function 6 is I2S3's, function 5 is I2S2's (datasheet of the STM32F407, table 9).
    let clock = AfType::output(OutputType::PushPull, Speed::Medium);
    let mut pins = [Flex::new(p.PC7), Flex::new(p.PC10), Flex::new(p.PC12), Flex::new(p.PA4)];
    pins.iter_mut().for_each(|pin| pin.set_as_af_unchecked(6, clock));
    // The word clock is high while the master is silent, so that the slave does not take its begin for a left slot.
    let mut inputs =
        [(Flex::new(p.PB12), Pull::Up), (Flex::new(p.PB13), Pull::Down), (Flex::new(p.PB15), Pull::Down)];
    inputs.iter_mut().for_each(|(pin, pull)| pin.set_as_af_unchecked(5, AfType::input(*pull)));
    RCC.apb1enr().modify(|w| {
        w.set_spi2en(true);
        w.set_spi3en(true);
    });
    RCC.ahb1enr().modify(|w| w.set_dma1en(true));
    let mut reset = Output::new(p.PD4, Level::Low, Speed::Low);
    Timer::after(RESET).await;
    reset.set_high();
    Timer::after(RESET).await;
    let mut bus = I2c::new_blocking(p.I2C1, p.PB6, p.PB9, Default::default());
    if let Err(error) = codec::set_up(&mut bus) {
        defmt::error!("the codec does not answer: {}", error);
    }
    let canceller = CANCELLER.take();
    canceller.configure(CancellerSettings { corrected_linear: false, ..CancellerSettings::default() });
    // embassy has enabled the interrupts of all DMA streams; an empty port has nothing to do in them.
    for interrupt in [interrupt::DMA1_STREAM3, interrupt::DMA1_STREAM5] {
        interrupt.set_priority(Priority::P1);
    }
    let started = terminal(SESSION.take(), |pool| POOL.init(pool), canceller)
        .map_err(DmaError::from)
        .and_then(|terminal| {
            let io = start(i2s::split((p.SPI2, p.SPI3)), terminal.intake, terminal.outlet)?;
            Ok((io, terminal.worker, terminal.prompt))
        });
    let (io, processing, application) = match started {
        Ok(parts) => parts,
        Err(error) => {
            defmt::error!("{}", error);
            return;
        }
    };
    if let Err(error) = codec::switch_on(&mut bus) {
        defmt::error!("the codec does not answer: {}", error);
    }
    let button = ExtiInput::new(p.PA0, p.EXTI0, Pull::None, Interrupts);
    match (control(io), worker(processing), prompt(application, button)) {
        (Ok(control), Ok(worker), Ok(prompt)) => {
            spawner.spawn(control);
            spawner.spawn(worker);
            spawner.spawn(prompt);
        }
        _ => defmt::error!("a task was started twice"),
    }
    // The pins stay what they are as long as this task does not end.
    core::future::pending::<()>().await;
}

/// Starts both directions.
fn start(
    (receiver, sender): (I2s, I2s),
    intake: Intake<'static, CAP>,
    outlet: Outlet<'static, CAP, SLOTS>,
) -> Result<Io, DmaError> {
    let rate = SampleRate::new(RATE_HZ)?;
    let properties = |name, latency| StreamProperties {
        name,
        rate,
        slots: 2,
        period_sample_frames: CAP as u32,
        periods: 2,
        latency,
        clock_domain: 1,
    };
    MICROPHONE.install(properties("INMP441", MICROPHONE_LATENCY), receiver)?;
    LOUDSPEAKER.install(properties("CS43L22", LOUDSPEAKER_LATENCY), sender)?;
    let asked = |map| DirectionRequest {
        device: None,
        rate,
        device_channels: 2,
        map: Some(map),
        period_sample_frames: CAP as u32,
        worker_slack_sample_frames: CAP as u32,
        gain: Gain::UNITY,
    };
    let request = StreamRequest {
        // The microphone's L/R pin is low: it speaks in the left slot.
        capture: Some(asked(ChannelMap::select(2, &[0])?)),
        playback: Some(asked(ChannelMap::natural(1, 2)?)),
    };
    let mut io = DmaIo::new(&MICROPHONE, &LOUDSPEAKER);
    io.start(&request, StreamHalves { intake: Some(intake), outlet: Some(outlet) })
        .map_err(|failed| failed.error)?;
    Ok(io)
}

/// Restarts an interface that has had a fault, and logs what was lost.
#[embassy_executor::task]
async fn control(mut io: Io) {
    loop {
        while let Some(event) = io.poll_event() {
            defmt::warn!("{}", event);
        }
        if io.take_completed_frames() > 0 {
            WORK.signal(());
        }
        Timer::after(CONTROL).await;
    }
}

#[embassy_executor::task]
async fn worker(worker: Worker<&'static mut Canceller>) {
    // A product sends the frame from here.
    worker.run(|_cleaned| {}).await;
}

#[embassy_executor::task]
async fn prompt(prompt: Prompt, button: ExtiInput<'static, Async>) {
    prompt.run(button, Pressed::High).await;
}
