//! No frame allocates or frees memory, whatever the filter does.
#![cfg(target_os = "linux")]
#![allow(missing_docs)]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use handsfree_audio_filter::{FilterState, SampleType, SessionConfig};
use handsfree_core::capture::FrameProcessor;
use handsfree_core::{PcmMut, PcmRef, SampleRate};
use support::{LONG_LIMIT, NoiseFrames, format, load, probe};

thread_local! {
    // Constant and without a destructor, so that reading these allocates nothing.
    static WATCHING: Cell<bool> = const { Cell::new(false) };
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    if WATCHING.get() {
        CALLS.set(CALLS.get() + 1);
    }
}

// SAFETY: every call goes to the system's allocator; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count();
        // SAFETY: the caller's promises are the system allocator's, and all blocks come from it.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn calls_during(work: impl FnOnce()) -> u64 {
    CALLS.set(0);
    WATCHING.set(true);
    work();
    WATCHING.set(false);
    CALLS.get()
}

#[test]
fn the_allocation_counter_works() {
    assert_eq!(calls_during(|| drop(std::hint::black_box(Box::new(1)))), 2);
}

#[test]
fn no_voice_processor_frame_allocates() {
    for switches in [&[][..], &["V2"]] {
        let filter = load(&probe("allocation", switches));
        for samples in [SampleType::Int16, SampleType::Float] {
            for options in ["gain=0.5", "fault=nan", "fault=inf", "fault=short", "fault=long", "fault=huge"] {
                let format = format(48_000, 2);
                let config = SessionConfig { samples, options, ..LONG_LIMIT };
                let mut processor = filter.session(format, &config).unwrap();
                let control = processor.control();
                let mut frame = NoiseFrames::new(1).frame(format);
                let calls = calls_during(|| {
                    for index in 0..600 {
                        let frame = PcmMut { format, samples: &mut frame };
                        std::hint::black_box(processor.process(frame)).ok();
                        std::hint::black_box(control.stats());
                        match index {
                            450 => control.reset_breaker(),
                            500 => control.set_enabled(false),
                            510 => control.set_enabled(true),
                            520 => processor.reset(),
                            _ => {}
                        }
                    }
                });
                assert_eq!(calls, 0, "{switches:?} {samples:?} {options}");
                processor.close();
                assert_eq!(control.state(), FilterState::Closed);
                let frame = PcmMut { format, samples: &mut frame };
                assert_eq!(calls_during(|| processor.process(frame).unwrap()), 0, "closed");
            }
        }
    }
}

#[test]
fn no_conversion_allocates() {
    let filter = load(&probe("converting", &["V2"]));
    let input = format(16_000, 2);
    for options in ["gain=0.5", "fault=nan from=20"] {
        let config = SessionConfig { samples: SampleType::Float, options, ..LONG_LIMIT };
        let mut converter = filter.converter(input, SampleRate::new(48_000).unwrap(), &config).unwrap();
        let (from, mut to) = (NoiseFrames::new(2).frame(input), vec![0; converter.output().samples()]);
        let calls = calls_during(|| {
            for _ in 0..300 {
                let frame = PcmRef { format: input, samples: &from };
                let out = PcmMut { format: converter.output(), samples: &mut to };
                std::hint::black_box(converter.convert(frame, out)).ok();
            }
        });
        assert_eq!(calls, 0, "{options}");
    }
}
