//! The mixer: gains compared with unity, and many tracks with a copy of their samples.

use std::hint::black_box;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::capture::Bypass;
use handsfree_core::{ChannelMap, Duration, Frame, Gain, Session};
use handsfree_tests::{captured_at, outlet_config, played_at};

use crate::measure::{Comparison, Side, Stopwatch, repeated};
use crate::pipelines::{FRAME, mono, rate};

const ROUND: usize = 100;

/// How the tracks' gains are set.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Gains {
    Unity,
    Constant,
    /// A gain that moves during every frame.
    Moving,
}

/// Measures the playback worker alone.
pub(crate) fn mixer<const SLOTS: usize>(gains: Gains) -> Side {
    let session = Box::leak(Box::new(Session::<FRAME, SLOTS, 8, 8, 16, 8, 48_000>::new()));
    let mut halves = session.split::<NoopRawMutex, _, _>(mono(48_000), Bypass, ()).unwrap();
    let map = ChannelMap::natural(1, 1).unwrap();
    halves.outlet.configure(outlet_config(rate(48_000), map, FRAME as u32)).unwrap();
    let pool = Box::leak(Box::new(halves.tracks));
    let mut tracks: Vec<_> = (0..SLOTS).map(|_| pool.open().unwrap()).collect();
    let [low, high] = [0.3, 0.4].map(|gain| Gain::linear(gain).unwrap());
    if gains == Gains::Constant {
        tracks.iter_mut().for_each(|track| track.set_gain(low, Duration::ZERO).unwrap());
    }
    let mut out = [0i16; FRAME];
    let mut position = 0;
    Box::new(move || {
        let mut watch = Stopwatch::default();
        for round in 0..ROUND {
            for track in &mut tracks {
                track.push(&[123; FRAME]).unwrap();
                if gains == Gains::Moving {
                    let target = if round % 2 == 0 { low } else { high };
                    track.set_gain(target, Duration::from_millis(10)).unwrap();
                }
            }
            halves.outlet.on_period(&mut out, played_at(position, rate(48_000), 0));
            let now = captured_at(position, 0, rate(48_000), 0).called;
            halves.capture.poll(&|| now, &mut |_: &Frame<FRAME>| {});
            position += FRAME as u64;
            assert_eq!(watch.time(|| halves.playback.poll()), 1);
        }
        watch.ns_of_each(ROUND)
    })
}

fn copies(tracks: usize) -> Side {
    let from = vec![[123i16; FRAME]; tracks];
    let mut to = from.clone();
    repeated(ROUND, move || black_box(&mut to).copy_from_slice(black_box(&from)))
}

pub(crate) fn comparisons() -> Vec<Comparison> {
    let unity = "at unity";
    vec![
        Comparison::new(
            "8 tracks with a gain each",
            unity,
            Some(1.5),
            || mixer::<8>(Gains::Constant),
            || mixer::<8>(Gains::Unity),
        ),
        Comparison::new(
            "8 tracks with a gain that moves",
            unity,
            Some(1.5),
            || mixer::<8>(Gains::Moving),
            || mixer::<8>(Gains::Unity),
        ),
        Comparison::new(
            "64 tracks with a gain each",
            unity,
            Some(1.5),
            || mixer::<64>(Gains::Constant),
            || mixer::<64>(Gains::Unity),
        ),
        Comparison::new(
            "64 tracks",
            "a copy of their samples",
            Some(5.0),
            || mixer::<64>(Gains::Unity),
            || copies(64),
        ),
    ]
}
