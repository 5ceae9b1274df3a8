//! Worker side: a frame through the filter, or past it.

use std::sync::Arc;
use std::time::Duration;

use handsfree_core::Format;
use handsfree_core::capture::{Credentials, ProcessError, ProcessorFault, StreamIdentity};

use crate::control::FilterControl;
use crate::fault::{FilterState, Health};
use crate::lanes::Watch;
use crate::shared::Shared;

/// What the processor and the converter have in common. Dropping it closes it.
pub(crate) struct Engine {
    shared: Arc<Shared>,
    input: Format,
    output: Format,
    limit: Duration,
    health: Health,
    done: Box<[i16]>,
}

impl Engine {
    pub(crate) fn new(shared: Arc<Shared>, input: Format, output: Format, limit: Duration) -> Self {
        let done = vec![0; output.samples()].into();
        Self { shared, input, output, limit, health: Health::default(), done }
    }

    pub(crate) fn input(&self) -> Format {
        self.input
    }

    pub(crate) fn output(&self) -> Format {
        self.output
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn take_fault(&mut self) -> Option<ProcessorFault> {
        self.health.take_fault()
    }

    pub(crate) fn control(&self) -> FilterControl {
        FilterControl::new(Arc::clone(&self.shared))
    }

    /// Worker: what the filter makes of 10 ms of the input format, or `None` if they pass. Costs two readings of the
    /// clock and one try of a lock beside the filter's own time; neither allocates nor waits.
    pub(crate) fn filter(&mut self, samples: &[i16]) -> Result<Option<&[i16]>, ProcessError> {
        let shared = &*self.shared;
        let closed = shared.state() == FilterState::Closed;
        if closed || !shared.enabled() || samples.len() != self.input.samples() {
            return Ok(None);
        }
        if shared.takes_rearm() {
            self.health.reset_breaker();
        }
        let counters = &shared.counters;
        if self.health.rests() {
            counters.passed_frames.add(1);
            publish(shared, &self.health);
            return Ok(None);
        }
        let Some(mut slot) = shared.try_slot() else {
            counters.passed_frames.add(1);
            counters.update_frames.add(1);
            return Ok(None);
        };
        let Some(lane) = slot.as_mut() else {
            return Ok(None);
        };
        let watch = Watch::start(self.limit);
        let outcome = lane.run(samples, &mut self.done, &watch);
        drop(slot);
        counters.took(watch.elapsed());
        match outcome {
            Ok(cut_samples) => {
                counters.filtered_frames.add(1);
                counters.cut_samples.add(cut_samples);
                self.health.on_good_frame();
                publish(shared, &self.health);
                Ok(Some(&self.done))
            }
            Err(fault) => {
                counters.passed_frames.add(1);
                counters.fault(fault);
                self.health.on_fault(fault);
                shared.set_last_fault(fault);
                publish(shared, &self.health);
                Err(ProcessError::Backend { code: fault.code() })
            }
        }
    }

    /// Owner: as the control's.
    pub(crate) fn on_stream(&self, stream: &StreamIdentity<'_>) {
        if self.shared.update_stream_info(stream).is_err() {
            self.shared.counters.failed_updates.add(1);
        }
    }

    /// Owner: as the control's.
    pub(crate) fn on_credentials(&self, credentials: &Credentials<'_>) {
        if self.shared.module().update_token(credentials).is_err() {
            self.shared.counters.failed_updates.add(1);
        }
    }
}

fn publish(shared: &Shared, health: &Health) {
    shared.set_state(health.state());
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// Whether a frame is 10 ms of `expected`.
pub(crate) fn check_frame(expected: Format, found: Format, samples: usize) -> Result<(), ProcessError> {
    if found != expected {
        return Err(ProcessError::Format { expected, found });
    }
    if samples != expected.samples() {
        return Err(ProcessError::Length { expected: expected.samples(), found: samples });
    }
    Ok(())
}
