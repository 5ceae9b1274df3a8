//! Every sample once and in order, from the microphone's device to the sink and from a track to the loudspeaker's
//! device, for any sequence of period lengths, rates, channel counts and formats. What the outlet tells the reference
//! ring is tested where that ring can be seen, in core/src/playback/outlet_tests.rs.
#![allow(missing_docs)]

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::capture::{Bypass, Intake};
use handsfree_core::playback::OutletConfig;
use handsfree_core::{ChannelMap, Duration, Frame, I24, Instant, SampleRate, Session, SessionFormat, Stats};
use handsfree_sim::noise::Rng;
use handsfree_tests::{
    KnownMap, LONGEST_PERIOD, RATES_HZ, Recorder, TestSample, any_period, captured_at, for_seeds,
    intake_config, one_in, outlet_config, pick, played_at, sample_at, with_room,
};

/// 10 ms at 96 kHz with 8 channels.
const CAP: usize = 7_680;
/// Deep enough for a period of 8192 sample frames at 8 kHz, which are 103 frames.
const DEPTH: usize = 128;
type Memory = Session<CAP, 1, DEPTH, DEPTH, DEPTH, 32, 200_000>;

/// A delivered frame, as the sink saw it.
struct Delivered {
    position: u64,
    lost: u64,
    time: Instant,
    samples: Vec<i16>,
}

/// What a run of the capture path does besides delivering periods.
#[derive(Clone, Copy, Debug)]
struct Mishaps {
    /// The device loses samples before one in so many periods.
    gap_one_in: u64,
    /// The worker comes after one in so many periods.
    poll_one_in: u64,
    periods: usize,
}

struct CaptureRun {
    rate: SampleRate,
    map: KnownMap,
    frames: Vec<Delivered>,
    stats: Stats,
    /// Positions that the device lost.
    holes: Vec<std::ops::Range<u64>>,
    /// Position behind the last sample that was delivered to the intake.
    end: u64,
}

fn any_format_capture(rng: &mut Rng, mishaps: Mishaps) -> CaptureRun {
    match rng.range(0, 4) {
        0 => capture::<i16>(rng, mishaps),
        1 => capture::<i32>(rng, mishaps),
        2 => capture::<I24>(rng, mishaps),
        _ => capture::<f32>(rng, mishaps),
    }
}

/// Device sample `position` of each channel as the map makes it.
fn mapped(map: &KnownMap, position: u64) -> Vec<i16> {
    let device: Vec<i16> = (0..map.map.from_channels()).map(|c| sample_at(position, c)).collect();
    map.apply(&device)
}

fn capture<S: TestSample>(rng: &mut Rng, mishaps: Mishaps) -> CaptureRun {
    let rate = SampleRate::new(pick(rng, &RATES_HZ)).unwrap();
    let map = KnownMap::any(rng);
    let channels = map.map.to_channels() as u32;
    let first_position = (1u64 << 32) - rng.range(0, 100_000);
    let mut session = Box::new(Memory::new());
    let terminal = SessionFormat { rate, near_channels: channels, far_channels: 1 };
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).unwrap();
    let config = intake_config(rate, map.map, LONGEST_PERIOD);
    halves.intake.configure(config).unwrap();

    let mut frames = Vec::new();
    let mut holes = Vec::new();
    let mut position = 0u64;
    for turn in 0..mishaps.periods {
        if mishaps.gap_one_in > 0 && turn > 0 && one_in(rng, mishaps.gap_one_in) {
            let lost = rng.range(1, u64::from(rate.hz()) / 5);
            holes.push(position..position + lost);
            position += lost;
        }
        let length = any_period(rng);
        let mut period = Vec::with_capacity(length * map.map.from_channels());
        for at in position..position + length as u64 {
            period.extend((0..map.map.from_channels()).map(|c| S::from_pcm(sample_at(at, c))));
        }
        let completed = halves.intake.on_period(&period, captured_at(position, length, rate, first_position));
        assert!(completed as usize <= length / rate.sample_frames() + 1);
        position += length as u64;
        if mishaps.poll_one_in <= 1 || one_in(rng, mishaps.poll_one_in) {
            halves.capture.poll(&|| Instant::ORIGIN, &mut |frame: &Frame<CAP>| frames.push(delivered(frame)));
        }
    }
    halves.capture.poll(&|| Instant::ORIGIN, &mut |frame: &Frame<CAP>| frames.push(delivered(frame)));
    CaptureRun { rate, map, frames, stats: halves.stats.read(), holes, end: position }
}

fn delivered(frame: &Frame<CAP>) -> Delivered {
    assert_eq!(frame.sample_frames(), frame.format().sample_frames(), "a captured frame is 10 ms");
    Delivered {
        position: frame.stamp.position,
        lost: u64::from(frame.stamp.lost),
        time: frame.stamp.time,
        samples: frame.samples().to_vec(),
    }
}

/// Positions and losses add up, and each sample is that of its position, or silence where the device lost it.
fn check_timeline(run: &CaptureRun) {
    let mut expected_position = 0;
    let channels = run.map.map.to_channels();
    for frame in &run.frames {
        assert_eq!(frame.position, expected_position + frame.lost, "{} Hz", run.rate.hz());
        for (offset, samples) in frame.samples.chunks_exact(channels).enumerate() {
            let position = frame.position + offset as u64;
            if run.holes.iter().any(|hole| hole.contains(&position)) {
                assert!(samples.iter().all(|&s| s == 0), "position {position} was lost, {samples:?}");
            } else {
                assert_eq!(samples, mapped(&run.map, position), "position {position}");
            }
        }
        let due = Instant::ORIGIN + Duration::of_sample_frames(frame.position, run.rate);
        let error_ns = (frame.time - due).as_nanos();
        assert!(error_ns.abs() <= 2, "the frame at {} is {error_ns} ns off its time", frame.position);
        expected_position = frame.position + run.rate.sample_frames() as u64;
    }
    assert!(expected_position <= run.end);
}

fn steady(periods: usize) -> Mishaps {
    Mishaps { gap_one_in: 0, poll_one_in: 1, periods }
}

#[test]
fn captured_samples_arrive_once_and_in_order_for_any_periods() {
    for_seeds(60, |rng| {
        let run = any_format_capture(rng, steady(40));
        check_timeline(&run);
        assert!(run.frames.iter().all(|frame| frame.lost == 0), "nothing was lost");
        let delivered = (run.frames.len() * run.rate.sample_frames()) as u64;
        assert_eq!(delivered, run.end / run.rate.sample_frames() as u64 * run.rate.sample_frames() as u64);
        assert_eq!(run.stats.xruns(), 0);
        assert_eq!(run.stats.intake.position_faults, 0);
        assert_eq!(run.stats.intake.periods, 40);
        assert_eq!(run.stats.intake.frames as usize, run.frames.len());
        assert_eq!(run.stats.intake.scrubbed_samples, 0);
    });
}

#[test]
fn what_a_device_loses_is_a_hole_in_the_timeline_and_nothing_moves() {
    for_seeds(60, |rng| {
        let run = any_format_capture(rng, Mishaps { gap_one_in: 4, poll_one_in: 1, periods: 40 });
        check_timeline(&run);
        let lost: u64 = run.holes.iter().map(|hole| hole.end - hole.start).sum();
        assert_eq!(u64::from(run.stats.intake.gap_sample_frames), lost);
        // A period of 0 sample frames between two gaps still says where it is, so each counts.
        assert_eq!(run.stats.intake.gaps as usize, run.holes.len());
        let in_frames: u64 = run.frames.iter().map(|f| f.lost + run.rate.sample_frames() as u64).sum();
        let waiting = run.end - in_frames;
        let trailing = run.holes.last().map_or(0, |hole| hole.end - hole.start);
        assert!(waiting < run.rate.sample_frames() as u64 + trailing, "{waiting} unaccounted for");
    });
}

#[test]
fn frames_that_nobody_drains_are_counted_and_said_in_the_next_stamp() {
    for_seeds(40, |rng| {
        let run = any_format_capture(rng, Mishaps { gap_one_in: 6, poll_one_in: 25, periods: 120 });
        check_timeline(&run);
        let stats = run.stats.intake;
        let said: u64 = run.frames.iter().map(|frame| frame.lost).sum();
        let frame = run.rate.sample_frames() as u64;
        let known = u64::from(stats.overrun_frames) * frame + u64::from(stats.gap_sample_frames);
        // Silence that filled a frame up is part of the gap but was delivered; what is lost at the very end is said
        // by a frame that has not come yet.
        assert!(said <= known, "{said} said, {known} known");
        assert_eq!(stats.frames as usize, run.frames.len());
    });
}

/// Fault 11. Two rings, one day, no worker.
#[test]
fn nobody_drains_for_24_hours() {
    with_room(|| {
        const HOUR_S: u64 = 3_600;
        let rate = SampleRate::new(8_000).unwrap();
        let mut session = Box::new(Session::<80, 1, 128, 128, 128, 4, 16_000>::new());
        let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
        let mut halves = session.split::<NoopRawMutex, _, _>(terminal, Recorder::default(), ()).unwrap();
        let map = ChannelMap::natural(1, 1).unwrap();
        let config = intake_config(rate, map, 8_000);
        halves.intake.configure(config).unwrap();
        halves.outlet.configure(outlet_config(rate, map, 8_000)).unwrap();
        let mut heard: Vec<i16> = vec![0; 8_000];
        let mut played = vec![1i16; 8_000];
        let start = (1u64 << 32) - 4_000;
        for second in 0..24 * HOUR_S {
            heard.fill(sample_at(second, 0));
            halves.intake.on_period(&heard, captured_at(second * 8_000, 8_000, rate, start));
            halves.outlet.on_period(&mut played, played_at(second * 8_000, rate, start));
        }
        assert!(played.iter().all(|&s| s == 0));
        let stats = halves.stats.read();
        let frames = 24 * HOUR_S as u32 * 100;
        assert_eq!(stats.intake.frames, 127, "what a ring of 128 holds");
        assert_eq!(stats.intake.overrun_frames, frames - 127);
        assert_eq!(stats.outlet.reference_overrun_frames, frames - 127);
        assert_eq!(stats.outlet.underruns, 0, "silence before anything was played is no underrun");
        assert_eq!(stats.intake.position_faults + stats.outlet.position_faults, 0);

        let mut positions = Vec::new();
        let mut sink = |frame: &Frame<80>| positions.push((frame.stamp.position, frame.stamp.lost));
        // Both directions on one tick: there is no later reference to run ahead with.
        halves.capture.set_reference_lead(Duration::ZERO);
        // What waited is bounded by the ring. What comes now is delivered at its own place, at once but for the 100 ms
        // that a frame may wait for its reference; and the reference is back soon after.
        let (mut delivered, mut first_at, mut silent_until) = (0, None, 0);
        for tick in 0..200 {
            let now = 24 * HOUR_S * 8_000 + tick * 80;
            let clock = || captured_at(now, 80, rate, start).called;
            if tick > 0 {
                let now = now - 80;
                halves.outlet.on_period(&mut played[..80], played_at(now, rate, start));
                halves.intake.on_period(&heard[..80], captured_at(now, 80, rate, start));
            }
            let before = halves.stats.read().capture.reference_silence_frames;
            delivered += halves.capture.poll(&clock, &mut sink);
            first_at = first_at.or((delivered > 127).then_some(tick));
            if halves.stats.read().capture.reference_silence_frames > before {
                silent_until = tick;
            }
        }
        println!("first new frame after {first_at:?} x 10 ms, the reference after {silent_until} x 10 ms");
        assert!(first_at.is_some_and(|tick| tick <= 12), "the first new frame after {first_at:?} x 10 ms");
        assert!(silent_until <= 30, "no reference for {silent_until} x 10 ms");
        assert!(delivered >= 127 + 195, "{delivered} delivered");
        let now = 24 * HOUR_S * 8_000;
        assert_eq!(positions[126], (126 * 80, 0));
        assert_eq!(positions[127], (now, (frames - 127) * 80));
    });
}

#[test]
fn samples_beyond_the_last_whole_sample_frame_are_counted_and_ignored() {
    for_seeds(20, |rng| {
        let rate = SampleRate::new(pick(rng, &RATES_HZ)).unwrap();
        let channels = rng.range(2, 9) as usize;
        let mut session = Box::new(Memory::new());
        let terminal = SessionFormat { rate, near_channels: channels as u32, far_channels: channels as u32 };
        let mut halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).unwrap();
        let map = ChannelMap::natural(channels as u32, channels as u32).unwrap();
        halves.intake.configure(intake_config(rate, map, LONGEST_PERIOD)).unwrap();
        halves.outlet.configure(outlet_config(rate, map, LONGEST_PERIOD)).unwrap();
        let mut track = halves.tracks.open().unwrap();
        track.push(&vec![7; 40 * rate.sample_frames() * channels]).unwrap();
        let mut heard = Vec::new();
        // Both directions on one tick: there is no later reference to run ahead with.
        halves.capture.set_reference_lead(Duration::ZERO);
        let (mut position, mut ragged) = (0, 0);
        for _ in 0..20 {
            let length = rng.range(0, 1_000) as usize;
            let extra = rng.range(0, channels as u64) as usize;
            let mut period: Vec<i16> = Vec::new();
            for at in position..position + length as u64 {
                period.extend((0..channels).map(|c| sample_at(at, c)));
            }
            period.extend(vec![i16::MIN; extra]);
            halves.intake.on_period(&period, captured_at(position, length, rate, 0));
            halves.playback.poll();
            halves.outlet.on_period(&mut period, played_at(position, rate, 0));
            assert_eq!(period[length * channels..], vec![0; extra], "what is no sample frame stays silent");
            position += length as u64;
            ragged += extra as u32;
            let now = captured_at(position, 0, rate, 0).called;
            halves.capture.poll(&|| now, &mut |frame: &Frame<CAP>| heard.extend_from_slice(frame.samples()));
        }
        for (index, samples) in heard.chunks_exact(channels).enumerate() {
            let expected: Vec<i16> = (0..channels).map(|c| sample_at(index as u64, c)).collect();
            assert_eq!(samples, expected, "position {index}");
        }
        let stats = halves.stats.read();
        assert_eq!((stats.intake.ragged_samples, stats.outlet.ragged_samples), (ragged, ragged));
        assert_eq!(stats.intake.gaps + stats.outlet.gaps, 0);
    });
}

#[test]
fn an_intake_that_was_not_configured_does_nothing() {
    let mut session = Box::new(Session::<480, 1, 4, 4, 4, 4, 480>::new());
    let rate = SampleRate::new(48_000).unwrap();
    let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).unwrap();
    assert_eq!(halves.intake.on_period(&[1i16; 480], captured_at(0, 480, rate, 0)), 0);
    let mut period = [1i16; 480];
    assert_eq!(halves.outlet.on_period(&mut period, played_at(0, rate, 0)), 0);
    assert_eq!(period, [0; 480], "an outlet that was not configured is silent");
    assert_eq!(halves.stats.read(), Stats::default());
}

/// From a track to the device: whatever was pushed comes out once, in order, in runs with silence between.
fn playback<S: TestSample>(rng: &mut Rng, starve_one_in: u64) {
    let rate = SampleRate::new(pick(rng, &RATES_HZ)).unwrap();
    let map = KnownMap::any(rng);
    let (channels, device_channels) = (map.map.from_channels(), map.map.to_channels());
    let first_position = (1u64 << 32) - rng.range(0, 100_000);
    let mut session = Box::new(Memory::new());
    let terminal = SessionFormat { rate, near_channels: 1, far_channels: channels as u32 };
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).unwrap();
    let worker_slack_sample_frames = rng.range(0, 500) as u32;
    let config = outlet_config(rate, map.map, LONGEST_PERIOD);
    halves.outlet.configure(OutletConfig { worker_slack_sample_frames, ..config }).unwrap();
    let frame = rate.sample_frames();
    let total = rng.range(1, 60 * frame as u64);
    let source: Vec<i16> = (0..total).flat_map(|at| (0..channels).map(move |c| sample_at(at, c))).collect();
    let mut track = Some(halves.tracks.open().unwrap());
    let mut pushed = 0;
    let mut device: Vec<i16> = Vec::new();
    let mut position = 0u64;
    for turn in 0..4_000 {
        if let Some(mut open) = track.take() {
            let upto = (pushed + rng.range(0, 3 * frame as u64) as usize * channels).min(source.len());
            pushed += open.push(&source[pushed..upto]).unwrap();
            track = if pushed == source.len() { open.finish().err() } else { Some(open) };
        }
        if starve_one_in == 0 || !one_in(rng, starve_one_in) {
            halves.playback.poll();
        }
        let length = if one_in(rng, 4) { any_period(rng) } else { rng.range(0, 2 * frame as u64) as usize };
        let mut period = vec![S::from_pcm(i16::MIN); length * device_channels];
        halves.outlet.on_period(&mut period, played_at(position, rate, first_position));
        position += length as u64;
        device.extend(period.iter().map(|&s| s.to_i16()));
        let stats = halves.stats.read();
        let mixed = stats.playback.frames * frame as u32;
        if track.is_none() && turn > 100 && mixed as u64 > total + 40 * frame as u64 {
            break;
        }
    }
    let expected: Vec<Vec<i16>> = source.chunks_exact(channels).map(|s| map.apply(s)).collect();
    let mut next = 0;
    for (at, samples) in device.chunks_exact(device_channels).enumerate() {
        if samples.iter().all(|&s| s == 0) {
            continue;
        }
        // A mapped sample frame may be all silence by itself: a mean that is 0.
        while expected.get(next).is_some_and(|e| e.iter().all(|&s| s == 0)) {
            next += 1;
        }
        assert_eq!(
            Some(samples),
            expected.get(next).map(Vec::as_slice),
            "device sample frame {at}, source {next}"
        );
        next += 1;
    }
    while expected.get(next).is_some_and(|e| e.iter().all(|&s| s == 0)) {
        next += 1;
    }
    assert_eq!(
        next,
        expected.len(),
        "{} Hz, {}: {} pushed of {total}",
        rate.hz(),
        S::NAME,
        pushed / channels
    );
    let stats = halves.stats.read();
    assert_eq!(stats.outlet.foreign_frames + stats.outlet.gaps + stats.playback.clipped_samples, 0);
}

fn any_format_playback(rng: &mut Rng, starve_one_in: u64) {
    match rng.range(0, 4) {
        0 => playback::<i16>(rng, starve_one_in),
        1 => playback::<i32>(rng, starve_one_in),
        2 => playback::<I24>(rng, starve_one_in),
        _ => playback::<f32>(rng, starve_one_in),
    }
}

#[test]
fn played_samples_leave_once_and_in_order_for_any_periods() {
    for_seeds(40, |rng| any_format_playback(rng, 0));
}

#[test]
fn a_worker_that_comes_late_costs_silence_and_no_sample() {
    for_seeds(40, |rng| any_format_playback(rng, 2));
}

/// Fault 8. The device comes back with another rate, other channels, another sample format: what was made for the old
/// one is dropped and counted, and within a bounded number of periods only new frames are heard.
#[test]
fn nothing_made_for_the_old_device_is_heard_on_the_new_one() {
    for_seeds(12, |rng| {
        let terminal_rate = SampleRate::new(48_000).unwrap();
        let mut session = Box::new(Memory::new());
        let terminal = SessionFormat { rate: terminal_rate, near_channels: 1, far_channels: 1 };
        let mut halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).unwrap();
        let mut track = halves.tracks.open().unwrap();
        let mut rate = terminal_rate;
        let mut level = 1_000i16;
        for _ in 0..6 {
            let channels = rng.range(1, 9) as u32;
            let map = ChannelMap::natural(1, channels).unwrap();
            let max_period_sample_frames = rng.range(1, 2_000) as u32;
            halves.outlet.configure(outlet_config(rate, map, max_period_sample_frames)).unwrap();
            // All that is queued now has this level, so that older sound would be told by its level.
            let mut seen = false;
            let mut position = 0;
            for _ in 0..40 {
                track.push(&[level; 480 * 4]).unwrap();
                halves.playback.poll();
                let length = rng.range(1, u64::from(max_period_sample_frames) + 1) as usize;
                let mut out = vec![f32::NAN; length * channels as usize];
                halves.outlet.on_period(&mut out, played_at(position, rate, 0));
                position += length as u64;
                assert!(out.iter().all(|s| s.is_finite()), "every sample is written");
                seen |= out.iter().any(|&s| s != 0.0);
            }
            assert!(seen, "{} Hz: nothing was heard", rate.hz());
            let old = rate;
            while rate == old {
                rate = SampleRate::new(pick(rng, &RATES_HZ)).unwrap();
            }
            // A new level from here on, and the queue emptied of the old one by playing it out on the old device.
            level = -level.signum() * (level.abs() + 500);
            for _ in 0..200 {
                if track.queued_frames() == 0 {
                    break;
                }
                halves.playback.poll();
                let mut out = vec![0i16; 480 * channels as usize];
                halves.outlet.on_period(&mut out, played_at(position, old, 0));
                position += 480;
            }
            // The ring may still hold frames of the old level and rate now.
            let stats = halves.stats.read();
            halves.outlet.stop();
            halves.outlet.configure(outlet_config(rate, map, 4_800)).unwrap();
            let stale = stats.playback.frames - stats.outlet.frames - stats.outlet.foreign_frames;
            let mut position = 0;
            let mut heard = Vec::new();
            for _ in 0..60 {
                let mut out = vec![1i16; rate.sample_frames() * channels as usize];
                halves.outlet.on_period(&mut out, played_at(position, rate, 0));
                position += rate.sample_frames() as u64;
                heard.extend(out);
            }
            let after = halves.stats.read();
            assert_eq!(after.outlet.foreign_frames - stats.outlet.foreign_frames, stale, "each is counted");
            assert!(
                heard.iter().all(|&s| s == 0),
                "frames made for {} Hz were heard at {}",
                old.hz(),
                rate.hz()
            );
        }
    });
}

/// The capture side of fault 8: a frame that was begun with the old device is lost and said, never mixed with the new.
#[test]
fn a_frame_begun_with_the_old_device_is_never_finished_with_the_new_one() {
    fn device<S: TestSample>(
        intake: &mut Intake<'_, CAP>,
        rate_hz: u32,
        channels: u32,
        level: i16,
        count: usize,
    ) {
        let rate = SampleRate::new(rate_hz).unwrap();
        let map = ChannelMap::natural(channels, 1).unwrap();
        let config = intake_config(rate, map, LONGEST_PERIOD);
        intake.configure(config).unwrap();
        let period = vec![S::from_pcm(level); count * channels as usize];
        intake.on_period(&period, captured_at(0, count, rate, 0));
    }
    with_room(|| {
        let mut session = Box::new(Memory::new());
        let rate = SampleRate::new(16_000).unwrap();
        let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
        let mut halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).unwrap();
        let mut heard: Vec<(u64, u32, Vec<i16>)> = Vec::new();
        let mut poll = |heard: &mut Vec<(u64, u32, Vec<i16>)>| {
            halves.capture.poll(&|| Instant::ORIGIN, &mut |frame: &Frame<CAP>| {
                heard.push((frame.stamp.position, frame.stamp.lost, frame.samples().to_vec()));
            });
        };
        device::<i16>(&mut halves.intake, 16_000, 2, 1_000, 160 + 100);
        poll(&mut heard);
        device::<f32>(&mut halves.intake, 16_000, 1, -2_000, 320);
        poll(&mut heard);
        assert_eq!(heard.len(), 3);
        assert_eq!(heard[0], (0, 0, vec![1_000; 160]));
        assert_eq!(heard[1], (260, 100, vec![-2_000; 160]));
        assert_eq!(heard[2], (420, 0, vec![-2_000; 160]));
        // Another rate: the converter starts from silence, so nothing of -2000 is left in what follows.
        device::<i32>(&mut halves.intake, 48_000, 3, 4_000, 480 * 3);
        poll(&mut heard);
        assert_eq!(heard.len(), 6);
        for (_, _, samples) in &heard[3..] {
            assert!(samples.iter().all(|&s| s > -500), "the old device's level rings on: {samples:?}");
        }
        assert!(heard[5].2.iter().all(|&s| (s - 4_000).abs() <= 1), "{:?}", heard[5].2);
    });
}
