//! Holds a conversation with the echo canceller or the light voice path, as the Cortex-M image does, and prints its instructions. The
//! runner compares the samples with those of this machine. Its arguments are the number of frames, and `canceller` or `light`.
#![no_std]
#![no_main]

use handsfree_core::capture::{LightConfig, LightVoice};
use handsfree_vectors::cancellers::Lean128;
use handsfree_vectors::conversation::{ConversationCanceller, ConversationMemory, OUTPUT_ONLY, converse};
use handsfree_vectors::meter::TickMeter;
use semihosting::println;
use semihosting::process::ExitCode;
use static_cell::ConstStaticCell;

static CANCELLER: ConstStaticCell<Lean128> = ConstStaticCell::new(Lean128::new());
static CONVERSATION: ConstStaticCell<ConversationMemory> = ConstStaticCell::new(ConversationMemory::new());

#[riscv_rt::entry]
fn main() -> ! {
    let status = if run().is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    status.exit_process()
}

fn run() -> Option<()> {
    let arguments = semihosting::experimental::env::args::<128>().ok()?;
    let mut arguments = arguments.filter_map(Result::ok).skip_while(|word| word.parse::<u32>().is_err());
    let (frames, voice) = (arguments.next()?.parse().ok()?, arguments.next()?);
    if voice == "light" {
        return hold(frames, &mut LightVoice::new(LightConfig::default()));
    }
    let canceller = CANCELLER.try_take()?;
    canceller.configure(OUTPUT_ONLY);
    hold(frames, canceller)
}

fn hold(frames: u32, voice: &mut impl ConversationCanceller) -> Option<()> {
    // QEMU counts every instruction, because the runner asks for it.
    let mut meter = TickMeter::new(|| riscv::register::minstret::read() as u32, u32::MAX);
    let outcome = converse(frames, voice, CONVERSATION.try_take()?, &mut meter).ok()?;
    let figures = meter.take();
    println!("frames {}", outcome.frames);
    println!("hash_high {}", (outcome.hash >> 32) as u32);
    println!("hash_low {}", outcome.hash as u32);
    println!("mean {}", figures.mean);
    println!("most {}", figures.most);
    Some(())
}
