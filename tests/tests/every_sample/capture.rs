//! The capture path, from the microphone's device to the sink.

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::capture::{Bypass, Intake};
use handsfree_core::{ChannelMap, Duration, Frame, I24, Instant, SampleRate, Session, SessionFormat, Stats};
use handsfree_sim::noise::Rng;
use handsfree_tests::{
    KnownMap, LONGEST_PERIOD, RATES_HZ, RecordingVoice, TestSample, any_period, captured_at, for_seeds,
    intake_config, one_in, outlet_config, pick, played_at, sample_at, with_large_stack,
};

use super::{AnyFormatSession, CAP};

/// A frame as the sink received it.
struct Delivered {
    position: u64,
    lost: u64,
    time: Instant,
    samples: Vec<i16>,
}

/// Length and faults of a run of the capture path.
#[derive(Clone, Copy, Debug)]
struct CaptureFaults {
    /// The device loses samples before one in this number of periods; 0 for never.
    gap_one_in: u64,
    /// The worker polls after one in this number of periods.
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
    /// Position after the last sample that was delivered to the intake.
    end: u64,
}

fn any_format_capture(rng: &mut Rng, faults: CaptureFaults) -> CaptureRun {
    match rng.range(0, 4) {
        0 => capture::<i16>(rng, faults),
        1 => capture::<i32>(rng, faults),
        2 => capture::<I24>(rng, faults),
        _ => capture::<f32>(rng, faults),
    }
}

/// Returns the mapped sample frame at a device position.
fn mapped(map: &KnownMap, position: u64) -> Vec<i16> {
    let device: Vec<i16> = (0..map.map.from_channels()).map(|c| sample_at(position, c)).collect();
    map.apply(&device)
}

fn capture<S: TestSample>(rng: &mut Rng, faults: CaptureFaults) -> CaptureRun {
    let rate = SampleRate::new(pick(rng, &RATES_HZ)).unwrap();
    let map = KnownMap::any(rng);
    let channels = map.map.to_channels() as u32;
    let first_position = (1u64 << 32) - rng.range(0, 100_000);
    let mut session = Box::new(AnyFormatSession::new());
    let terminal = SessionFormat { rate, near_channels: channels, far_channels: 1 };
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).unwrap();
    let config = intake_config(rate, map.map, LONGEST_PERIOD);
    halves.intake.configure(config).unwrap();

    let mut frames = Vec::new();
    let mut holes = Vec::new();
    let mut position = 0u64;
    for turn in 0..faults.periods {
        if faults.gap_one_in > 0 && turn > 0 && one_in(rng, faults.gap_one_in) {
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
        if faults.poll_one_in <= 1 || one_in(rng, faults.poll_one_in) {
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

/// Checks that positions and losses add up, and that each sample is the one of its position, or silence where the device
/// lost it.
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

fn steady(periods: usize) -> CaptureFaults {
    CaptureFaults { gap_one_in: 0, poll_one_in: 1, periods }
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
fn samples_lost_by_a_device_leave_a_gap_and_shift_nothing() {
    for_seeds(60, |rng| {
        let run = any_format_capture(rng, CaptureFaults { gap_one_in: 4, poll_one_in: 1, periods: 40 });
        check_timeline(&run);
        let lost: u64 = run.holes.iter().map(|hole| hole.end - hole.start).sum();
        assert_eq!(u64::from(run.stats.intake.gap_sample_frames), lost);
        // A period of 0 sample frames between two gaps still carries a position, so that both gaps are counted.
        assert_eq!(run.stats.intake.gaps as usize, run.holes.len());
        let in_frames: u64 = run.frames.iter().map(|f| f.lost + run.rate.sample_frames() as u64).sum();
        let waiting = run.end - in_frames;
        let trailing = run.holes.last().map_or(0, |hole| hole.end - hole.start);
        assert!(
            waiting < run.rate.sample_frames() as u64 + trailing,
            "{waiting} sample frames are unaccounted for"
        );
    });
}

#[test]
fn undrained_frames_are_counted_and_added_to_the_next_stamp() {
    for_seeds(40, |rng| {
        let run = any_format_capture(rng, CaptureFaults { gap_one_in: 6, poll_one_in: 25, periods: 120 });
        check_timeline(&run);
        let stats = run.stats.intake;
        let reported: u64 = run.frames.iter().map(|frame| frame.lost).sum();
        let frame = run.rate.sample_frames() as u64;
        let known = u64::from(stats.overrun_frames) * frame + u64::from(stats.gap_sample_frames);
        // Silence that completed a frame is part of the gap but was delivered; losses at the very end would be reported by
        // the next frame.
        assert!(reported <= known, "{reported} reported, {known} known");
        assert_eq!(stats.frames as usize, run.frames.len());
    });
}

/// Fault 11: both rings are left undrained for a day.
#[test]
fn rings_left_undrained_for_24_hours_recover() {
    with_large_stack(|| {
        const HOUR_S: u64 = 3_600;
        let rate = SampleRate::new(8_000).unwrap();
        let mut session = Box::new(Session::<80, 1, 128, 128, 128, 4, 16_000>::new());
        let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
        let mut halves =
            session.split::<NoopRawMutex, _, _>(terminal, RecordingVoice::default(), ()).unwrap();
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
        assert_eq!(stats.intake.frames, 127, "the capacity of a ring of 128");
        assert_eq!(stats.intake.overrun_frames, frames - 127);
        assert_eq!(stats.outlet.reference_overrun_frames, frames - 127);
        assert_eq!(stats.outlet.underruns, 0, "silence before anything was played is no underrun");
        assert_eq!(stats.intake.position_faults + stats.outlet.position_faults, 0);

        let mut positions = Vec::new();
        let mut sink = |frame: &Frame<80>| positions.push((frame.stamp.position, frame.stamp.lost));
        // Both directions have the same timing here, so that there is no later reference for a lead.
        halves.capture.set_reference_lead(Duration::ZERO);
        // The backlog is bounded by the ring. New frames are delivered at their own positions, after at most the 100 ms
        // that a frame may wait for its reference; the reference is available again soon after.
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
fn samples_of_an_incomplete_sample_frame_are_ignored() {
    for_seeds(20, |rng| {
        let rate = SampleRate::new(pick(rng, &RATES_HZ)).unwrap();
        let channels = rng.range(2, 9) as usize;
        let mut session = Box::new(AnyFormatSession::new());
        let terminal = SessionFormat { rate, near_channels: channels as u32, far_channels: channels as u32 };
        let mut halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).unwrap();
        let map = ChannelMap::natural(channels as u32, channels as u32).unwrap();
        halves.intake.configure(intake_config(rate, map, LONGEST_PERIOD)).unwrap();
        halves.outlet.configure(outlet_config(rate, map, LONGEST_PERIOD)).unwrap();
        let mut track = halves.tracks.open().unwrap();
        track.push(&vec![7; 40 * rate.sample_frames() * channels]).unwrap();
        let mut heard = Vec::new();
        // Both directions have the same timing here, so that there is no later reference for a lead.
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
            assert_eq!(
                period[length * channels..],
                vec![0; extra],
                "samples of an incomplete sample frame stay silent"
            );
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

/// Fault 8 on the capture side: a frame that was begun with the old device is reported as lost and never completed with
/// the new one.
#[test]
fn a_frame_never_mixes_samples_of_two_devices() {
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
    with_large_stack(|| {
        let mut session = Box::new(AnyFormatSession::new());
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
        // At another rate the converter starts from silence, so that nothing of -2000 remains in the next frames.
        device::<i32>(&mut halves.intake, 48_000, 3, 4_000, 480 * 3);
        poll(&mut heard);
        assert_eq!(heard.len(), 6);
        for (_, _, samples) in &heard[3..] {
            assert!(
                samples.iter().all(|&s| s > -500),
                "the old device's level is still present: {samples:?}"
            );
        }
        assert!(heard[5].2.iter().all(|&s| (s - 4_000).abs() <= 1), "{:?}", heard[5].2);
    });
}
