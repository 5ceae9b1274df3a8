use super::*;
use crate::format::Format;

type Sink = TeeSink<160, 4, 2>;

/// Returns 10 ms of silence with their position in the stamp.
fn frame(position: u64) -> Frame<160> {
    let mut frame = Frame::silence(Format::new(16_000, 1).unwrap()).unwrap();
    frame.stamp.position = position;
    frame
}

/// Takes all items of a sink, as track, position, and loss or [`EVENT`].
fn received<const CAP: usize>(reader: &mut TeeReader<'_, CAP>) -> Vec<(u32, u64, u32)> {
    core::iter::from_fn(|| reader.pop())
        .map(|item| match item {
            TeeItem::Audio { track, frame } => (track, frame.stamp.position, frame.stamp.lost),
            TeeItem::Event(SessionEvent::TrackPaused { track, position }) => (track, position, u32::MAX),
            TeeItem::Event(event) => panic!("{event:?} was never pushed"),
        })
        .collect()
}

fn paused(track: u32, position: u64) -> SessionEvent {
    SessionEvent::TrackPaused { track, position }
}

/// Marks an event among the `received` items.
const EVENT: u32 = u32::MAX;

#[test]
fn frames_and_events_keep_their_order() {
    let mut sink = Sink::new();
    let (mut writer, mut reader) = sink.split();
    // Counters that are about to wrap.
    (writer.written, reader.taken) = (u32::MAX - 2, u32::MAX - 2);
    for round in 0..5 {
        writer.push_event(paused(1, round));
        writer.push_frame(1, &frame(round));
        writer.push_event(paused(2, round));
        writer.push_event(paused(3, round));
        writer.push_frame(2, &frame(round));
        let expected =
            [(1, round, EVENT), (1, round, 0), (2, round, EVENT), (3, round, EVENT), (2, round, 0)];
        assert_eq!(received(&mut reader), expected);
    }
}

#[test]
fn each_track_reports_its_own_losses() {
    let mut sink = Sink::new();
    let (mut writer, mut reader) = sink.split();
    for round in 0..5 {
        writer.push_frame(1, &frame(160 * round));
        writer.push_frame(2, &frame(160 * round));
    }
    // Three frames fit: tracks 1, 2 and 1 again.
    assert_eq!(received(&mut reader), [(1, 0, 0), (2, 0, 0), (1, 160, 0)]);
    writer.push_frame(1, &frame(800));
    writer.push_frame(2, &frame(800));
    assert_eq!(received(&mut reader), [(1, 800, 480), (2, 800, 640)]);
    writer.push_frame(2, &frame(960));
    assert_eq!(received(&mut reader), [(2, 960, 0)]);
    assert_eq!((reader.dropped_frames(), reader.dropped_events()), (7, 0));
}

#[test]
fn a_dropped_frames_stamp_is_carried_by_the_next_frame() {
    let mut sink = Sink::new();
    let (mut writer, mut reader) = sink.split();
    (0..3).for_each(|round| writer.push_frame(1, &frame(160 * round)));
    let mut restart = frame(10_000);
    (restart.stamp.fresh, restart.stamp.lost) = (true, 9_520);
    writer.push_frame(1, &restart);
    received(&mut reader);
    writer.push_frame(1, &frame(10_160));
    let Some(TeeItem::Audio { frame: next, .. }) = reader.pop() else { panic!("a frame was pushed") };
    assert!(next.stamp.fresh);
    assert_eq!(next.stamp.lost, 9_520 + 160);
    writer.push_frame(1, &frame(10_320));
    let Some(TeeItem::Audio { frame: after, .. }) = reader.pop() else { panic!("a frame was pushed") };
    assert_eq!((after.stamp.fresh, after.stamp.lost), (false, 0));
}

#[test]
fn losses_beyond_the_table_are_counted_and_ended_tracks_freed() {
    let mut sink = Sink::new();
    let (mut writer, mut reader) = sink.split();
    for track in [9, 9, 9, 1, 2, 3] {
        writer.push_frame(track, &frame(0));
    }
    assert_eq!((reader.dropped_frames(), received(&mut reader).len()), (3, 3));
    // Track 1 ends and frees its entry for the losses of track 3.
    writer.push_event(SessionEvent::TrackEnded { track: 1, position: 160 });
    assert!(matches!(reader.pop(), Some(TeeItem::Event(_))));
    for track in [9, 9, 9, 3] {
        writer.push_frame(track, &frame(160));
    }
    received(&mut reader);
    for track in [1, 2, 3] {
        writer.push_frame(track, &frame(320));
    }
    assert_eq!(received(&mut reader), [(1, 320, 0), (2, 320, 160), (3, 320, 160)]);
}

#[test]
fn audio_takes_no_space_from_events() {
    let mut sink = Sink::new();
    let (mut writer, mut reader) = sink.split();
    for round in 0..40 {
        writer.push_frame(1, &frame(160 * round));
        writer.push_event(paused(1, round));
    }
    let received = received(&mut reader);
    let events: Vec<u64> = received.iter().filter(|item| item.2 == EVENT).map(|item| item.1).collect();
    assert_eq!(events, (0..31).collect::<Vec<_>>());
    assert_eq!(received.len(), 31 + 3);
    assert_eq!(
        received[..6].iter().filter(|item| item.2 == EVENT).count(),
        3,
        "events come between frames, not after them"
    );
    assert_eq!((reader.dropped_frames(), reader.dropped_events()), (37, 9));
}

#[test]
fn a_sink_that_is_split_again_starts_anew() {
    let mut sink = Sink::new();
    {
        let (mut writer, reader) = sink.split();
        (0..9).for_each(|round| writer.push_frame(1, &frame(round)));
        writer.push_event(paused(1, 0));
        drop(reader);
        assert!(writer.is_abandoned());
    }
    let (mut writer, mut reader) = sink.split();
    assert!(!writer.is_abandoned() && reader.pop().is_none());
    assert_eq!((reader.dropped_frames(), reader.dropped_events()), (0, 0));
    writer.push_frame(1, &frame(5));
    assert_eq!(received(&mut reader), [(1, 5, 0)]);
}
