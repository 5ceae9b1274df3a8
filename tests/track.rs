//! A track's contract, and the faults of the seeds' sources and tracks that must not come back.
#![allow(missing_docs)]

use handsfree_core::dsp::Quality;
use handsfree_core::playback::{SourceConfig, TrackError, TrackEvent};
use handsfree_core::{ConfigError, Duration};
use handsfree_tests::desk::{Desk, Pool, QUEUE_FRAMES, any_samples, with_desk};
use handsfree_tests::{for_seeds, level_db, pick, sample_at};

const RATE_HZ: u32 = 16_000;
const FRAME: usize = RATE_HZ as usize / 100;

fn at_desk(test: impl FnOnce(&mut Desk<'_, 4>, &Pool<'_, 4>)) {
    with_desk::<4>(RATE_HZ, 1, test);
}

fn ramp(count: usize) -> Vec<i16> {
    (0..count as u64).map(|position| sample_at(position, 0)).collect()
}

#[test]
fn bytes_in_any_lengths_are_the_same_samples() {
    for_seeds(50, |rng| {
        let channels = pick(rng, &[1u32, 2, 6]);
        with_desk::<4>(8_000, channels as usize, |desk, pool| {
            let mut track = pool.open().unwrap();
            let samples = any_samples(rng, 500 * channels as usize);
            let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
            let (mut fed, mut out) = (0, Vec::new());
            while fed < bytes.len() {
                let length = rng.range(0, 700) as usize;
                let end = (fed + length).min(bytes.len());
                fed += track.push_bytes(&bytes[fed..end]).unwrap();
                if track.queued_frames() > 0 {
                    out.extend(desk.frame());
                }
            }
            assert_eq!(track.position(), 500);
            track.flush().unwrap();
            while track.queued_frames() > 0 {
                out.extend(desk.frame());
            }
            assert_eq!(out[..samples.len()], samples);
            assert!(out[samples.len()..].iter().all(|&sample| sample == 0));
            assert_eq!(track.dropped_bytes(), 0);
        });
    });
}

#[test]
fn half_a_sample_at_the_end_is_counted() {
    at_desk(|_, pool| {
        let mut track = pool.open().unwrap();
        assert_eq!(track.push_bytes(&[1, 2, 3]).unwrap(), 3);
        assert_eq!((track.position(), track.dropped_bytes()), (1, 0));
        track.mark_synthesis_complete().unwrap();
        assert_eq!(track.dropped_bytes(), 1);
        assert_eq!(track.push_bytes(&[4, 5]).unwrap(), 2, "and does not shift what comes next");
        assert_eq!(track.position(), 2);
    });
}

/// Any rate and channels, speech synthesis at 22,050 Hz included, comes out as loud, as long, and is heard to its
/// last sample.
#[test]
fn sources_of_any_rate_and_channels_are_played_whole() {
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
        with_desk::<4>(48_000, 2, |desk, pool| {
            let source = SourceConfig { rate_hz, channels, quality: Quality::MEDIUM, matching: None };
            let mut track = pool.open_source::<8_192>(source).unwrap();
            let sine =
                |n: usize| (f64::from(n as u32) * 400.0 * std::f64::consts::TAU / f64::from(rate_hz)).sin();
            let count = rate_hz as usize / 2 + 7;
            let samples: Vec<i16> =
                (0..count).flat_map(|n| vec![(sine(n) * 10_000.0) as i16; channels as usize]).collect();
            let mut out = Vec::new();
            track.push_blocking(&samples, || out.extend(desk.frame())).unwrap();
            assert_eq!(track.position(), count as u64);
            while track.mark_synthesis_complete() == Err(TrackError::Full) {
                out.extend(desk.frame());
            }
            let mut told = Vec::new();
            while !told.iter().any(|event| matches!(event, TrackEvent::LastAudio { .. })) {
                out.extend(desk.frame());
                told.extend(track.poll_event(desk.now()));
            }
            let last = out.iter().rposition(|&sample| sample.abs() > 300).unwrap() / 2;
            let expected = (count as f64 * 48_000.0 / f64::from(rate_hz)) as i64;
            assert!((last as i64 - expected).abs() < 100, "{rate_hz} Hz: {last} of {expected} sample frames");
            let level = level_db(&out[4_800..out.len().min(2 * expected as usize) - 4_800]);
            assert!((level - -13.32).abs() < 0.1, "{rate_hz} Hz, {channels} channels: {level} dB");
            assert_eq!(
                track.played_position(desk.now()),
                count as u64,
                "{rate_hz} Hz: heard to the last sample"
            );
            assert_eq!(desk.stats().clipped_samples, 0);
        });
    }
}

/// Several short utterances on the way at once, at another rate: each position belongs to its own.
#[test]
fn positions_of_converted_utterances_are_their_own() {
    with_desk::<4>(48_000, 1, |desk, pool| {
        let source = SourceConfig { rate_hz: 22_050, channels: 1, quality: Quality::LOW, matching: None };
        let mut track = pool.open_source::<8_192>(source).unwrap();
        let mut halves = Vec::new();
        let mut expected = 0;
        for length in [300, 431, 222] {
            assert_eq!(track.push(&vec![5_000; length]).unwrap(), length);
            track.mark_synthesis_complete().unwrap();
            expected += length as u64;
            halves.push((track.queued_frames(), expected));
        }
        let mut frames = 0;
        for (queued, position) in halves {
            while frames < queued {
                desk.frame();
                frames += 1;
            }
            assert_eq!(track.played_position(desk.now()), position);
        }
    });
}

#[test]
fn a_full_queue_pushes_back_and_nothing_is_lost() {
    at_desk(|desk, pool| {
        let mut track = pool.open().unwrap();
        let source = ramp(50 * FRAME);
        let room = track.free_samples();
        // One frame more waits beside the queue.
        assert_eq!(room, (QUEUE_FRAMES + 1) * FRAME);
        assert_eq!(track.push(&source).unwrap(), room);
        assert_eq!(track.push(&source[room..]).unwrap(), 0);
        assert_eq!(track.queued_duration(), Duration::from_millis(10 * (QUEUE_FRAMES as i64 + 1)));
        let mut out = desk.frame();
        track.push_blocking(&source[room..], || out.extend(desk.frame())).unwrap();
        while track.flush() == Err(TrackError::Full) {
            out.extend(desk.frame());
        }
        (0..QUEUE_FRAMES + 2).for_each(|_| out.extend(desk.frame()));
        assert!(out[..source.len()] == source);
        assert_eq!(track.push(&[]).unwrap(), 0, "no samples are no frame");
    });
}

#[test]
fn durations_say_what_waits_and_what_is_not_heard() {
    at_desk(|desk, pool| {
        let mut track = pool.open().unwrap();
        track.push(&ramp(3 * FRAME + 80)).unwrap();
        assert_eq!(track.queued_duration(), Duration::from_millis(35));
        assert_eq!(track.unplayed_duration(desk.now()), Duration::from_millis(35));
        desk.frame();
        assert_eq!(track.queued_duration(), Duration::from_millis(25));
        assert_eq!(track.unplayed_duration(desk.now()), Duration::from_millis(25));
        assert_eq!(track.unplayed_duration(desk.now() - Duration::from_millis(4)), Duration::from_millis(29));
        track.interrupt();
        assert_eq!(track.unplayed_duration(desk.now()), Duration::ZERO, "what was dropped is not to come");
    });
}

#[test]
fn clearing_drops_what_waits_and_keeps_the_rest() {
    at_desk(|desk, pool| {
        let mut track = pool.open().unwrap();
        track.enable_input(true);
        track.push(&[9_000; 5 * FRAME]).unwrap();
        desk.frame();
        track.pause();
        desk.frame();
        track.clear();
        assert!(track.is_paused() && track.accepts_input(), "only the queue is cleared");
        track.push(&[700; FRAME]).unwrap();
        assert_eq!(desk.frame(), [0; FRAME], "still paused");
        assert_eq!(track.queued_frames(), 1);
        track.resume();
        assert_eq!(desk.frame(), [700; FRAME], "what is new needs no fade");
    });
}

/// After an interruption under manual control nothing is accepted, and that is counted, until input is enabled again.
#[test]
fn manual_control_keeps_an_old_answer_out_of_the_new_one() {
    at_desk(|desk, pool| {
        let mut track = pool.open().unwrap();
        track.push(&[1_000; FRAME]).unwrap();
        track.interrupt();
        assert!(track.accepts_input(), "without manual control");
        track.enable_input(true);
        track.push(&[1_000; FRAME]).unwrap();
        track.interrupt();
        assert_eq!(track.push(&[2_000; 2 * FRAME]), Err(TrackError::InputClosed));
        assert_eq!(track.push_bytes(&[0; 2 * FRAME]), Err(TrackError::InputClosed));
        assert_eq!(track.refused_sample_frames(), 3 * FRAME as u64);
        track.enable_input(true);
        track.push(&[3_000; FRAME]).unwrap();
        let out: Vec<i16> = (0..4).flat_map(|_| desk.frame()).collect();
        assert!(out.iter().all(|&sample| sample == 0 || sample == 3_000), "{out:?}");
        assert_eq!(out.iter().filter(|&&sample| sample == 3_000).count(), FRAME);
    });
}

#[test]
fn a_track_speaks_until_its_grace_is_over() {
    at_desk(|desk, pool| {
        let mut track = pool.open().unwrap();
        assert!(!track.is_speaking(desk.now()), "nothing was ever said");
        track.push(&[1_000; 2 * FRAME]).unwrap();
        assert!(track.is_speaking(desk.now()), "something waits");
        desk.frame();
        desk.frame();
        for tick in 0..60 {
            assert_eq!(track.is_speaking(desk.now()), tick < 50, "{tick} frames after the last sample");
            desk.frame();
        }
        track.set_grace(Duration::from_millis(20));
        track.push(&[1_000; 4 * FRAME]).unwrap();
        desk.frame();
        track.pause();
        desk.frame();
        assert!(track.is_speaking(desk.now()));
        (0..3).for_each(|_| drop(desk.frame()));
        assert!(!track.is_speaking(desk.now()), "a paused track is not heard, whatever waits");
        track.resume();
        assert!(track.is_speaking(desk.now()));
    });
}

/// An interrupted voice has no grace: whoever barged in is listened to at once.
#[test]
fn an_interrupted_track_speaks_no_longer_than_it_is_heard() {
    at_desk(|desk, pool| {
        let mut track = pool.open().unwrap();
        track.push(&[1_000; 6 * FRAME]).unwrap();
        desk.frame();
        assert_eq!(track.interrupted_at(desk.now()), None, "nobody interrupted it");
        track.interrupt();
        assert!(track.is_speaking(desk.now()));
        desk.frame();
        let end = desk.now() - Duration::from_millis(5);
        assert!(track.is_speaking(end - Duration::from_millis(1)), "while it fades");
        assert!(!track.is_speaking(desk.now()));
        track.push(&[1_000; FRAME]).unwrap();
        desk.frame();
        desk.frame();
        assert!(track.is_speaking(desk.now()), "the next utterance has its grace");
    });
}

/// The tail shorter than a frame is played and does not leak into the next utterance.
#[test]
fn the_tail_is_played_with_its_own_utterance() {
    at_desk(|desk, pool| {
        let mut track = pool.open().unwrap();
        track.push(&[1_111; FRAME + 33]).unwrap();
        track.mark_synthesis_complete().unwrap();
        track.push(&[2_222; FRAME]).unwrap();
        let out: Vec<i16> = (0..3).flat_map(|_| desk.frame()).collect();
        assert_eq!(out[..FRAME + 33], [1_111; FRAME + 33]);
        assert!(out[FRAME + 33..2 * FRAME].iter().all(|&sample| sample == 0));
        assert_eq!(out[2 * FRAME..], [2_222; FRAME]);
    });
}

#[test]
fn first_and_last_audio_are_told_once_with_their_times() {
    at_desk(|desk, pool| {
        let mut track = pool.open().unwrap();
        desk.frame();
        let begin = desk.now();
        track.push(&[1_000; 2 * FRAME]).unwrap();
        assert_eq!(track.poll_event(desk.now()), None);
        desk.frame();
        assert_eq!(track.poll_event(desk.now()), Some(TrackEvent::FirstAudio { at: begin }));
        assert_eq!(track.poll_event(desk.now()), None);
        track.push(&[1_000; 40]).unwrap();
        track.mark_synthesis_complete().unwrap();
        desk.frame();
        assert_eq!(track.poll_event(desk.now()), None);
        desk.frame();
        let end = begin + Duration::from_micros(22_500);
        assert_eq!(track.poll_event(desk.now()), Some(TrackEvent::LastAudio { at: end }));
        assert_eq!(track.poll_event(desk.now()), None);
        // Complete without more: at once.
        track.mark_synthesis_complete().unwrap();
        assert_eq!(track.poll_event(desk.now()), Some(TrackEvent::LastAudio { at: desk.now() }));
        // And the next utterance begins anew.
        track.push(&[1_000; FRAME]).unwrap();
        desk.frame();
        assert!(matches!(track.poll_event(desk.now()), Some(TrackEvent::FirstAudio { .. })));
    });
}

/// The last-audio event waits for the end of a pause, and an interruption takes its place.
#[test]
fn last_audio_is_not_told_in_a_pause_nor_after_an_interruption() {
    at_desk(|desk, pool| {
        let mut track = pool.open().unwrap();
        track.push(&[1_000; 3 * FRAME]).unwrap();
        track.mark_synthesis_complete().unwrap();
        desk.frame();
        assert!(matches!(track.poll_event(desk.now()), Some(TrackEvent::FirstAudio { .. })));
        track.pause();
        for _ in 0..100 {
            desk.frame();
            assert_eq!(track.poll_event(desk.now()), None);
        }
        track.resume();
        desk.frame();
        assert_eq!(track.poll_event(desk.now()), None, "the rest of the frame that the pause cut");
        desk.frame();
        assert!(matches!(track.poll_event(desk.now()), Some(TrackEvent::LastAudio { .. })));

        track.push(&[1_000; 6 * FRAME]).unwrap();
        track.mark_synthesis_complete().unwrap();
        desk.frame();
        assert!(matches!(track.poll_event(desk.now()), Some(TrackEvent::FirstAudio { .. })));
        track.interrupt();
        assert_eq!(track.poll_event(desk.now()), None, "not before it was carried out");
        desk.frame();
        let position = 3 * FRAME as u64 + FRAME as u64 + 80;
        assert_eq!(track.poll_event(desk.now()), Some(TrackEvent::Interrupted { position }));
        for _ in 0..10 {
            desk.frame();
            assert_eq!(track.poll_event(desk.now()), None);
        }
    });
}

/// A pause keeps every sample: what comes after it goes on where it stopped, and only the fades differ.
#[test]
fn a_pause_loses_nothing_and_clicks_nowhere() {
    for fade_ms in [3, 5, 10] {
        at_desk(|desk, pool| {
            let mut track = pool.open().unwrap();
            track.set_fade(Duration::from_millis(fade_ms)).unwrap();
            let fade = fade_ms as usize * 16;
            track.push(&[16_000; 6 * FRAME]).unwrap();
            let mut out = desk.frame();
            track.pause();
            out.extend(desk.frame());
            assert_eq!(track.played_position(desk.now()), (FRAME + fade) as u64);
            (0..3).for_each(|_| out.extend(desk.frame()));
            assert_eq!(
                track.played_position(desk.now()),
                (FRAME + fade) as u64,
                "silence is not heard of it"
            );
            track.resume();
            (0..6).for_each(|_| out.extend(desk.frame()));
            let heard = out.iter().filter(|&&sample| sample != 0).count();
            // The last sample of the fade out is nothing.
            assert!((6 * FRAME - 2..=6 * FRAME).contains(&heard), "{heard} of {}", 6 * FRAME);
            let end = out.iter().rposition(|&sample| sample != 0).unwrap();
            let inside = out[..=end].windows(2).map(|pair| (pair[1] - pair[0]).abs()).max().unwrap();
            assert!(i32::from(inside) <= 16_000 / fade as i32 + 1, "{fade_ms} ms: a step of {inside}");
        });
    }
}

#[test]
fn a_stall_is_followed_by_no_burst() {
    at_desk(|desk, pool| {
        let mut track = pool.open().unwrap();
        track.push(&ramp(2 * FRAME)).unwrap();
        (0..30).for_each(|_| drop(desk.frame()));
        assert_eq!(desk.stats().starved_frames, 28);
        // The source comes back with everything it owes: it is played at the loudspeaker's pace.
        track.push(&ramp(7 * FRAME)).unwrap();
        for left in (0..7).rev() {
            desk.frame();
            assert_eq!(track.queued_sample_frames(), left * FRAME);
        }
    });
}

/// A late source may be made to stay in time with the others instead.
#[test]
fn a_source_that_skips_what_is_late_stays_in_time() {
    at_desk(|desk, pool| {
        let mut track = pool.open().unwrap();
        track.set_skip_late(true).unwrap();
        let source = ramp(20 * FRAME);
        let mut out = Vec::new();
        let mut fed = 0;
        for tick in 0..20 {
            // Between frames 5 and 9 nothing comes; then all of it at once.
            if !(5..9).contains(&tick) {
                fed += track.push(&source[fed..(tick + 1) * FRAME]).unwrap();
            }
            out.extend(desk.frame());
        }
        assert_eq!(out[..5 * FRAME], source[..5 * FRAME]);
        assert_eq!(out[9 * FRAME..], source[9 * FRAME..20 * FRAME], "in its place again");
        assert_eq!(desk.stats().late_frames, 4);
        // What was dropped was never heard, but the position counts over it.
        assert_eq!(track.played_position(desk.now()), 20 * FRAME as u64);
    });
}

#[test]
fn wrong_fades_are_refused_by_value() {
    at_desk(|_, pool| {
        let mut track = pool.open().unwrap();
        for us in [2_999, 10_001, -5_000] {
            let refused = track.set_fade(Duration::from_micros(us));
            assert_eq!(refused, Err(TrackError::Config(ConfigError::Fade { us })));
        }
        let text = track.set_fade(Duration::ZERO).unwrap_err().to_string();
        assert_eq!(text, "a fade of 0 us: expected 3000 to 10000 us");
    });
}
