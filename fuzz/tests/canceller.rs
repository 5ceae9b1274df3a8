//! The echo canceller takes any samples.

use handsfree_core::canceller::{
    CancellerSettings, CancellerStorage, EchoCanceller, FullStorage, LeanStorage,
};
use handsfree_core::capture::VoiceProcessor;
use handsfree_core::{Duration, Format, PcmMut, PcmRef};
use handsfree_fuzz::{Choices, fuzz};

handsfree_core::echo_canceller! { type Lean = EchoCanceller<LeanStorage> { rate_hz: 8_000, tail_ms: 32 }; }
handsfree_core::echo_canceller! {
    type Modelled = EchoCanceller<FullStorage> { rate_hz: 8_000, tail_ms: 32, loudspeaker_model: true };
}

/// Fills 10 ms: silence, a constant, an extreme, noise or an alternation.
fn fill(choices: &mut Choices<'_>, samples: &mut [i16]) {
    let (kind, mut value) = (choices.byte() % 5, choices.number(2) as u32);
    for sample in samples {
        *sample = match kind {
            0 => 0,
            1 => value as i16,
            2 => i16::MIN,
            3 => {
                value = value.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (value >> 16) as i16
            }
            _ => {
                value ^= 0xFFFF;
                value as i16
            }
        };
    }
}

fn run<
    const BINS: usize,
    const PARTITIONS: usize,
    const SHADOW: usize,
    S: CancellerStorage,
    const MODELS: usize,
>(
    canceller: &mut EchoCanceller<80, BINS, PARTITIONS, SHADOW, 1, S, MODELS>,
    bytes: &[u8],
) {
    let mut choices = Choices::new(bytes);
    let format = Format::new(8_000, 1).unwrap();
    let (mut far, mut near) = ([0; 80], [0; 80]);
    while !choices.is_empty() {
        match choices.byte() {
            0..=7 => canceller.reset(),
            8..=23 => canceller.configure(CancellerSettings {
                suppressor: choices.byte() > 99,
                comfort_noise: choices.byte() > 99,
                high_pass: choices.byte() > 99,
                ..CancellerSettings::default()
            }),
            _ => {
                fill(&mut choices, &mut far);
                fill(&mut choices, &mut near);
                canceller.process_reverse(PcmRef { format, samples: &far }).unwrap();
                let delay = Duration::from_nanos(choices.number(8) as i64);
                canceller.process_capture(PcmMut { format, samples: &mut near }, delay).unwrap();
                assert_eq!(canceller.linear().len(), 80);
            }
        }
    }
    // What went in before must not stay: a canceller that is reset is silent about silence.
    canceller.reset();
    for _ in 0..3 {
        near.fill(0);
        canceller.process_reverse(PcmRef { format, samples: &[0; 80] }).unwrap();
        canceller.process_capture(PcmMut { format, samples: &mut near }, Duration::ZERO).unwrap();
        assert!(near.iter().all(|sample| sample.abs() <= 1), "{near:?}");
    }
}

#[test]
fn no_samples_break_the_canceller() {
    fuzz("canceller", 1_000, &[], |bytes| {
        run(&mut *Box::new(Lean::new()), bytes);
        run(&mut *Box::new(Modelled::new()), bytes);
    });
}
