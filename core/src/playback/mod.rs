//! The playback path: tracks, mixer, worker half, interrupt half.

mod ducking;
mod limiter;
mod mixer;
mod outlet;
mod pipeline;
mod plan;
mod playout;
pub(crate) mod slot;
mod stream_mixer;
mod tap;
mod track;

pub use ducking::Ducking;
pub use limiter::Limiter;
pub(crate) use mixer::Mixer;
pub use outlet::{Outlet, OutletConfig};
pub use pipeline::Pipeline;
pub(crate) use pipeline::{PlaybackMemory, PlaybackPipelineParts};
pub(crate) use plan::{RoundPlan, SharedPlan};
pub(crate) use playout::{PlayoutMemory, PlayoutTracker};
pub(crate) use slot::SlotMemory;
pub use stream_mixer::{Mixed, StreamMixer, StreamMixerMemory};
pub use tap::TrackTap;
pub use track::{Matching, MixingTrack, SourceConfig, Track, TrackError, TrackEvent, TrackPool};
