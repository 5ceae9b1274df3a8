//! Worker side: tests of what the light voice path promises, for arbitrary sound.

use proptest::prelude::*;

use super::*;
use crate::format::Format;

const FRAME: usize = 160;

fn format() -> Format {
    Format::new(16_000, 1).unwrap()
}

/// Returns a frame of uniformly distributed noise of an amplitude, from a seed.
fn noise(seed: u32, amplitude: i32) -> Vec<i16> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (((state >> 16) as i32 - 32_768) * amplitude / 32_768) as i16
    };
    (0..FRAME).map(|_| next()).collect()
}

fn run(voice: &mut LightVoice, far: &[i16], near: &[i16]) -> Vec<i16> {
    let mut out = near.to_vec();
    voice.process_reverse(PcmRef { format: format(), samples: far }).unwrap();
    voice.process_capture(PcmMut { format: format(), samples: &mut out }, Duration::ZERO).unwrap();
    out
}

fn mix(a: &[i16], b: &[i16]) -> Vec<i16> {
    a.iter().zip(b).map(|(a, b)| a.saturating_add(*b)).collect()
}

/// Returns a voice path that has learned a room's noise and an echo of 1 / `loss` in amplitude.
fn settled(room: i32, loss: i16) -> LightVoice {
    let mut voice = LightVoice::new(LightConfig::default());
    for k in 0..100 {
        run(&mut voice, &[0; FRAME], &noise(k, room));
    }
    for k in 0..300 {
        let far = noise(1_000 + k, 9_000);
        let echo: Vec<i16> = far.iter().map(|sample| sample / loss).collect();
        run(&mut voice, &far, &mix(&echo, &noise(k, room)));
    }
    voice
}

#[test]
fn a_frame_of_another_length_is_refused_unchanged() {
    let mut voice = LightVoice::new(LightConfig::default());
    let mut samples = [5; 7];
    let refused = voice.process_capture(PcmMut { format: format(), samples: &mut samples }, Duration::ZERO);
    assert_eq!(refused, Err(ProcessError::Length { expected: FRAME, found: 7 }));
    assert_eq!(samples, [5; 7]);
}

#[test]
fn with_all_parts_off_audio_passes_bit_exact() {
    let off = LightConfig {
        high_pass: false,
        suppress_echo: false,
        comfort_noise: false,
        noise_gate: false,
        auto_gain: false,
    };
    let mut voice = LightVoice::new(off);
    for k in 0..20 {
        let near = noise(k, 30_000);
        assert_eq!(run(&mut voice, &noise(k + 7, 9_000), &near), near);
    }
}

#[test]
fn a_constant_offset_is_removed() {
    let mut voice = LightVoice::new(LightConfig::default());
    let mut out = Vec::new();
    for _ in 0..50 {
        out = run(&mut voice, &[0; FRAME], &[12_000; FRAME]);
    }
    assert!(out.iter().all(|sample| sample.abs() < 20), "{out:?}");
}

#[test]
fn quiet_speech_gains_at_most_18_db_and_loud_speech_none() {
    for (amplitude, least, most) in [(400, 7.0, 8.01), (25_000, 0.99, 1.01)] {
        let mut voice = LightVoice::new(LightConfig { high_pass: false, ..LightConfig::default() });
        let mut ratio = 0.0;
        for k in 0..1_500 {
            // Speech pauses, so that it does not count as the room's noise.
            let amplitude = if k % 100 < 60 { amplitude } else { 4 };
            let near = noise(k, amplitude);
            let out = run(&mut voice, &[0; FRAME], &near);
            if k % 100 == 59 {
                ratio = (f64::from(mean_square(&out)) / f64::from(mean_square(&near))).sqrt();
            }
        }
        assert!((least..most).contains(&ratio), "{amplitude}: {ratio}");
    }
}

#[test]
fn the_microphone_stays_closed_for_a_tail_and_then_opens() {
    let mut voice = settled(50, 4);
    let mut closed = 0;
    for k in 0..60 {
        run(&mut voice, &[0; FRAME], &noise(k, 50));
        closed += u32::from(voice.reading().suppressed);
    }
    assert!((5..=40).contains(&closed), "{closed} frames");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_sound_overflows_or_panics(
        sounds in prop::collection::vec((any::<[i16; 8]>(), any::<[i16; 8]>(), 0u8..32), 1..60),
    ) {
        let mut voice = LightVoice::new(LightConfig::default());
        for (far, near, switches) in sounds {
            let on = |bit: u8| switches >> bit & 1 == 1;
            voice.configure(LightConfig {
                high_pass: on(0), suppress_echo: on(1), comfort_noise: on(2), noise_gate: on(3), auto_gain: on(4),
            });
            run(&mut voice, &far.repeat(FRAME / 8), &near.repeat(FRAME / 8));
            prop_assert!(voice.reading().gain_q16 <= 8 << 16);
        }
    }

    #[test]
    fn echo_alone_is_30_db_down(seed in 1u32..10_000, loss in 2i16..40, room in 0i32..60) {
        let mut voice = settled(room, loss);
        let (mut heard, mut left) = (0u64, 0u64);
        for k in 0..100 {
            let far = noise(seed + k, 9_000);
            let echo: Vec<i16> = far.iter().map(|sample| sample / loss).collect();
            let near = mix(&echo, &noise(k, room));
            let out = run(&mut voice, &far, &near);
            prop_assert!(voice.reading().suppressed, "frame {}", k);
            heard += u64::from(mean_square(&near));
            left += u64::from(mean_square(&out));
        }
        // Comfort noise is as loud as the room, which is no echo.
        let room = u64::from(mean_square(&noise(seed, room))) * 100;
        prop_assert!(left <= heard / 1_000 + 2 * room + 800, "{} of {}", left, heard);
    }

    #[test]
    fn a_talker_louder_than_the_echo_passes_at_once(seed in 1u32..10_000, loss in 6i16..40) {
        let mut voice = settled(20, loss);
        let mut opened = None;
        for k in 0..40 {
            let far = noise(seed + k, 9_000);
            let echo: Vec<i16> = far.iter().map(|sample| sample / loss).collect();
            let near = mix(&echo, &noise(seed + 500 + k, 12_000));
            let out = run(&mut voice, &far, &near);
            if !voice.reading().suppressed {
                opened.get_or_insert(k);
                prop_assert!(k == opened.unwrap() || mean_square(&out) >= mean_square(&near) / 2);
            } else {
                prop_assert!(opened.is_none(), "closed again at {}", k);
            }
        }
        prop_assert!(opened.is_some_and(|k| k <= 1), "opened at {:?}", opened);
    }

    #[test]
    fn a_level_at_the_threshold_causes_no_flutter(seed in 1u32..10_000, loss in 6i16..40, near in 800i32..9_000) {
        let mut voice = settled(20, loss);
        let (mut changes, mut before) = (0, true);
        for k in 0..200 {
            let far = noise(seed + k, 9_000);
            let echo: Vec<i16> = far.iter().map(|sample| sample / loss).collect();
            run(&mut voice, &far, &mix(&echo, &noise(seed + 500 + k, near)));
            changes += u32::from(voice.reading().suppressed != before);
            before = voice.reading().suppressed;
        }
        // The hang-over alone allows no more than one change in 150 ms.
        prop_assert!(changes <= 12, "{} changes in 2 s", changes);
    }
}
