//! The mixer as an application sees it, from tracks to device samples, compared with a 64-bit sum and simple models.

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::capture::Bypass;
use handsfree_core::playback::{Limiter, TrackError};
use handsfree_core::{Duration, Gain, SampleRate, Session, SessionEvent, SessionFormat};
use handsfree_sim::noise::Rng;
use handsfree_tests::playback_rig::{
    QUEUE_FRAMES, any_gain, any_samples, q16, saturated, scaled, with_playback_rig,
};
use handsfree_tests::{for_seeds, one_in, pick, with_large_stack};

#[test]
fn one_source_at_unity_passes_bit_by_bit() {
    for (rate_hz, channels) in [(8_000, 1), (44_100, 2), (48_000, 1), (48_000, 2), (96_000, 1)] {
        with_playback_rig::<4>(rate_hz, channels, |rig, pool| {
            let source: Vec<i16> =
                (0..65_536 * channels as i32).map(|i| (i / channels as i32) as i16).collect();
            let mut track = pool.open().unwrap();
            let (mut pushed, mut out) = (0, Vec::new());
            while out.len() < source.len() {
                pushed += track.push(&source[pushed..]).unwrap();
                out.extend(rig.frame());
                if pushed == source.len() && track.queued_frames() == 0 {
                    break;
                }
            }
            let whole = out.len().min(source.len());
            assert!(whole > source.len() - rig.rate.sample_frames() * channels);
            assert_eq!(out[..whole], source[..whole]);
            assert_eq!(rig.stats().clipped_samples, 0);
        });
    }
}

fn sum_of<const SLOTS: usize>(rng: &mut Rng) {
    let (rate_hz, channels) = pick(rng, &[(8_000, 1), (16_000, 2), (44_100, 2), (48_000, 1), (48_000, 2)]);
    with_playback_rig::<SLOTS>(rate_hz, channels, |rig, pool| {
        let frame = rig.rate.sample_frames() * channels;
        let sources = rng.range(1, SLOTS as u64 + 1) as usize;
        let mut expected = vec![0i64; frame * 5];
        let mut tracks = Vec::new();
        for _ in 0..sources {
            let gain = any_gain(rng);
            let count = rng.range(0, 5 * rig.rate.sample_frames() as u64 + 1) as usize * channels;
            let source = any_samples(rng, count);
            let mut track = pool.open().unwrap();
            track.set_gain(Gain::linear(gain).unwrap(), Duration::ZERO).unwrap();
            assert_eq!(track.push(&source).unwrap(), count);
            for (sum, &sample) in expected.iter_mut().zip(&source) {
                *sum += scaled(sample, q16(gain));
            }
            assert!(track.finish().is_ok());
            tracks.push(source);
        }
        let out: Vec<i16> = (0..5).flat_map(|_| rig.frame()).collect();
        let clipped = expected.iter().filter(|&&sum| sum != i64::from(saturated(sum))).count();
        assert_eq!(out, expected.iter().map(|&sum| saturated(sum)).collect::<Vec<_>>());
        assert_eq!(rig.stats().clipped_samples as usize, clipped);
    });
}

#[test]
fn the_mix_is_the_64_bit_sum_of_its_sources() {
    for_seeds(100, sum_of::<8>);
    for_seeds(10, sum_of::<64>);
}

#[test]
fn all_slots_at_largest_gain_saturate_instead_of_wrapping() {
    with_large_stack(|| {
        with_playback_rig::<64>(48_000, 1, |rig, pool| {
            for level in [i16::MIN, i16::MAX] {
                for _ in 0..64 {
                    let mut track = pool.open().unwrap();
                    track.set_gain(Gain::MAX, Duration::ZERO).unwrap();
                    track.push(&[level; 480]).unwrap();
                    assert!(track.finish().is_ok());
                }
                assert_eq!(rig.frame(), vec![level; 480]);
                rig.frame();
            }
            assert_eq!(rig.stats().clipped_samples, 960);
        });
    });
}

#[test]
fn a_track_is_refused_until_a_slot_has_played_out() {
    with_playback_rig::<4>(48_000, 1, |rig, pool| {
        let mut tracks: Vec<_> = (0..4).map(|_| pool.open().unwrap()).collect();
        assert_eq!(pool.open().unwrap_err(), TrackError::NoSlot { slots: 4 });
        assert_eq!(pool.open().unwrap_err().to_string(), "all 4 track slots are in use");
        let mut track = tracks.pop().unwrap();
        track.push(&[1; 960]).unwrap();
        assert!(track.finish().is_ok());
        assert_eq!(pool.free(), 0, "the slot stays in use while queued samples are played");
        for _ in 0..3 {
            assert!(pool.open().is_err());
            rig.frame();
        }
        assert_eq!(pool.free(), 1);
        assert!(pool.open().is_ok());
    });
}

#[test]
fn a_full_mixer_queue_refuses_samples_and_loses_none() {
    with_playback_rig::<1>(48_000, 1, |rig, pool| {
        let source: Vec<i16> = (0..20_000).map(|i| (i % 30_000 + 1) as i16).collect();
        let mut track = pool.open().unwrap();
        // The queue, and one incomplete frame beside it.
        let capacity = (QUEUE_FRAMES + 1) * 480;
        assert_eq!(track.push(&source).unwrap(), capacity);
        assert_eq!(track.push(&source[capacity..]).unwrap(), 0);
        assert_eq!(track.position(), capacity as u64);
        let track = track.finish().unwrap_err();
        let mut out = rig.frame();
        assert!(track.finish().is_ok(), "the last frame fits into the queue now");
        (0..QUEUE_FRAMES).for_each(|_| out.extend(rig.frame()));
        assert_eq!(out, source[..capacity]);
    });
}

/// Returns the largest difference between two consecutive samples.
fn largest_step(signal: &[i16]) -> i32 {
    signal.windows(2).map(|pair| (i32::from(pair[1]) - i32::from(pair[0])).abs()).max().unwrap_or(0)
}

/// With a constant source level, every step in the output is a step of the gain.
#[test]
fn gain_ramps_are_free_of_clicks_and_last_as_requested() {
    for_seeds(60, |rng| {
        with_playback_rig::<2>(48_000, 1, |rig, pool| {
            let level = 10_000i16;
            let mut track = pool.open().unwrap();
            let (from, to) = (rng.uniform() as f32, rng.uniform() as f32);
            let ramp_ms = rng.range(1, 50);
            track.set_gain(Gain::linear(from).unwrap(), Duration::ZERO).unwrap();
            let mut out = Vec::new();
            for turn in 0..12 {
                track.push(&[level; 480]).unwrap();
                if turn == 3 {
                    let ramp = Duration::from_millis(ramp_ms as i64);
                    track.set_gain(Gain::linear(to).unwrap(), ramp).unwrap();
                }
                out.extend(rig.frame());
            }
            let ramp = ramp_ms as usize * 48;
            let begin = 3 * 480;
            let step = f64::from((to - from).abs()) * f64::from(level) / ramp as f64;
            assert!(f64::from(largest_step(&out)) <= step + 1.5, "{} of {step}", largest_step(&out));
            for (at, &sample) in out.iter().enumerate() {
                let part = (at as f64 + 1.0 - begin as f64).clamp(0.0, ramp as f64) / ramp as f64;
                let ideal = f64::from(level) * (f64::from(from) + f64::from(to - from) * part);
                assert!((f64::from(sample) - ideal).abs() <= 1.0, "sample {at}: {sample}, ideal {ideal}");
            }
        });
    });
}

#[test]
fn a_ramp_shorter_than_a_millisecond_is_a_ramp_too() {
    with_playback_rig::<1>(48_000, 1, |rig, pool| {
        let mut track = pool.open().unwrap();
        track.push(&[24_000; 960]).unwrap();
        let mut out = rig.frame();
        track.set_gain(Gain::SILENT, Duration::from_micros(500)).unwrap();
        out.extend(rig.frame());
        // 500 us are 24 sample frames.
        assert!(largest_step(&out) <= 1_001, "a step of {}", largest_step(&out));
        assert_eq!(out[480 + 24..], [0; 456]);
    });
}

#[test]
fn a_replaced_ramp_continues_from_the_current_gain() {
    for_seeds(40, |rng| {
        with_playback_rig::<1>(16_000, 1, |rig, pool| {
            let mut track = pool.open().unwrap();
            let mut out = Vec::new();
            let mut steepest = 0.0f64;
            for _ in 0..100 {
                track.push(&[20_000; 160]).unwrap();
                if one_in(rng, 3) {
                    let ramp_ms = rng.range(5, 40);
                    track
                        .set_gain(
                            Gain::linear(rng.uniform() as f32).unwrap(),
                            Duration::from_millis(ramp_ms as i64),
                        )
                        .unwrap();
                    steepest = steepest.max(20_000.0 / (ramp_ms * 16) as f64);
                }
                out.extend(rig.frame());
            }
            assert!(f64::from(largest_step(&out)) <= steepest + 1.5, "{} of {steepest}", largest_step(&out));
        });
    });
}

#[test]
fn a_dropped_track_fades_within_10_ms_and_never_clicks() {
    for_seeds(20, |rng| {
        with_playback_rig::<2>(48_000, 2, |rig, pool| {
            let level = 30_000i16;
            let mut track = pool.open().unwrap();
            let id = track.id();
            track.push(&vec![level; 960 * 6]).unwrap();
            let frames = rng.range(1, 5);
            let mut out: Vec<i16> = (0..frames).flat_map(|_| rig.frame()).collect();
            drop(track);
            assert_eq!(pool.free(), 1, "the slot stays in use during the fade");
            out.extend(rig.frame());
            assert_eq!(pool.free(), 2);
            out.extend(rig.frame());
            let left: Vec<i16> = out.iter().copied().step_by(2).collect();
            assert_eq!(
                left,
                out.iter().copied().skip(1).step_by(2).collect::<Vec<_>>(),
                "channels fade together"
            );
            assert!(largest_step(&left) <= i32::from(level) / 480 + 2, "{}", largest_step(&left));
            assert_eq!(left[(frames as usize + 1) * 480 - 1..], vec![0; 481]);
            let position = (frames + 1) * 480;
            assert_eq!(
                rig.events(),
                [SessionEvent::TrackStarted { track: id }, SessionEvent::TrackEnded { track: id, position }]
            );
        });
    });
}

#[test]
fn a_short_tail_is_played_and_the_end_is_reported_once() {
    for_seeds(40, |rng| {
        with_playback_rig::<1>(44_100, 1, |rig, pool| {
            let count = rng.range(1, 3 * 441) as usize;
            let source: Vec<i16> = (0..count).map(|i| i as i16 + 1).collect();
            let mut track = pool.open().unwrap();
            let id = track.id();
            assert_eq!(track.push(&source).unwrap(), count);
            assert!(track.finish().is_ok());
            let mut out: Vec<i16> = (0..5).flat_map(|_| rig.frame()).collect();
            assert!(out.split_off(count).iter().all(|&s| s == 0));
            assert_eq!(out, source);
            let position = count as u64;
            assert_eq!(
                rig.events(),
                [SessionEvent::TrackStarted { track: id }, SessionEvent::TrackEnded { track: id, position }]
            );
            assert_eq!(rig.stats().starved_frames, 0, "a finished track must not starve");
        });
    });
}

#[test]
fn starvation_is_reported_once_until_the_track_plays_again() {
    with_playback_rig::<2>(48_000, 1, |rig, pool| {
        let mut track = pool.open().unwrap();
        let id = track.id();
        rig.frame();
        assert_eq!(rig.events(), [], "a track that never played must not starve");
        for _ in 0..3 {
            track.push(&[5; 480]).unwrap();
            for _ in 0..4 {
                rig.frame();
            }
        }
        let starved = SessionEvent::TrackStarved { track: id };
        assert_eq!(rig.events(), [SessionEvent::TrackStarted { track: id }, starved, starved, starved]);
        assert_eq!(rig.stats().starved_frames, 9);
    });
}

#[test]
fn the_soft_limiter_changes_only_loud_samples() {
    with_playback_rig::<2>(48_000, 1, |rig, pool| {
        rig.playback.set_limiter(Limiter::Soft);
        let ramp: Vec<i16> = (0..480).map(|i| (i * 68) as i16).collect();
        let mut tracks = [pool.open().unwrap(), pool.open().unwrap()];
        for track in &mut tracks {
            track.push(&ramp).unwrap();
        }
        let out = rig.frame();
        let mut before = -1;
        for (i, &sample) in out.iter().enumerate() {
            let sum = 2 * i32::from(ramp[i]);
            if sum <= 24_576 {
                assert_eq!(i32::from(sample), sum, "samples below the knee are unchanged");
            }
            assert!(i32::from(sample) > before || i32::from(sample) == before && sum > 24_576);
            assert!(sample < i16::MAX, "full scale is never reached");
            before = i32::from(sample);
        }
        assert!(out[479] > 30_000);
        let bent = ramp.iter().filter(|&&s| 2 * i32::from(s) > 24_576 + 1).count();
        let counted = rig.stats().limited_samples as usize;
        assert!(counted.abs_diff(bent) <= 1, "{counted} counted, {bent} limited");
        assert_eq!(rig.stats().clipped_samples, 0);
    });
}

/// A track that is dropped while nothing plays frees its slot.
#[test]
fn dropped_tracks_free_their_slots_while_no_stream_runs() {
    let rate = SampleRate::new(48_000).unwrap();
    let mut session = Box::new(Session::<480, 2, 4, 4, 4, 8, 480>::new());
    let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).unwrap();
    for _ in 0..100 {
        let mut track = halves.tracks.open().unwrap();
        track.push(&[1; 960]).unwrap();
        drop(track);
        assert_eq!(halves.playback.poll(), 0, "frames are mixed without a device");
    }
    assert_eq!(halves.tracks.free(), 2);
}
