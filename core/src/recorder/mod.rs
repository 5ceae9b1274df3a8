//! Interrupt and worker side: the recorders through which intake, outlet and capture worker write their
//! journals.
//!
//! Besides the declaration of the module `journal` itself, this is the only place that depends on the feature
//! `journal`. Both files define the same types with the same methods; without the feature all of them are
//! empty, take no memory and are inlined to nothing.

#[cfg_attr(feature = "journal", path = "enabled.rs")]
#[cfg_attr(not(feature = "journal"), path = "disabled.rs")]
mod selected;

pub(crate) use selected::{HalfRecorder, RecordingClock, WorkerRecorder};
