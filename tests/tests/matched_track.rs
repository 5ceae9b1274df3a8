//! A source on its own clock: its queue stays at its target at any drift.

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::capture::Bypass;
use handsfree_core::dsp::Quality;
use handsfree_core::playback::{Matching, SourceConfig, TrackError};
use handsfree_core::{ChannelMap, ConfigError, SampleRate, SessionEvent, SessionFormat};
use handsfree_sim::scenario::SimSession;
use handsfree_tests::{outlet_config, played_at, with_large_stack};

const MINUTES: u64 = 10;

/// Plays a sine of `source_hz` from a source that is `ppm` fast, in packets of 20 ms. Returns the queue's largest distance
/// from its target after the first two minutes, in milliseconds, the estimated drift in ppm, and the number of starvation
/// events.
fn play(source_hz: u32, ppm: f64) -> (f64, f64, usize) {
    let rate = SampleRate::new(48_000).unwrap();
    let mut session = Box::new(SimSession::new());
    let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).unwrap();
    halves.outlet.configure(outlet_config(rate, ChannelMap::natural(1, 1).unwrap(), 480)).unwrap();
    let matching = Some(Matching { target_ms: 60 });
    let config = SourceConfig { rate_hz: source_hz, channels: 1, quality: Quality::LOW, matching };
    let mut track = halves.tracks.open_source::<4_096>(config).unwrap();
    let packet = source_hz as usize / 50;
    let true_hz = f64::from(source_hz) * (1.0 + ppm * 1e-6);
    let (mut sent, mut starved, mut worst_ms) = (0usize, 0, 0.0f64);
    let mut loudspeaker = [0i16; 480];
    for tick in 0..MINUTES * 6_000 {
        let now_s = tick as f64 * 0.01;
        while sent as f64 / true_hz <= now_s {
            let sine = |n: usize| {
                ((n as f64 * 440.0 / f64::from(source_hz) * core::f64::consts::TAU).sin() * 8_000.0) as i16
            };
            let samples: Vec<i16> = (sent..sent + packet).map(sine).collect();
            assert_eq!(track.push(&samples), Ok(packet), "the queue overflows after {now_s} s at {ppm} ppm");
            sent += packet;
        }
        halves.playback.poll();
        halves.outlet.on_period(&mut loudspeaker, played_at(tick * 480, rate, 0));
        while let Some(event) = halves.events.poll() {
            starved += usize::from(matches!(event, SessionEvent::TrackStarved { .. }));
        }
        if tick > 12_000 {
            let fill_ms = track.queued_sample_frames() as f64 / 48.0;
            worst_ms = worst_ms.max((fill_ms - 60.0).abs());
        }
        if tick > 100 {
            let step = loudspeaker.windows(2).map(|pair| (pair[1] - pair[0]).abs()).max().unwrap();
            assert!(step < 500, "a click of {step} after {now_s} s at {ppm} ppm");
        }
    }
    let drift_ppm = track.drift_ppm().unwrap();
    (worst_ms, drift_ppm, starved)
}

#[test]
fn the_queue_stays_at_its_target_at_any_drift() {
    for (source_hz, ppm) in
        [(48_000, 300.0), (48_000, -1_000.0), (22_050, 0.0), (16_000, 500.0), (44_100, -50.0)]
    {
        let (worst_ms, drift_ppm, starved) = with_large_stack(|| play(source_hz, ppm));
        println!(
            "{source_hz} Hz at {ppm} ppm: fill within {worst_ms:.1} ms, drift {drift_ppm:.1} ppm, starved {starved}"
        );
        // Packets of 20 ms and frames of 10 ms change the fill by up to 30 ms.
        assert!(
            worst_ms < 30.1 && starved == 0,
            "{source_hz} Hz at {ppm} ppm: {worst_ms} ms, starved {starved}"
        );
        assert!((drift_ppm - ppm).abs() < 150.0, "{source_hz} Hz at {ppm} ppm: found {drift_ppm}");
    }
}

#[test]
fn a_source_that_cannot_be_converted_is_refused_by_value() {
    with_large_stack(|| {
        let rate = SampleRate::new(48_000).unwrap();
        let mut session = Box::new(SimSession::new());
        let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
        let halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).unwrap();
        let config = SourceConfig { rate_hz: 3_000, channels: 1, quality: Quality::LOW, matching: None };
        let refused = |config| halves.tracks.open_source::<4_096>(config).err();
        let rate = ConfigError::ResamplerRate { rate_hz: 3_000 };
        assert_eq!(refused(config), Some(TrackError::Config(rate)));
        let channels = ConfigError::Channels { channels: 9 };
        assert_eq!(
            refused(SourceConfig { rate_hz: 8_000, channels: 9, ..config }),
            Some(TrackError::Config(channels))
        );
        assert_eq!(halves.tracks.free(), 4, "a refused track takes no slot");
    });
}
