//! `StreamMixer`, the mixer without a device: the full contract of the seeds' mixer, and the faults found there.

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::dsp::Quality;
use handsfree_core::playback::{
    Limiter, MixOutcome, SourceConfig, StreamMixer, StreamMixerMemory, TrackError, TrackPool, TrackTap,
};
use handsfree_core::{ConfigError, Duration, Format, Frame, Gain, Instant, SessionEvent};
use handsfree_tests::playback_rig::any_samples;
use handsfree_tests::{for_seeds, level_db, with_large_stack};

const FRAME: usize = 480;
const SLOTS: usize = 8;

type MixerStreams<'a> = TrackPool<'a, NoopRawMutex, FRAME, SLOTS>;
type MixedFrame = Frame<FRAME, SLOTS>;

fn ms(millis: i64) -> Instant {
    Instant::ORIGIN + Duration::from_millis(millis)
}

fn with_mixer(
    test: impl FnOnce(&MixerStreams<'_>, &mut StreamMixer<'_, FRAME, SLOTS>, &mut MixedFrame) + Send,
) {
    with_large_stack(|| {
        let mut memory = Box::new(StreamMixerMemory::<FRAME, SLOTS, 32>::new());
        let format = Format::new(48_000, 1).unwrap();
        let (streams, mut mixer) = memory.split::<NoopRawMutex>(format, Duration::from_millis(100)).unwrap();
        let mut out = Frame::silence(format).unwrap();
        test(&streams, &mut mixer, &mut out);
    });
}

/// Streams of any lengths: the output is their exact sum, one frame at a time, and ends when they have ended.
#[test]
fn streams_are_summed_exactly_until_the_last_one_ends() {
    for_seeds(20, |rng| {
        let lengths: Vec<usize> = (0..SLOTS).map(|_| rng.range(0, 14_000) as usize).collect();
        let sources: Vec<Vec<i16>> =
            lengths.iter().map(|&length| any_samples(rng, length).iter().map(|s| s / 8).collect()).collect();
        with_mixer(|streams, mixer, out| {
            for source in &sources {
                let mut stream = streams.open().unwrap();
                assert_eq!(stream.push(source).unwrap(), source.len());
                stream.finish().unwrap();
            }
            streams.end_input();
            assert_eq!(
                streams.open().err(),
                Some(TrackError::Closed),
                "a stream was opened after the end of input"
            );
            let mut mixed = Vec::new();
            while mixer.next(ms(0), out) == MixOutcome::Frame {
                assert_eq!(out.stamp.position, mixed.len() as u64);
                mixed.extend_from_slice(out.samples());
            }
            assert_eq!(mixer.next(ms(0), out), MixOutcome::Ended);
            let longest = sources.iter().map(Vec::len).max().unwrap();
            assert_eq!(mixed.len(), longest.next_multiple_of(FRAME));
            for (at, &sample) in mixed.iter().enumerate() {
                let sum: i32 =
                    sources.iter().map(|source| i32::from(source.get(at).copied().unwrap_or(0))).sum();
                assert_eq!(i32::from(sample), sum.clamp(-32_768, 32_767));
            }
        });
    });
}

/// Frames are 10 ms, and a slow stream delays the others once, by at most its timeout.
#[test]
fn a_slow_stream_is_awaited_reported_and_mixed_again() {
    with_mixer(|streams, mixer, out| {
        let (mut quick, mut slow) = (streams.open().unwrap(), streams.open().unwrap());
        quick.push(&[10; 20 * FRAME]).unwrap();
        slow.push(&[1_000; FRAME]).unwrap();
        assert_eq!(mixer.next(ms(0), out), MixOutcome::Frame);
        assert_eq!(out.samples(), [1_010; FRAME]);
        assert_eq!(mixer.next(ms(10), out), MixOutcome::Waiting { until: Some(ms(110)) });
        assert_eq!(mixer.next(ms(109), out), MixOutcome::Waiting { until: Some(ms(110)) });
        assert_eq!(mixer.next(ms(110), out), MixOutcome::Frame, "after the timeout it contributes silence");
        assert_eq!(out.samples(), [10; FRAME]);
        let events: Vec<_> = std::iter::from_fn(|| mixer.poll_event()).collect();
        assert_eq!(events.last(), Some(&SessionEvent::TrackStarved { track: slow.id() }));
        for _ in 0..5 {
            assert_eq!(mixer.next(ms(110), out), MixOutcome::Frame, "the mixer waited for it again");
        }
        assert_eq!(mixer.poll_event(), None, "it was reported again");
        // The stream is still open, and no zeros were inserted into it.
        slow.push(&[1_000; FRAME + 100]).unwrap();
        assert_eq!(mixer.next(ms(120), out), MixOutcome::Frame);
        assert_eq!(out.samples(), [1_010; FRAME]);
        assert_eq!(
            mixer.next(ms(130), out),
            MixOutcome::Waiting { until: Some(ms(230)) },
            "an incomplete frame waits for the rest"
        );
        slow.push(&[1_000; FRAME - 100]).unwrap();
        assert_eq!(mixer.next(ms(140), out), MixOutcome::Frame);
        assert_eq!(out.samples(), [1_010; FRAME]);
    });
}

#[test]
fn the_mixer_waits_while_no_stream_has_data() {
    with_mixer(|streams, mixer, out| {
        assert_eq!(mixer.next(ms(0), out), MixOutcome::Waiting { until: None });
        let mut stream = streams.open().unwrap();
        assert_eq!(mixer.next(ms(1_000), out), MixOutcome::Waiting { until: None });
        stream.push(&[1; FRAME]).unwrap();
        stream.pause();
        assert_eq!(
            mixer.next(ms(1_000), out),
            MixOutcome::Waiting { until: None },
            "a paused stream has no data"
        );
        stream.resume();
        assert_eq!(mixer.next(ms(1_000), out), MixOutcome::Frame);
        assert!(stream.is_played_out(ms(1_000)), "mixed samples count as heard");
        assert_eq!(stream.played_position(ms(1_000)), FRAME as u64);
        drop(stream);
        assert_eq!(mixer.next(ms(1_000), out), MixOutcome::Waiting { until: None });
        streams.end_input();
        assert_eq!(mixer.next(ms(1_000), out), MixOutcome::Ended);
    });
}

/// A dropped stream fades out, and its slot is free again.
#[test]
fn a_removed_stream_does_not_come_back() {
    with_mixer(|streams, mixer, out| {
        let mut kept = streams.open().unwrap();
        kept.push(&[5; 30 * FRAME]).unwrap();
        let mut removed = streams.open().unwrap();
        removed.push(&[20_000; 10 * FRAME]).unwrap();
        assert_eq!(mixer.next(ms(0), out), MixOutcome::Frame);
        drop(removed);
        assert_eq!(mixer.next(ms(0), out), MixOutcome::Frame);
        assert!(out.samples().is_sorted_by(|a, b| a >= b), "the stream did not fade");
        assert_eq!(mixer.next(ms(0), out), MixOutcome::Frame);
        assert_eq!(out.samples(), [5; FRAME]);
        assert_eq!(streams.free(), SLOTS - 1);
    });
}

#[test]
fn an_interrupted_stream_fades_and_reports_its_position() {
    with_mixer(|streams, mixer, out| {
        let mut one = streams.open().unwrap();
        one.push(&[8_000; 4 * FRAME]).unwrap();
        assert_eq!(mixer.next(ms(0), out), MixOutcome::Frame);
        one.interrupt();
        assert_eq!(one.interrupted_at(ms(0)), None);
        assert_eq!(mixer.next(ms(0), out), MixOutcome::Frame, "the fade is missing");
        assert_eq!(one.interrupted_at(ms(0)), Some(FRAME as u64 + 240));
        assert_eq!(mixer.next(ms(0), out), MixOutcome::Waiting { until: None });
    });
}

/// A stream that has been mixed completely and then got new samples fades when it is interrupted; a stream that was not
/// yet audible is cleared without a frame of silence.
#[test]
fn an_interruption_fades_only_a_stream_that_was_audible() {
    with_mixer(|streams, mixer, out| {
        let mut one = streams.open().unwrap();
        one.push(&[8_000; FRAME]).unwrap();
        one.clear();
        assert_eq!(mixer.next(ms(0), out), MixOutcome::Waiting { until: None }, "cleared samples were mixed");
        one.push(&[8_000; FRAME]).unwrap();
        assert_eq!(mixer.next(ms(0), out), MixOutcome::Frame);
        assert_eq!(mixer.next(ms(0), out), MixOutcome::Waiting { until: None });
        one.push(&[8_000; 3 * FRAME]).unwrap();
        one.interrupt();
        assert_eq!(mixer.next(ms(0), out), MixOutcome::Frame);
        assert!(out.samples()[0] > 7_900 && out.samples().is_sorted_by(|a, b| a >= b), "the fade is missing");
        assert_eq!(mixer.next(ms(0), out), MixOutcome::Waiting { until: None });
    });
}

/// A tap receives the end of a stream even if nothing is left to mix.
#[test]
fn a_tap_receives_every_event() {
    #[derive(Default)]
    struct EventTap(Vec<SessionEvent>);
    impl TrackTap<FRAME> for EventTap {
        fn wants(&self, _track: u32) -> bool {
            false
        }
        fn replaces(&self, _track: u32) -> bool {
            false
        }
        fn on_frame(&mut self, _track: u32, _frame: &Frame<FRAME>) {}
        fn on_event(&mut self, event: SessionEvent) {
            self.0.push(event);
        }
    }
    with_mixer(|streams, mixer, out| {
        let mut tap = EventTap::default();
        let (mut one, mut two) = (streams.open().unwrap(), streams.open().unwrap());
        one.push(&[1; FRAME]).unwrap();
        two.push(&[1; FRAME]).unwrap();
        assert_eq!(mixer.next_tapped(ms(0), out, &mut tap), MixOutcome::Frame);
        assert!(one.finish().is_ok());
        two.interrupt();
        assert_eq!(mixer.next_tapped(ms(0), out, &mut tap), MixOutcome::Waiting { until: None });
        drop(two);
        assert_eq!(mixer.next_tapped(ms(0), out, &mut tap), MixOutcome::Waiting { until: None });
        let events: Vec<_> = std::iter::from_fn(|| mixer.poll_event()).collect();
        assert_eq!(events.len(), 5, "expected two starts, an end, an interruption and its end: {events:?}");
        assert_eq!(tap.0, events);
    });
}

#[test]
fn closing_the_mixer_drops_all_queued_samples() {
    with_mixer(|streams, mixer, out| {
        let mut stream = streams.open().unwrap();
        stream.push(&[5; 3 * FRAME]).unwrap();
        assert_eq!(mixer.next(ms(0), out), MixOutcome::Frame);
        mixer.close();
        assert_eq!(mixer.next(ms(0), out), MixOutcome::Ended);
        assert_eq!(stream.push(&[5; 10]), Err(TrackError::Closed));
        assert_eq!(stream.refused_sample_frames(), 10);
        assert_eq!(streams.open().err(), Some(TrackError::Closed));
        drop(stream);
        assert_eq!(streams.free(), SLOTS, "slots are freed after closing");
    });
}

/// Each stream is resampled from its own rate and channel count.
#[test]
fn each_stream_is_converted_from_its_own_rate() {
    for (rate_hz, channels) in [(8_000, 1), (22_050, 1), (44_100, 2), (96_000, 1)] {
        with_mixer(|streams, mixer, out| {
            let source = SourceConfig { rate_hz, channels, quality: Quality::MEDIUM, matching: None };
            let mut stream = streams.open_source::<4_096>(source).unwrap();
            let count = rate_hz as usize / 4;
            let sine =
                |n: usize| (n as f64 * 1_000.0 * std::f64::consts::TAU / f64::from(rate_hz)).sin() * 8_000.0;
            let samples: Vec<i16> =
                (0..count).flat_map(|n| vec![sine(n) as i16; channels as usize]).collect();
            assert_eq!(stream.push(&samples).unwrap(), samples.len());
            assert!(stream.finish().is_ok());
            streams.end_input();
            let mut mixed = Vec::new();
            while mixer.next(ms(0), out) == MixOutcome::Frame {
                mixed.extend_from_slice(out.samples());
            }
            assert_eq!(mixed.len(), 12_000, "a quarter of a second at any rate");
            let crossings = mixed[480..11_520].windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
            assert!((229..=231).contains(&crossings), "{rate_hz} Hz: {crossings} periods of 1 kHz in 230 ms");
            assert!((level_db(&mixed[480..11_520]) - -15.26).abs() < 0.1);
        });
    }
}

#[test]
fn gain_and_limiter_work_as_in_a_session() {
    with_mixer(|streams, mixer, out| {
        let mut one = streams.open().unwrap();
        one.set_gain(Gain::linear(2.0).unwrap(), Duration::ZERO).unwrap();
        one.push(&[20_000; 2 * FRAME]).unwrap();
        assert_eq!(mixer.next(ms(0), out), MixOutcome::Frame);
        assert_eq!(out.samples(), [32_767; FRAME]);
        assert_eq!(mixer.stats().clipped_samples, FRAME as u32);
        mixer.set_limiter(Limiter::Soft);
        assert_eq!(mixer.next(ms(0), out), MixOutcome::Frame);
        assert!(out.samples().iter().all(|&sample| sample > 27_000 && sample < 32_767));
        assert_eq!(mixer.stats().limited_samples, FRAME as u32);
    });
}

/// All of 64 streams contribute to the mix, and the largest sum does not wrap.
#[test]
fn sixty_four_streams_are_mixed_without_wrapping() {
    with_large_stack(|| {
        let mut memory = Box::new(StreamMixerMemory::<FRAME, 64, 4>::new());
        let format = Format::new(48_000, 1).unwrap();
        let (streams, mut mixer) = memory.split::<NoopRawMutex>(format, Duration::from_millis(100)).unwrap();
        let mut out = Frame::silence(format).unwrap();
        let mut open: Vec<_> = (0..64).map(|_| streams.open().unwrap()).collect();
        assert_eq!(streams.open().err(), Some(TrackError::NoSlot { slots: 64 }));
        for (at, stream) in open.iter_mut().enumerate() {
            stream.push(&[at as i16; FRAME]).unwrap();
            stream.push(&[i16::MAX; FRAME]).unwrap();
        }
        assert_eq!(mixer.next(ms(0), &mut out), MixOutcome::Frame);
        assert_eq!(out.samples(), [2_016; FRAME], "the sum of 0 to 63");
        for stream in &mut open {
            stream.set_gain(Gain::MAX, Duration::ZERO).unwrap();
        }
        assert_eq!(mixer.next(ms(0), &mut out), MixOutcome::Frame);
        assert_eq!(out.samples(), [i16::MAX; FRAME]);
    });
}

#[test]
fn a_format_that_does_not_fit_is_named_in_the_error() {
    let mut memory = Box::new(StreamMixerMemory::<480, 2, 4>::new());
    let refused = memory.split::<NoopRawMutex>(Format::new(48_000, 2).unwrap(), Duration::ZERO).err();
    assert_eq!(refused, Some(ConfigError::FrameTooLarge { samples: 960, capacity: 480 }));
}
