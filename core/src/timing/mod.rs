//! Worker side: how the two directions belong together in time.

mod acoustic;
mod acoustic_delay;
mod delay_estimator;
mod echo_follower;
mod echo_reference;
mod history;
mod stream_clock;

pub use acoustic_delay::{AcousticDelay, AcousticMemory, EchoLag};
pub use delay_estimator::{DelayEstimate, DelayEstimator, DelaySource};
pub(crate) use echo_follower::{EchoFollower, Hearing};
pub(crate) use echo_reference::ReferenceMemory;
pub use echo_reference::{EchoReference, Reading, ReferenceQuality};
pub(crate) use history::Number;
pub(crate) use stream_clock::whole_and_rest;
pub use stream_clock::{Observation, RateEstimate, StreamClock};
