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
use embassy_rp::gpio::{Input, Pull};
use embassy_rp::interrupt::{InterruptExt as _, Priority};
use embassy_rp::peripherals::{DMA_CH0, DMA_CH1, PIO0};
use embassy_rp::pio::{Pio, StateMachine, StateMachineRx, StateMachineTx};
use embassy_rp::{bind_interrupts, dma, interrupt, pio};
use handsfree_board::{
    Board, BoardSession, CAP, Loudspeaker, Microphone, PERIOD, Pool, Pressed, Prompt, RATE_HZ, Worker, now,
    terminal,
};
use handsfree_core::canceller::{CancellerSettings, LeanStorage};
use handsfree_core::{Duration, Session};
use panic_probe as _;
use static_cell::{ConstStaticCell, StaticCell};

/// Sample frames that wait in the FIFO and the shift register when the DMA has moved its last word.
const FIFO_SAMPLE_FRAMES: usize = 2;
const BOARD: Board = Board {
    // The microphone's L/R pin is low.
    microphone_slot: 0,
    // The filter of the INMP441: 17.9 samples, by its datasheet.
    microphone_latency: Duration::from_micros(1_119),
    // The period that the DMA plays while the next one is filled.
    queued_sample_frames: CAP + FIFO_SAMPLE_FRAMES,
};

handsfree_core::echo_canceller! {
    type Canceller = EchoCanceller<LeanStorage> { rate_hz: 16_000, tail_ms: 128 };
}

static SESSION: ConstStaticCell<BoardSession> = ConstStaticCell::new(Session::new());
static CANCELLER: ConstStaticCell<Canceller> = ConstStaticCell::new(Canceller::new());
static POOL: StaticCell<Pool> = StaticCell::new();
static PERIODS: ConstStaticCell<[[u32; PERIOD]; 4]> = ConstStaticCell::new([[0; PERIOD]; 4]);
static AUDIO: InterruptExecutor = InterruptExecutor::new();

bind_interrupts!(struct Interrupts {
    PIO0_IRQ_0 => pio::InterruptHandler<PIO0>;
    DMA_IRQ_0 => dma::InterruptHandler<DMA_CH0>, dma::InterruptHandler<DMA_CH1>;
});

#[embassy_rp::interrupt]
unsafe fn SWI_IRQ_1() {
    // SAFETY: this is the interrupt that the executor was started on.
    unsafe { AUDIO.on_interrupt() }
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
    interrupt::SWI_IRQ_1.set_priority(Priority::P1);
    let high = AUDIO.start(interrupt::SWI_IRQ_1);
    let button = Input::new(peripherals.PIN_15, Pull::Up);
    let tasks = (audio(sm0, dma, microphone, loudspeaker), worker(processing), prompt(application, button));
    match tasks {
        (Ok(audio), Ok(worker), Ok(prompt)) => {
            high.spawn(audio);
            spawner.spawn(worker);
            spawner.spawn(prompt);
        }
        _ => defmt::error!("a task was started twice"),
    }
}

/// Moves periods between the DMA and the halves. Each direction begins its next transfer as soon as its last one has ended, before
/// it processes a period, so the state machine waits only if this task is later than a FIFO holds: 125 us.
#[embassy_executor::task]
async fn audio(
    mut machine: StateMachine<'static, PIO0, 0>,
    mut dma: (dma::Channel<'static>, dma::Channel<'static>),
    microphone: Microphone,
    loudspeaker: Loudspeaker,
) {
    let (receiver, sender) = machine.rx_tx();
    let [heard, hearing, playing, next] = PERIODS.take().each_mut();
    join(
        hear(receiver, &mut dma.0, microphone, [heard, hearing]),
        play(sender, &mut dma.1, loudspeaker, [playing, next]),
    )
    .await;
}

/// Hands over each period that the DMA has filled.
async fn hear(
    fifo: &mut StateMachineRx<'static, PIO0, 0>,
    dma: &mut dma::Channel<'static>,
    mut microphone: Microphone,
    [mut heard, mut hearing]: [&mut [u32; PERIOD]; 2],
) {
    let mut captured_at = None;
    loop {
        let reading = fifo.dma_pull(dma, hearing, false);
        if let Some(at) = captured_at {
            microphone.heard(heard, at);
        }
        reading.await;
        captured_at = Some(now());
        swap(&mut heard, &mut hearing);
    }
}

/// Has the period filled that comes after the one that the DMA plays.
async fn play(
    fifo: &mut StateMachineTx<'static, PIO0, 0>,
    dma: &mut dma::Channel<'static>,
    mut loudspeaker: Loudspeaker,
    [mut playing, mut next]: [&mut [u32; PERIOD]; 2],
) {
    loop {
        let at = now();
        let writing = fifo.dma_push(dma, playing, false);
        loudspeaker.fill(next, at);
        writing.await;
        swap(&mut playing, &mut next);
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
