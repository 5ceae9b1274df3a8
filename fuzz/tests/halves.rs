//! A session's halves take periods, times, tracks and calls in any order.

use std::sync::atomic::{AtomicU64, Ordering};

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::capture::{Bypass, IntakeConfig};
use handsfree_core::playback::{OutletConfig, Track};
use handsfree_core::{ChannelMap, Duration, Frame, Gain, Instant, PeriodTime, SampleRate};
use handsfree_fuzz::{Choices, fuzz};

handsfree_core::session! { type Memory = Session { rate_hz: 16_000, tracks: 2 }; const FORMAT: SessionFormat; }

type AnyTrack<'p, 'a> = Track<'p, 'a, NoopRawMutex, 160, 2>;

/// Cleaned frames over all executions, which shows that the inputs reach the worker.
static CLEANED: AtomicU64 = AtomicU64::new(0);

const RATES_HZ: [u32; 5] = [8_000, 16_000, 44_100, 48_000, 192_000];

/// Returns a time: near the last one, or anything.
fn time(choices: &mut Choices<'_>, now: &mut i64) -> Instant {
    match choices.byte() {
        0..=199 => *now = now.wrapping_add(10_000_000),
        200..=229 => *now = now.wrapping_add(choices.number(4) as i32 as i64),
        230..=249 => {}
        _ => return Instant::from_nanos(choices.number(8) as i64),
    }
    Instant::from_nanos(*now)
}

/// Returns the position of a period: the next one, near it, or anything.
fn position(choices: &mut Choices<'_>, next: &mut u64, sample_frames: u64) -> u64 {
    let at = match choices.byte() {
        0..=219 => *next,
        220..=239 => next.wrapping_add(choices.below(2_000)),
        240..=247 => next.wrapping_sub(choices.below(2_000)),
        _ => choices.number(8),
    };
    *next = at.wrapping_add(sample_frames);
    at
}

fn run(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let mut memory = Box::new(Memory::new());
    let halves = memory.split::<NoopRawMutex, _, _>(FORMAT, Bypass, ()).unwrap();
    let (mut intake, mut outlet, mut capture, mut playback) =
        (halves.intake, halves.outlet, halves.capture, halves.playback);
    let (pool, mut events) = (halves.tracks, halves.events);
    let mut tracks: [Option<AnyTrack<'_, '_>>; 3] = [None, None, None];
    let (mut now, mut captured, mut played) = (0, 0, 0);
    let (mut near, mut far) = (1, 1);
    let mut end: Option<u64> = None;
    // Few inputs would open both devices by chance before their periods come.
    if choices.byte() > 15 {
        let rate = SampleRate::new(16_000).unwrap();
        intake.configure(IntakeConfig::new(rate)).unwrap();
        outlet.configure(OutletConfig::new(rate)).unwrap();
    }
    while !choices.is_empty() {
        // Periods of both devices and rounds of the worker come more often than the rest, as on a device.
        let operation = match choices.byte() % 32 {
            16..=20 => 2,
            21..=24 => 4,
            25..=31 => 6,
            other => other,
        };
        let track = &mut tracks[choices.below(3) as usize];
        match operation {
            0 => {
                let channels = choices.below(9) as u32;
                let rate = SampleRate::new(choices.pick(&RATES_HZ)).unwrap();
                let Ok(map) = ChannelMap::natural(channels, 1) else { continue };
                let max_period_sample_frames = choices.below(2_000) as u32;
                let clock_domain = choices.below(3) as u32;
                let config =
                    IntakeConfig { map, max_period_sample_frames, clock_domain, ..IntakeConfig::new(rate) };
                near = if intake.configure(config).is_ok() { channels as usize } else { near };
            }
            1 => {
                let channels = choices.below(9) as u32;
                let rate = SampleRate::new(choices.pick(&RATES_HZ)).unwrap();
                let Ok(map) = ChannelMap::natural(1, channels) else { continue };
                let config = OutletConfig {
                    map,
                    max_period_sample_frames: choices.below(2_000) as u32,
                    worker_slack_sample_frames: choices.below(2_000) as u32,
                    latency: Duration::from_micros(choices.number(3) as i64),
                    clock_domain: choices.below(3) as u32,
                    ..OutletConfig::new(rate)
                };
                far = if outlet.configure(config).is_ok() { channels as usize } else { far };
            }
            2 | 3 => {
                let sample_frames = choices.below(1_000);
                let position = position(&mut choices, &mut captured, sample_frames);
                let converter = time(&mut choices, &mut now);
                let called = time(&mut choices, &mut now);
                let samples = vec![f32::from_bits(choices.number(4) as u32); sample_frames as usize * near];
                intake.on_period(&samples, PeriodTime { position, converter, called });
            }
            4 | 5 => {
                let sample_frames = choices.below(1_000);
                let position = position(&mut choices, &mut played, sample_frames);
                let converter = time(&mut choices, &mut now);
                let called = time(&mut choices, &mut now);
                let mut samples = vec![7i16; sample_frames as usize * far];
                outlet.on_period(&mut samples, PeriodTime { position, converter, called });
            }
            6 | 7 => {
                let at = time(&mut choices, &mut now);
                capture.poll(&|| at, &mut |frame: &Frame<160>| {
                    assert_eq!(frame.sample_frames(), 160);
                    CLEANED.fetch_add(1, Ordering::Relaxed);
                    let begin = frame.stamp.position;
                    let expected = end.map(|end| end + u64::from(frame.stamp.lost));
                    assert!(expected.is_none_or(|expected| expected == begin), "{expected:?}, found {begin}");
                    end = Some(begin + 160);
                });
                while events.poll().is_some() {}
            }
            8 | 9 => {
                playback.poll();
                pool.dispatch();
            }
            10 => *track = pool.open().ok(),
            11 => {
                let samples = vec![choices.number(2) as i16; choices.below(3_000) as usize];
                if let Some(Ok(pushed)) = track.as_mut().map(|track| track.push(&samples)) {
                    assert!(pushed <= samples.len());
                }
            }
            12 => *track = track.take().and_then(|track| track.finish().err()),
            13 => {
                let Some(track) = track else { continue };
                match choices.byte() % 4 {
                    0 => track.pause(),
                    1 => track.resume(),
                    2 => track.interrupt(),
                    _ => track.clear(),
                }
            }
            14 => {
                let Some(track) = track else { continue };
                let gain = Gain::linear(f32::from_bits(choices.number(4) as u32)).unwrap_or(Gain::MAX);
                let ramp = Duration::from_nanos(choices.number(8) as i64);
                _ = (track.set_gain(gain, ramp), track.set_skip_late(choices.byte() > 127));
            }
            _ => {
                let at = time(&mut choices, &mut now);
                let Some(track) = track else { continue };
                let pushed = track.position();
                let heard = track.played_position(at);
                assert!(heard <= pushed, "heard {heard} of {pushed}");
                _ = (track.interrupted_at(at), track.is_played_out(at), track.unplayed_duration(at));
            }
        }
    }
}

#[test]
fn no_order_of_calls_breaks_the_timeline() {
    let executions = fuzz("halves", 20_000, &[], run);
    let cleaned = CLEANED.load(Ordering::Relaxed);
    println!("halves: {cleaned} cleaned frames");
    // An input that reaches no voice processor tests little.
    assert!(executions < 1_000 || cleaned > executions, "{executions} executions cleaned {cleaned} frames");
}
