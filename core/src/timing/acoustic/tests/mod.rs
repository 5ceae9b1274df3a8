//! Tests what the estimator must find and what it must reject.

pub(crate) mod scene;

use scene::{EchoScene, SceneRandom, far_clip, speech_like, talker_clip, tone, white};

use crate::format::Format;
use crate::frame::PcmRef;
use crate::time::Duration;
use crate::timing::{AcousticDelay, AcousticMemory};

/// Confidence from which on an answer may be acted on.
const TRUST: f32 = 0.6;

fn memory() -> Box<AcousticMemory> {
    Box::new(AcousticMemory::new())
}

/// Results of one run of a scene.
#[derive(Debug, Default)]
struct SceneOutcome {
    /// Time of the first trusted answer.
    first_s: Option<f64>,
    /// Largest error of a trusted answer.
    worst_ms: f64,
    /// Error of the last trusted answer.
    last_ms: f64,
    /// Errors of the drift after 10 and after 30 s.
    ppm: [Option<f64>; 2],
    /// Largest error of the drift, in stated standard deviations.
    sigmas: f64,
}

fn observe(scene: &mut EchoScene, seconds: u32) -> SceneOutcome {
    let mut memory = memory();
    let mut delay = AcousticDelay::new(&mut memory, scene.format(), scene.format());
    let mut outcome = SceneOutcome::default();
    for step in 1..=seconds * 20 {
        scene.run(&mut delay, 5);
        let now_s = f64::from(step) / 20.0;
        if let Some(echo) = delay.echo().filter(|echo| echo.confidence >= TRUST) {
            let error_ms = echo.lag.as_millis_f64() - scene.lag_ms();
            outcome.first_s.get_or_insert(now_s);
            outcome.last_ms = error_ms;
            if error_ms.abs() > outcome.worst_ms.abs() {
                outcome.worst_ms = error_ms;
            }
        }
        if let Some(drift) = delay.drift().filter(|_| now_s > 4.0) {
            let error_ppm = drift.ppm - (scene.play_ppm - scene.read_ppm);
            outcome.sigmas = outcome.sigmas.max((error_ppm / drift.uncertainty_ppm).abs());
            for (error, at_s) in outcome.ppm.iter_mut().zip([10.0, 30.0]) {
                if now_s == at_s {
                    *error = Some(error_ppm);
                }
            }
        }
    }
    println!("    {outcome:?}");
    outcome
}

#[test]
fn memory_is_within_its_bound() {
    println!("{} bytes, {} beside", size_of::<AcousticMemory>(), size_of::<AcousticDelay<'_>>());
    assert!(size_of::<AcousticMemory>() < 64 * 1024);
}

#[test]
fn echoes_are_found_over_the_whole_range() {
    let lags_ms = [-100.0, -90.0, -35.0, 0.0, 2.0, 75.0, 180.0, 420.0, 700.0, 950.0];
    let rates = [16_000, 48_000, 8_000, 16_000, 44_100];
    for (index, &lag_ms) in lags_ms.iter().enumerate() {
        for echo_db in [-10.0, -40.0] {
            let rate_hz = rates[index % rates.len()];
            let outcome = observe(&mut EchoScene::new(10 + index as u64, rate_hz, lag_ms, echo_db), 6);
            assert!(outcome.first_s.is_some_and(|s| s < 5.0));
            assert!(outcome.worst_ms.abs() < 2.0 && outcome.last_ms.abs() < 0.5);
        }
    }
}

#[test]
fn a_talker_does_not_mislead() {
    // The talker is as loud as the echo, or up to 10 dB louder.
    for (seed, gain) in [(51, 0.1), (52, 0.1), (53, 0.1), (54, 0.3), (55, 0.3)] {
        let mut scene = EchoScene::new(seed, 16_000, 120.0, -20.0);
        scene.talker = talker_clip().iter().map(|x| x * gain).collect();
        let outcome = observe(&mut scene, 10);
        assert!(outcome.first_s.is_some_and(|s| s < 7.0));
        assert!(outcome.worst_ms.abs() < 5.0 && outcome.last_ms.abs() < 1.0);
        assert!(outcome.ppm[0].is_some_and(|ppm| ppm.abs() < 20.0));
    }
}

#[test]
fn without_an_echo_no_answer_is_trusted() {
    for seed in 100..103 {
        for kind in 0..6 {
            // At -200 dB there is neither an echo nor noise.
            let echo_db = if kind < 4 { -200.0 } else { -20.0 };
            let mut scene = EchoScene::new(seed, 16_000, 120.0, echo_db);
            match kind {
                0 => scene.talker = talker_clip(),
                1 => scene.talker = speech_like(seed + 1_000, 30.0),
                2 => {
                    scene.source = speech_like(seed, 30.0);
                    scene.talker = talker_clip();
                }
                3 => {
                    scene.source = white(seed, 40.0);
                    scene.talker = white(seed + 1_000, 30.0);
                }
                4 => scene.source = tone(300.0 + (37 * seed % 400) as f64, 1.0),
                _ => {
                    let chord = [440.0, 554.0, 659.0].map(|hz| tone(hz, 1.0));
                    scene.source =
                        chord[0].iter().zip(&chord[1]).zip(&chord[2]).map(|((a, b), c)| a + b + c).collect();
                }
            }
            println!("kind {kind}");
            assert_eq!(observe(&mut scene, 15).first_s, None);
        }
    }
}

#[test]
fn drift_is_measured_to_a_few_ppm() {
    for (index, ppm) in [0.0, 50.0, -50.0, 300.0, -300.0, 1_000.0, -1_000.0].into_iter().enumerate() {
        let lag_ms = [40.0, 300.0, -60.0][index % 3];
        let mut scene = EchoScene::new(80 + index as u64, 16_000, lag_ms, -25.0);
        scene.play_ppm = ppm;
        if index % 2 == 1 {
            scene.source = speech_like(7, 30.0);
        }
        println!("{ppm} ppm");
        let outcome = observe(&mut scene, 30);
        let [after_10_s, after_30_s] = outcome.ppm.map(|ppm| ppm.unwrap_or(f64::INFINITY).abs());
        assert!(after_10_s < 5.0 && after_30_s < 1.0 && outcome.sigmas < 5.0);
        assert!(outcome.last_ms.abs() < 0.5);
    }
}

#[test]
fn noise_is_as_good_as_speech() {
    let mut scene = EchoScene::new(90, 48_000, 333.0, -30.0);
    scene.source = white(90, 30.0);
    let outcome = observe(&mut scene, 10);
    assert!(outcome.first_s.is_some_and(|s| s < 4.0) && outcome.worst_ms.abs() < 1.0);
    assert!(outcome.ppm[0].is_some_and(|ppm| ppm.abs() < 1.0));
}

#[test]
fn jumps_are_followed_within_3_s() {
    for (seed, jump_ms) in [(200, 150.0), (201, -40.0), (202, -60.0), (203, 6.0), (204, -3.0), (205, 400.0)] {
        let mut scene = EchoScene::new(seed, 16_000, 60.0, -20.0);
        scene.play_ppm = 20.0;
        let mut memory = memory();
        let mut delay = AcousticDelay::new(&mut memory, scene.format(), scene.format());
        scene.run(&mut delay, 1_200);
        scene.delay_ms(jump_ms);
        let (mut found_s, mut trusted_s) = (None, None);
        for step in 1..=200 {
            scene.run(&mut delay, 5);
            let now_s = f64::from(step) / 20.0;
            let Some(echo) = delay.echo() else { continue };
            let error_ms = echo.lag.as_millis_f64() - scene.lag_ms();
            if error_ms.abs() < 2.5 {
                found_s.get_or_insert(now_s);
                if echo.confidence >= TRUST {
                    trusted_s.get_or_insert(now_s);
                }
            } else {
                assert!(trusted_s.is_none(), "lost again at {now_s} s");
            }
        }
        println!("jump of {jump_ms} ms: found after {found_s:?}, trusted after {trusted_s:?} s");
        assert!(found_s.is_some_and(|s| s <= 3.1) && trusted_s.is_some_and(|s| s < 4.5));
        let drift = delay.drift().unwrap();
        assert!((drift.ppm - 20.0).abs() < 3.0, "{drift:?}");
    }
}

#[test]
fn silence_changes_nothing() {
    let mut scene = EchoScene::new(7, 16_000, 80.0, -20.0);
    let mut memory = memory();
    let mut delay = AcousticDelay::new(&mut memory, scene.format(), scene.format());
    let quiet = core::mem::replace(&mut scene.source, vec![0.0; 16_000]);
    scene.run(&mut delay, 1_000);
    assert_eq!((delay.echo(), delay.drift()), (None, None));
    scene.source = quiet;
    scene.run(&mut delay, 800);
    let before = delay.echo().unwrap();
    scene.source = vec![0.0; 16_000];
    scene.run(&mut delay, 3_000);
    let after = delay.echo().unwrap();
    println!("{before:?} {after:?}");
    assert!((after.lag + -before.lag).abs() < Duration::from_micros(200));
    assert!(after.confidence >= TRUST && before.confidence >= TRUST);
    scene.source = far_clip();
    scene.mute = true;
    scene.run(&mut delay, 3_000);
    let muted = delay.echo().unwrap();
    assert!((muted.lag + -before.lag).abs() < Duration::from_micros(200) && muted.confidence >= TRUST);
}

#[test]
fn a_moving_listener_is_not_a_drift() {
    let mut scene = EchoScene::new(8, 16_000, 30.0, -20.0);
    let mut memory = memory();
    let mut delay = AcousticDelay::new(&mut memory, scene.format(), scene.format());
    scene.run(&mut delay, 1_500);
    let (mut worst_ppm, mut worst_ms) = (0.0f64, 0.0f64);
    for part in 0..10 {
        scene.reflect_otherwise(part);
        for _ in 0..40 {
            scene.run(&mut delay, 5);
            worst_ppm = worst_ppm.max(delay.drift().map_or(0.0, |drift| drift.ppm.abs()));
            let echo = delay.echo().filter(|echo| echo.confidence >= TRUST);
            worst_ms = worst_ms.max(echo.map_or(0.0, |e| (e.lag.as_millis_f64() - scene.lag_ms()).abs()));
        }
    }
    println!("drift of {worst_ppm:.2} ppm, largest lag error {worst_ms:.3} ms");
    assert!(worst_ppm < 10.0 && worst_ms < 1.0);
}

#[test]
fn a_closed_loop_settles_and_stays() {
    let cases = [(300, 300.0, 400.0), (301, -1_000.0, 60.0), (302, 100.0, -80.0), (303, 0.0, 950.0)];
    for (seed, play_ppm, lag_ms) in cases {
        let mut scene = EchoScene::new(seed, 16_000, lag_ms, -20.0);
        scene.play_ppm = play_ppm;
        let mut memory = memory();
        let mut delay = AcousticDelay::new(&mut memory, scene.format(), scene.format());
        let (mut shifts, mut worst_ppm) = (0, 0.0f64);
        for second in 1..=40 {
            scene.run(&mut delay, 100);
            let wanted = Duration::from_millis(2);
            if let Some(echo) = delay.echo().filter(|echo| echo.confidence >= TRUST) {
                let by = echo.lag + -wanted;
                if by.abs() > Duration::from_millis(1) {
                    scene.shift(by);
                    delay.on_reference_shifted(by);
                    shifts += 1;
                }
            }
            if let Some(drift) = delay.drift().filter(|drift| drift.uncertainty_ppm < 20.0) {
                scene.read_ppm += drift.ppm;
                delay.on_reference_steered(drift.ppm);
            }
            if second > 15 {
                worst_ppm = worst_ppm.max((scene.play_ppm - scene.read_ppm).abs());
                assert!((scene.lag_ms() - 2.0).abs() < 1.0, "{} ms", scene.lag_ms());
            }
        }
        println!("{shifts} shifts, then within {worst_ppm:.3} ppm, lag {:.3} ms", scene.lag_ms());
        assert!(shifts <= 2 && worst_ppm < 1.0);
    }
}

#[test]
fn any_input_is_survived() {
    let mut random = SceneRandom::new(3);
    let format = Format::new(16_000, 2).unwrap();
    let mut memory = memory();
    let mut delay = AcousticDelay::new(&mut memory, format, format);
    let clip = far_clip();
    for frame in 0..3_000usize {
        let loud: Vec<i16> =
            (0..320).map(|_| if random.uniform() < 0.5 { i16::MIN } else { i16::MAX }).collect();
        let speech: Vec<i16> = (0..320).map(|n| clip[(frame * 160 + n / 2) % clip.len()] as i16).collect();
        let far = if frame % 700 < 350 { &speech } else { &loud };
        delay.observe(PcmRef { format, samples: far }, PcmRef { format, samples: &speech });
        delay.observe(PcmRef { format, samples: &[] }, PcmRef { format, samples: &[] });
        if frame % 97 == 0 {
            let by_ms = 3_000.0 * (random.uniform() - 0.5);
            delay.on_reference_shifted(Duration::from_nanos((by_ms * 1e6) as i64));
            delay.on_reference_steered(2_000.0 * (random.uniform() - 0.5));
        }
        if let Some(echo) = delay.echo() {
            assert!((0.0..=1.0).contains(&echo.confidence) && echo.lag.abs() < Duration::from_millis(2_000));
        }
        assert!(delay.drift().is_none_or(|drift| drift.ppm.is_finite()));
    }
    delay.on_reference_shifted(Duration::from_nanos(i64::MIN));
    delay.reset();
    assert_eq!(delay.echo(), None);
}
