//! Tests what a clock must estimate, and how true its stated uncertainty is.

use super::*;

struct ClockNoise(u64);

impl ClockNoise {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64 * 2.0 - 1.0
    }
}

fn clock() -> StreamClock {
    StreamClock::new(SampleRate::new(48_000).unwrap())
}

/// Returns the true time of a position on a clock that is `ppm` fast and does not start at 0.
fn truth(position: u64, ppm: f64) -> f64 {
    987_654_321.0 + position as f64 * 1e9 / (48_000.0 * (1.0 + ppm * 1e-6))
}

#[test]
fn converges_despite_jitter_and_positions_near_2_to_the_32() {
    for seed in 1..=30 {
        let mut noise = ClockNoise(seed);
        let ppm = noise.uniform() * 1_000.0;
        let start = u64::from(u32::MAX) - 100_000;
        let mut clock = clock();
        for k in 0..2_000 {
            let position = start + k * 480;
            let time = truth(k * 480, ppm) + noise.uniform() * 200e3;
            clock.observe(position, Instant::from_nanos(time as i64));
            if k == 200 {
                let error = clock.time_of(position).as_nanos() as f64 - truth(k * 480, ppm);
                assert!(error.abs() < 150e3, "seed {seed}: {error} ns after 2 s");
            }
        }
        let rate = clock.rate().unwrap();
        assert!((rate.ppm - ppm).abs() < 2.0, "seed {seed}: {rate:?}, truth {ppm}");
        assert!(rate.uncertainty_ppm < 2.0, "seed {seed}: {rate:?}");
        let back = clock.position_at(clock.time_of(start + 960_480), start);
        assert!((back - 960_480.0).abs() < 0.01, "seed {seed}: {back}");
    }
}

#[test]
fn reports_a_jump_once_and_single_outliers_never() {
    let mut noise = ClockNoise(5);
    let mut clock = clock();
    let mut jumps = Vec::new();
    for k in 0..1_000u64 {
        let late = if k >= 500 { 150e6 } else { 0.0 } + if k % 40 == 7 { 80e6 } else { 0.0 };
        let time = truth(k * 480, 50.0) + late + noise.uniform() * 200e3;
        if let Observation::Jumped(by) = clock.observe(k * 480, Instant::from_nanos(time as i64)) {
            jumps.push((k, by.as_nanos()));
            clock.jump(by);
        }
    }
    assert_eq!(jumps.len(), 1, "{jumps:?}");
    assert!((505..515).contains(&jumps[0].0), "{jumps:?}");
    assert!((jumps[0].1 - 150_000_000).abs() < 300_000, "{jumps:?}");
    assert!((clock.rate().unwrap().ppm - 50.0).abs() < 5.0);
}

#[test]
fn impossible_times_leave_the_model_unchanged() {
    for lie in 0..4 {
        let mut clock = clock();
        for k in 0..3_000u64 {
            clock.observe(k * 480, Instant::from_nanos(truth(k * 480, -200.0) as i64));
        }
        for k in 3_000..3_500u64 {
            let time = match lie {
                0 => truth(3_000 * 480, -200.0) as i64,
                1 => 0,
                2 => truth((6_000 - k) * 480, -200.0) as i64,
                _ => 7_000_000_000_000_000_000,
            };
            assert!(!matches!(clock.observe(k * 480, Instant::from_nanos(time)), Observation::Jumped(_)));
        }
        let error = clock.time_of(3_500 * 480).as_nanos() as f64 - truth(3_500 * 480, -200.0);
        assert!(error.abs() < 60e3, "lie {lie}: {error} ns");
    }
}

#[test]
fn a_changed_rate_is_followed_within_3_s() {
    for jitter_ns in [0.0, 200e3] {
        let mut noise = ClockNoise(9);
        let mut clock = clock();
        let mut time = 0.0;
        for k in 0..6_000u64 {
            let ppm = if k < 3_000 { 0.0 } else { 200.0 };
            let seen = time + noise.uniform() * jitter_ns;
            clock.observe(k * 480, Instant::from_nanos(seen as i64));
            if k == 3_300 {
                let error = clock.time_of(k * 480).as_nanos() as f64 - time;
                assert!(error.abs() < 200e3, "jitter {jitter_ns}: {error} ns");
            }
            time += 480.0 * 1e9 / (48_000.0 * (1.0 + ppm * 1e-6));
        }
        let rate = clock.rate().unwrap();
        assert!((rate.ppm - 200.0).abs() < 5.0, "jitter {jitter_ns}: {rate:?}");
    }
}

/// A loopback card of the Linux kernel counts its position in steps of a timer, which beat with the rate: its times
/// err by up to 0.1 ms, for a second and more in one direction. The local slope is not the rate.
#[cfg(feature = "sound-server")]
#[test]
fn times_that_err_slowly_do_not_pull_the_rate_along() {
    for (swing_ns, period_s) in [(60e3, 2.0), (60e3, 4.0), (100e3, 10.0), (150e3, 10.0), (250e3, 3.0)] {
        for ppm in [-1_000.0, 0.0, 200.0] {
            let mut clock = clock();
            for k in 0..6_000u64 {
                // Triangular, and in steps of one sample frame.
                let phase = (k as f64 / (100.0 * period_s)).fract();
                let error = ((phase - 0.5).abs() * 4.0 - 1.0) * swing_ns;
                let step = 1e9 / 16_000.0;
                let time = ((truth(k * 480, ppm) + error) / step).floor() * step;
                clock.observe(k * 480, Instant::from_nanos(time as i64));
                if k >= 3_000 && k.is_multiple_of(100) {
                    let rate = clock.rate().unwrap();
                    assert!(
                        (rate.ppm - ppm).abs() < 20.0,
                        "{swing_ns} ns in {period_s} s, after {k}: {rate:?}, truth {ppm}"
                    );
                }
            }
        }
    }
}

/// Returns a nearly normal number with standard deviation 1: the sum of twelve uniform ones.
fn normal(noise: &mut ClockNoise) -> f64 {
    (0..12).map(|_| noise.uniform()).sum::<f64>() / 2.0
}

/// The stated uncertainty matches the actual error from the first seconds on, whatever the jitter. A clock
/// that is too certain of its start would be misled by it for a minute.
#[test]
fn the_stated_uncertainty_matches_the_error() {
    const CLOCKS: u64 = 200;
    for jitter_ns in [20e3, 200e3, 1e6, 2e6] {
        let (mut squares, mut time_squares) = ([0.0; 3], [0.0; 3]);
        for seed in 1..=CLOCKS {
            let mut noise = ClockNoise(seed);
            let mut clock = clock();
            for k in 0..3_001u64 {
                let time = truth(k * 480, 80.0) + normal(&mut noise) * jitter_ns;
                clock.observe(k * 480, Instant::from_nanos(time as i64));
                if let Some(index) = [300, 1_000, 3_000].iter().position(|&at| at == k) {
                    let rate = clock.rate().unwrap();
                    squares[index] += ((rate.ppm - 80.0) / rate.uncertainty_ppm).powi(2);
                    let late_ns = clock.time_of(k * 480).as_nanos() as f64 - truth(k * 480, 80.0);
                    time_squares[index] += late_ns * late_ns / f64::from(clock.variances_ns2().0);
                }
            }
        }
        let sigmas = |squares: [f64; 3]| squares.map(|sum| (sum / CLOCKS as f64).sqrt());
        let (rate, time) = (sigmas(squares), sigmas(time_squares));
        println!(
            "jitter {jitter_ns} ns: rate errs by {rate:.2?} sigmas after 3, 10 and 30 s, time by {time:.2?}"
        );
        for sigmas in rate.into_iter().chain(time) {
            assert!((0.5..1.3).contains(&sigmas), "jitter {jitter_ns} ns: {rate:?}, {time:?}");
        }
    }
}

/// Reads times that are years away and positions at the end of 64 bits.
#[test]
fn distant_times_and_positions_are_as_exact_as_near_ones() {
    let rate = SampleRate::new(48_000).unwrap();
    for start in [0, 1 << 40, (1 << 63) - 96_000, (1 << 63) - 48_000, u64::MAX - 48_000] {
        let mut clock = StreamClock::new(rate);
        for period in 0..200u64 {
            let time = Instant::ORIGIN + Duration::of_sample_frames(period * 480, rate);
            clock.observe(start.wrapping_add(period * 480), time);
        }
        for days in [0.001, 1.0, 6.0, 7.0, 30.0, 3_650.0, -1.0, -7.0] {
            let time = Instant::from_nanos((days * 86_400e9) as i64);
            let expected = days * 86_400.0 * 48_000.0;
            let found = clock.position_at(time, start);
            assert!(
                (found - expected).abs() <= 1e-6 * expected.abs() + 0.01,
                "{days} days from {start}: {found}"
            );
        }
    }
}

/// Returns the time at which a clock reaches each of `count` periods, with the errors in ppm of `rate_at`.
fn times(count: u64, rate_at: impl Fn(u64) -> f64) -> Vec<f64> {
    let mut time = 987_654_321.0;
    (0..count)
        .map(|k| {
            let now = time;
            time += 480.0 * 1e9 / (48_000.0 * (1.0 + rate_at(k) * 1e-6));
            now
        })
        .collect()
}

#[test]
fn a_rate_that_is_wrong_by_per_cents_is_found_within_6_s() {
    let all_ppm = [-81_250.0, -20_000.0, -14_000.0, -5_500.0, 5_500.0, 20_000.0];
    check_wrong_rates(&[0.0, 50e3, 1e6, 3e6], &all_ppm);
}

/// From 3:2 to 2:3, such as 44.1 kHz that is 32.
#[cfg(feature = "sound-server")]
#[test]
fn a_rate_that_is_quite_another_is_found_within_6_s() {
    let all_ppm = [-333_333.0, -274_376.0, -160_000.0, 200_000.0, 378_125.0, 500_000.0];
    check_wrong_rates(&[0.0, 50e3, 1e6], &all_ppm);
}

/// Times that stand still for three seconds and a device that reads a backlog at twice its rate have no other rate.
#[cfg(feature = "sound-server")]
#[test]
fn frozen_times_and_a_backlog_do_not_change_the_rate() {
    for (late_from, late_at) in [
        (1_300, (|k| -10e6 * (k - 1_000) as f64) as fn(u64) -> f64),
        (1_080, (|k| 400e6 - 5e6 * (k - 1_000) as f64) as fn(u64) -> f64),
    ] {
        let mut clock = clock();
        for k in 0..3_000u64 {
            let late = if (1_000..late_from).contains(&k) { late_at(k) } else { 0.0 };
            if let Observation::Jumped(by) =
                clock.observe(k * 480, Instant::from_nanos((truth(k * 480, 50.0) + late) as i64))
            {
                clock.jump(by);
            }
            if k > 100 {
                let rate = clock.rate().unwrap();
                assert!((rate.ppm - 50.0).abs() < 100.0, "until {late_from}, at {k}: {rate:?}");
            }
        }
    }
}

fn check_wrong_rates(jitters_ns: &[f64], all_ppm: &[f64]) {
    for &jitter_ns in jitters_ns {
        let (most_ppm, most_ns) = if jitter_ns < 1e6 { (50.0, 100e3) } else { (500.0, 600e3) };
        for &ppm in all_ppm {
            for (change_at, seed) in [(0, 1), (0, 2), (2_000, 3), (2_000, 4), (2_000, 5)] {
                let mut noise = ClockNoise(seed);
                let mut clock = clock();
                let mut late_ns = 0.0;
                let rate_at = |k| if k < change_at { 30.0 } else { ppm };
                for (k, time) in (0..).zip(times(change_at + 600, rate_at)) {
                    let seen = Instant::from_nanos((time + normal(&mut noise) * jitter_ns) as i64);
                    if let Observation::Jumped(by) = clock.observe(k * 480, seen) {
                        clock.jump(by);
                    }
                    late_ns = clock.time_of(k * 480).as_nanos() as f64 - time;
                }
                let rate = clock.rate().unwrap();
                assert!(
                    (rate.ppm - ppm).abs() < most_ppm && late_ns.abs() < most_ns,
                    "jitter {jitter_ns} ns, {ppm} ppm from {change_at} on, seed {seed}: {rate:?}, late by {late_ns} ns"
                );
            }
        }
    }
}

/// A sound server's times scatter by more than a millisecond, which hides a change of the rate for seconds.
#[cfg(feature = "sound-server")]
#[test]
fn a_change_of_the_rate_behind_large_jitter_is_learned() {
    for seed in 1..=5 {
        for (ppm, within) in [(-663.0, 1_200), (250.0, 2_500), (1_000.0, 1_200)] {
            let mut noise = ClockNoise(seed);
            let mut clock = clock();
            let rate_at = |k| if k < 4_000 { 0.0 } else { ppm };
            for (k, time) in (0..).zip(times(4_000 + within, rate_at)) {
                let seen = Instant::from_nanos((time + normal(&mut noise) * 1.2e6) as i64);
                if let Observation::Jumped(by) = clock.observe(k * 480, seen) {
                    clock.jump(by);
                }
            }
            let rate = clock.rate().unwrap();
            assert!((rate.ppm - ppm).abs() < 80.0, "{ppm} ppm, seed {seed}: {rate:?}");
        }
    }
}

#[test]
fn a_time_that_jumps_by_hours_is_learned_again() {
    for jump_ns in [61e9, 7.2e12, -7.2e12, 8.64e14] {
        let mut clock = clock();
        for k in 0..3_000u64 {
            let late = if k < 1_000 { 0.0 } else { jump_ns };
            let time = Instant::from_nanos((truth(k * 480, -200.0) + late) as i64);
            if let Observation::Jumped(by) = clock.observe(k * 480, time) {
                clock.jump(by);
            }
        }
        let error = clock.time_of(3_000 * 480).as_nanos() as f64 - truth(3_000 * 480, -200.0) - jump_ns;
        assert!(error.abs() < 1e5, "a jump by {jump_ns} ns: {error} ns");
        assert!((clock.rate().unwrap().ppm + 200.0).abs() < 5.0);
    }
}

/// A sound server under load delivers late, never early. The early edge of the times is the clock.
#[cfg(feature = "sound-server")]
#[test]
fn times_that_come_late_do_not_pull_the_clock_along() {
    for seed in 1..=20 {
        let mut noise = ClockNoise(seed);
        let mut clock = clock();
        for k in 0..6_000u64 {
            let busy = k % 1_500 > 1_000;
            let late = if busy { (noise.uniform() + 1.0).powi(3) * 2e6 } else { 0.0 };
            let time = truth(k * 480, 100.0) + late + normal(&mut noise) * 200e3;
            if let Observation::Jumped(by) = clock.observe(k * 480, Instant::from_nanos(time as i64)) {
                panic!("seed {seed}: a jump by {by:?} at {k}");
            }
            if k > 1_000 {
                let error = clock.time_of(k * 480).as_nanos() as f64 - truth(k * 480, 100.0);
                assert!(error.abs() < 1e6, "seed {seed}: {error} ns at {k}");
            }
        }
    }
}

/// A loudspeaker that stalled plays on at its rate. The stall is found before much of the reference was read.
#[cfg(feature = "sound-server")]
#[test]
fn a_stall_of_a_steady_stream_is_found_within_4_times() {
    for stall_ns in [600e3, 3e6, 20e6, 150e6] {
        let mut noise = ClockNoise(7);
        let mut clock = clock();
        let mut found = None;
        for k in 0..2_000u64 {
            let late = if k >= 1_000 { stall_ns } else { 0.0 };
            let time = truth(k * 480, 50.0) + late + normal(&mut noise) * 20e3;
            if let Observation::Jumped(by) = clock.observe(k * 480, Instant::from_nanos(time as i64)) {
                assert_eq!(found.replace((k, by)), None, "a stall of {stall_ns} ns");
                clock.jump(by);
            }
        }
        let (k, by) = found.unwrap_or_else(|| panic!("a stall of {stall_ns} ns was not found"));
        assert_eq!(k, 1_003, "a stall of {stall_ns} ns");
        assert!((by.as_nanos() as f64 - stall_ns).abs() < 100e3, "{by:?} for {stall_ns} ns");
    }
}

#[test]
fn a_restart_keeps_the_rate_and_forgets_the_rest() {
    let mut clock = clock();
    for k in 0..20 {
        clock.observe(k * 480, Instant::from_nanos(truth(k * 480, 100.0) as i64));
    }
    let late = Duration::from_micros(20_000);
    let time = |k: u64| Instant::from_nanos(truth(k * 480, 100.0) as i64) + late;
    for k in 20..23 {
        assert_eq!(clock.observe(k * 480, time(k)), Observation::Ignored);
    }
    let rate = clock.rate().unwrap();
    let restarted_ns = clock.restart(23 * 480, time(23)).unwrap().as_nanos();
    assert!((restarted_ns - 20_000_000).abs() < 50_000, "later by {restarted_ns} ns");
    assert_eq!(clock.mean_residual_ns, 0.0);
    // The fourth time that is late was no outlier any more if the three before the restart counted.
    assert_eq!(clock.observe(23 * 480, time(23)), Observation::Ignored);
    clock.jump(Duration::from_nanos(restarted_ns));
    // At the position of the restart only the time can be wrong.
    assert_eq!(clock.observe(23 * 480, time(23) + Duration::from_micros(300)), Observation::Taken);
    assert_eq!(clock.rate().unwrap().ppm, rate.ppm);
}

#[test]
fn a_clock_without_observations_does_not_restart() {
    let mut clock = clock();
    assert_eq!(clock.restart(480, Instant::ORIGIN), None);
    assert!(!clock.is_running());
    clock.observe(480, Instant::ORIGIN);
    assert_eq!(clock.restart(479, Instant::ORIGIN), None, "a position that runs backwards");
}
