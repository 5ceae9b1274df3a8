//! Worker side: runs a frame through the filter, or past it.

use std::sync::Arc;
use std::time::Duration;

use handsfree_core::Format;
use handsfree_core::capture::{Credentials, ProcessError, ProcessorFault, StreamIdentity};

use crate::control::FilterControl;
use crate::fault::{FilterBreaker, FilterState};
use crate::sessions::FrameTimer;
use crate::shared::SharedProcessorState;

/// Common part of the processor and the converter. Dropping it closes the sessions.
pub(crate) struct FilterEngine {
    shared: Arc<SharedProcessorState>,
    input: Format,
    output: Format,
    limit: Duration,
    breaker: FilterBreaker,
    filtered: Box<[i16]>,
}

impl FilterEngine {
    pub(crate) fn new(
        shared: Arc<SharedProcessorState>,
        input: Format,
        output: Format,
        limit: Duration,
    ) -> Self {
        let filtered = vec![0; output.samples()].into();
        Self { shared, input, output, limit, breaker: FilterBreaker::default(), filtered }
    }

    pub(crate) fn input(&self) -> Format {
        self.input
    }

    pub(crate) fn output(&self) -> Format {
        self.output
    }

    pub(crate) fn shared(&self) -> &SharedProcessorState {
        &self.shared
    }

    pub(crate) fn take_fault(&mut self) -> Option<ProcessorFault> {
        self.breaker.take_fault()
    }

    pub(crate) fn control(&self) -> FilterControl {
        FilterControl::new(Arc::clone(&self.shared))
    }

    /// Worker: filters 10 ms in the input format. Returns `None` when the frame is to pass unfiltered.
    ///
    /// Besides the filter's own time, costs two readings of the clock and one attempt to take a lock. Neither allocates
    /// nor waits.
    pub(crate) fn filter(&mut self, samples: &[i16]) -> Result<Option<&[i16]>, ProcessError> {
        let shared = &*self.shared;
        let closed = shared.state() == FilterState::Closed;
        if closed || !shared.enabled() || samples.len() != self.input.samples() {
            return Ok(None);
        }
        if shared.take_reset_request() {
            self.breaker.reset();
        }
        let counters = &shared.counters;
        if self.breaker.must_bypass() {
            counters.passed_frames.add(1);
            shared.set_state(self.breaker.state());
            return Ok(None);
        }
        let Some(mut slot) = shared.try_borrow_sessions() else {
            counters.passed_frames.add(1);
            counters.update_frames.add(1);
            return Ok(None);
        };
        let Some(sessions) = slot.as_mut() else {
            return Ok(None);
        };
        let timer = FrameTimer::start(self.limit);
        let outcome = sessions.process(samples, &mut self.filtered, &timer);
        drop(slot);
        counters.record_time(timer.elapsed());
        match outcome {
            Ok(clipped_samples) => {
                counters.filtered_frames.add(1);
                counters.clipped_samples.add(clipped_samples);
                self.breaker.record_success();
                shared.set_state(self.breaker.state());
                Ok(Some(&self.filtered))
            }
            Err(fault) => {
                counters.passed_frames.add(1);
                counters.record_fault(fault);
                self.breaker.record_fault(fault);
                shared.set_last_fault(fault);
                shared.set_state(self.breaker.state());
                Err(ProcessError::Backend { code: fault.code() })
            }
        }
    }

    /// The processor's owner, on the control side: passes new stream information to the filter; counts a failure.
    pub(crate) fn on_stream(&self, stream: &StreamIdentity<'_>) {
        if self.shared.update_stream_info(stream).is_err() {
            self.shared.counters.failed_updates.add(1);
        }
    }

    /// The processor's owner, on the control side: passes new credentials to the filter; counts a failure.
    pub(crate) fn on_credentials(&self, credentials: &Credentials<'_>) {
        if self.shared.module().update_token(credentials).is_err() {
            self.shared.counters.failed_updates.add(1);
        }
    }
}

impl Drop for FilterEngine {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// Checks that a frame is 10 ms in the `expected` format.
pub(crate) fn check_frame(expected: Format, found: Format, samples: usize) -> Result<(), ProcessError> {
    if found != expected {
        return Err(ProcessError::Format { expected, found });
    }
    if samples != expected.samples() {
        return Err(ProcessError::Length { expected: expected.samples(), found: samples });
    }
    Ok(())
}
