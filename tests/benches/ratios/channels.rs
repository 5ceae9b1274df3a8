//! The interrupts' halves: formats compared with a copy, and channels with one channel.

use std::hint::black_box;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::capture::Bypass;
use handsfree_core::{ChannelMap, DeviceSample, Frame, Session};
use handsfree_tests::{captured_at, intake_config, outlet_config, played_at};

use crate::measure::{Comparison, Side, Stopwatch, repeated};
use crate::pipelines::{FRAME, mono, rate};

/// Periods between two calls of the worker, so that their time can be read at once.
const PERIODS: usize = 6;
const STRETCHES: usize = 60;

type InterruptSession = Session<FRAME, 1, 8, 8, 16, 8, 48_000>;

fn intake<S: DeviceSample + 'static>(channels: u32) -> Side {
    let session = Box::leak(Box::new(InterruptSession::new()));
    let mut halves = session.split::<NoopRawMutex, _, _>(mono(48_000), Bypass, ()).unwrap();
    let map = ChannelMap::natural(channels, 1).unwrap();
    halves.intake.configure(intake_config(rate(48_000), map, FRAME as u32)).unwrap();
    let periods = periods::<S>(channels);
    let mut position = 0;
    Box::new(move || {
        let mut watch = Stopwatch::default();
        for _ in 0..STRETCHES {
            watch.time(|| {
                for period in &periods {
                    halves.intake.on_period(black_box(period), captured_at(position, FRAME, rate(48_000), 0));
                    position += FRAME as u64;
                }
            });
            let now = captured_at(position, 0, rate(48_000), 0).called;
            halves.capture.poll(&|| now, &mut |_: &Frame<FRAME>| {});
        }
        watch.ns_of_each(STRETCHES * PERIODS)
    })
}

fn outlet<S: DeviceSample + 'static>(channels: u32) -> Side {
    let session = Box::leak(Box::new(InterruptSession::new()));
    let mut halves = session.split::<NoopRawMutex, _, _>(mono(48_000), Bypass, ()).unwrap();
    let map = ChannelMap::natural(1, channels).unwrap();
    let mut config = outlet_config(rate(48_000), map, FRAME as u32);
    config.worker_slack_sample_frames = (PERIODS * FRAME) as u32;
    halves.outlet.configure(config).unwrap();
    let mut track = Box::leak(Box::new(halves.tracks)).open().unwrap();
    let mut out = periods::<S>(channels);
    let mut position = 0;
    Box::new(move || {
        let mut watch = Stopwatch::default();
        for _ in 0..STRETCHES {
            for _ in 0..PERIODS {
                track.push(&[1_234; FRAME]).unwrap();
            }
            halves.playback.poll();
            watch.time(|| {
                for out in &mut out {
                    halves.outlet.on_period(black_box(out), played_at(position, rate(48_000), 0));
                    position += FRAME as u64;
                }
            });
            let now = captured_at(position, 0, rate(48_000), 0).called;
            halves.capture.poll(&|| now, &mut |_: &Frame<FRAME>| {});
        }
        watch.ns_of_each(STRETCHES * PERIODS)
    })
}

fn periods<S: DeviceSample>(channels: u32) -> Vec<Vec<S>> {
    vec![vec![S::from_pcm(1_234); FRAME * channels as usize]; PERIODS]
}

/// Copies the samples of as many periods.
fn copy<S: DeviceSample + 'static>() -> Side {
    let (from, mut to) = (periods::<S>(1), periods::<S>(1));
    let mut next = 0;
    repeated(STRETCHES * PERIODS, move || {
        next = (next + 1) % PERIODS;
        black_box(&mut to[next]).copy_from_slice(black_box(&from[next]));
    })
}

fn format<S: DeviceSample + 'static>(name: &str) -> [Comparison; 2] {
    let peer = "a copy of the device's samples";
    let [capture, playback] = ["capture", "playback"].map(|half| format!("{half} interrupt, {name}"));
    [
        Comparison::new(capture, peer, Some(5.0), || intake::<S>(1), copy::<S>),
        Comparison::new(playback, peer, Some(5.0), || outlet::<S>(1), copy::<S>),
    ]
}

fn channels<S: DeviceSample + 'static>(name: &str) -> [Comparison; 2] {
    let peer = "one channel";
    let mean = format!("capture interrupt, mean of 8 channels, {name}");
    let all = format!("playback interrupt, to 8 channels, {name}");
    [
        Comparison::new(mean, peer, Some(5.0), || intake::<S>(8), || intake::<S>(1)),
        Comparison::new(all, peer, Some(5.0), || outlet::<S>(8), || outlet::<S>(1)),
    ]
}

pub(crate) fn comparisons() -> Vec<Comparison> {
    let formats = [format::<i16>("i16"), format::<i32>("i32"), format::<f32>("f32")];
    formats.into_iter().chain([channels::<i16>("i16"), channels::<f32>("f32")]).flatten().collect()
}
