//! The mixer by itself: the seeds' mixer to its full contract, and their faults.
#![allow(missing_docs)]

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::dsp::Quality;
use handsfree_core::playback::{
    Limiter, Mixed, SourceConfig, StreamMixer, StreamMixerMemory, TrackError, TrackPool, TrackTap,
};
use handsfree_core::{ConfigError, Duration, Format, Frame, Gain, Instant, SessionEvent};
use handsfree_tests::desk::any_samples;
use handsfree_tests::{for_seeds, level_db, with_room};

const FRAME: usize = 480;
const SLOTS: usize = 8;

type Streams<'a> = TrackPool<'a, NoopRawMutex, FRAME, SLOTS>;
type Out = Frame<FRAME, SLOTS>;

fn ms(millis: i64) -> Instant {
    Instant::ORIGIN + Duration::from_millis(millis)
}

fn with_mixer(test: impl FnOnce(&Streams<'_>, &mut StreamMixer<'_, FRAME, SLOTS>, &mut Out) + Send) {
    with_room(|| {
        let mut memory = Box::new(StreamMixerMemory::<FRAME, SLOTS, 32>::new());
        let format = Format::new(48_000, 1).unwrap();
        let (streams, mut mixer) = memory.split::<NoopRawMutex>(format, Duration::from_millis(100)).unwrap();
        let mut out = Frame::silence(format).unwrap();
        test(&streams, &mut mixer, &mut out);
    });
}

/// Streams that come, go and end at any time: the output is their exact sum, one frame a time, and ends when they do.
#[test]
fn any_streams_are_summed_exactly_until_the_last_has_ended() {
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
            assert_eq!(streams.open().err(), Some(TrackError::Closed), "no stream after the end of input");
            let mut mixed = Vec::new();
            while mixer.next(ms(0), out) == Mixed::Frame {
                assert_eq!(out.stamp.position, mixed.len() as u64);
                mixed.extend_from_slice(out.samples());
            }
            assert_eq!(mixer.next(ms(0), out), Mixed::Ended);
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

/// The default block is 10 ms, and a stream that is slow holds the others up no longer than its timeout, once.
#[test]
fn a_slow_stream_is_waited_for_reported_and_comes_back() {
    with_mixer(|streams, mixer, out| {
        let (mut quick, mut slow) = (streams.open().unwrap(), streams.open().unwrap());
        quick.push(&[10; 20 * FRAME]).unwrap();
        slow.push(&[1_000; FRAME]).unwrap();
        assert_eq!(mixer.next(ms(0), out), Mixed::Frame);
        assert_eq!(out.samples(), [1_010; FRAME]);
        assert_eq!(mixer.next(ms(10), out), Mixed::Waiting { until: Some(ms(110)) });
        assert_eq!(mixer.next(ms(109), out), Mixed::Waiting { until: Some(ms(110)) });
        assert_eq!(mixer.next(ms(110), out), Mixed::Frame, "then it contributes silence");
        assert_eq!(out.samples(), [10; FRAME]);
        let told: Vec<_> = std::iter::from_fn(|| mixer.poll_event()).collect();
        assert_eq!(told.last(), Some(&SessionEvent::TrackStarved { track: slow.id() }));
        for _ in 0..5 {
            assert_eq!(mixer.next(ms(110), out), Mixed::Frame, "and is not waited for again");
        }
        assert_eq!(mixer.poll_event(), None, "nor reported");
        // It is not dead, and no zeros were put inside of it.
        slow.push(&[1_000; FRAME + 100]).unwrap();
        assert_eq!(mixer.next(ms(120), out), Mixed::Frame);
        assert_eq!(out.samples(), [1_010; FRAME]);
        assert_eq!(
            mixer.next(ms(130), out),
            Mixed::Waiting { until: Some(ms(230)) },
            "a part of a frame waits for its rest"
        );
        slow.push(&[1_000; FRAME - 100]).unwrap();
        assert_eq!(mixer.next(ms(140), out), Mixed::Frame);
        assert_eq!(out.samples(), [1_010; FRAME]);
    });
}

#[test]
fn without_data_there_is_no_frame_and_without_streams_no_end() {
    with_mixer(|streams, mixer, out| {
        assert_eq!(mixer.next(ms(0), out), Mixed::Waiting { until: None });
        let mut stream = streams.open().unwrap();
        assert_eq!(mixer.next(ms(1_000), out), Mixed::Waiting { until: None });
        stream.push(&[1; FRAME]).unwrap();
        stream.pause();
        assert_eq!(mixer.next(ms(1_000), out), Mixed::Waiting { until: None }, "a paused stream has nothing");
        stream.resume();
        assert_eq!(mixer.next(ms(1_000), out), Mixed::Frame);
        assert!(stream.is_played_out(ms(1_000)), "what was taken was heard");
        assert_eq!(stream.played_position(ms(1_000)), FRAME as u64);
        drop(stream);
        assert_eq!(mixer.next(ms(1_000), out), Mixed::Waiting { until: None });
        streams.end_input();
        assert_eq!(mixer.next(ms(1_000), out), Mixed::Ended);
    });
}

/// A stream that is taken away fades and stays away; its slot is free for another.
#[test]
fn a_removed_stream_does_not_come_back() {
    with_mixer(|streams, mixer, out| {
        let mut kept = streams.open().unwrap();
        kept.push(&[5; 30 * FRAME]).unwrap();
        let mut removed = streams.open().unwrap();
        removed.push(&[20_000; 10 * FRAME]).unwrap();
        assert_eq!(mixer.next(ms(0), out), Mixed::Frame);
        drop(removed);
        assert_eq!(mixer.next(ms(0), out), Mixed::Frame);
        assert!(out.samples().is_sorted_by(|a, b| a >= b), "a fade");
        assert_eq!(mixer.next(ms(0), out), Mixed::Frame);
        assert_eq!(out.samples(), [5; FRAME]);
        assert_eq!(streams.free(), SLOTS - 1);
    });
}

#[test]
fn an_interrupted_stream_starts_anew_while_others_go_on() {
    with_mixer(|streams, mixer, out| {
        let mut one = streams.open().unwrap();
        one.push(&[8_000; 4 * FRAME]).unwrap();
        assert_eq!(mixer.next(ms(0), out), Mixed::Frame);
        one.interrupt();
        assert_eq!(one.interrupted_at(ms(0)), None);
        assert_eq!(mixer.next(ms(0), out), Mixed::Frame, "its fade");
        assert_eq!(one.interrupted_at(ms(0)), Some(FRAME as u64 + 240));
        assert_eq!(mixer.next(ms(0), out), Mixed::Waiting { until: None });
    });
}

/// A stream that waited, all of it mixed, still fades when it is interrupted; one of which nothing sounded is cleared
/// without a frame of silence.
#[test]
fn an_interruption_fades_what_sounds_and_makes_no_silence_of_what_does_not() {
    with_mixer(|streams, mixer, out| {
        let mut one = streams.open().unwrap();
        one.push(&[8_000; FRAME]).unwrap();
        one.clear();
        assert_eq!(mixer.next(ms(0), out), Mixed::Waiting { until: None }, "nothing of it is left");
        one.push(&[8_000; FRAME]).unwrap();
        assert_eq!(mixer.next(ms(0), out), Mixed::Frame);
        assert_eq!(mixer.next(ms(0), out), Mixed::Waiting { until: None });
        one.push(&[8_000; 3 * FRAME]).unwrap();
        one.interrupt();
        assert_eq!(mixer.next(ms(0), out), Mixed::Frame);
        assert!(out.samples()[0] > 7_900 && out.samples().is_sorted_by(|a, b| a >= b), "its fade");
        assert_eq!(mixer.next(ms(0), out), Mixed::Waiting { until: None });
    });
}

/// A tap hears of a stream's end also where nothing is left to mix.
#[test]
fn a_tap_is_told_all_that_is_told() {
    #[derive(Default)]
    struct Told(Vec<SessionEvent>);
    impl TrackTap<FRAME> for Told {
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
        let mut tap = Told::default();
        let (mut one, mut two) = (streams.open().unwrap(), streams.open().unwrap());
        one.push(&[1; FRAME]).unwrap();
        two.push(&[1; FRAME]).unwrap();
        assert_eq!(mixer.next_tapped(ms(0), out, &mut tap), Mixed::Frame);
        assert!(one.finish().is_ok());
        two.interrupt();
        assert_eq!(mixer.next_tapped(ms(0), out, &mut tap), Mixed::Waiting { until: None });
        drop(two);
        assert_eq!(mixer.next_tapped(ms(0), out, &mut tap), Mixed::Waiting { until: None });
        let told: Vec<_> = std::iter::from_fn(|| mixer.poll_event()).collect();
        assert_eq!(told.len(), 5, "two begin, one ends, one is interrupted and ends: {told:?}");
        assert_eq!(tap.0, told);
    });
}

#[test]
fn closing_drops_everything_at_once() {
    with_mixer(|streams, mixer, out| {
        let mut stream = streams.open().unwrap();
        stream.push(&[5; 3 * FRAME]).unwrap();
        assert_eq!(mixer.next(ms(0), out), Mixed::Frame);
        mixer.close();
        assert_eq!(mixer.next(ms(0), out), Mixed::Ended);
        assert_eq!(stream.push(&[5; 10]), Err(TrackError::Closed));
        assert_eq!(stream.refused_sample_frames(), 10);
        assert_eq!(streams.open().err(), Some(TrackError::Closed));
        drop(stream);
        assert_eq!(streams.free(), SLOTS, "handles come back all the same");
    });
}

/// Streams are really resampled, each from its own rate and channels.
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
            while mixer.next(ms(0), out) == Mixed::Frame {
                mixed.extend_from_slice(out.samples());
            }
            assert_eq!(mixed.len(), 12_000, "a quarter of a second is one at any rate");
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
        assert_eq!(mixer.next(ms(0), out), Mixed::Frame);
        assert_eq!(out.samples(), [32_767; FRAME]);
        assert_eq!(mixer.stats().clipped_samples, FRAME as u32);
        mixer.set_limiter(Limiter::Soft);
        assert_eq!(mixer.next(ms(0), out), Mixed::Frame);
        assert!(out.samples().iter().all(|&sample| sample > 27_000 && sample < 32_767));
        assert_eq!(mixer.stats().limited_samples, FRAME as u32);
    });
}

/// 64 streams at once, each heard, and the largest sum does not wrap.
#[test]
fn sixty_four_streams() {
    with_room(|| {
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
        assert_eq!(mixer.next(ms(0), &mut out), Mixed::Frame);
        assert_eq!(out.samples(), [2_016; FRAME], "the sum of 0 to 63");
        for stream in &mut open {
            stream.set_gain(Gain::MAX, Duration::ZERO).unwrap();
        }
        assert_eq!(mixer.next(ms(0), &mut out), Mixed::Frame);
        assert_eq!(out.samples(), [i16::MAX; FRAME]);
    });
}

#[test]
fn a_format_that_does_not_fit_is_named() {
    let mut memory = Box::new(StreamMixerMemory::<480, 2, 4>::new());
    let refused = memory.split::<NoopRawMutex>(Format::new(48_000, 2).unwrap(), Duration::ZERO).err();
    assert_eq!(refused, Some(ConfigError::FrameTooLarge { samples: 960, capacity: 480 }));
}
