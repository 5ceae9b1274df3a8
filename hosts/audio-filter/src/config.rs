//! Control side: the configuration of a session.

use std::time::Duration;

use handsfree_core::capture::StreamIdentity;
use handsfree_core::limits::PROCESSOR_DEADLINE;

/// Type of the samples that are passed to a filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SampleType {
    /// 16-bit integers, unconverted. LiveKit's own host uses these.
    #[default]
    Int16,
    /// 32-bit floats with full scale at 1.0.
    Float,
}

impl SampleType {
    pub(crate) const fn process_v2_name(self) -> &'static str {
        match self {
            Self::Int16 => "audio_filter_process_int16_v2",
            Self::Float => "audio_filter_process_float_v2",
        }
    }
}

/// Configuration of a processor's sessions.
///
/// ```
/// use handsfree_audio_filter::{SampleType, SessionConfig};
///
/// let config = SessionConfig { samples: SampleType::Float, options: "gain=0.5", ..SessionConfig::default() };
/// assert_eq!(config.limit.as_millis(), 20);
/// ```
#[derive(Clone, Copy)]
pub struct SessionConfig<'a> {
    /// Type of the samples that are passed to the filter.
    pub samples: SampleType,
    /// Text that is passed to the filter's `create` as its options. Its meaning is defined by the filter; often it is
    /// JSON. `Debug` does not show it, because it may contain a key.
    pub options: &'a str,
    /// Identity of the stream that the filter processes.
    pub stream: StreamIdentity<'a>,
    /// Longest time that the filter may take for one frame, all channels together; a longer time counts as a fault. The
    /// default is the core's limit for a processor ([`PROCESSOR_DEADLINE`], 20 ms).
    pub limit: Duration,
}

impl Default for SessionConfig<'_> {
    fn default() -> Self {
        Self {
            samples: SampleType::default(),
            options: "",
            stream: StreamIdentity::default(),
            limit: Duration::from_nanos(PROCESSOR_DEADLINE.as_nanos().unsigned_abs()),
        }
    }
}

impl std::fmt::Debug for SessionConfig<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionConfig")
            .field("samples", &self.samples)
            .field("stream", &self.stream)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}
