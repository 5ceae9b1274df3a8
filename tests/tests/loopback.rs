//! A capture device with loopback channels of the loudspeaker: these channels are the echo reference, sample for sample,
//! independently of the playback stream.

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::capture::IntakeConfig;
use handsfree_core::{
    CaptureStats, ChannelMap, Duration, Frame, Gain, Instant, PeriodTime, SampleRate, Session, SessionFormat,
};
use handsfree_sim::noise::Rng;
use handsfree_tests::{RecordingVoice, for_seeds, one_in, outlet_config, played_at};

type LoopbackSession = Session<1_920, 2, 8, 8, 16, 8, 48_000>;

/// Results of a run: the delivered near end and the reference.
struct LoopbackRun {
    near: Vec<i16>,
    reverse: Vec<i16>,
}

/// Captures `device` (interleaved sample frames of a device with microphone and loopback channels) in random periods.
fn run(
    rng: &mut Rng,
    terminal: SessionFormat,
    rate: SampleRate,
    map: ChannelMap,
    device: &[i16],
) -> LoopbackRun {
    let mut session = Box::new(LoopbackSession::new());
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal, RecordingVoice::default(), ()).unwrap();
    halves.capture.use_loopback_reference().unwrap();
    halves
        .intake
        .configure(IntakeConfig {
            rate,
            map,
            gain: Gain::UNITY,
            max_period_sample_frames: 400,
            clock_domain: 1,
        })
        .unwrap();
    let plays = one_in(rng, 2);
    if plays {
        let far = ChannelMap::natural(terminal.far_channels, terminal.far_channels).unwrap();
        halves.outlet.configure(outlet_config(rate, far, 400)).unwrap();
    }
    let channels = map.from_channels();
    let mut heard = LoopbackRun { near: Vec::new(), reverse: Vec::new() };
    let mut done = 0;
    while done < device.len() / channels {
        let taken = (rng.range(0, 401) as usize).min(device.len() / channels - done);
        let converter = Instant::ORIGIN + Duration::of_sample_frames(done as u64, rate);
        let called = converter + Duration::of_sample_frames(taken as u64, rate);
        let time = PeriodTime { position: done as u64, converter, called };
        halves.intake.on_period(&device[done * channels..(done + taken) * channels], time);
        if plays {
            let mut out = vec![0_i16; taken * terminal.far_channels as usize];
            halves.outlet.on_period(&mut out, played_at(done as u64, rate, 0));
        }
        done += taken;
        halves.playback.poll();
        halves
            .capture
            .poll(&|| called, &mut |frame: &Frame<1_920>| heard.near.extend_from_slice(frame.samples()));
    }
    heard.reverse = std::mem::take(&mut halves.capture.voice_mut().reverse);
    assert_eq!(halves.stats.read().capture.foreign_frames, 0);
    let CaptureStats { reference_silence_frames, .. } = halves.stats.read().capture;
    assert_eq!(reference_silence_frames, 0, "a loopback is never missing");
    heard
}

#[test]
fn the_loopback_channels_are_the_reference_sample_for_sample() {
    for_seeds(40, |rng| {
        let rate = SampleRate::new([16_000, 44_100, 48_000][rng.range(0, 3) as usize]).unwrap();
        let (near_channels, far_channels) = (rng.range(1, 3) as u32, rng.range(1, 3) as u32);
        let terminal = SessionFormat { rate, near_channels, far_channels };
        let device_channels = (near_channels + far_channels + rng.range(0, 4) as u32) as usize;
        let frames = 20 * rate.sample_frames();
        let device: Vec<i16> =
            (0..frames * device_channels).map(|_| rng.range(0, 65_536) as u16 as i16).collect();
        let picks: Vec<u8> =
            (0..near_channels + far_channels).map(|_| rng.range(0, device_channels as u64) as u8).collect();
        let map = ChannelMap::select(device_channels as u32, &picks).unwrap();
        let heard = run(rng, terminal, rate, map, &device);
        let (near, far) = picks.split_at(near_channels as usize);
        let expected = |picks: &[u8]| -> Vec<i16> {
            device
                .chunks_exact(device_channels)
                .flat_map(|frame| picks.iter().map(|&p| frame[usize::from(p)]))
                .collect()
        };
        assert_eq!(heard.near, expected(near));
        assert_eq!(heard.reverse, expected(far));
    });
}

#[test]
fn loopback_and_microphone_are_converted_alike() {
    for_seeds(10, |rng| {
        let rate = SampleRate::new([16_000, 44_100, 48_000][rng.range(0, 3) as usize]).unwrap();
        let device_rate = SampleRate::new([8_000, 24_000, 96_000][rng.range(0, 3) as usize]).unwrap();
        let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
        let map = ChannelMap::select(2, &[0, 1]).unwrap();
        let device: Vec<i16> = (0..20 * device_rate.sample_frames())
            .flat_map(|_| [rng.range(0, 20_000) as i16 - 10_000; 2])
            .collect();
        let heard = run(rng, terminal, device_rate, map, &device);
        assert_eq!(heard.near.len(), 20 * rate.sample_frames());
        assert_eq!(heard.near, heard.reverse);
        assert!(heard.near.iter().any(|&sample| sample != 0));
    });
}

#[test]
fn a_loopback_that_does_not_fit_is_refused() {
    let rate = SampleRate::new(48_000).unwrap();
    let mut session = Box::new(LoopbackSession::new());
    let terminal = SessionFormat { rate, near_channels: 3, far_channels: 2 };
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal, RecordingVoice::default(), ()).unwrap();
    let error = halves.capture.use_loopback_reference().unwrap_err().to_string();
    assert!(error.contains("2400") && error.contains("1920"), "{error}");
}
