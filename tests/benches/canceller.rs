//! Benchmark: time of the echo cancellers per 10 ms, mono, called directly: ours of 128 ms and AEC3 by our host, with the
//! high-pass of each and nothing else, in turns on the same signals; and the default voice processing with our canceller: the
//! same with comfort noise, noise reduction and gain.
//!
//! Absolute times depend on the machine; compare them with each other.
#![allow(missing_docs)]

use std::hint::black_box;
use std::time::Instant;

use handsfree_apm::{ApmConfig, ApmProcessor, NoiseSuppression};
use handsfree_cli::switches::{CancellerName, Switches};
use handsfree_core::canceller::{FullStorage, LeanStorage};
use handsfree_core::capture::VoiceProcessor;
use handsfree_core::{Duration, Format, PcmMut, PcmRef, SampleRate};
use handsfree_tests::{far_speech, to_pcm};

handsfree_core::echo_canceller! { type Full16 = EchoCanceller<FullStorage> { rate_hz: 16_000 }; }
handsfree_core::echo_canceller! { type Lean16 = EchoCanceller<LeanStorage> { rate_hz: 16_000 }; }
handsfree_core::echo_canceller! { type Full48 = EchoCanceller<FullStorage> { rate_hz: 48_000 }; }
handsfree_core::echo_canceller! { type Lean48 = EchoCanceller<LeanStorage> { rate_hz: 48_000 }; }

/// Rounds in turns; the median of each canceller's rounds is printed.
const ROUNDS: usize = 11;
/// Frames of a round: 4 s.
const FRAMES: usize = 400;
/// Samples from the loudspeaker to the microphone, in terms of the rate: 20 ms.
const LAG_PARTS: usize = 50;

fn aec3(rate_hz: u32) -> ApmProcessor {
    let format = Format::new(rate_hz, 1).unwrap();
    let config = ApmConfig { noise_suppression: NoiseSuppression::Off, ..ApmConfig::default() };
    ApmProcessor::new(format, format, config).unwrap()
}

/// Returns the microseconds of a frame.
fn round_us(canceller: &mut dyn VoiceProcessor, rate_hz: u32, far: &[i16], near: &[i16]) -> f64 {
    let format = Format::new(rate_hz, 1).unwrap();
    let frame = rate_hz as usize / 100;
    let mut output = vec![0; frame];
    let began = Instant::now();
    for (far, near) in far.chunks_exact(frame).zip(near.chunks_exact(frame)).take(FRAMES) {
        output.copy_from_slice(near);
        canceller.process_reverse(PcmRef { format, samples: far }).unwrap();
        canceller.process_capture(PcmMut { format, samples: &mut output }, Duration::ZERO).unwrap();
        black_box(&output);
    }
    began.elapsed().as_secs_f64() * 1e6 / FRAMES as f64
}

fn main() {
    for (rate_hz, mut full, mut lean) in [
        (
            16_000,
            Box::new(Full16::new()) as Box<dyn VoiceProcessor>,
            Box::new(Lean16::new()) as Box<dyn VoiceProcessor>,
        ),
        (48_000, Box::new(Full48::new()), Box::new(Lean48::new())),
    ] {
        let far = to_pcm(&far_speech(SampleRate::new(rate_hz).unwrap(), 4.0));
        let lag = rate_hz as usize / LAG_PARTS;
        let near: Vec<i16> = (0..far.len()).map(|n| if n < lag { 0 } else { far[n - lag] / 4 }).collect();
        let mut webrtc = aec3(rate_hz);
        let format = Format::new(rate_hz, 1).unwrap();
        let switches = Switches { canceller: CancellerName::Native, ..Switches::DEFAULT };
        let mut chain = switches.voice(format, format).unwrap();
        let mut times = [const { Vec::new() }; 4];
        for _ in 0..ROUNDS {
            let cancellers: [&mut dyn VoiceProcessor; 4] =
                [&mut *full, &mut *lean, chain.as_dyn(), &mut webrtc];
            for (times, canceller) in times.iter_mut().zip(cancellers) {
                times.push(round_us(canceller, rate_hz, &far, &near));
            }
        }
        let [full, lean, chain, webrtc] = times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[ROUNDS / 2]
        });
        println!(
            "{rate_hz} Hz, 10 ms: ours {full:.1} us, ours lean {lean:.1} us, default chain {chain:.1} us, AEC3 {webrtc:.1} us; \
             ours takes {:.2} of AEC3's time, lean {:.2}, default chain {:.2}",
            full / webrtc,
            lean / webrtc,
            chain / webrtc
        );
    }
}
