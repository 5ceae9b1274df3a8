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
use embassy_futures::join::join;
use embassy_stm32::exti::{self, ExtiInput};
use embassy_stm32::gpio::Pull;
use embassy_stm32::interrupt::{InterruptExt as _, Priority};
use embassy_stm32::mode::Async;
use embassy_stm32::peripherals::{DMA1_CH0, DMA1_CH1, SAI1};
use embassy_stm32::sai::Sai;
use embassy_stm32::{bind_interrupts, dma, interrupt};
use handsfree_board::{
    Board, BoardSession, CAP, Loudspeaker, Microphone, PERIOD, Pool, Pressed, Prompt, Worker, now, terminal,
};
use handsfree_core::canceller::{CancellerSettings, LeanStorage};
use handsfree_core::{Duration, Session};
use panic_probe as _;
use static_cell::{ConstStaticCell, StaticCell};

/// Periods in each DMA's memory: an interrupt when it is half and when it is full.
const RING: usize = 2 * PERIOD;
const BOARD: Board = Board {
    // The microphone's L/R pin is low.
    microphone_slot: 0,
    // The filter of the INMP441: 17.9 samples, by its datasheet. The SAI's FIFO holds four samples more.
    microphone_latency: Duration::from_micros(1_119 + 125),
    // The driver takes a period when the other one of its memory begins to play.
    queued_sample_frames: 2 * CAP,
};

handsfree_core::echo_canceller! {
    type Canceller = EchoCanceller<LeanStorage> { rate_hz: 16_000, tail_ms: 128 };
}

static SESSION: ConstStaticCell<BoardSession> = ConstStaticCell::new(Session::new());
static CANCELLER: ConstStaticCell<Canceller> = ConstStaticCell::new(Canceller::new());
static POOL: StaticCell<Pool> = StaticCell::new();
static AUDIO: InterruptExecutor = InterruptExecutor::new();
/// Memory that the DMA reaches, of both directions. `main` initializes it.
#[unsafe(link_section = ".sram1")]
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
    let (receiver, sender) = sai::duplex(
        peripherals.SAI1,
        sai::Pins {
            bit_clock: peripherals.PE5,
            word_clock: peripherals.PE4,
            loudspeaker: peripherals.PE6,
            microphone: peripherals.PE3,
        },
        (peripherals.DMA1_CH0, heard),
        (peripherals.DMA1_CH1, played),
    );
    let canceller = CANCELLER.take();
    canceller.configure(CancellerSettings { corrected_linear: false, ..CancellerSettings::default() });
    let terminal = terminal(SESSION.take(), |pool| POOL.init(pool), canceller).and_then(|terminal| {
        let microphone = Microphone::new(terminal.intake, &BOARD)?;
        let loudspeaker = Loudspeaker::new(terminal.outlet, &BOARD)?;
        Ok((microphone, loudspeaker, terminal.worker, terminal.prompt))
    });
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
    let tasks =
        (audio(receiver, sender, microphone, loudspeaker), worker(processing), prompt(application, button));
    match tasks {
        (Ok(audio), Ok(worker), Ok(prompt)) => {
            high.spawn(audio);
            spawner.spawn(worker);
            spawner.spawn(prompt);
        }
        _ => defmt::error!("a task was started twice"),
    }
}

/// Moves periods between the DMA's memory and the halves.
#[embassy_executor::task]
async fn audio(
    receiver: Sai<'static, SAI1, u32>,
    sender: Sai<'static, SAI1, u32>,
    microphone: Microphone,
    loudspeaker: Loudspeaker,
) {
    join(hear(receiver, microphone), play(sender, loudspeaker)).await;
}

/// Hands over each period that the DMA has filled.
async fn hear(mut receiver: Sai<'static, SAI1, u32>, mut microphone: Microphone) {
    let mut words = [0; PERIOD];
    loop {
        let read = receiver.read(&mut words).await;
        if read.is_err() {
            // The DMA has passed what was not read. The driver goes on behind it.
            microphone.note_gap();
            continue;
        }
        microphone.heard(&words, now());
    }
}

/// Has each period filled that the DMA plays after the other one.
async fn play(mut sender: Sai<'static, SAI1, u32>, mut loudspeaker: Loudspeaker) {
    let mut words = [0; PERIOD];
    loop {
        let written = sender.write(&words).await;
        if written.is_err() {
            // The DMA has played what it had before. The driver goes on with a full memory.
            loudspeaker.note_gap();
        }
        loudspeaker.fill(&mut words, now());
    }
}

#[embassy_executor::task]
async fn worker(worker: Worker<&'static mut Canceller>) {
    worker.run().await;
}

#[embassy_executor::task]
async fn prompt(prompt: Prompt, button: ExtiInput<'static, Async>) {
    prompt.run(button, Pressed::High).await;
}
