//! Worker side: access to each track by itself, at the pace of the loudspeaker.

use crate::event::SessionEvent;
use crate::frame::Frame;

/// Receives what single tracks put into the mix, in the playback worker. It must neither allocate nor block on
/// a board's real-time thread.
///
/// [`TeeFeed`](crate::tee::TeeFeed) passes it on to other threads; `()` receives nothing and costs nothing.
pub trait TrackTap<const CAP: usize> {
    /// Returns whether [`on_frame`](Self::on_frame) is to be called for this track.
    fn wants(&self, track: u32) -> bool;

    /// Returns whether the mix gets silence for this track, because another output plays it.
    fn replaces(&self, track: u32) -> bool;

    /// Takes 10 ms of a track as it was mixed, with gain and fades applied, filled up with silence where the
    /// track had less. `frame.stamp.position` is the track's position.
    fn on_frame(&mut self, track: u32, frame: &Frame<CAP>);

    /// Takes an event of a track, in order with its frames.
    fn on_event(&mut self, event: SessionEvent);
}

impl<const CAP: usize> TrackTap<CAP> for () {
    fn wants(&self, _track: u32) -> bool {
        false
    }

    fn replaces(&self, _track: u32) -> bool {
        false
    }

    fn on_frame(&mut self, _track: u32, _frame: &Frame<CAP>) {}

    fn on_event(&mut self, _event: SessionEvent) {}
}
