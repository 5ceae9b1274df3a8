use super::*;
use crate::format::Format;

type Sink = TeeSink<160, 4, 2>;

/// 10 ms that say where they belong.
fn frame(position: u64) -> Frame<160> {
    let mut frame = Frame::silence(Format::new(16_000, 1).unwrap()).unwrap();
    frame.stamp.position = position;
    frame
}

/// What a sink heard, in short.
fn heard<const CAP: usize>(reader: &mut TeeReader<'_, CAP>) -> Vec<(u32, u64, u32)> {
    core::iter::from_fn(|| reader.pop())
        .map(|tapped| match tapped {
            Tapped::Audio { track, frame } => (track, frame.stamp.position, frame.stamp.lost),
            Tapped::Event(SessionEvent::TrackPaused { track, position }) => (track, position, u32::MAX),
            Tapped::Event(event) => panic!("{event:?} was never noted"),
        })
        .collect()
}

fn paused(track: u32, position: u64) -> SessionEvent {
    SessionEvent::TrackPaused { track, position }
}

/// An event among what was `heard`.
const EVENT: u32 = u32::MAX;

#[test]
fn frames_and_events_come_out_as_they_went_in() {
    let mut sink = Sink::new();
    let (mut writer, mut reader) = sink.split();
    // Counters near their end.
    (writer.written, reader.taken) = (u32::MAX - 2, u32::MAX - 2);
    for round in 0..5 {
        writer.note(paused(1, round));
        writer.hear(1, &frame(round));
        writer.note(paused(2, round));
        writer.note(paused(3, round));
        writer.hear(2, &frame(round));
        let expected =
            [(1, round, EVENT), (1, round, 0), (2, round, EVENT), (3, round, EVENT), (2, round, 0)];
        assert_eq!(heard(&mut reader), expected);
    }
}

#[test]
fn each_track_hears_of_its_own_losses() {
    let mut sink = Sink::new();
    let (mut writer, mut reader) = sink.split();
    for round in 0..5 {
        writer.hear(1, &frame(160 * round));
        writer.hear(2, &frame(160 * round));
    }
    // Three fit: tracks 1, 2 and 1 again.
    assert_eq!(heard(&mut reader), [(1, 0, 0), (2, 0, 0), (1, 160, 0)]);
    writer.hear(1, &frame(800));
    writer.hear(2, &frame(800));
    assert_eq!(heard(&mut reader), [(1, 800, 480), (2, 800, 640)]);
    writer.hear(2, &frame(960));
    assert_eq!(heard(&mut reader), [(2, 960, 0)]);
    assert_eq!((reader.dropped_frames(), reader.dropped_events()), (7, 0));
}

#[test]
fn what_a_dropped_frame_says_is_said_by_the_next() {
    let mut sink = Sink::new();
    let (mut writer, mut reader) = sink.split();
    (0..3).for_each(|round| writer.hear(1, &frame(160 * round)));
    let mut restart = frame(10_000);
    (restart.stamp.fresh, restart.stamp.lost) = (true, 9_520);
    writer.hear(1, &restart);
    heard(&mut reader);
    writer.hear(1, &frame(10_160));
    let Some(Tapped::Audio { frame: next, .. }) = reader.pop() else { panic!("a frame was pushed") };
    assert!(next.stamp.fresh);
    assert_eq!(next.stamp.lost, 9_520 + 160);
    writer.hear(1, &frame(10_320));
    let Some(Tapped::Audio { frame: after, .. }) = reader.pop() else { panic!("a frame was pushed") };
    assert_eq!((after.stamp.fresh, after.stamp.lost), (false, 0));
}

#[test]
fn more_tracks_than_it_remembers_are_counted_and_ended_ones_forgotten() {
    let mut sink = Sink::new();
    let (mut writer, mut reader) = sink.split();
    for track in [9, 9, 9, 1, 2, 3] {
        writer.hear(track, &frame(0));
    }
    assert_eq!((reader.dropped_frames(), heard(&mut reader).len()), (3, 3));
    // Track 1 ends and makes room for what track 3 loses from now on.
    writer.note(SessionEvent::TrackEnded { track: 1, position: 160 });
    assert!(matches!(reader.pop(), Some(Tapped::Event(_))));
    for track in [9, 9, 9, 3] {
        writer.hear(track, &frame(160));
    }
    heard(&mut reader);
    for track in [1, 2, 3] {
        writer.hear(track, &frame(320));
    }
    assert_eq!(heard(&mut reader), [(1, 320, 0), (2, 320, 160), (3, 320, 160)]);
}

#[test]
fn audio_takes_no_room_from_events() {
    let mut sink = Sink::new();
    let (mut writer, mut reader) = sink.split();
    for round in 0..40 {
        writer.hear(1, &frame(160 * round));
        writer.note(paused(1, round));
    }
    let heard = heard(&mut reader);
    let events: Vec<u64> = heard.iter().filter(|item| item.2 == EVENT).map(|item| item.1).collect();
    assert_eq!(events, (0..31).collect::<Vec<_>>());
    assert_eq!(heard.len(), 31 + 3);
    assert_eq!(heard[..6].iter().filter(|item| item.2 == EVENT).count(), 3, "in between, not after");
    assert_eq!((reader.dropped_frames(), reader.dropped_events()), (37, 9));
}

#[test]
fn a_sink_that_is_split_again_starts_anew() {
    let mut sink = Sink::new();
    {
        let (mut writer, reader) = sink.split();
        (0..9).for_each(|round| writer.hear(1, &frame(round)));
        writer.note(paused(1, 0));
        drop(reader);
        assert!(writer.is_abandoned());
    }
    let (mut writer, mut reader) = sink.split();
    assert!(!writer.is_abandoned() && reader.pop().is_none());
    assert_eq!((reader.dropped_frames(), reader.dropped_events()), (0, 0));
    writer.hear(1, &frame(5));
    assert_eq!(heard(&mut reader), [(1, 5, 0)]);
}
