//! Worker and application: the sinks of a tee.

use super::{Lines, THREE, both, forever, prove};
use crate::event::SessionEvent;
use crate::format::Format;
use crate::frame::Frame;
use crate::tee::{TapFilter, Tee, TeeItem, TeeSink};

const CAP: usize = 80;

/// The lines that these models prove.
pub(super) const PROVEN: &[Lines] = &[("sink/mod.rs", "")];

/// Checks that item number `taken` is the right one of four.
fn check(taken: u32, item: &TeeItem<CAP>) {
    let right = match (taken, item) {
        (0, TeeItem::Audio { track, .. }) => *track == 7,
        (1, TeeItem::Event(event)) => *event == SessionEvent::TrackEnded { track: 7, position: 80 },
        (2, TeeItem::Audio { track, .. }) => *track == 8,
        _ => false,
    };
    assert!(right, "item {taken} is {item:?}");
}

/// A reader takes a frame and the event after it in this order, whenever it looks.
fn frames_and_events_keep_their_order() {
    let (mut writer, mut reader) = forever(TeeSink::<CAP, 3, 1>::new()).split();
    let frame = Frame::<CAP>::silence(Format::new(8_000, 1).unwrap()).unwrap();
    let ((), (mut taken, mut reader)) = both(
        move || {
            writer.push_frame(7, &frame);
            writer.push_event(SessionEvent::TrackEnded { track: 7, position: 80 });
            writer.push_frame(8, &frame);
        },
        move || {
            let mut taken = 0;
            for _ in 0..2 {
                if let Some(item) = reader.pop() {
                    check(taken, &item);
                    taken += 1;
                }
            }
            (taken, reader)
        },
    );
    while let Some(item) = reader.pop() {
        check(taken, &item);
        taken += 1;
    }
    assert_eq!(taken, 3);
}

/// A sink is attached, used and given back while the worker polls.
fn a_sink_comes_back() {
    let (writer, mut reader) = forever(TeeSink::<CAP, 2, 1>::new()).split();
    let (mut control, mut feed) = forever(Tee::<CAP, 1>::new()).split();
    feed.poll();
    assert!(control.reclaim().is_none() && !writer.is_abandoned());
    let ((id, early, mut control), mut feed) = both(
        move || {
            let id = control.add(writer, TapFilter::Track(7)).unwrap();
            control.remove(id).unwrap();
            (id, control.reclaim(), control)
        },
        move || {
            feed.poll();
            feed
        },
    );
    feed.poll();
    assert_eq!(feed.sinks(), 0);
    let (gone, writer) = early.or_else(|| control.reclaim()).expect("the writer came back");
    assert_eq!(gone, id);
    assert!(reader.pop().is_none());
    assert!(control.add(writer, TapFilter::Track(8)).is_ok(), "the slot is free again");
}

#[test]
fn a_sink_gets_frames_and_events_in_order() {
    prove("tee sink", frames_and_events_keep_their_order, THREE, PROVEN);
}

#[test]
fn a_removed_sink_comes_back() {
    let queue_of_one =
        [("atomics/spsc.rs", "self.tail.store("), ("atomics/spsc.rs", "self.tail.load(Ordering::Acquire)")];
    prove("tee", a_sink_comes_back, THREE, &queue_of_one);
}
