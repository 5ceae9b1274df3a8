//! A capture path in which time is an argument, and a frame processor that does what it is told, be it wrong.

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

/// Capacity of the path's frames, in samples.
pub const CAP: usize = 480;

/// Of a frame, in sample frames: 16 kHz, mono.
pub const LENGTH: usize = 160;

/// A guard on the path's clock.
pub type GuardedStep<'h, P> = Guarded<'h, P, TestClock, CAP>;

/// A virtual clock that a processor may carry to another thread.
#[derive(Clone, Debug, Default)]
pub struct TestClock(Arc<AtomicI64>);

impl TestClock {
    /// Lets time pass.
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
    SampleRate::new(LENGTH as u32 * 100).expect("a rate that is supported")
}

/// A session's capture path, one frame at a time.
#[derive(Debug)]
pub struct Rig<'a, P> {
    /// The interrupt half.
    pub intake: Intake<'a, CAP>,
    /// The worker half.
    pub capture: Pipeline<'a, CAP, 1, Bypass, P>,
    /// Where the next period begins.
    pub position: u64,
    events: Events<'a>,
    stats: StatsReader<'a>,
    clock: TestClock,
}

impl<P: FrameProcessor> Rig<'_, P> {
    /// What becomes of `period`, which is a frame.
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

    /// The next frame of a signal in which every sample is another one, before and after.
    pub fn next_frame(&mut self) -> (Vec<i16>, Vec<i16>) {
        let period: Vec<i16> = (self.position..).take(LENGTH).map(|at| sample_at(at, 0)).collect();
        let heard = self.run(&period);
        (period, heard)
    }

    /// Whether the next frame passes bit by bit.
    pub fn passes(&mut self) -> bool {
        let (period, heard) = self.next_frame();
        heard == period
    }

    /// What was reported since this was last asked.
    pub fn events(&mut self) -> Vec<SessionEvent> {
        std::iter::from_fn(|| self.events.poll()).collect()
    }

    /// Frames so far on which the chain failed.
    #[must_use]
    pub fn processor_errors(&self) -> u32 {
        self.stats.read().capture.processor_errors
    }
}

/// Runs `test` on the capture path of a real session with this chain.
pub fn with_rig<P: FrameProcessor, T>(
    chain: P,
    clock: &TestClock,
    test: impl FnOnce(&mut Rig<'_, P>) -> T,
) -> T {
    let mut session = Box::new(Session::<CAP, 1, 4, 4, 4, 4, CAP>::new());
    let terminal = SessionFormat { rate: rate(), near_channels: 1, far_channels: 1 };
    let halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, chain);
    let mut halves = halves.expect("a format that fits");
    let map = ChannelMap::natural(1, 1).expect("mono");
    halves.intake.configure(intake_config(rate(), map, LENGTH as u32)).expect("a period that fits");
    test(&mut Rig {
        intake: halves.intake,
        capture: halves.capture,
        position: 0,
        events: halves.events,
        stats: halves.stats,
        clock: clock.clone(),
    })
}

/// The event of a guarded step that failed.
#[must_use]
pub fn tripped(step: u8, fault: u8) -> SessionEvent {
    SessionEvent::ProcessorTripped { step, fault }
}

/// What a step does in a call beside changing every sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Nothing.
    Fine,
    /// Returns an error.
    Fails,
    /// Panics.
    Panics,
    /// Takes so many microseconds.
    Slow(i64),
}

/// A frame processor that follows a script, a mood a call, and is fine after its end. What it makes of a frame depends
/// on how often it was called since its last reset.
#[derive(Debug)]
pub struct Moody {
    /// An odd number that tells it from others.
    pub factor: i16,
    moods: VecDeque<Mood>,
    clock: TestClock,
    calls: i16,
    log: Arc<Mutex<Vec<String>>>,
}

impl Moody {
    /// One that takes its time on this clock.
    #[must_use]
    pub fn new(clock: &TestClock, moods: impl IntoIterator<Item = Mood>) -> Self {
        let moods = moods.into_iter().collect();
        Self { factor: 3, moods, clock: clock.clone(), calls: 0, log: Arc::default() }
    }

    /// Takes what was said to it so far, in order.
    pub fn log(&self) -> impl Fn() -> Vec<String> + use<> {
        let log = Arc::clone(&self.log);
        move || std::mem::take(&mut *log.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, entry: String) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }
}

/// What [`Moody`] makes of a sample in its n-th call since its last reset, counted from 1; never the same sample.
#[must_use]
pub fn moody(sample: i16, factor: i16, call: i16) -> i16 {
    sample.wrapping_mul(factor).wrapping_add(sample.wrapping_add(call) | 1)
}

impl FrameProcessor for Moody {
    fn process(&mut self, frame: PcmMut<'_>) -> Result<(), ProcessError> {
        self.calls += 1;
        for sample in frame.samples.iter_mut() {
            *sample = moody(*sample, self.factor, self.calls);
        }
        match self.moods.pop_front().unwrap_or(Mood::Fine) {
            Mood::Fine => Ok(()),
            Mood::Fails => Err(ProcessError::Backend { code: 7 }),
            Mood::Panics => panic!("mood {}", self.factor),
            Mood::Slow(us) => {
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
