//! The playback path: tracks, mixer, worker half, interrupt half.

mod matched_track;
mod mixer;
mod outlet;
mod pipeline;
mod plan;
mod slot;
mod tap;
mod track;

pub use matched_track::{MatchedTrack, SourceConfig};
pub use mixer::{Limiter, Mixer};
pub use outlet::{Outlet, OutletConfig};
pub use pipeline::Pipeline;
pub(crate) use pipeline::{PlaybackEnds, PlaybackMemory};
pub(crate) use plan::SharedPlan;
pub(crate) use slot::SlotMemory;
pub use tap::TrackTap;
pub use track::{Track, TrackError, TrackPool};
