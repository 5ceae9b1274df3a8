//! A voice processor that fails or is slow (fault 17): its frames pass unprocessed, it is retried after a backoff, and is
//! disabled after three retries.

use std::cell::Cell;
use std::rc::Rc;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::capture::{BreakerState, ProcessError, VoiceProcessor, VoiceStats};
use handsfree_core::{
    ChannelMap, Clock, Duration, Frame, Instant, PcmMut, PcmRef, SampleRate, Session, SessionEvent,
    SessionFormat,
};
use handsfree_sim::board::VirtualClock;
use handsfree_tests::{captured_at, intake_config, sample_at};

const RATE_HZ: usize = 48_000;

fn rate() -> SampleRate {
    SampleRate::new(RATE_HZ as u32).unwrap()
}

fn terminal() -> SessionFormat {
    SessionFormat { rate: rate(), near_channels: 1, far_channels: 1 }
}

/// What the faulty voice processor does in its calls.
#[derive(Clone, Copy, Debug, PartialEq)]
enum VoiceBehaviour {
    Normal,
    CaptureError,
    ReverseError,
    Slow(i64),
    /// The machine pauses for this number of milliseconds while the processor works.
    Paused(i64),
}

/// Clock of the worker, with the time for which the machine paused.
#[derive(Clone, Default)]
struct WorkerClock {
    wall: VirtualClock,
    paused: Rc<Cell<Duration>>,
}

impl Clock for WorkerClock {
    fn now(&self) -> Instant {
        self.wall.now()
    }

    fn thread_time(&self) -> Instant {
        self.wall.now() - self.paused.get()
    }
}

/// A voice processor that inverts every sample and then fails or takes a long time.
struct FaultyVoice {
    behaviour: VoiceBehaviour,
    clock: WorkerClock,
    calls: u32,
    reverse_calls: u32,
}

impl VoiceProcessor for FaultyVoice {
    fn process_reverse(&mut self, _far: PcmRef<'_>) -> Result<(), ProcessError> {
        self.reverse_calls += 1;
        if self.behaviour == VoiceBehaviour::ReverseError {
            Err(ProcessError::Backend { code: -2 })
        } else {
            Ok(())
        }
    }

    fn process_capture(&mut self, near: PcmMut<'_>, _delay: Duration) -> Result<(), ProcessError> {
        self.calls += 1;
        near.samples.iter_mut().for_each(|s| *s = !*s);
        match self.behaviour {
            VoiceBehaviour::CaptureError => Err(ProcessError::Backend { code: -1 }),
            VoiceBehaviour::Slow(ms) => {
                self.clock.wall.advance(Duration::from_millis(ms));
                Ok(())
            }
            VoiceBehaviour::Paused(ms) => {
                let pause = Duration::from_millis(ms);
                self.clock.wall.advance(pause);
                self.clock.paused.set(self.clock.paused.get() + pause);
                Ok(())
            }
            VoiceBehaviour::Normal | VoiceBehaviour::ReverseError => Ok(()),
        }
    }

    fn stats(&self) -> VoiceStats {
        VoiceStats::default()
    }

    fn reset(&mut self) {}
}

/// Passes captured frames through a faulty processor. The test's first function processes one frame and returns whether
/// the voice processor changed it; the second returns the events and counters.
fn with_faulty_voice(
    test: impl FnOnce(&mut dyn FnMut(VoiceBehaviour) -> bool, &mut dyn FnMut() -> VoiceObservation),
) {
    use std::cell::RefCell;
    let clock = WorkerClock::default();
    let mut session = Box::new(Session::<480, 1, 4, 4, 4, 4, 480>::new());
    let voice =
        FaultyVoice { behaviour: VoiceBehaviour::Normal, clock: clock.clone(), calls: 0, reverse_calls: 0 };
    let halves = session.split::<NoopRawMutex, _, _>(terminal(), voice, ()).unwrap();
    let (mut intake, capture, events, stats) =
        (halves.intake, RefCell::new(halves.capture), RefCell::new(halves.events), halves.stats);
    let map = ChannelMap::natural(1, 1).unwrap();
    intake.configure(intake_config(rate(), map, 480)).unwrap();
    let mut position = 0u64;
    let mut step = |behaviour: VoiceBehaviour| {
        let period: Vec<i16> = (position..position + 480).map(|at| sample_at(at, 0)).collect();
        intake.on_period(&period, captured_at(position, 480, rate(), 0));
        position += 480;
        let mut capture = capture.borrow_mut();
        capture.voice_mut().behaviour = behaviour;
        let mut processed = None;
        capture.poll(&clock, &mut |frame: &Frame<480>| {
            let inverted: Vec<i16> = period.iter().map(|&s| !s).collect();
            if frame.samples() == inverted {
                processed = Some(true);
            } else {
                assert_eq!(frame.samples(), period, "an unprocessed frame passes bit by bit");
                processed = Some(false);
            }
        });
        processed.expect("each captured frame gives exactly one frame")
    };
    let mut observe = || {
        let mut events = events.borrow_mut();
        let capture = stats.read().capture;
        VoiceObservation {
            events: std::iter::from_fn(|| events.poll()).collect(),
            errors: capture.voice_errors,
            slow: capture.voice_slow_frames,
            bypassed: capture.voice_bypassed_frames,
            frames: capture.frames,
        }
    };
    test(&mut step, &mut observe);
}

#[derive(Debug)]
struct VoiceObservation {
    events: Vec<SessionEvent>,
    errors: u32,
    slow: u32,
    bypassed: u32,
    frames: u32,
}

fn tripped(fault: u8) -> SessionEvent {
    SessionEvent::VoiceTripped { fault }
}

/// Fault 17, for errors and for slow calls: each fault is followed by a second of backoff, and after three retries the
/// processor is disabled.
#[test]
fn a_failing_voice_processor_is_disabled_after_three_retries() {
    for behaviour in [VoiceBehaviour::CaptureError, VoiceBehaviour::Slow(50), VoiceBehaviour::Slow(21)] {
        with_faulty_voice(|step, observe| {
            (0..5).for_each(|_| assert!(step(VoiceBehaviour::Normal)));
            for fault in 1..=4 {
                assert!(!step(behaviour), "{behaviour:?}, fault {fault}");
                if fault < 4 {
                    assert_eq!(observe().events, [tripped(fault)]);
                    (0..100).for_each(|frame| {
                        assert!(!step(VoiceBehaviour::Normal), "{behaviour:?}, frame {frame} of the backoff")
                    });
                    assert!(step(VoiceBehaviour::Normal), "{behaviour:?}: no retry after fault {fault}");
                }
            }
            assert_eq!(observe().events, [SessionEvent::VoiceDisabled]);
            (0..1_000)
                .for_each(|_| assert!(!step(VoiceBehaviour::Normal), "{behaviour:?}: called while disabled"));
            let seen = observe();
            assert_eq!(seen.events, []);
            let (errors, slow) = if behaviour == VoiceBehaviour::CaptureError { (4, 0) } else { (0, 4) };
            assert_eq!((seen.errors, seen.slow, seen.bypassed), (errors, slow, 1_300), "{behaviour:?}");
            assert_eq!(seen.frames, 5 + 4 + 300 + 3 + 1_000, "every frame is delivered to the sink");
        });
    }
}

#[test]
fn a_voice_frame_that_takes_20_ms_is_not_too_slow() {
    with_faulty_voice(|step, observe| {
        (0..200).for_each(|_| assert!(step(VoiceBehaviour::Slow(20))));
        let seen = observe();
        assert_eq!((seen.slow, seen.bypassed, seen.events.len()), (0, 0, 0));
    });
}

/// Nothing plays, so that the processor fails on a silent reference frame.
#[test]
fn an_error_in_the_reverse_stream_trips_the_breaker() {
    with_faulty_voice(|step, observe| {
        assert!(step(VoiceBehaviour::Normal));
        assert!(!step(VoiceBehaviour::ReverseError), "a frame without its reference must not be processed");
        let seen = observe();
        assert_eq!(seen.events, [tripped(1)]);
        assert_eq!((seen.errors, seen.bypassed), (1, 1));
        (0..99).for_each(|_| assert!(!step(VoiceBehaviour::Normal)));
        assert!(step(VoiceBehaviour::Normal));
    });
}

#[test]
fn voice_faults_are_forgotten_after_ten_minutes_without_one() {
    with_faulty_voice(|step, observe| {
        for _ in 0..6 {
            assert!(!step(VoiceBehaviour::CaptureError));
            assert_eq!(observe().events, [tripped(1)], "the fault count is not forgotten");
            (0..100).for_each(|_| assert!(!step(VoiceBehaviour::Normal)));
            (0..60_000).for_each(|_| assert!(step(VoiceBehaviour::Normal)));
        }
    });
}

#[test]
fn a_disabled_voice_processor_can_be_enabled_again() {
    let clock = WorkerClock::default();
    let mut session = Box::new(Session::<480, 1, 4, 4, 4, 4, 480>::new());
    let voice = FaultyVoice {
        behaviour: VoiceBehaviour::CaptureError,
        clock: clock.clone(),
        calls: 0,
        reverse_calls: 0,
    };
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal(), voice, ()).unwrap();
    halves.intake.configure(intake_config(rate(), ChannelMap::natural(1, 1).unwrap(), 480)).unwrap();
    let mut position = 0;
    while halves.capture.voice_state() != BreakerState::Disabled {
        halves.intake.on_period(&[5i16; 480], captured_at(position, 480, rate(), 0));
        position += 480;
        halves.capture.poll(&clock, &mut |_: &Frame<480>| {});
    }
    assert_eq!(halves.capture.voice_mut().calls, 4, "one call and three retries");
    halves.capture.voice_mut().behaviour = VoiceBehaviour::Normal;
    halves.capture.reset_breaker();
    halves.intake.on_period(&[5i16; 480], captured_at(position, 480, rate(), 0));
    let mut heard = Vec::new();
    halves.capture.poll(&clock, &mut |frame: &Frame<480>| heard.extend_from_slice(frame.samples()));
    assert_eq!(heard, [!5; 480]);
}

/// A machine that pauses, as a stopped process or a virtual machine does, costs no echo: the processor was not slow.
#[test]
fn a_paused_machine_is_no_slow_processor() {
    with_faulty_voice(|step, observe| {
        for _ in 0..10 {
            assert!(step(VoiceBehaviour::Paused(5_000)), "each frame is processed");
            assert!(step(VoiceBehaviour::Normal));
        }
        assert!(!step(VoiceBehaviour::Slow(21)), "its own time still counts");
        let observed = observe();
        assert_eq!((observed.slow, observed.bypassed, observed.frames), (1, 0, 21), "{observed:?}");
    });
}
