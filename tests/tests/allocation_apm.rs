//! The voice processor does not allocate while it processes frames, neither in Rust nor in C++ code. The calls of malloc
//! itself are counted, so that no allocation is missed.
//!
//! Frees are counted separately: 4 s after its start, AEC3's comfort noise frees the two blocks of its start-up estimate.
//! No other block is freed.
#![allow(missing_docs)]

#[allow(dead_code, reason = "shared with tests that use more of it")]
#[path = "../support/malloc_counter.rs"]
mod malloc_counter;

use handsfree_apm::{ApmConfig, ApmProcessor, EchoCancellation, GainControl, NoiseSuppression, RATES_HZ};
use handsfree_core::capture::VoiceProcessor;
use handsfree_core::{Duration, Format, PcmMut, PcmRef};
use handsfree_sim::wav::Clip;
use malloc_counter::{Calls, stretches, taken, watched};

/// Number of blocks that AEC3 frees at the end of its start-up.
const STARTUP_FREES: u64 = 2;

const EVERYTHING: ApmConfig = ApmConfig {
    echo_cancellation: EchoCancellation::Full,
    noise_suppression: NoiseSuppression::VeryHigh,
    high_pass: true,
    gain_control: GainControl::Adaptive,
};

#[test]
fn no_voice_processor_frame_allocates() {
    watched(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(taken(), Calls { allocations: 1, frees: 1 }, "Rust's calls are counted");
    let mono = format(48_000, 1);
    watched(|| drop(ApmProcessor::new(mono, mono, EVERYTHING).unwrap()));
    let made = taken();
    assert!(made.allocations > 100, "C++ calls are not counted: construction made {made:?}");

    let mobile = ApmConfig { echo_cancellation: EchoCancellation::Mobile, ..EVERYTHING };
    let suppression_only = ApmConfig { echo_cancellation: EchoCancellation::Off, ..EVERYTHING };
    let mut wrong = Vec::new();
    for rate_hz in RATES_HZ {
        for (near_channels, far_channels) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
            for config in [EVERYTHING, ApmConfig::default(), mobile, suppression_only, ApmConfig::BYPASS] {
                let near_format = format(rate_hz, near_channels);
                let mut apm = ApmProcessor::new(near_format, format(rate_hz, far_channels), config).unwrap();
                let calls = calls_of_frames(&mut apm, 600);
                if calls.allocations > 0 || calls.frees > STARTUP_FREES {
                    let case =
                        format!("{rate_hz} Hz, {near_channels} and {far_channels} channels, {config:?}");
                    wrong.push(format!("{case}: {calls:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    let mut apm = ApmProcessor::new(format(16_000, 1), format(44_100, 2), EVERYTHING).unwrap();
    let calls = calls_of_frames(&mut apm, 20_000);
    assert_eq!(calls, Calls { allocations: 0, frees: STARTUP_FREES }, "different rates, 200 s");
    assert_eq!(calls_of_frames(&mut apm, 20_000), Calls::default(), "the next 200 s");

    apm.set_config(ApmConfig { noise_suppression: NoiseSuppression::Low, ..EVERYTHING }).unwrap();
    assert_eq!(
        calls_of_frames(&mut apm, 200),
        Calls::default(),
        "after a change of the suppression strength"
    );
    apm.set_config(suppression_only).unwrap();
    assert_eq!(calls_of_frames(&mut apm, 200), Calls::default(), "after echo cancellation was switched off");
    apm.set_config(EVERYTHING).unwrap();
    assert_eq!(
        calls_of_frames(&mut apm, 200),
        Calls::default(),
        "after echo cancellation was switched on again"
    );
    apm.reset();
    assert_eq!(calls_of_frames(&mut apm, 200), Calls::default(), "after a reset");
}

fn format(rate_hz: u32, channels: u32) -> Format {
    Format::new(rate_hz, channels).unwrap()
}

/// The library rebuilds its canceller when the loudspeaker's channels have differed for two seconds, and again when they
/// have been equal for five minutes (`multi_channel.detect_stereo_content` in its configuration, which is accessible only
/// with an experimental feature). The rebuild allocates in the worker; nothing else does.
#[test]
fn only_the_change_to_stereo_allocates() {
    let mut apm = ApmProcessor::new(format(48_000, 1), format(48_000, 2), EVERYTHING).unwrap();
    assert_eq!(calls_of(&mut apm, 1_000, false), Calls { allocations: 0, frees: STARTUP_FREES });
    let turned = calls_of(&mut apm, 1_000, true);
    println!("as it turns stereo: {turned:?}");
    assert!(turned.allocations < 1_000, "{turned:?}");
    assert_eq!(calls_of(&mut apm, 10_000, true).allocations, 0, "the next 100 s");
}

/// Returns the calls made by this number of frame pairs, with equal samples in all channels of the loudspeaker.
fn calls_of_frames(apm: &mut ApmProcessor, frames: usize) -> Calls {
    calls_of(apm, frames, false)
}

fn calls_of(apm: &mut ApmProcessor, frames: usize, stereo: bool) -> Calls {
    let channels = if stereo { 1 } else { apm.far().channels() };
    let speech = Clip::far().to_mono_at(48_000);
    let mut speech = speech.iter().cycle();
    let mut far = vec![0; apm.far().samples()];
    let mut near = vec![0; apm.near().samples()];
    taken();
    stretches();
    for frame in 0..frames {
        // Silence, speech and full scale take different branches in the library.
        let gain = [0.0, 2_000.0, 32_768.0, 1_000_000.0][frame * 4 / frames];
        for (far, speech) in far.chunks_exact_mut(channels).zip(&mut speech) {
            far.fill((speech * gain) as i16);
        }
        near.iter_mut().zip(far.iter().cycle()).for_each(|(near, far)| *near = far / 2);
        let (far, near) =
            (PcmRef { format: apm.far(), samples: &far }, PcmMut { format: apm.near(), samples: &mut near });
        watched(|| {
            apm.process_reverse(far).unwrap();
            apm.process_capture(near, Duration::from_millis(10)).unwrap();
            std::hint::black_box(apm.stats());
        });
    }
    assert_eq!(stretches(), frames as u64);
    taken()
}
