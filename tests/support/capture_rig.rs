//! Test support: a capture path on a virtual clock, and a frame processor that fails according to a script.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::capture::{
    Bypass, Credentials, FrameProcessor, Guarded, Intake, Pipeline, ProcessError, StreamIdentity,
};
use handsfree_core::{
    ChannelMap, Clock, Duration, Events, Frame, Instant, PcmMut, SampleRate, Session, SessionEvent,
    SessionFormat, StatsReader,
};

use crate::{captured_at, intake_config, sample_at};

/// Capacity of a frame, in samples.
pub const CAP: usize = 480;

/// Length of a frame at 16 kHz, in sample frames.
pub const LENGTH: usize = 160;

/// A guarded step that measures its time on the rig's clock.
pub type GuardedStep<'h, P> = Guarded<'h, P, TestClock, CAP>;

/// A virtual clock that can be shared between threads.
#[derive(Clone, Debug, Default)]
pub struct TestClock(Arc<AtomicI64>);

impl TestClock {
    /// Advances the clock by a span.
    pub fn advance(&self, span: Duration) {
        self.0.fetch_add(span.as_nanos(), Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

fn rate() -> SampleRate {
    SampleRate::new(LENGTH as u32 * 100).expect("16 kHz is a supported rate")
}

/// The capture path of a session, driven one frame at a time.
#[derive(Debug)]
pub struct CaptureRig<'a, P> {
    /// Interrupt half of the microphone.
    pub intake: Intake<'a, CAP>,
    /// Worker half with the chain under test.
    pub capture: Pipeline<'a, CAP, 1, Bypass, P>,
    /// Position of the next period, in sample frames.
    pub position: u64,
    events: Events<'a>,
    stats: StatsReader<'a>,
    clock: TestClock,
}

impl<P: FrameProcessor> CaptureRig<'_, P> {
    /// Captures `period`, which is one frame long, and returns the frame that reaches the sink.
    pub fn run(&mut self, period: &[i16]) -> Vec<i16> {
        self.intake.on_period(period, captured_at(self.position, LENGTH, rate(), 0));
        self.position += LENGTH as u64;
        self.clock.advance(Duration::from_millis(10));
        let mut heard = Vec::new();
        let clock = self.clock.clone();
        self.capture.poll(&clock, &mut |frame: &Frame<CAP>| heard.extend_from_slice(frame.samples()));
        assert_eq!(heard.len(), LENGTH, "one frame in, one frame out, whatever happens");
        heard
    }

    /// Captures the next frame of the test signal and returns it before and after processing.
    pub fn next_frame(&mut self) -> (Vec<i16>, Vec<i16>) {
        let period: Vec<i16> = (self.position..).take(LENGTH).map(|at| sample_at(at, 0)).collect();
        let heard = self.run(&period);
        (period, heard)
    }

    /// Captures the next frame and returns true if it reaches the sink unchanged.
    pub fn passes(&mut self) -> bool {
        let (period, heard) = self.next_frame();
        heard == period
    }

    /// Returns the events since the previous call.
    pub fn events(&mut self) -> Vec<SessionEvent> {
        std::iter::from_fn(|| self.events.poll()).collect()
    }

    /// Returns the number of frames on which the chain failed.
    #[must_use]
    pub fn processor_errors(&self) -> u32 {
        self.stats.read().capture.processor_errors
    }
}

/// Runs `test` on the capture path of a session with this chain.
pub fn with_rig<P: FrameProcessor, T>(
    chain: P,
    clock: &TestClock,
    test: impl FnOnce(&mut CaptureRig<'_, P>) -> T,
) -> T {
    let mut session = Box::new(Session::<CAP, 1, 4, 4, 4, 4, CAP>::new());
    let terminal = SessionFormat { rate: rate(), near_channels: 1, far_channels: 1 };
    let halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, chain);
    let mut halves = halves.expect("a format that fits");
    let map = ChannelMap::natural(1, 1).expect("mono");
    halves.intake.configure(intake_config(rate(), map, LENGTH as u32)).expect("a period that fits");
    test(&mut CaptureRig {
        intake: halves.intake,
        capture: halves.capture,
        position: 0,
        events: halves.events,
        stats: halves.stats,
        clock: clock.clone(),
    })
}

/// Returns the event for fault number `fault` of a guarded step.
#[must_use]
pub fn tripped(step: u8, fault: u8) -> SessionEvent {
    SessionEvent::ProcessorTripped { step, fault }
}

/// What a scripted step does in one call, besides changing every sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScriptedOutcome {
    /// Returns without an error.
    Success,
    /// Returns an error.
    Error,
    /// Panics.
    Panic,
    /// Advances the clock by this number of microseconds.
    Slow(i64),
}

/// A frame processor that follows a script with one outcome per call and succeeds after the end of the script. Its output
/// depends on the number of calls since its last reset.
#[derive(Debug)]
pub struct ScriptedStep {
    /// Odd factor that distinguishes this step's output from that of other steps.
    pub factor: i16,
    outcomes: VecDeque<ScriptedOutcome>,
    clock: TestClock,
    calls: i16,
    log: Arc<Mutex<Vec<String>>>,
}

impl ScriptedStep {
    /// Creates a step that spends its time on this clock.
    #[must_use]
    pub fn new(clock: &TestClock, outcomes: impl IntoIterator<Item = ScriptedOutcome>) -> Self {
        let outcomes = outcomes.into_iter().collect();
        Self { factor: 3, outcomes, clock: clock.clone(), calls: 0, log: Arc::default() }
    }

    /// Returns a function that takes the log of resets and control calls so far, in order.
    pub fn log(&self) -> impl Fn() -> Vec<String> + use<> {
        let log = Arc::clone(&self.log);
        move || std::mem::take(&mut *log.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, entry: String) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }
}

/// Returns what [`ScriptedStep`] makes of a sample in the given call since its last reset, counted from 1. The result
/// always differs from the sample.
#[must_use]
pub fn scripted_sample(sample: i16, factor: i16, call: i16) -> i16 {
    sample.wrapping_mul(factor).wrapping_add(sample.wrapping_add(call) | 1)
}

impl FrameProcessor for ScriptedStep {
    fn process(&mut self, frame: PcmMut<'_>) -> Result<(), ProcessError> {
        self.calls += 1;
        for sample in frame.samples.iter_mut() {
            *sample = scripted_sample(*sample, self.factor, self.calls);
        }
        match self.outcomes.pop_front().unwrap_or(ScriptedOutcome::Success) {
            ScriptedOutcome::Success => Ok(()),
            ScriptedOutcome::Error => Err(ProcessError::Backend { code: 7 }),
            ScriptedOutcome::Panic => panic!("step {}", self.factor),
            ScriptedOutcome::Slow(us) => {
                self.clock.advance(Duration::from_micros(us));
                Ok(())
            }
        }
    }

    fn reset(&mut self) {
        self.calls = 0;
        self.note("reset".into());
    }

    fn on_stream(&mut self, stream: &StreamIdentity<'_>) {
        self.note(format!("{} in {}", stream.participant_identity, stream.room_name));
    }

    fn on_credentials(&mut self, credentials: &Credentials<'_>) {
        self.note(format!("{} for {}", credentials.token, credentials.url));
    }

    fn close(&mut self) {
        self.note("close".into());
    }
}
