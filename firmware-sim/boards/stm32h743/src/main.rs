//! A hands-free voice terminal on a NUCLEO-H743ZI2. README.md has the wiring.
//!
//! ```text
//! SPI5's interrupt, above all tasks   audio(): moves periods of 10 ms between the SAI's DMA and the session's halves
//! main executor                       worker(): both pipelines and the canceller; prompt(): the application
//! ```
#![no_std]
#![no_main]

mod sai;

use core::mem::MaybeUninit;

use defmt_rtt as _;
use embassy_executor::{InterruptExecutor, Spawner};
use embassy_futures::select::select;
use embassy_stm32::exti::{self, ExtiInput};
use embassy_stm32::gpio::Pull;
use embassy_stm32::interrupt::{InterruptExt as _, Priority};
use embassy_stm32::mode::Async;
use embassy_stm32::peripherals::{DMA1_CH0, DMA1_CH1};
use embassy_stm32::{bind_interrupts, dma, interrupt};
use handsfree_board::{
    Board, BoardSession, CAP, Loudspeaker, Microphone, PERIOD, Pool, Pressed, Prompt, Worker, now, terminal,
};
use handsfree_core::canceller::{CancellerSettings, LeanStorage};
use handsfree_core::{Duration, Session};
use panic_probe as _;
use sai::{Direction, Wiring};
use static_cell::{ConstStaticCell, StaticCell};

/// Periods in each DMA's memory: an interrupt when it is half and when it is full.
const RING: usize = 2 * PERIOD;
const BOARD: Board = Board {
    // The microphone's L/R pin is low.
    microphone_slot: 0,
    // The filter of the INMP441: 17.9 samples, by its datasheet. The SAI's FIFO holds four samples more.
    microphone_latency: Duration::from_micros(1_119 + 125),
    // The driver takes a period when the other one of its memory begins to play. The SAI's FIFO holds up to four sample frames more.
    queued_sample_frames: 2 * CAP + 3,
};

handsfree_core::echo_canceller! {
    type Canceller = EchoCanceller<LeanStorage> { rate_hz: 16_000, tail_ms: 128 };
}

static SESSION: ConstStaticCell<BoardSession> = ConstStaticCell::new(Session::new());
static CANCELLER: ConstStaticCell<Canceller> = ConstStaticCell::new(Canceller::new());
static POOL: StaticCell<Pool> = StaticCell::new();
static AUDIO: InterruptExecutor = InterruptExecutor::new();
/// Memory that the DMA reaches, of both directions. `main` initializes it.
#[unsafe(link_section = ".axi")]
static mut RINGS: MaybeUninit<[[u32; RING]; 2]> = MaybeUninit::uninit();

bind_interrupts!(struct Interrupts {
    DMA1_STREAM0 => dma::InterruptHandler<DMA1_CH0>;
    DMA1_STREAM1 => dma::InterruptHandler<DMA1_CH1>;
    EXTI15_10 => exti::InterruptHandler<interrupt::typelevel::EXTI15_10>;
});

#[interrupt]
unsafe fn SPI5() {
    // SAFETY: this is the interrupt that the executor was started on.
    unsafe { AUDIO.on_interrupt() }
}

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    let peripherals = embassy_stm32::init(sai::clocks());
    if let Some(mut core) = cortex_m::Peripherals::take() {
        core.SCB.enable_icache();
    }
    let rings = &raw mut RINGS;
    // SAFETY: `main` runs once, and nothing else names RINGS.
    let rings = unsafe { (*rings).write([[0; RING]; 2]) };
    let [heard, played] = rings.each_mut();
    let wiring = Wiring {
        sai: peripherals.SAI1,
        bit_clock: peripherals.PE5,
        word_clock: peripherals.PE4,
        loudspeaker: peripherals.PE6,
        microphone: peripherals.PE3,
        heard: (peripherals.DMA1_CH0, heard),
        played: (peripherals.DMA1_CH1, played),
    };
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
    // Above the executor of the other tasks, below the DMA's interrupts.
    interrupt::SPI5.set_priority(Priority::P6);
    let high = AUDIO.start(interrupt::SPI5);
    let button = ExtiInput::new(peripherals.PC13, peripherals.EXTI13, Pull::None, Interrupts);
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

/// Moves periods between the DMA's memory and the halves. When one direction has passed the end of its memory, both begin anew: embassy's
/// driver goes on at any word, so that the slots may be exchanged and the times be wrong.
#[embassy_executor::task]
async fn audio(mut wiring: Wiring, mut microphone: Microphone, mut loudspeaker: Loudspeaker) {
    loop {
        let (receiver, sender) = sai::duplex(&mut wiring);
        select(hear(receiver, &mut microphone), play(sender, &mut loudspeaker)).await;
        microphone.note_gap();
        loudspeaker.note_gap();
    }
}

/// Hands over each period that the DMA has filled, until it has filled one that was not read.
async fn hear(mut receiver: Direction<'_>, microphone: &mut Microphone) {
    let mut words = [0; PERIOD];
    while receiver.read(&mut words).await.is_ok() {
        microphone.heard(&words, now());
    }
}

/// Has each period filled that the DMA plays after the other one, until it has played one again.
async fn play(mut sender: Direction<'_>, loudspeaker: &mut Loudspeaker) {
    let mut words = [0; PERIOD];
    while sender.write(&words).await.is_ok() {
        loudspeaker.fill(&mut words, now());
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
