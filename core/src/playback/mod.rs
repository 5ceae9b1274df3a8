//! Application, worker and interrupt side: the playback path with tracks, mixer, playback worker and outlet.

mod adaptive_fill;
mod ducking;
mod input_gate;
mod limiter;
mod mixer;
mod outlet;
mod pipeline;
mod playout;
pub(crate) mod slot;
mod starvation_fade;
mod stream_mixer;
mod tap;
mod track;

pub use adaptive_fill::AdaptiveFill;
pub use ducking::Ducking;
pub(crate) use input_gate::InputGate;
pub use limiter::Limiter;
pub(crate) use mixer::Mixer;
pub use outlet::{Outlet, OutletConfig};
pub use pipeline::Pipeline;
pub(crate) use pipeline::{PlaybackMemory, PlaybackPipelineParts};
pub(crate) use playout::{PlayoutMemory, PlayoutTracker};
pub(crate) use slot::SlotMemory;
pub use stream_mixer::{MixOutcome, StreamMixer, StreamMixerMemory};
pub use tap::TrackTap;
pub use track::{Matching, MixingTrack, SourceConfig, Track, TrackError, TrackEvent, TrackPool};
