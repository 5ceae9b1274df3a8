//! Worker side: keeps the microphone working while a frame processor fails or is too slow.

use core::fmt;

use crate::capture::circuit_breaker::{BreakerDecision, BreakerState, CircuitBreaker};
use crate::capture::processor::{Credentials, FrameProcessor, ProcessError, ProcessorFault, StreamIdentity};
use crate::frame::PcmMut;
use crate::limits::PROCESSOR_DEADLINE;
use crate::stats::Counter;
use crate::time::{Clock, Duration};

/// Counters and state of a guarded step: written by its guard, read from anywhere.
///
/// It is all zero bytes, lives outside the guard, which borrows it, and belongs to one guard only.
#[derive(Debug)]
pub struct StepHealth {
    frames: Counter,
    errors: Counter,
    slow_frames: Counter,
    bypassed_frames: Counter,
    longest_us: Counter,
    state: Counter,
    /// Written from outside: any change requests a reset of the breaker.
    reset_requests: Counter,
}

/// The counters of a guarded step at about one moment; they wrap at 2^32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct StepStats {
    /// State of the step.
    pub state: BreakerState,
    /// Frames that the step processed in time.
    pub frames: u32,
    /// Frames on which the step failed; they passed unprocessed.
    pub errors: u32,
    /// Frames for which the step took too long; they passed unprocessed.
    pub slow_frames: u32,
    /// Frames that passed unprocessed while the step was in backoff or disabled.
    pub bypassed_frames: u32,
    /// Longest time that the step took for a frame, in microseconds.
    pub longest_us: u32,
}

impl Default for StepHealth {
    fn default() -> Self {
        Self::new()
    }
}

impl StepHealth {
    const DISABLED: u32 = u32::MAX;

    /// Returns the health of a step that has not run yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            frames: Counter::new(),
            errors: Counter::new(),
            slow_frames: Counter::new(),
            bypassed_frames: Counter::new(),
            longest_us: Counter::new(),
            state: Counter::new(),
            reset_requests: Counter::new(),
        }
    }

    /// Reads the counters. Any side, wait-free; each value is exact, together they are of about one moment.
    #[must_use]
    pub fn read(&self) -> StepStats {
        StepStats {
            state: match self.state.get() {
                0 => BreakerState::Active,
                Self::DISABLED => BreakerState::Disabled,
                frames => BreakerState::Backoff { frames: (frames - 1) as u16 },
            },
            frames: self.frames.get(),
            errors: self.errors.get(),
            slow_frames: self.slow_frames.get(),
            bypassed_frames: self.bypassed_frames.get(),
            longest_us: self.longest_us.get(),
        }
    }

    /// Requests that the guard forgets the step's faults and uses it again from the next frame on, even if it
    /// was disabled. Any side but the worker's, wait-free.
    pub fn reset_breaker(&self) {
        // Two requests at once may count as one, which has the same effect: the guard looks for a change.
        self.reset_requests.add(1);
    }

    fn show(&self, state: BreakerState) {
        self.state.set(match state {
            BreakerState::Active => 0,
            BreakerState::Backoff { frames } => u32::from(frames) + 1,
            BreakerState::Disabled => Self::DISABLED,
        });
    }
}

/// A frame processor behind a [`CircuitBreaker`], like the voice processor.
///
/// An error, or a frame that takes longer than the limit, is a fault. The frame passes unprocessed,
/// bit-exact; the step is bypassed for a second, then reset and retried, at most
/// [`PROCESSOR_RETRIES`](crate::limits::PROCESSOR_RETRIES) times; the next fault disables it. Ten minutes
/// without a fault clear the count. Each fault is an event of the session
/// ([`SessionEvent::ProcessorTripped`](crate::SessionEvent::ProcessorTripped),
/// [`SessionEvent::ProcessorDisabled`](crate::SessionEvent::ProcessorDisabled)) and counted in
/// [`StepHealth`].
///
/// `CAP` is the largest number of samples in a frame, all channels: the session's `CAP` fits. Costs a copy of
/// the frame and two readings of the clock (0.1 us on a small server core). It cannot interrupt a step that
/// never returns, and a panic is for a host to catch.
///
/// ```
/// use handsfree_core::capture::{FrameProcessor, BreakerState, Guarded, ProcessError, StepHealth};
/// use handsfree_core::{Format, Instant, PcmMut};
///
/// struct Broken;
/// impl FrameProcessor for Broken {
///     fn process(&mut self, frame: PcmMut<'_>) -> Result<(), ProcessError> {
///         frame.samples.fill(-1);
///         Err(ProcessError::Backend { code: 5 })
///     }
/// }
///
/// let health = StepHealth::new();
/// let mut step = Guarded::<_, _, 80>::new(Broken, || Instant::ORIGIN, &health);
/// let mut samples = [7; 80];
/// let frame = PcmMut { format: Format::new(8_000, 1)?, samples: &mut samples };
/// assert_eq!(step.process(frame), Err(ProcessError::Backend { code: 5 }));
/// assert_eq!(samples, [7; 80]);
/// assert_eq!(health.read().state, BreakerState::Backoff { frames: 100 });
/// # Ok::<(), handsfree_core::ConfigError>(())
/// ```
pub struct Guarded<'h, P, C, const CAP: usize> {
    step: P,
    clock: C,
    limit: Duration,
    health: &'h StepHealth,
    breaker: CircuitBreaker,
    /// Whether the step must be reset before its next frame.
    stale: bool,
    /// Number of reset requests that were carried out.
    resets_done: u32,
    fault: Option<ProcessorFault>,
    backup: [i16; CAP],
}

impl<P: fmt::Debug, C, const CAP: usize> fmt::Debug for Guarded<'_, P, C, CAP> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded")
            .field("step", &self.step)
            .field("breaker", &self.breaker)
            .finish_non_exhaustive()
    }
}

impl<'h, P: FrameProcessor, C: Clock, const CAP: usize> Guarded<'h, P, C, CAP> {
    /// Returns a guard around `step`, which may take [`PROCESSOR_DEADLINE`] for a frame.
    #[must_use]
    pub fn new(step: P, clock: C, health: &'h StepHealth) -> Self {
        let breaker = CircuitBreaker::new();
        health.show(breaker.state());
        Self {
            step,
            clock,
            limit: PROCESSOR_DEADLINE,
            health,
            breaker,
            stale: false,
            resets_done: health.reset_requests.get(),
            fault: None,
            backup: [0; CAP],
        }
    }

    /// Sets another limit: a frame that takes longer is a fault.
    #[must_use]
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Returns the step inside, for its owner while no worker uses it.
    pub fn step_mut(&mut self) -> &mut P {
        &mut self.step
    }

    fn handle_reset_request(&mut self) {
        let requests = self.health.reset_requests.get();
        if requests != self.resets_done {
            self.resets_done = requests;
            self.stale |= self.breaker.state() != BreakerState::Active;
            self.breaker.reset();
        }
    }

    /// Runs the step, with a reset first if one is due: the time of the reset counts as well.
    fn run(&mut self, mut frame: PcmMut<'_>) -> Result<(), ProcessError> {
        let found = frame.samples.len();
        let Some(backup) = self.backup.get_mut(..found) else {
            return Err(ProcessError::TooLong { capacity: CAP, found });
        };
        backup.copy_from_slice(frame.samples);
        let begun = self.clock.now();
        if core::mem::take(&mut self.stale) {
            self.step.reset();
        }
        let outcome = self.step.process(frame.reborrow());
        let took = self.clock.now() - begun;
        let took_us = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        self.health.longest_us.set(self.health.longest_us.get().max(took_us));
        let outcome = match outcome {
            Ok(()) if took > self.limit => Err(ProcessError::Slow { took, limit: self.limit }),
            outcome => outcome,
        };
        if outcome.is_err() {
            frame.samples.copy_from_slice(backup);
        }
        outcome
    }

    fn trip(&mut self, error: ProcessError) {
        match error {
            ProcessError::Slow { .. } => self.health.slow_frames.add(1),
            _ => self.health.errors.add(1),
        }
        // The chain fills in the index of the step.
        self.fault = Some(match self.breaker.record_fault() {
            Some(fault) => ProcessorFault::Tripped { step: 0, fault },
            None => ProcessorFault::Disabled { step: 0 },
        });
    }
}

impl<P: FrameProcessor, C: Clock, const CAP: usize> FrameProcessor for Guarded<'_, P, C, CAP> {
    /// Returns each of the step's own errors, [`ProcessError::Slow`] and [`ProcessError::TooLong`] once;
    /// while the step is bypassed, frames pass without an error.
    fn process(&mut self, frame: PcmMut<'_>) -> Result<(), ProcessError> {
        self.handle_reset_request();
        let decision = self.breaker.decide();
        let outcome = if decision == BreakerDecision::Bypass {
            self.health.bypassed_frames.add(1);
            Ok(())
        } else {
            self.stale |= decision == BreakerDecision::Retry;
            let outcome = self.run(frame);
            match outcome {
                Ok(()) => {
                    self.health.frames.add(1);
                    self.breaker.record_success();
                }
                Err(error) => self.trip(error),
            }
            outcome
        };
        self.health.show(self.breaker.state());
        outcome
    }

    fn enabled(&self) -> bool {
        self.step.enabled()
    }

    fn set_enabled(&mut self, enabled: bool) {
        self.step.set_enabled(enabled);
    }

    /// Resets the step before the next frame that it gets, within that frame's time limit. A step in backoff
    /// or disabled stays so: another device does not repair it.
    fn reset(&mut self) {
        self.stale = true;
    }

    fn take_fault(&mut self) -> Option<ProcessorFault> {
        self.fault.take().or_else(|| self.step.take_fault())
    }

    fn on_stream(&mut self, stream: &StreamIdentity<'_>) {
        self.step.on_stream(stream);
    }

    fn on_credentials(&mut self, credentials: &Credentials<'_>) {
        self.step.on_credentials(credentials);
    }

    fn close(&mut self) {
        self.step.close();
    }
}
