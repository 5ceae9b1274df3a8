//! A duplex conversation with the echo canceller as the session's voice processor, and its figures.
//!
//! The image must contain no panic and no allocation; the runner checks its symbols. Its argument is the
//! number of frames of 10 ms.
#![no_std]
#![no_main]

mod argument;
mod output;

use cortex_m_semihosting::debug::{self, EXIT_FAILURE, EXIT_SUCCESS};
#[cfg(feature = "light")]
use handsfree_core::capture::LightVoice as Canceller;
use handsfree_core::capture::VoiceProcessor;
use handsfree_core::{Duration, Format, PcmMut, PcmRef};
use handsfree_image::{CAP, instruction_counter, machine, stack};
#[cfg(feature = "full-storage")]
use handsfree_vectors::cancellers::Full128 as Canceller;
#[cfg(not(any(feature = "full-storage", feature = "light")))]
use handsfree_vectors::cancellers::Lean128 as Canceller;
#[cfg(not(feature = "light"))]
use handsfree_vectors::conversation::OUTPUT_ONLY;
use handsfree_vectors::conversation::{ConversationMemory, converse};
use handsfree_vectors::meter::TickMeter;
use static_cell::ConstStaticCell;

use crate::argument::argument;
use crate::output::figure;

/// Returns the voice processor, once.
#[cfg(not(feature = "light"))]
fn take_canceller() -> Option<&'static mut Canceller> {
    static CANCELLER: ConstStaticCell<Canceller> = ConstStaticCell::new(Canceller::new());
    CANCELLER.try_take()
}

/// Returns the voice processor, once.
#[cfg(feature = "light")]
fn take_canceller() -> Option<&'static mut Canceller> {
    static CANCELLER: static_cell::StaticCell<Canceller> = static_cell::StaticCell::new();
    CANCELLER.try_init(Canceller::new(handsfree_core::capture::LightConfig::default()))
}

static CONVERSATION: ConstStaticCell<ConversationMemory> = ConstStaticCell::new(ConversationMemory::new());

#[cortex_m_rt::entry]
fn main() -> ! {
    stack::paint();
    machine::start_counter();
    let status = if run().is_some() { EXIT_SUCCESS } else { EXIT_FAILURE };
    loop {
        debug::exit(status);
    }
}

fn run() -> Option<()> {
    let canceller = take_canceller()?;
    use_once(canceller)?;
    #[cfg(not(feature = "light"))]
    canceller.configure(OUTPUT_ONLY);
    figure("canceller_stack_bytes", stack::used_bytes() as u32);
    figure("canceller_bytes", size_of::<Canceller>() as u32);
    let mut meter = TickMeter::new(machine::counter, u32::MAX);
    let outcome = converse(argument(), canceller, CONVERSATION.try_take()?, &mut meter).ok()?;
    figure("stack_bytes", stack::used_bytes() as u32);
    figure("frames", outcome.frames);
    figure("hash_high", (outcome.hash >> 32) as u32);
    figure("hash_low", outcome.hash as u32);
    let figures = meter.take();
    for (name, ticks) in ["capture_interrupt", "playback_interrupt", "capture_pipeline", "playback_pipeline"]
        .into_iter()
        .zip(figures.parts)
        .chain([("mean", figures.mean), ("most", figures.most)])
    {
        figure(name, instruction_counter::instructions(ticks));
    }
    Some(())
}

/// Starts, uses and resets a canceller before anything else takes stack.
#[inline(never)]
fn use_once(canceller: &mut Canceller) -> Option<()> {
    let format = Format::new(16_000, 1).ok()?;
    let mut samples = [0i16; CAP];
    canceller.process_reverse(PcmRef { format, samples: &samples }).ok()?;
    canceller.process_capture(PcmMut { format, samples: &mut samples }, Duration::ZERO).ok()?;
    canceller.reset();
    Some(())
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    cortex_m::asm::udf()
}
