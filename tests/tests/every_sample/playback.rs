//! The playback path, from a track to the loudspeaker's device.

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::capture::Bypass;
use handsfree_core::playback::OutletConfig;
use handsfree_core::{ChannelMap, I24, SampleRate, SessionFormat};
use handsfree_sim::noise::Rng;
use handsfree_tests::{
    KnownMap, LONGEST_PERIOD, RATES_HZ, TestSample, any_period, for_seeds, one_in, outlet_config, pick,
    played_at, sample_at,
};

use super::AnyFormatSession;

/// Plays a track and checks that all pushed samples reach the device once and in order, in runs separated by silence.
fn playback<S: TestSample>(rng: &mut Rng, starve_one_in: u64) {
    let rate = SampleRate::new(pick(rng, &RATES_HZ)).unwrap();
    let map = KnownMap::any(rng);
    let (channels, device_channels) = (map.map.from_channels(), map.map.to_channels());
    let first_position = (1u64 << 32) - rng.range(0, 100_000);
    let mut session = Box::new(AnyFormatSession::new());
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
        // A mapped sample frame may be silent itself, as a mean of 0.
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
fn a_late_worker_causes_silence_and_loses_no_sample() {
    for_seeds(40, |rng| any_format_playback(rng, 2));
}

/// Fault 8: the device returns with another rate, channel count and sample format. Frames made for the old one are dropped
/// and counted, and none of them is heard.
#[test]
fn frames_made_for_the_old_device_never_play_on_the_new_one() {
    for_seeds(12, |rng| {
        let terminal_rate = SampleRate::new(48_000).unwrap();
        let mut session = Box::new(AnyFormatSession::new());
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
            // All queued samples have this level now, which identifies them.
            let mut seen = false;
            let mut position = 0;
            for _ in 0..40 {
                track.push(&[level; 480 * 4]).unwrap();
                halves.playback.poll();
                let length = rng.range(1, u64::from(max_period_sample_frames) + 1) as usize;
                let mut out = vec![f32::NAN; length * channels as usize];
                halves.outlet.on_period(&mut out, played_at(position, rate, 0));
                position += length as u64;
                assert!(out.iter().all(|s| s.is_finite()), "a sample was left unwritten");
                seen |= out.iter().any(|&s| s != 0.0);
            }
            assert!(seen, "{} Hz: nothing was heard", rate.hz());
            let old = rate;
            while rate == old {
                rate = SampleRate::new(pick(rng, &RATES_HZ)).unwrap();
            }
            // Change the level, and empty the queue of the old one by playing it on the old device.
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
            assert_eq!(
                after.outlet.foreign_frames - stats.outlet.foreign_frames,
                stale,
                "each dropped frame is counted"
            );
            assert!(
                heard.iter().all(|&s| s == 0),
                "frames made for {} Hz were heard at {}",
                old.hz(),
                rate.hz()
            );
        }
    });
}
