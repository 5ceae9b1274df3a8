//! A hands-free voice terminal on an nRF5340 DK. README.md has the wiring.
//!
//! ```text
//! I2S0, EGU0's executor   the interface's events; audio(): periods of 10 ms between its memory and the session's halves
//! main executor           worker(): both pipelines and the canceller; prompt(): the application
//! ```
#![no_std]
#![no_main]

mod i2s;

use defmt_rtt as _;
use embassy_executor::{InterruptExecutor, Spawner};
use embassy_futures::join::join;
use embassy_nrf::config::{HfclkSource, LfclkSource};
use embassy_nrf::gpio::{Input, Pull};
use embassy_nrf::interrupt;
use embassy_nrf::interrupt::{InterruptExt as _, Priority};
use embassy_nrf::pac::clock::vals::Hclk;
use embassy_nrf::pac::{CACHE, CLOCK};
use handsfree_board::{
    Board, BoardSession, CAP, Loudspeaker, Microphone, PERIOD, Pool, Pressed, Prompt, Worker, terminal,
};
use handsfree_core::canceller::{CancellerSettings, LeanStorage};
use handsfree_core::{Duration, Session};
use i2s::{Pins, Receiver, Sender};
use panic_probe as _;
use static_cell::{ConstStaticCell, StaticCell};

const BOARD: Board = Board {
    // The microphone's L/R pin is low.
    microphone_slot: 0,
    // The filter of the INMP441: 17.9 samples, by its datasheet.
    microphone_latency: Duration::from_micros(1_119),
    // The period that plays while the next one is filled.
    queued_sample_frames: CAP,
};

handsfree_core::echo_canceller! {
    type Canceller = EchoCanceller<LeanStorage> { rate_hz: 16_000, tail_ms: 128 };
}

static SESSION: ConstStaticCell<BoardSession> = ConstStaticCell::new(Session::new());
static CANCELLER: ConstStaticCell<Canceller> = ConstStaticCell::new(Canceller::new());
static POOL: StaticCell<Pool> = StaticCell::new();
static AUDIO: InterruptExecutor = InterruptExecutor::new();

#[interrupt]
unsafe fn EGU0() {
    // SAFETY: this is the interrupt that the executor was started on.
    unsafe { AUDIO.on_interrupt() }
}

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    let mut config = embassy_nrf::config::Config::default();
    // The audio clock and the timer follow the board's crystals. The oscillators inside are off by percents.
    config.hfclk_source = HfclkSource::ExternalXtal;
    config.lfclk_source = LfclkSource::ExternalXtal;
    let p = embassy_nrf::init(config);
    // 128 MHz; 64 MHz after reset (CLOCK, HFCLKCTRL).
    CLOCK.hfclkctrl().write(|w| w.set_hclk(Hclk::Div1));
    // Off after reset; without it each access of the flash takes wait states.
    CACHE.enable().write(|w| w.set_enable(true));
    let canceller = CANCELLER.take();
    canceller.configure(CancellerSettings { corrected_linear: false, ..CancellerSettings::default() });
    let terminal = terminal(SESSION.take(), |pool| POOL.init(pool), canceller)
        .and_then(|terminal| terminal.with_periods(&BOARD));
    let (microphone, loudspeaker, processing, application) = match terminal {
        Ok(parts) => parts,
        Err(error) => {
            defmt::error!("{}", error);
            return;
        }
    };
    let (pins, receiver, sender) = i2s::start(p.P1_06, p.P1_07, p.P1_08, p.P1_09);
    interrupt::EGU0.set_priority(Priority::P2);
    let high = AUDIO.start(interrupt::EGU0);
    let button = Input::new(p.P0_23, Pull::Up);
    let tasks = (
        audio(pins, receiver, sender, microphone, loudspeaker),
        worker(processing),
        prompt(application, button),
    );
    match tasks {
        (Ok(audio), Ok(worker), Ok(prompt)) => {
            high.spawn(audio);
            spawner.spawn(worker);
            spawner.spawn(prompt);
        }
        _ => defmt::error!("a task was started twice"),
    }
}

/// Moves periods between the interface's memory and the halves.
#[embassy_executor::task]
async fn audio(
    _pins: Pins,
    receiver: Receiver,
    sender: Sender,
    microphone: Microphone,
    loudspeaker: Loudspeaker,
) {
    join(hear(receiver, microphone), play(sender, loudspeaker)).await;
}

/// Hands over each period that is complete.
async fn hear(mut receiver: Receiver, mut microphone: Microphone) {
    let mut words = [0; PERIOD];
    loop {
        match receiver.read(&mut words).await {
            Some(at) => microphone.heard(&words, at),
            None => microphone.note_gap(),
        }
    }
}

/// Has each period filled that plays after the one that has just begun.
async fn play(mut sender: Sender, mut loudspeaker: Loudspeaker) {
    let mut words = [0; PERIOD];
    loop {
        let (at, was_late) = sender.begun().await;
        if was_late {
            loudspeaker.note_gap();
        }
        loudspeaker.fill(&mut words, at);
        sender.write(&words);
    }
}

#[embassy_executor::task]
async fn worker(worker: Worker<&'static mut Canceller>) {
    // A product sends the frame from here.
    worker.run(|_cleaned| {}).await;
}

#[embassy_executor::task]
async fn prompt(prompt: Prompt, button: Input<'static>) {
    prompt.run(button, Pressed::Low).await;
}
