//! What a host adds to a frame processor: its panics are caught, and an application talks to it while the worker uses
//! it.
#![allow(missing_docs)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use handsfree::catch_panic::CatchPanic;
use handsfree::shared_step::{Busy, PATIENCE, SharedStep};
use handsfree_core::capture::{
    Chain, Credentials, FrameProcessor, GainSetting, GainStep, ProcessError, StepHealth, StreamIdentity,
};
use handsfree_core::{ChannelMap, Format, Frame, Gain, PcmMut, SampleRate, SessionEvent};
use handsfree_tests::capture_rig::{CAP, GuardedStep, Mood, Moody, TestClock, moody, tripped, with_rig};
use handsfree_tests::{captured_at, intake_config};

#[test]
fn what_panicked_is_not_called_before_it_was_reset() {
    let clock = TestClock::default();
    let step = Moody::new(&clock, [Mood::Fine, Mood::Panics, Mood::Fine, Mood::Panics]);
    let log = step.log();
    let mut step = CatchPanic::new(step);
    let panics = step.panics();
    let format = Format::new(8_000, 1).unwrap();
    let process = |step: &mut CatchPanic<Moody>| {
        let mut samples = [5; 80];
        let outcome = step.process(PcmMut { format, samples: &mut samples });
        (outcome, samples[0])
    };
    assert_eq!(process(&mut step), (Ok(()), moody(5, 3, 1)));
    assert_eq!(process(&mut step).0, Err(ProcessError::Panicked));
    assert_eq!(panics.count(), 1);
    (0..10).for_each(|_| assert_eq!(process(&mut step), (Err(ProcessError::Panicked), 5)));
    assert!(step.enabled(), "so that its error is seen");
    assert_eq!((panics.count(), log().len()), (1, 0), "left alone");

    step.on_credentials(&Credentials { url: "here", token: "t" });
    assert_eq!(log(), ["reset", "t for here"], "news is not lost on it");
    assert_eq!(process(&mut step), (Ok(()), moody(5, 3, 1)), "as if new");
    assert_eq!(process(&mut step).0, Err(ProcessError::Panicked));
    assert_eq!((panics.count(), panics.take_message().as_deref()), (2, Some("mood 3")));
    assert_eq!(panics.take_message(), None, "the oldest is kept, and there was no time for the second");

    step.close();
    step.close();
    assert_eq!(log(), ["close"], "also what panicked lets go of what it holds, once");
    assert_eq!(process(&mut step), (Ok(()), 5));
    assert!(!step.enabled());
}

/// Panics in every call, with something that panics when it is dropped.
struct Bomb;

struct Shrapnel;

impl Drop for Shrapnel {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

impl FrameProcessor for Bomb {
    fn process(&mut self, _frame: PcmMut<'_>) -> Result<(), ProcessError> {
        std::panic::panic_any(Shrapnel)
    }

    fn enabled(&self) -> bool {
        std::panic::panic_any(Shrapnel)
    }

    fn set_enabled(&mut self, _enabled: bool) {
        std::panic::panic_any(Shrapnel)
    }

    fn reset(&mut self) {
        std::panic::panic_any(Shrapnel)
    }

    fn on_stream(&mut self, _stream: &StreamIdentity<'_>) {
        std::panic::panic_any(Shrapnel)
    }

    fn on_credentials(&mut self, _credentials: &Credentials<'_>) {
        std::panic::panic_any(Shrapnel)
    }

    fn close(&mut self) {
        std::panic::panic_any(Shrapnel)
    }
}

#[test]
fn a_panic_gets_out_of_no_call_and_audio_goes_on() {
    let clock = TestClock::default();
    let health = StepHealth::new();
    let bomb = CatchPanic::new(Bomb);
    let panics = bomb.panics();
    let mut guarded = GuardedStep::new(bomb, clock.clone(), &health);
    guarded.set_enabled(true);
    guarded.on_stream(&StreamIdentity::default());
    guarded.on_credentials(&Credentials::default());
    with_rig(&mut guarded, &clock, |rig| {
        (0..1_000).for_each(|_| assert!(rig.passes()));
        let given_up = SessionEvent::ProcessorDisabled { step: 0 };
        assert_eq!(rig.events(), [tripped(0, 1), tripped(0, 2), tripped(0, 3), given_up]);
    });
    assert_eq!(health.read().errors, 4);
    // Switched once; twice it was to be told something and three times tried again, each with a reset that failed.
    assert_eq!(panics.count(), 1 + 2 + 3);
    guarded.close();
    assert_eq!(panics.count(), 7);
    assert_eq!(panics.take_message(), None, "what it threw is no text");
}

#[test]
fn stream_and_credentials_reach_a_step_in_use_and_no_frame_waits_for_them() {
    let clock = TestClock::default();
    let step = Moody::new(&clock, []);
    let log = step.log();
    let shared = SharedStep::new(CatchPanic::new(step));
    let control = shared.control();
    let health = StepHealth::new();
    let mut guarded = GuardedStep::new(shared, clock.clone(), &health);
    let mut steps: [&mut (dyn FrameProcessor + Send); 1] = [&mut guarded];
    let done = AtomicBool::new(false);
    let (begun, begin) = mpsc::channel();
    with_rig(Chain::new(&mut steps, &[]).unwrap(), &clock, |rig| {
        let (frames, passed) = thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let (mut frames, mut passed) = (0u32, 0u32);
                while !done.load(Ordering::Relaxed) {
                    passed += u32::from(rig.passes());
                    frames += 1;
                    // Nobody listens after the last of them was told.
                    let _ = begun.send(());
                }
                (frames, passed)
            });
            for n in 0..200 {
                begin.recv().unwrap();
                let participant_identity = format!("speaker {n}");
                let stream = StreamIdentity {
                    participant_identity: &participant_identity,
                    room_name: "a room",
                    ..StreamIdentity::default()
                };
                control.on_stream(&stream).unwrap();
                control.on_credentials(&Credentials { url: "a server", token: &n.to_string() }).unwrap();
            }
            done.store(true, Ordering::Relaxed);
            worker.join().unwrap()
        });
        let told = (0..200).flat_map(|n| [format!("speaker {n} in a room"), format!("{n} for a server")]);
        assert_eq!(log(), told.collect::<Vec<_>>());
        assert_eq!(control.passed_frames(), passed, "what passed is counted");
        assert!(frames >= 200);
        println!("{passed} of {frames} frames passed");

        control.close().unwrap();
        assert_eq!(log(), ["close"]);
        assert!(rig.passes() && rig.passes());
        assert_eq!(rig.events(), []);
    });
}

#[test]
fn while_a_control_has_a_step_frames_pass_it_and_nobody_waits_for_ever() {
    let clock = TestClock::default();
    let step = Moody::new(&clock, []);
    let log = step.log();
    let mut shared = SharedStep::new(step);
    let (control, second) = (shared.control(), shared.control());
    with_rig(&mut shared, &clock, |rig| {
        assert!(!rig.passes());
        control.with(|_| (0..7).for_each(|_| assert!(rig.passes()))).unwrap();
        assert_eq!(control.passed_frames(), 7);
        assert!(!rig.passes());
        assert_eq!(log(), [""; 0], "not reset for it");

        let refused = control.with(|_| second.with(|_| ())).unwrap();
        assert!(matches!(refused, Err(Busy { waited }) if waited >= PATIENCE), "{refused:?}");

        let other = SampleRate::new(48_000).unwrap();
        rig.intake.configure(intake_config(other, ChannelMap::natural(1, 1).unwrap(), 480)).unwrap();
        rig.intake.on_period(&[9i16; 480], captured_at(rig.position, 480, other, 0));
        rig.position += 480;
        control.with(|_| rig.capture.poll(&clock, &mut |_: &Frame<CAP>| {})).unwrap();
        assert_eq!(log(), [""; 0]);
        rig.intake.on_period(&[9i16; 480], captured_at(rig.position, 480, other, 0));
        rig.capture.poll(&clock, &mut |_: &Frame<CAP>| {});
        assert_eq!(log(), ["reset"], "made up for with the next frame");
    });

    let careless = || control.with(|_| panic!("with the step in its hand")).unwrap();
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(careless)).unwrap_err();
    with_rig(&mut shared, &clock, |rig| {
        assert!(!rig.passes() && !rig.passes());
        assert_eq!(log(), ["reset"], "it may have been half-changed");
    });
}

#[test]
fn a_shared_step_that_is_switched_off_is_off() {
    let (setting, clock) = (GainSetting::new(Gain::SILENT), TestClock::default());

    struct Switched<'a>(GainStep<'a>, bool);
    impl FrameProcessor for Switched<'_> {
        fn process(&mut self, frame: PcmMut<'_>) -> Result<(), ProcessError> {
            self.0.process(frame)
        }
        fn enabled(&self) -> bool {
            self.1
        }
        fn set_enabled(&mut self, enabled: bool) {
            self.1 = enabled;
        }
    }

    let mut shared = SharedStep::new(CatchPanic::new(Switched(GainStep::new(&setting), true)));
    let control = shared.control();
    with_rig(&mut shared, &clock, |rig| {
        assert!(!rig.passes());
        control.set_enabled(false).unwrap();
        assert!(rig.passes());
        control.set_enabled(true).unwrap();
        assert!(!rig.passes());
    });
    shared.set_enabled(false);
    assert!(!shared.enabled());
}

#[test]
fn credentials_never_show_their_token() {
    let credentials = Credentials { url: "wss://example.org", token: "eyJhbGciOi" };
    for shown in [format!("{credentials:?}"), format!("{credentials:#?}"), format!("{:?}", Some(credentials))]
    {
        assert!(!shown.contains("eyJ") && shown.contains("example.org"), "{shown}");
    }
}
