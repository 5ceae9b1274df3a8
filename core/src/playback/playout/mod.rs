//! Capture worker to application: which part of each track was at the loudspeaker, and when.
//!
//! The playback interrupt passes on exactly what it wrote, with the stretch of each track in it. The capture
//! worker keeps the playback clock and joins the stretches; the application asks with a time. So what was
//! played is known to the sample frame, whatever paused, starved or failed meanwhile.

mod clock_anchor;
mod published;
mod track_playout;
mod tracker;

pub(crate) use published::{Playout, PublishedPlayout};
pub(crate) use tracker::{PlayoutMemory, PlayoutTracker};
