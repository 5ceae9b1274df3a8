//! A hands-free voice terminal on an ESP32-C6-DevKitC-1. README.md has the wiring.
//!
//! ```text
//! software interrupt 1   audio(): moves periods of 10 ms between the I2S's DMA and the session's halves
//! main executor          worker(): both pipelines and the half-duplex voice path; prompt(): the application
//! ```
#![no_std]
#![no_main]

mod i2s;

use defmt_rtt as _;
use embassy_executor::Spawner;
use embassy_futures::select::select;
use esp_backtrace as _;
use esp_hal::clock::CpuClock;
use esp_hal::gpio::{Input, InputConfig, Pull};
use esp_hal::interrupt::Priority;
use esp_hal::timer::timg::TimerGroup;
use esp_rtos::embassy::InterruptExecutor;
use handsfree_board::{
    Board, BoardSession, CAP, Loudspeaker, Microphone, PERIOD, Pool, Pressed, Prompt, Worker, now, terminal,
};
use handsfree_core::capture::{LightConfig, LightVoice};
use handsfree_core::{Duration, Session};
use i2s::{PERIODS, Receiver, Sender, Wiring};
use static_cell::{ConstStaticCell, StaticCell};

esp_bootloader_esp_idf::esp_app_desc!();

const BOARD: Board = Board {
    // The microphone's L/R pin is low.
    microphone_slot: 0,
    // The filter of the INMP441: 17.9 samples, by its datasheet.
    microphone_latency: Duration::from_micros(1_119),
    // The driver takes a period when the one before has been played, and the others are queued.
    queued_sample_frames: (PERIODS - 1) * CAP,
};

static SESSION: ConstStaticCell<BoardSession> = ConstStaticCell::new(Session::new());
static POOL: StaticCell<Pool> = StaticCell::new();
static AUDIO: StaticCell<InterruptExecutor<1>> = StaticCell::new();

#[esp_rtos::main]
async fn main(spawner: Spawner) {
    let p = esp_hal::init(esp_hal::Config::default().with_cpu_clock(CpuClock::max()));
    esp_rtos::start(TimerGroup::new(p.TIMG0).timer0, p.FROM_CPU_INTR0);
    // The chip has no floating point, so an echo canceller does not fit: half duplex.
    let voice = LightVoice::new(LightConfig::default());
    let terminal = terminal(SESSION.take(), |pool| POOL.init(pool), voice)
        .and_then(|terminal| terminal.with_periods(&BOARD));
    let (microphone, loudspeaker, processing, application) = match terminal {
        Ok(parts) => parts,
        Err(error) => {
            defmt::error!("{}", error);
            return;
        }
    };
    let wiring = Wiring {
        i2s: p.I2S0,
        dma: p.DMA_CH0,
        bit_clock: p.GPIO18,
        word_clock: p.GPIO19,
        loudspeaker: p.GPIO20,
        microphone: p.GPIO21,
    };
    let high = AUDIO.init(InterruptExecutor::new(p.FROM_CPU_INTR1)).start(Priority::Priority3);
    let button = Input::new(p.GPIO9, InputConfig::default().with_pull(Pull::Up));
    let tasks = (audio(wiring, microphone, loudspeaker), worker(processing), prompt(application, button));
    match tasks {
        (Ok(audio), Ok(worker), Ok(prompt)) => {
            high.spawn(audio);
            spawner.spawn(worker);
            spawner.spawn(prompt);
        }
        _ => defmt::error!("a task was started twice"),
    }
}

/// Moves periods between the DMA's memory and the halves. When one direction has stopped, both begin anew, because they have one clock.
/// Starts the interface here, because its driver stays with the executor that does so.
#[embassy_executor::task]
async fn audio(wiring: Wiring, mut microphone: Microphone, mut loudspeaker: Loudspeaker) {
    let (mut receiver, mut sender) = match i2s::start(wiring) {
        Ok(directions) => directions,
        Err(error) => {
            defmt::error!("{}", error);
            return;
        }
    };
    loop {
        select(hear(&mut receiver, &mut microphone), play(&mut sender, &mut loudspeaker)).await;
        if !i2s::restart(&mut receiver, &mut sender) {
            defmt::error!("the interface does not start again");
            return;
        }
        microphone.note_gap();
        loudspeaker.note_gap();
    }
}

/// Hands over each period that the DMA has filled, until it stops.
async fn hear(receiver: &mut Receiver, microphone: &mut Microphone) {
    let mut words = [0; PERIOD];
    while let Some(later) = receiver.read(&mut words).await {
        microphone.heard(&words, now() - later);
    }
}

/// Has each period filled for which the DMA's memory has room, until it stops.
async fn play(sender: &mut Sender, loudspeaker: &mut Loudspeaker) {
    let mut words = [0; PERIOD];
    while sender.wait_for_room().await {
        loudspeaker.fill(&mut words, now());
        sender.write(&words);
    }
}

#[embassy_executor::task]
async fn worker(worker: Worker<LightVoice>) {
    // A product sends the frame from here.
    worker.run(|_cleaned| {}).await;
}

#[embassy_executor::task]
async fn prompt(prompt: Prompt, button: Input<'static>) {
    prompt.run(button, Pressed::Low).await;
}
