use super::*;

type Synchronizer = AvSynchronizer<u32, 8>;

fn ms(millis: i64) -> Duration {
    Duration::from_millis(millis)
}

fn after(millis: i64) -> Instant {
    Instant::ORIGIN + ms(millis)
}

fn at_25_fps(change: impl FnOnce(&mut AvSyncConfig)) -> Synchronizer {
    let mut config = AvSyncConfig { video_queue_ms: 320, ..AvSyncConfig::new(25.0) };
    change(&mut config);
    Synchronizer::new(config).unwrap()
}

fn synchronizer_at_25_fps() -> Synchronizer {
    at_25_fps(|_| ())
}

/// Polls once and returns what was delivered and what was discarded.
fn poll(synchronizer: &mut Synchronizer, now: Instant) -> (Option<u32>, Vec<u32>) {
    let mut discarded = Vec::new();
    (synchronizer.poll(now, |frame| discarded.push(frame)), discarded)
}

#[test]
fn a_configuration_is_checked_by_value() {
    let with = |change: fn(&mut AvSyncConfig)| {
        let mut config = AvSyncConfig::new(30.0);
        change(&mut config);
        Synchronizer::new(config).map(|synchronizer| synchronizer.queue_frames())
    };
    assert_eq!(with(|_| ()), Ok(3));
    assert_eq!(with(|c| c.video_queue_ms = 0), Ok(1));
    assert_eq!(with(|c| c.video_queue_ms = 266), Ok(8));
    assert_eq!(
        with(|c| c.video_queue_ms = 267),
        Err(ConfigError::VideoQueue { queue_ms: 267, frames: 9, capacity: 8 })
    );
    assert_eq!(with(|c| c.video_fps = 0.0), Err(ConfigError::VideoRate { fps: 0.0 }));
    assert!(matches!(with(|c| c.video_fps = f64::NAN), Err(ConfigError::VideoRate { .. })));
    assert_eq!(with(|c| c.tolerance_ms = 0), Err(ConfigError::VideoTolerance { tolerance_ms: 0 }));
    assert_eq!(
        ConfigError::VideoQueue { queue_ms: 267, frames: 9, capacity: 8 }.to_string(),
        "a video queue of 267 ms, 9 frames: expected at most its capacity of 8 frames"
    );
}

#[test]
fn a_full_or_closed_synchronizer_gives_the_frame_back() {
    let mut synchronizer = synchronizer_at_25_fps();
    for frame in 0..8 {
        assert_eq!(synchronizer.push(frame, None), Ok(()));
    }
    assert_eq!(synchronizer.push(8, None), Err(PushError::Full(8)));
    let mut left = Vec::new();
    synchronizer.close(|frame| left.push(frame));
    assert_eq!(left, [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(synchronizer.push(8, None).map_err(PushError::into_frame), Err(8));
    assert_eq!(synchronizer.push(8, None), Err(PushError::Closed(8)));
    assert_eq!(synchronizer.stats(), AvSyncStats { pushed: 8, discarded: 8, ..AvSyncStats::default() });
    synchronizer.reset(drop);
    assert_eq!(synchronizer.push(9, None), Ok(()));
    assert_eq!(synchronizer.stats().pushed, 1);
}

#[test]
fn video_waits_until_the_audio_is_played() {
    let mut synchronizer = synchronizer_at_25_fps();
    synchronizer.push(1, Some(ms(0))).unwrap();
    assert_eq!(poll(&mut synchronizer, after(500)), (None, vec![]));
    assert_eq!(synchronizer.next_due(after(500)), None);
    // The first sample will be at the loudspeaker in 200 ms.
    synchronizer.audio_at(ms(0), after(700));
    assert_eq!(poll(&mut synchronizer, after(699)), (None, vec![]));
    let due = synchronizer.next_due(after(500)).unwrap();
    assert!(due - after(700) <= Duration::from_nanos(1), "{due:?}");
    assert_eq!(poll(&mut synchronizer, due), (Some(1), vec![]));
    assert_eq!(synchronizer.last_video_time(), Some(ms(0)));
}

#[test]
fn late_frames_are_skipped_or_delivered_as_configured() {
    for (when_late, expected) in [
        (WhenLate::Skip, vec![(2, vec![0, 1])]),
        (WhenLate::Deliver, vec![(0, vec![]), (1, vec![]), (2, vec![])]),
    ] {
        let mut synchronizer = at_25_fps(|config| config.when_late = when_late);
        synchronizer.audio_at(ms(0), after(0));
        for frame in 0..4 {
            synchronizer.push(frame, Some(ms(i64::from(frame) * 40))).unwrap();
        }
        let mut got = Vec::new();
        while let (Some(frame), discarded) = poll(&mut synchronizer, after(100)) {
            got.push((frame, discarded));
        }
        assert_eq!(got, expected, "{when_late:?}");
        assert_eq!(synchronizer.stats().restarts, 0);
    }
}

#[test]
fn frames_without_timestamps_are_paced_by_the_audio() {
    let mut synchronizer = synchronizer_at_25_fps();
    let mut shown = Vec::new();
    let mut next = 0;
    for now in 0..2_000 {
        // The device is 1000 ppm fast.
        synchronizer.audio_at(Duration::from_nanos(now * 1_001_000), after(now));
        while synchronizer.push(next, None).is_ok() {
            next += 1;
        }
        shown.extend(poll(&mut synchronizer, after(now)).0.map(|frame| (frame, now)));
    }
    assert_eq!(shown.len(), 51);
    for &(frame, now) in &shown {
        let due_ms = f64::from(frame) * 40.0 / 1.001;
        assert!((now as f64 - due_ms - 0.5).abs() <= 0.6, "frame {frame} at {now} ms");
    }
    assert_eq!(synchronizer.stats().discarded, 0);
}

#[test]
fn without_audio_video_follows_the_host_clock() {
    let mut synchronizer = synchronizer_at_25_fps();
    synchronizer.run_without_audio(after(0));
    assert_eq!(synchronizer.next_due(after(5)), None);
    for frame in 0..3 {
        synchronizer.push(frame, Some(ms(10_000 + i64::from(frame) * 40))).unwrap();
    }
    assert_eq!(synchronizer.next_due(after(5)), Some(after(5)));
    for (frame, now) in [(0, 5), (1, 45), (2, 85)] {
        assert_eq!(poll(&mut synchronizer, after(now)), (Some(frame), vec![]));
        assert_eq!(poll(&mut synchronizer, after(now + 39)), (None, vec![]));
    }
    assert!(synchronizer.is_drained());
    assert_eq!(synchronizer.played_out_at(after(85)), Some(after(125) + Duration::from_nanos(1)));
    assert_eq!(synchronizer.played_out_at(after(130)), Some(after(130)));
}

#[test]
fn video_stands_while_the_audio_stands() {
    for paused in [true, false] {
        let mut synchronizer = synchronizer_at_25_fps();
        let mut shown = Vec::new();
        let mut next = 0u32;
        for now in (0..1_000).step_by(10) {
            let audio = if now < 300 { now } else { (now - 500).max(300) };
            if paused && now == 300 {
                synchronizer.audio_paused(after(now));
            } else if paused && now == 800 {
                synchronizer.audio_resumed(after(now));
            }
            synchronizer.audio_at(ms(audio), after(now));
            while synchronizer.push(next, Some(ms(i64::from(next) * 40))).is_ok() {
                next += 1;
            }
            shown.extend(poll(&mut synchronizer, after(now)).0);
            if (310..=800).contains(&now) {
                assert_eq!(
                    synchronizer.audio_time(after(now + 100)).is_some_and(|t| t == ms(300)),
                    now < 800 || !paused
                );
            }
            if (310..790).contains(&now) {
                assert_eq!(synchronizer.next_due(after(now)), None);
                assert_eq!(synchronizer.played_out_at(after(now)), None);
                assert_eq!(*shown.last().unwrap(), 7, "at {now} ms");
            }
        }
        assert_eq!(shown, (0..=12).collect::<Vec<u32>>(), "paused by the application: {paused}");
        assert_eq!(synchronizer.stats().restarts + synchronizer.stats().audio_jumps, 0);
    }
}

#[test]
fn a_seek_forward_skips_and_a_seek_backward_waits() {
    let mut synchronizer = synchronizer_at_25_fps();
    synchronizer.audio_at(ms(0), after(0));
    for frame in 0..6 {
        synchronizer.push(frame, Some(ms(i64::from(frame) * 40))).unwrap();
    }
    assert_eq!(poll(&mut synchronizer, after(0)), (Some(0), vec![]));
    synchronizer.audio_at(ms(170), after(10));
    assert_eq!(poll(&mut synchronizer, after(10)), (Some(4), vec![1, 2, 3]));
    synchronizer.audio_at(ms(0), after(20));
    assert_eq!(poll(&mut synchronizer, after(20)), (None, vec![]));
    let due = synchronizer.next_due(after(20)).unwrap();
    assert!((due - after(220)).abs() < ms(1), "{due:?}");
    // A frame of the new position replaces one of the old.
    synchronizer.push(100, Some(ms(0))).unwrap();
    assert_eq!(synchronizer.next_due(after(20)), Some(after(20)));
    assert_eq!(poll(&mut synchronizer, after(20)), (Some(100), vec![5]));
}

#[test]
fn untimed_frames_far_behind_restart_the_pacing() {
    let mut synchronizer = synchronizer_at_25_fps();
    synchronizer.run_without_audio(after(0));
    for frame in 0..8 {
        synchronizer.push(frame, None).unwrap();
    }
    assert_eq!(poll(&mut synchronizer, after(0)), (Some(0), vec![]));
    assert_eq!(poll(&mut synchronizer, after(341)), (Some(1), vec![]));
    assert_eq!(synchronizer.stats().restarts, 1);
    assert_eq!(poll(&mut synchronizer, after(380)), (None, vec![]));
    assert_eq!(poll(&mut synchronizer, after(381)), (Some(2), vec![]));
    // Frames that are behind by less follow the audio.
    assert_eq!(poll(&mut synchronizer, after(501)), (Some(5), vec![3, 4]));
    assert_eq!(synchronizer.stats().restarts, 1);
}

#[test]
fn timed_frames_far_behind_skip_to_the_newest_counted_once() {
    for when_late in [WhenLate::Skip, WhenLate::Deliver] {
        let mut synchronizer = at_25_fps(|config| config.when_late = when_late);
        synchronizer.run_without_audio(after(0));
        for frame in 0..8 {
            synchronizer.push(frame, Some(ms(i64::from(frame) * 40))).unwrap();
        }
        assert_eq!(poll(&mut synchronizer, after(0)), (Some(0), vec![]));
        assert_eq!(poll(&mut synchronizer, after(345)), (Some(7), vec![1, 2, 3, 4, 5, 6]));
        // Each frame of a source that stays 400 ms behind is shown as it arrives.
        for frame in 8..50 {
            let timestamp = ms(i64::from(frame) * 40);
            synchronizer.push(frame, Some(timestamp)).unwrap();
            assert_eq!(poll(&mut synchronizer, Instant::ORIGIN + timestamp + ms(400)), (Some(frame), vec![]));
        }
        assert_eq!(synchronizer.stats().restarts, 1);
    }
}

#[test]
fn clearing_keeps_the_clock_and_restarts_the_pacing() {
    let mut synchronizer = synchronizer_at_25_fps();
    synchronizer.audio_at(ms(0), after(0));
    for frame in 0..4 {
        synchronizer.push(frame, Some(ms(500 + i64::from(frame) * 40))).unwrap();
    }
    let mut discarded = Vec::new();
    synchronizer.clear(|frame| discarded.push(frame));
    assert_eq!(discarded, [0, 1, 2, 3]);
    assert!(synchronizer.is_drained());
    synchronizer.push(4, None).unwrap();
    synchronizer.push(5, None).unwrap();
    assert_eq!(poll(&mut synchronizer, after(17)), (Some(4), vec![]));
    assert_eq!(poll(&mut synchronizer, after(56)), (None, vec![]));
    assert_eq!(poll(&mut synchronizer, after(57)), (Some(5), vec![]));
    assert_eq!(synchronizer.last_audio_time(), Some(ms(0)));
}
