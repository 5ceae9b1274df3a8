//! Interrupt and worker side: the capture path from the microphone through the processors to a sink.

mod alignment;
mod chain;
mod circuit_breaker;
mod gain;
mod guard;
mod guarded;
mod intake;
mod light;
mod meter;
mod pipeline;
mod processor;
mod sink;
mod talker_gain;

pub use chain::{Chain, StepSwitch};
pub use circuit_breaker::{BreakerDecision, BreakerState, CircuitBreaker};
pub use gain::{GainSetting, GainStep};
pub use guarded::{Guarded, StepHealth, StepStats};
pub use intake::{Intake, IntakeConfig};
pub use light::{LightConfig, LightReading, LightVoice};
pub use meter::{LEVEL_FLOOR_DBFS, LevelMeter, LevelReading, Levels};
pub use pipeline::Pipeline;
pub(crate) use pipeline::{CaptureMemory, CapturePipelineParts};
pub use processor::{
    Bypass, Credentials, EchoReport, EchoShift, FrameProcessor, ProcessError, ProcessorFault, StreamIdentity,
    VoiceProcessor, VoiceStats,
};
pub use sink::{FrameSink, RingSink};
pub use talker_gain::TalkerGain;
