//! The contract of `Track`, including the faults found in the seeds' sources and tracks.

use handsfree_core::dsp::Quality;
use handsfree_core::playback::{SourceConfig, TrackError, TrackEvent};
use handsfree_core::{ConfigError, Duration};
use handsfree_tests::playback_rig::{PlaybackRig, QUEUE_FRAMES, RigTracks, any_samples, with_playback_rig};
use handsfree_tests::{for_seeds, level_db, pick, sample_at};

const RATE_HZ: u32 = 16_000;
const FRAME: usize = RATE_HZ as usize / 100;

fn with_rig(test: impl FnOnce(&mut PlaybackRig<'_, 4>, &RigTracks<'_, 4>)) {
    with_playback_rig::<4>(RATE_HZ, 1, test);
}

fn ramp(count: usize) -> Vec<i16> {
    (0..count as u64).map(|position| sample_at(position, 0)).collect()
}

#[test]
fn bytes_pushed_in_any_lengths_give_the_same_samples() {
    for_seeds(50, |rng| {
        let channels = pick(rng, &[1u32, 2, 6]);
        with_playback_rig::<4>(8_000, channels as usize, |rig, pool| {
            let mut track = pool.open().unwrap();
            let samples = any_samples(rng, 500 * channels as usize);
            let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
            let (mut fed, mut out) = (0, Vec::new());
            while fed < bytes.len() {
                let length = rng.range(0, 700) as usize;
                let end = (fed + length).min(bytes.len());
                fed += track.push_bytes(&bytes[fed..end]).unwrap();
                if track.queued_frames() > 0 {
                    out.extend(rig.frame());
                }
            }
            assert_eq!(track.position(), 500);
            track.flush().unwrap();
            while track.queued_frames() > 0 {
                out.extend(rig.frame());
            }
            assert_eq!(out[..samples.len()], samples);
            assert!(out[samples.len()..].iter().all(|&sample| sample == 0));
            assert_eq!(track.dropped_bytes(), 0);
        });
    });
}

#[test]
fn half_a_sample_at_the_end_is_counted_as_dropped() {
    with_rig(|_, pool| {
        let mut track = pool.open().unwrap();
        assert_eq!(track.push_bytes(&[1, 2, 3]).unwrap(), 3);
        assert_eq!((track.position(), track.dropped_bytes()), (1, 0));
        track.mark_synthesis_complete().unwrap();
        assert_eq!(track.dropped_bytes(), 1);
        assert_eq!(track.push_bytes(&[4, 5]).unwrap(), 2, "the dropped byte must not shift the next samples");
        assert_eq!(track.position(), 2);
    });
}

/// Sources of any rate and channel count, including speech synthesis at 22,050 Hz, keep their level and length and are
/// played to the last sample.
#[test]
fn sources_of_any_rate_and_channel_count_play_completely() {
    for (rate_hz, channels) in [
        (4_000, 1),
        (8_000, 2),
        (11_025, 1),
        (16_000, 1),
        (22_050, 1),
        (24_000, 1),
        (44_100, 2),
        (48_000, 8),
        (192_000, 1),
    ] {
        with_playback_rig::<4>(48_000, 2, |rig, pool| {
            let source = SourceConfig { rate_hz, channels, quality: Quality::MEDIUM, matching: None };
            let mut track = pool.open_source::<8_192>(source).unwrap();
            let sine =
                |n: usize| (f64::from(n as u32) * 400.0 * std::f64::consts::TAU / f64::from(rate_hz)).sin();
            let count = rate_hz as usize / 2 + 7;
            let samples: Vec<i16> =
                (0..count).flat_map(|n| vec![(sine(n) * 10_000.0) as i16; channels as usize]).collect();
            let mut out = Vec::new();
            track.push_blocking(&samples, || out.extend(rig.frame())).unwrap();
            assert_eq!(track.position(), count as u64);
            while track.mark_synthesis_complete() == Err(TrackError::Full) {
                out.extend(rig.frame());
            }
            let mut events = Vec::new();
            while !events.iter().any(|event| matches!(event, TrackEvent::LastAudio { .. })) {
                out.extend(rig.frame());
                events.extend(track.poll_event(rig.now()));
            }
            let last = out.iter().rposition(|&sample| sample.abs() > 300).unwrap() / 2;
            let expected = (count as f64 * 48_000.0 / f64::from(rate_hz)) as i64;
            assert!((last as i64 - expected).abs() < 100, "{rate_hz} Hz: {last} of {expected} sample frames");
            let level = level_db(&out[4_800..out.len().min(2 * expected as usize) - 4_800]);
            assert!((level - -13.32).abs() < 0.1, "{rate_hz} Hz, {channels} channels: {level} dB");
            assert_eq!(
                track.played_position(rig.now()),
                count as u64,
                "{rate_hz} Hz: not played to the last sample"
            );
            assert_eq!(rig.stats().clipped_samples, 0);
        });
    }
}

/// With several short utterances in flight at another rate, each position belongs to its own utterance.
#[test]
fn each_converted_utterance_has_its_own_positions() {
    with_playback_rig::<4>(48_000, 1, |rig, pool| {
        let source = SourceConfig { rate_hz: 22_050, channels: 1, quality: Quality::LOW, matching: None };
        let mut track = pool.open_source::<8_192>(source).unwrap();
        let mut queued_positions = Vec::new();
        let mut expected = 0;
        for length in [300, 431, 222] {
            assert_eq!(track.push(&vec![5_000; length]).unwrap(), length);
            track.mark_synthesis_complete().unwrap();
            expected += length as u64;
            queued_positions.push((track.queued_frames(), expected));
        }
        let mut frames = 0;
        for (queued, position) in queued_positions {
            while frames < queued {
                rig.frame();
                frames += 1;
            }
            assert_eq!(track.played_position(rig.now()), position);
        }
    });
}

#[test]
fn a_full_track_queue_applies_back_pressure_and_loses_nothing() {
    with_rig(|rig, pool| {
        let mut track = pool.open().unwrap();
        let source = ramp(50 * FRAME);
        let capacity = track.free_samples();
        // One more frame is held beside the queue.
        assert_eq!(capacity, (QUEUE_FRAMES + 1) * FRAME);
        assert_eq!(track.push(&source).unwrap(), capacity);
        assert_eq!(track.push(&source[capacity..]).unwrap(), 0);
        assert_eq!(track.queued_duration(), Duration::from_millis(10 * (QUEUE_FRAMES as i64 + 1)));
        let mut out = rig.frame();
        track.push_blocking(&source[capacity..], || out.extend(rig.frame())).unwrap();
        while track.flush() == Err(TrackError::Full) {
            out.extend(rig.frame());
        }
        (0..QUEUE_FRAMES + 2).for_each(|_| out.extend(rig.frame()));
        assert!(out[..source.len()] == source);
        assert_eq!(track.push(&[]).unwrap(), 0, "an empty push is accepted");
    });
}

#[test]
fn durations_report_queued_and_unplayed_audio() {
    with_rig(|rig, pool| {
        let mut track = pool.open().unwrap();
        track.push(&ramp(3 * FRAME + 80)).unwrap();
        assert_eq!(track.queued_duration(), Duration::from_millis(35));
        assert_eq!(track.unplayed_duration(rig.now()), Duration::from_millis(35));
        rig.frame();
        assert_eq!(track.queued_duration(), Duration::from_millis(25));
        assert_eq!(track.unplayed_duration(rig.now()), Duration::from_millis(25));
        assert_eq!(track.unplayed_duration(rig.now() - Duration::from_millis(4)), Duration::from_millis(29));
        track.interrupt();
        assert_eq!(track.unplayed_duration(rig.now()), Duration::ZERO, "dropped samples are still counted");
    });
}

#[test]
fn clearing_drops_the_queue_and_keeps_the_tracks_state() {
    with_rig(|rig, pool| {
        let mut track = pool.open().unwrap();
        track.enable_input(true);
        track.push(&[9_000; 5 * FRAME]).unwrap();
        rig.frame();
        track.pause();
        rig.frame();
        track.clear();
        assert!(track.is_paused() && track.accepts_input(), "clearing changed the pause or the input");
        track.push(&[700; FRAME]).unwrap();
        assert_eq!(rig.frame(), [0; FRAME], "the track is paused");
        assert_eq!(track.queued_frames(), 1);
        track.resume();
        assert_eq!(rig.frame(), [700; FRAME], "new samples need no fade");
    });
}

/// Under manual input control, samples are refused and counted after an interruption until input is enabled again.
#[test]
fn manual_input_control_refuses_samples_of_the_old_answer() {
    with_rig(|rig, pool| {
        let mut track = pool.open().unwrap();
        track.push(&[1_000; FRAME]).unwrap();
        track.interrupt();
        assert!(track.accepts_input(), "input stays open without manual control");
        track.enable_input(true);
        track.push(&[1_000; FRAME]).unwrap();
        track.interrupt();
        assert_eq!(track.push(&[2_000; 2 * FRAME]), Err(TrackError::InputClosed));
        assert_eq!(track.push_bytes(&[0; 2 * FRAME]), Err(TrackError::InputClosed));
        assert_eq!(track.refused_sample_frames(), 3 * FRAME as u64);
        track.enable_input(true);
        track.push(&[3_000; FRAME]).unwrap();
        let out: Vec<i16> = (0..4).flat_map(|_| rig.frame()).collect();
        assert!(out.iter().all(|&sample| sample == 0 || sample == 3_000), "{out:?}");
        assert_eq!(out.iter().filter(|&&sample| sample == 3_000).count(), FRAME);
    });
}

#[test]
fn a_track_counts_as_speaking_until_its_grace_period_ends() {
    with_rig(|rig, pool| {
        let mut track = pool.open().unwrap();
        assert!(!track.is_speaking(rig.now()), "a new track is not speaking");
        track.push(&[1_000; 2 * FRAME]).unwrap();
        assert!(track.is_speaking(rig.now()), "a track with queued samples is speaking");
        rig.frame();
        rig.frame();
        for tick in 0..60 {
            assert_eq!(track.is_speaking(rig.now()), tick < 50, "{tick} frames after the last sample");
            rig.frame();
        }
        track.set_grace(Duration::from_millis(20));
        track.push(&[1_000; 4 * FRAME]).unwrap();
        rig.frame();
        track.pause();
        rig.frame();
        assert!(track.is_speaking(rig.now()));
        (0..3).for_each(|_| drop(rig.frame()));
        assert!(!track.is_speaking(rig.now()), "a paused track is not speaking");
        track.resume();
        assert!(track.is_speaking(rig.now()));
    });
}

/// An interrupted track has no grace period, so that the user who interrupted is listened to at once.
#[test]
fn an_interrupted_track_stops_speaking_when_its_fade_ends() {
    with_rig(|rig, pool| {
        let mut track = pool.open().unwrap();
        track.push(&[1_000; 6 * FRAME]).unwrap();
        rig.frame();
        assert_eq!(track.interrupted_at(rig.now()), None, "not interrupted yet");
        track.interrupt();
        assert!(track.is_speaking(rig.now()));
        rig.frame();
        let end = rig.now() - Duration::from_millis(5);
        assert!(track.is_speaking(end - Duration::from_millis(1)), "it counts as speaking during the fade");
        assert!(!track.is_speaking(rig.now()));
        track.push(&[1_000; FRAME]).unwrap();
        rig.frame();
        rig.frame();
        assert!(track.is_speaking(rig.now()), "the next utterance has a grace period");
    });
}

/// A tail that is shorter than a frame is played and not joined with the next utterance.
#[test]
fn a_short_tail_is_played_with_its_own_utterance() {
    with_rig(|rig, pool| {
        let mut track = pool.open().unwrap();
        track.push(&[1_111; FRAME + 33]).unwrap();
        track.mark_synthesis_complete().unwrap();
        track.push(&[2_222; FRAME]).unwrap();
        let out: Vec<i16> = (0..3).flat_map(|_| rig.frame()).collect();
        assert_eq!(out[..FRAME + 33], [1_111; FRAME + 33]);
        assert!(out[FRAME + 33..2 * FRAME].iter().all(|&sample| sample == 0));
        assert_eq!(out[2 * FRAME..], [2_222; FRAME]);
    });
}

#[test]
fn first_and_last_audio_are_reported_once_with_their_times() {
    with_rig(|rig, pool| {
        let mut track = pool.open().unwrap();
        rig.frame();
        let begin = rig.now();
        track.push(&[1_000; 2 * FRAME]).unwrap();
        assert_eq!(track.poll_event(rig.now()), None);
        rig.frame();
        assert_eq!(track.poll_event(rig.now()), Some(TrackEvent::FirstAudio { at: begin }));
        assert_eq!(track.poll_event(rig.now()), None);
        track.push(&[1_000; 40]).unwrap();
        track.mark_synthesis_complete().unwrap();
        rig.frame();
        assert_eq!(track.poll_event(rig.now()), None);
        rig.frame();
        let end = begin + Duration::from_micros(22_500);
        assert_eq!(track.poll_event(rig.now()), Some(TrackEvent::LastAudio { at: end }));
        assert_eq!(track.poll_event(rig.now()), None);
        // Completion without new samples is reported at once.
        track.mark_synthesis_complete().unwrap();
        assert_eq!(track.poll_event(rig.now()), Some(TrackEvent::LastAudio { at: rig.now() }));
        // The next utterance has its own first audio.
        track.push(&[1_000; FRAME]).unwrap();
        rig.frame();
        assert!(matches!(track.poll_event(rig.now()), Some(TrackEvent::FirstAudio { .. })));
    });
}

/// The last-audio event waits for the end of a pause; an interruption replaces it.
#[test]
fn last_audio_is_not_reported_while_paused_or_interrupted() {
    with_rig(|rig, pool| {
        let mut track = pool.open().unwrap();
        track.push(&[1_000; 3 * FRAME]).unwrap();
        track.mark_synthesis_complete().unwrap();
        rig.frame();
        assert!(matches!(track.poll_event(rig.now()), Some(TrackEvent::FirstAudio { .. })));
        track.pause();
        for _ in 0..100 {
            rig.frame();
            assert_eq!(track.poll_event(rig.now()), None);
        }
        track.resume();
        rig.frame();
        assert_eq!(
            track.poll_event(rig.now()),
            None,
            "reported before the rest of the interrupted frame was played"
        );
        rig.frame();
        assert!(matches!(track.poll_event(rig.now()), Some(TrackEvent::LastAudio { .. })));

        track.push(&[1_000; 6 * FRAME]).unwrap();
        track.mark_synthesis_complete().unwrap();
        rig.frame();
        assert!(matches!(track.poll_event(rig.now()), Some(TrackEvent::FirstAudio { .. })));
        track.interrupt();
        assert_eq!(track.poll_event(rig.now()), None, "reported before the mixer ran");
        rig.frame();
        let position = 3 * FRAME as u64 + FRAME as u64 + 80;
        assert_eq!(track.poll_event(rig.now()), Some(TrackEvent::Interrupted { position }));
        for _ in 0..10 {
            rig.frame();
            assert_eq!(track.poll_event(rig.now()), None);
        }
    });
}

/// A pause keeps every sample: playback resumes at the same sample, and only the fades differ.
#[test]
fn a_pause_loses_no_sample_and_makes_no_click() {
    for fade_ms in [3, 5, 10] {
        with_rig(|rig, pool| {
            let mut track = pool.open().unwrap();
            track.set_fade(Duration::from_millis(fade_ms)).unwrap();
            let fade = fade_ms as usize * 16;
            track.push(&[16_000; 6 * FRAME]).unwrap();
            let mut out = rig.frame();
            track.pause();
            out.extend(rig.frame());
            assert_eq!(track.played_position(rig.now()), (FRAME + fade) as u64);
            (0..3).for_each(|_| out.extend(rig.frame()));
            assert_eq!(
                track.played_position(rig.now()),
                (FRAME + fade) as u64,
                "the position advanced during the pause"
            );
            track.resume();
            (0..6).for_each(|_| out.extend(rig.frame()));
            let heard = out.iter().filter(|&&sample| sample != 0).count();
            // The last sample of the fade-out is zero.
            assert!((6 * FRAME - 2..=6 * FRAME).contains(&heard), "{heard} of {}", 6 * FRAME);
            let end = out.iter().rposition(|&sample| sample != 0).unwrap();
            let inside = out[..=end].windows(2).map(|pair| (pair[1] - pair[0]).abs()).max().unwrap();
            assert!(i32::from(inside) <= 16_000 / fade as i32 + 1, "{fade_ms} ms: a step of {inside}");
        });
    }
}

#[test]
fn a_stalled_source_is_not_followed_by_a_burst() {
    with_rig(|rig, pool| {
        let mut track = pool.open().unwrap();
        track.push(&ramp(2 * FRAME)).unwrap();
        (0..30).for_each(|_| drop(rig.frame()));
        assert_eq!(rig.stats().starved_frames, 28);
        // The source returns with its whole backlog, which is played at the loudspeaker's pace.
        track.push(&ramp(7 * FRAME)).unwrap();
        for left in (0..7).rev() {
            rig.frame();
            assert_eq!(track.queued_sample_frames(), left * FRAME);
        }
    });
}

/// A late source can be configured to skip samples and thus stay in time with the others.
#[test]
fn a_source_that_skips_late_frames_stays_in_time() {
    with_rig(|rig, pool| {
        let mut track = pool.open().unwrap();
        track.set_skip_late(true).unwrap();
        let source = ramp(20 * FRAME);
        let mut out = Vec::new();
        let mut fed = 0;
        for tick in 0..20 {
            // Frames 5 to 8 arrive late, all at once.
            if !(5..9).contains(&tick) {
                fed += track.push(&source[fed..(tick + 1) * FRAME]).unwrap();
            }
            out.extend(rig.frame());
        }
        assert_eq!(out[..5 * FRAME], source[..5 * FRAME]);
        assert_eq!(out[9 * FRAME..], source[9 * FRAME..20 * FRAME], "the source is not in time again");
        assert_eq!(rig.stats().late_frames, 4);
        // Skipped samples were not heard, but the position includes them.
        assert_eq!(track.played_position(rig.now()), 20 * FRAME as u64);
    });
}

#[test]
fn wrong_fades_are_refused_by_value() {
    with_rig(|_, pool| {
        let mut track = pool.open().unwrap();
        for us in [2_999, 10_001, -5_000] {
            let refused = track.set_fade(Duration::from_micros(us));
            assert_eq!(refused, Err(TrackError::Config(ConfigError::Fade { us })));
        }
        let text = track.set_fade(Duration::ZERO).unwrap_err().to_string();
        assert_eq!(text, "a fade of 0 us: expected 3000 to 10000 us");
    });
}
