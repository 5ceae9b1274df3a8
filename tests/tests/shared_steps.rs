//! Wrappers that a host adds to frame processors: `CatchPanic` turns panics into errors, and `SharedStep` lets an
//! application control a step while the worker uses it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use handsfree::catch_panic::CatchPanic;
use handsfree::shared_step::{Busy, LOCK_TIMEOUT, SharedStep};
use handsfree_core::capture::{
    Chain, Credentials, FrameProcessor, GainSetting, GainStep, ProcessError, StepHealth, StreamIdentity,
};
use handsfree_core::{ChannelMap, Format, Frame, Gain, PcmMut, SampleRate, SessionEvent};
use handsfree_tests::capture_rig::{
    CAP, GuardedStep, ScriptedOutcome, ScriptedStep, TestClock, scripted_sample, tripped, with_rig,
};
use handsfree_tests::{captured_at, intake_config};

#[test]
fn a_panicked_step_is_not_called_until_it_is_reset() {
    let clock = TestClock::default();
    let step = ScriptedStep::new(
        &clock,
        [ScriptedOutcome::Success, ScriptedOutcome::Panic, ScriptedOutcome::Success, ScriptedOutcome::Panic],
    );
    let log = step.log();
    let mut step = CatchPanic::new(step);
    let panics = step.panics();
    let format = Format::new(8_000, 1).unwrap();
    let process = |step: &mut CatchPanic<ScriptedStep>| {
        let mut samples = [5; 80];
        let outcome = step.process(PcmMut { format, samples: &mut samples });
        (outcome, samples[0])
    };
    assert_eq!(process(&mut step), (Ok(()), scripted_sample(5, 3, 1)));
    assert_eq!(process(&mut step).0, Err(ProcessError::Panicked));
    assert_eq!(panics.count(), 1);
    (0..10).for_each(|_| assert_eq!(process(&mut step), (Err(ProcessError::Panicked), 5)));
    assert!(step.enabled(), "it stays enabled, so that its error is reported");
    assert_eq!((panics.count(), log().len()), (1, 0), "a panicked step was called");

    step.on_credentials(&Credentials { url: "here", token: "t" });
    assert_eq!(log(), ["reset", "t for here"], "credentials after a panic are delivered after a reset");
    assert_eq!(process(&mut step), (Ok(()), scripted_sample(5, 3, 1)), "not reset after the panic");
    assert_eq!(process(&mut step).0, Err(ProcessError::Panicked));
    assert_eq!((panics.count(), panics.take_message().as_deref()), (2, Some("step 3")));
    assert_eq!(panics.take_message(), None, "only the oldest untaken message is kept");

    step.close();
    step.close();
    assert_eq!(log(), ["close"], "a panicked step is closed once");
    assert_eq!(process(&mut step), (Ok(()), 5));
    assert!(!step.enabled());
}

/// Panics in every call with a payload that panics again when it is dropped.
struct AlwaysPanics;

struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

impl FrameProcessor for AlwaysPanics {
    fn process(&mut self, _frame: PcmMut<'_>) -> Result<(), ProcessError> {
        std::panic::panic_any(PanicsOnDrop)
    }

    fn enabled(&self) -> bool {
        std::panic::panic_any(PanicsOnDrop)
    }

    fn set_enabled(&mut self, _enabled: bool) {
        std::panic::panic_any(PanicsOnDrop)
    }

    fn reset(&mut self) {
        std::panic::panic_any(PanicsOnDrop)
    }

    fn on_stream(&mut self, _stream: &StreamIdentity<'_>) {
        std::panic::panic_any(PanicsOnDrop)
    }

    fn on_credentials(&mut self, _credentials: &Credentials<'_>) {
        std::panic::panic_any(PanicsOnDrop)
    }

    fn close(&mut self) {
        std::panic::panic_any(PanicsOnDrop)
    }
}

#[test]
fn panics_in_any_call_are_contained_and_audio_continues() {
    let clock = TestClock::default();
    let health = StepHealth::new();
    let step = CatchPanic::new(AlwaysPanics);
    let panics = step.panics();
    let mut guarded = GuardedStep::new(step, clock.clone(), &health);
    guarded.set_enabled(true);
    guarded.on_stream(&StreamIdentity::default());
    guarded.on_credentials(&Credentials::default());
    with_rig(&mut guarded, &clock, |rig| {
        (0..1_000).for_each(|_| assert!(rig.passes()));
        let disabled = SessionEvent::ProcessorDisabled { step: 0 };
        assert_eq!(rig.events(), [tripped(0, 1), tripped(0, 2), tripped(0, 3), disabled]);
    });
    assert_eq!(health.read().errors, 4);
    // One for the switch, two for the control calls, and three for the resets before the retries.
    assert_eq!(panics.count(), 1 + 2 + 3);
    guarded.close();
    assert_eq!(panics.count(), 7);
    assert_eq!(panics.take_message(), None, "the payload is not a text");
}

#[test]
fn control_calls_reach_a_step_in_use_without_delaying_frames() {
    let clock = TestClock::default();
    let step = ScriptedStep::new(&clock, []);
    let log = step.log();
    let shared = SharedStep::new(CatchPanic::new(step));
    let control = shared.control();
    let health = StepHealth::new();
    let mut guarded = GuardedStep::new(shared, clock.clone(), &health);
    let mut steps: [&mut (dyn FrameProcessor + Send); 1] = [&mut guarded];
    let done = AtomicBool::new(false);
    let (frame_done, next_frame) = mpsc::channel();
    with_rig(Chain::new(&mut steps, &[]).unwrap(), &clock, |rig| {
        let (frames, passed) = thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let (mut frames, mut passed) = (0u32, 0u32);
                while !done.load(Ordering::Relaxed) {
                    passed += u32::from(rig.passes());
                    frames += 1;
                    // The receiver is dropped after the last control call.
                    let _ = frame_done.send(());
                }
                (frames, passed)
            });
            for n in 0..200 {
                next_frame.recv().unwrap();
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
        let expected = (0..200).flat_map(|n| [format!("speaker {n} in a room"), format!("{n} for a server")]);
        assert_eq!(log(), expected.collect::<Vec<_>>());
        assert_eq!(control.passed_frames(), passed, "frames that pass unprocessed are counted");
        assert!(frames >= 200);
        println!("{passed} of {frames} frames passed unprocessed");

        control.close().unwrap();
        assert_eq!(log(), ["close"]);
        assert!(rig.passes() && rig.passes());
        assert_eq!(rig.events(), []);
    });
}

#[test]
fn frames_pass_unprocessed_while_a_control_holds_the_step() {
    let clock = TestClock::default();
    let step = ScriptedStep::new(&clock, []);
    let log = step.log();
    let mut shared = SharedStep::new(step);
    let (control, second) = (shared.control(), shared.control());
    with_rig(&mut shared, &clock, |rig| {
        assert!(!rig.passes());
        control.with(|_| (0..7).for_each(|_| assert!(rig.passes()))).unwrap();
        assert_eq!(control.passed_frames(), 7);
        assert!(!rig.passes());
        assert_eq!(log(), [""; 0], "the step was reset");

        let refused = control.with(|_| second.with(|_| ())).unwrap();
        assert!(matches!(refused, Err(Busy { waited }) if waited >= LOCK_TIMEOUT), "{refused:?}");

        let other = SampleRate::new(48_000).unwrap();
        rig.intake.configure(intake_config(other, ChannelMap::natural(1, 1).unwrap(), 480)).unwrap();
        rig.intake.on_period(&[9i16; 480], captured_at(rig.position, 480, other, 0));
        rig.position += 480;
        control.with(|_| rig.capture.poll(&clock, &mut |_: &Frame<CAP>| {})).unwrap();
        assert_eq!(log(), [""; 0]);
        rig.intake.on_period(&[9i16; 480], captured_at(rig.position, 480, other, 0));
        rig.capture.poll(&clock, &mut |_: &Frame<CAP>| {});
        assert_eq!(log(), ["reset"], "the postponed reset did not happen with the next frame");
    });

    let panicking = || control.with(|_| panic!("while it holds the step")).unwrap();
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(panicking)).unwrap_err();
    with_rig(&mut shared, &clock, |rig| {
        assert!(!rig.passes() && !rig.passes());
        assert_eq!(log(), ["reset"], "the step may be in an inconsistent state");
    });
}

#[test]
fn a_shared_step_can_be_switched_off() {
    let (setting, clock) = (GainSetting::new(Gain::SILENT), TestClock::default());

    struct SwitchableGain<'a>(GainStep<'a>, bool);
    impl FrameProcessor for SwitchableGain<'_> {
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

    let mut shared = SharedStep::new(CatchPanic::new(SwitchableGain(GainStep::new(&setting), true)));
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
