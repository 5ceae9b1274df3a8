//! Worker side: how the two directions belong together in time.

mod delay_estimator;
mod echo_reference;

pub use delay_estimator::DelayEstimator;
pub use echo_reference::EchoReference;
