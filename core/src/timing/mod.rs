//! Worker side: clocks, echo reference and delays, which align the two directions in time.

mod acoustic;
mod cancellation_meter;
mod delay_estimator;
mod echo_reference;
mod history;
mod reference_corrector;
mod shift_follower;
mod stream_clock;

pub use acoustic::{AcousticDelay, AcousticMemory, EchoLag};
pub use delay_estimator::{DelayEstimate, DelayEstimator, DelaySource};
pub use echo_reference::ReferenceQuality;
pub(crate) use echo_reference::{EchoReference, Reading, ReferenceMemory};
pub(crate) use history::HistorySample;
pub(crate) use reference_corrector::{CorrectorInput, EchoEventOutput, EchoFrames, ReferenceCorrector};
pub(crate) use stream_clock::whole_and_rest;
pub use stream_clock::{Observation, RateEstimate, StreamClock};
