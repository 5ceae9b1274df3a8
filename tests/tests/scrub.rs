//! Invalid float samples never reach the voice processor (fault 10).

use handsfree_apm::{ApmConfig, ApmProcessor, NoiseSuppression};
use handsfree_core::{Format, SampleRate};
use handsfree_sim::acoustics::Acoustics;
use handsfree_sim::device::DeviceSampleFormat;
use handsfree_sim::scenario::{SimOutcome, run};
use handsfree_sim::wav::Clip;
use handsfree_tests::{DelayedEcho, far_speech, level_db, plain_board, to_pcm, uneventful, with_large_stack};

const RATE_HZ: usize = 48_000;
/// Seconds in which the device delivers invalid values among its samples.
const CORRUPTED_S: std::ops::Range<usize> = 4..5;
const TALKER_S: usize = 10;
const SECONDS: usize = 13;

/// Values that a broken device delivers, and whether each counts as scrubbed.
const INVALID_VALUES: [(f32, bool); 8] = [
    (f32::NAN, true),
    (f32::INFINITY, true),
    (f32::NEG_INFINITY, true),
    (1e38, true),
    (-1e38, true),
    (1e-40, false),
    (-f32::MIN_POSITIVE, false),
    (1.5, true),
];

#[derive(Debug)]
struct CorruptedEcho {
    echo: DelayedEcho,
    every: u64,
}

impl Acoustics for CorruptedEcho {
    fn carry(&mut self, loudspeaker: &[f32], microphone: &mut [f32], position: u64) {
        self.echo.carry(loudspeaker, microphone, position);
        for (at, sample) in (position..).zip(microphone) {
            let second = at as usize / RATE_HZ;
            if self.every > 0 && CORRUPTED_S.contains(&second) && at % self.every == 0 {
                *sample = INVALID_VALUES[(at / self.every) as usize % INVALID_VALUES.len()].0;
            }
        }
    }
}

/// Runs a call with an echo, and a talker at its end, on a float device; every `every`-th sample is invalid.
fn call(every: u64) -> SimOutcome {
    let rate = SampleRate::new(RATE_HZ as u32).unwrap();
    let format = Format::new(RATE_HZ as u32, 1).unwrap();
    let config = ApmConfig { noise_suppression: NoiseSuppression::Off, ..ApmConfig::default() };
    let voice = ApmProcessor::new(format, format, config).unwrap();
    let mut board = plain_board(rate, 1);
    board.capture.format = DeviceSampleFormat::F32;
    board.playback.format = DeviceSampleFormat::F32;
    let mut talker = vec![0.0; TALKER_S * RATE_HZ];
    talker.extend(Clip::near().to_mono_at(rate.hz()).iter().take(2 * RATE_HZ));
    let mut far = far_speech(rate, TALKER_S as f64);
    far.resize(SECONDS * RATE_HZ, 0.0);
    let scenario = uneventful(board, SECONDS as f64, to_pcm(&far));
    let air = CorruptedEcho { echo: DelayedEcho::new(960, 0.4, talker), every };
    run(&scenario, Box::new(air), voice, &mut |_| {}).unwrap()
}

#[test]
fn invalid_samples_are_counted_and_do_not_disturb_the_call() {
    with_large_stack(|| {
        let (clean, corrupted) = (call(0), call(97));
        let every = 97;
        let expected = (CORRUPTED_S.start * RATE_HZ..CORRUPTED_S.end * RATE_HZ)
            .filter(|at| at % every == 0)
            .filter(|at| INVALID_VALUES[at / every % INVALID_VALUES.len()].1)
            .count();
        assert_eq!(clean.stats.intake.scrubbed_samples, 0);
        assert_eq!(corrupted.stats.intake.scrubbed_samples as usize, expected);
        assert!(expected > 300, "{expected}");
        for stats in [clean.stats, corrupted.stats] {
            assert_eq!((stats.xruns(), stats.capture.voice_errors), (0, 0));
            assert_eq!(stats.capture.voice_bypassed_frames, 0);
        }
        assert_eq!(clean.clean.len(), corrupted.clean.len());
        let before = CORRUPTED_S.start * RATE_HZ;
        assert_eq!(
            clean.clean[..before],
            corrupted.clean[..before],
            "the signals differ before the first invalid sample"
        );

        let level = |outcome: &SimOutcome, seconds: std::ops::Range<usize>| {
            level_db(&outcome.clean[seconds.start * RATE_HZ..seconds.end * RATE_HZ])
        };
        let (echo, echo_after) = (level(&clean, 8..10), level(&corrupted, 8..10));
        println!("echo left: {echo:.1} dBFS, after invalid samples {echo_after:.1} dBFS");
        assert!(echo_after < echo + 3.0, "the echo returned: {echo:.1} and {echo_after:.1} dBFS");
        let (talker, talker_after) = (level(&clean, 10..12), level(&corrupted, 10..12));
        println!("talker: {talker:.1} dBFS, after invalid samples {talker_after:.1} dBFS");
        assert!(talker > -40.0 && (talker - talker_after).abs() < 0.5, "{talker:.1}, {talker_after:.1} dBFS");
    });
}

/// Every value that a float device can deliver becomes a 16-bit sample; only invalid values are counted as scrubbed.
#[test]
fn any_float_becomes_a_sample_and_only_invalid_ones_count() {
    use handsfree_core::{DeviceSample, Gain};
    let mut scrubbed = 0u32;
    // All signs and exponents, with some mantissas.
    for high in 0..=0xFFFFu32 {
        for low in [0, 1, 0x7FFF, 0xFFFF] {
            let value = f32::from_bits(high << 16 | low);
            let (pcm, flawed) = value.to_pcm(Gain::UNITY);
            assert_eq!(flawed, value.is_nan() || value.abs() > 1.0, "{value:e}");
            if value.is_nan() {
                assert_eq!(pcm, 0);
            } else {
                let ideal = (f64::from(value) * 32_768.0).clamp(-32_768.0, 32_767.0);
                // A float just below a half step rounds up as well.
                assert!((f64::from(pcm) - ideal).abs() <= 0.5 + 1e-3, "{value:e} became {pcm}");
            }
            scrubbed += u32::from(flawed);
        }
    }
    assert!(scrubbed > 100_000);
}
