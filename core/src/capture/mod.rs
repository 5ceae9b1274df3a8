//! The capture path: interrupt half, worker half, and what may change the audio in between.

mod guard;
mod intake;
mod pipeline;
mod processor;
mod sink;

pub(crate) use intake::check_period;
pub use intake::{Intake, IntakeConfig};
pub use pipeline::Pipeline;
pub(crate) use pipeline::{CaptureEnds, CaptureMemory};
pub use processor::{
    Bypass, Chain, Credentials, FrameProcessor, ProcessError, StreamIdentity, VoiceProcessor, VoiceStats,
};
pub use sink::{FrameSink, RingSink};

pub use guard::VoiceState;
