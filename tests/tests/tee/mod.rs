//! The contract of `Tee`: sinks receive paced audio and the events in order, can be added and removed while it runs, and
//! a slow sink loses only its own frames; the direct path is muted only while a sink receives the track.

mod model;
mod sinks;

use handsfree_core::tee::{TeeItem, TeeReader};
use handsfree_core::{Format, Frame, SampleRate, SessionEvent};
use handsfree_tests::sample_at;

const CAP: usize = 160;
const LENGTH: u32 = 160;

fn rate() -> SampleRate {
    SampleRate::new(16_000).unwrap()
}

fn frame(position: u64) -> Frame<CAP> {
    let mut frame = Frame::silence(Format::with_rate(rate(), 1).unwrap()).unwrap();
    frame.stamp.position = position;
    for (i, sample) in frame.samples_mut().iter_mut().enumerate() {
        *sample = sample_at(position + i as u64, 0);
    }
    frame
}

fn paused(track: u32, position: u64) -> SessionEvent {
    SessionEvent::TrackPaused { track, position }
}

/// An item that a sink received, without its samples, which are checked against its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SinkItem {
    Audio { track: u32, position: u64, lost: u32, fresh: bool },
    Event(SessionEvent),
}

fn pop(reader: &mut TeeReader<'_, CAP>) -> Option<SinkItem> {
    Some(match reader.pop()? {
        TeeItem::Event(event) => SinkItem::Event(event),
        TeeItem::Audio { track, frame } => {
            let stamp = frame.stamp;
            for (i, &sample) in frame.samples().iter().enumerate() {
                assert_eq!(sample, sample_at(stamp.position + i as u64, 0));
            }
            SinkItem::Audio { track, position: stamp.position, lost: stamp.lost, fresh: stamp.fresh }
        }
    })
}

fn all(reader: &mut TeeReader<'_, CAP>) -> Vec<SinkItem> {
    std::iter::from_fn(|| pop(reader)).collect()
}
