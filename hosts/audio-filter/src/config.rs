//! Control side: what a session is made for.

use std::time::Duration;

use handsfree_core::capture::StreamIdentity;
use handsfree_core::limits::PROCESSOR_DEADLINE;

/// What a filter is given its samples as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SampleType {
    /// 16-bit integers, as they are. What LiveKit's own host uses.
    #[default]
    Int16,
    /// 32-bit floats, full scale at 1.0.
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

/// What a session is made for.
///
/// ```
/// use handsfree_audio_filter::{SampleType, SessionConfig};
///
/// let config = SessionConfig { samples: SampleType::Float, options: "gain=0.5", ..SessionConfig::default() };
/// assert_eq!(config.limit.as_millis(), 20);
/// ```
#[derive(Clone, Copy)]
pub struct SessionConfig<'a> {
    /// What the filter is given its samples as.
    pub samples: SampleType,
    /// What `create` is given as its options. Only the filter knows what it means; often JSON. Not shown by
    /// `Debug`, for it may hold a key.
    pub options: &'a str,
    /// Whose audio it is.
    pub stream: StreamIdentity<'a>,
    /// A frame that takes the filter longer than this, all channels together, counts as a fault. By default what
    /// the core grants a processor ([`PROCESSOR_DEADLINE`], 20 ms).
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
