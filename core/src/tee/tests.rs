use super::*;
use crate::capture::FrameSink;
use crate::format::Format;
use crate::frame::Frame;
use crate::playback::TrackTap;

type Sink = TeeSink<160, 4>;

fn frame() -> Frame<160> {
    Frame::silence(Format::new(16_000, 1).unwrap()).unwrap()
}

fn items(reader: &mut TeeReader<'_, 160>) -> usize {
    core::iter::from_fn(|| reader.pop()).count()
}

#[test]
fn slots_are_in_use_until_their_writers_are_reclaimed() {
    let mut sinks = [const { Sink::new() }; 3];
    let mut tee = Tee::<160, 2>::new();
    let (mut control, mut feed) = tee.split();
    let [(a, _ra), (b, _rb), (c, _rc)] = sinks.each_mut().map(Sink::split);
    let a = control.add(a, TapFilter::All).unwrap();
    let b = control.add(b, TapFilter::All).unwrap();
    let refused = control.add(c, TapFilter::All).unwrap_err();
    assert_eq!((refused.error, control.free()), (TeeError::NoSlot { sinks: 2 }, 0));
    // Removed before the worker attached it.
    control.remove(a).unwrap();
    assert!(control.reclaim().is_none(), "the worker has not polled yet");
    feed.poll();
    assert_eq!(feed.sinks(), 1);
    let (gone, _writer) = control.reclaim().unwrap();
    assert_eq!((gone, control.free()), (a, 1));
    assert_eq!(control.remove(a), Err(TeeError::NoSuchSink { id: a }));
    let c = control.add(refused.writer, TapFilter::All).unwrap();
    assert!(c != a && c != b);
    control.remove(b).unwrap();
    control.remove(b).unwrap();
    feed.poll();
    assert_eq!((control.reclaim().map(|(id, _)| id), feed.sinks()), (Some(b), 1));
}

#[test]
fn a_slot_can_be_reused_without_limit() {
    let mut sink = Sink::new();
    let mut tee = Tee::<160, 1>::new();
    let (mut control, mut feed) = tee.split();
    control.last_id = u32::MAX - 5;
    let (mut writer, mut reader) = sink.split();
    for _ in 0..20 {
        let id = control.add(writer, TapFilter::All).unwrap();
        FrameSink::on_frame(&mut feed, &frame());
        assert_eq!((feed.sinks(), items(&mut reader)), (1, 1));
        control.remove(id).unwrap();
        FrameSink::on_frame(&mut feed, &frame());
        assert_eq!((feed.sinks(), items(&mut reader)), (0, 0));
        writer = control.reclaim().unwrap().1;
    }
}

#[test]
fn a_sink_whose_reader_is_dropped_is_detached() {
    let mut sinks = [const { Sink::new() }; 2];
    let mut tee = Tee::<160, 2>::new();
    let (mut control, mut feed) = tee.split();
    let [(writer, reader), (other, mut other_reader)] = sinks.each_mut().map(Sink::split);
    let id = control.add(writer, TapFilter::Track(1)).unwrap();
    control.add(other, TapFilter::Track(2)).unwrap();
    control.set_direct(false);
    feed.poll();
    assert!(feed.replaces(1));
    drop(reader);
    TrackTap::on_frame(&mut feed, 1, &frame());
    assert!(!feed.replaces(1) && feed.replaces(2), "the loudspeaker plays the track again");
    let (gone, writer) = control.reclaim().unwrap();
    assert_eq!(gone, id);
    assert_eq!(control.add(writer, TapFilter::All).unwrap_err().error, TeeError::ReaderDropped);
    TrackTap::on_frame(&mut feed, 2, &frame());
    assert_eq!(items(&mut other_reader), 1);
}

#[test]
fn a_frame_is_played_directly_or_by_a_sink_never_both() {
    let mut sink = Sink::new();
    let mut tee = Tee::<160, 1>::new();
    let (mut control, mut feed) = tee.split();
    let (writer, mut reader) = sink.split();
    control.set_direct(false);
    let id = control.add(writer, TapFilter::Track(1)).unwrap();
    assert!(feed.wants(1), "the next frame attaches the sink");
    // The calls in the mixer's order. The sink is attached and detached between frames.
    let mut direct = Vec::new();
    for round in 0..6 {
        if round == 3 {
            control.remove(id).unwrap();
        }
        direct.push(!feed.replaces(1));
        if feed.wants(1) {
            TrackTap::on_frame(&mut feed, 1, &frame());
        }
        assert_eq!(items(&mut reader), usize::from(!direct[round]), "frame {round}");
    }
    assert_eq!(direct, [true, false, false, false, true, true]);
    assert!(!feed.wants(1));
}

#[test]
fn a_tee_can_be_split_again_with_sinks_in_any_state() {
    let mut sinks = [const { Sink::new() }; 3];
    let mut tee = Tee::<160, 3>::new();
    let [(a, _ra), (b, _rb), (c, _rc)] = sinks.each_mut().map(Sink::split);
    {
        let (mut control, mut feed) = tee.split();
        control.add(a, TapFilter::All).unwrap();
        let b = control.add(b, TapFilter::All).unwrap();
        control.remove(b).unwrap();
        feed.poll();
        control.add(c, TapFilter::All).unwrap();
        control.set_direct(false);
        // One sink is attached, one on its way back, one on its way to the worker.
    }
    let (control, mut feed) = tee.split();
    feed.poll();
    assert_eq!((feed.sinks(), control.free()), (0, 3));
    assert!(!feed.replaces(1) && !feed.wants(1));
}

#[test]
fn errors_name_what_was_found_and_expected() {
    assert_eq!(TeeError::NoSlot { sinks: 2 }.to_string(), "all 2 sink slots are in use");
    assert_eq!(TeeError::NoSuchSink { id: SinkId(7) }.to_string(), "sink 7: expected one that is attached");
}
