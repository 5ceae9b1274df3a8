//! A tee's whole contract: sinks get paced audio and the events in order, come and go while it runs, and a slow one
//! loses its own frames and no one else's; the direct path is silent only while a sink plays the track.
#![allow(missing_docs)]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::capture::{Bypass, FrameSink};
use handsfree_core::playback::{Ducking, MixingTrack, TrackTap};
use handsfree_core::tee::{
    CAPTURED, SinkId, TapFilter, Tapped, Tee, TeeError, TeeReader, TeeSink, TeeWriter,
};
use handsfree_core::{ChannelMap, Format, Frame, SampleRate, Session, SessionEvent, SessionFormat};
use handsfree_sim::noise::Rng;
use handsfree_tests::desk::{self, with_desk};
use handsfree_tests::{captured_at, for_seeds, intake_config, one_in, pick, sample_at};

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

/// What a sink hears, without its samples, which must be those of its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    Audio { track: u32, position: u64, lost: u32, fresh: bool },
    Event(SessionEvent),
}

fn pop(reader: &mut TeeReader<'_, CAP>) -> Option<Item> {
    Some(match reader.pop()? {
        Tapped::Event(event) => Item::Event(event),
        Tapped::Audio { track, frame } => {
            let stamp = frame.stamp;
            for (i, &sample) in frame.samples().iter().enumerate() {
                assert_eq!(sample, sample_at(stamp.position + i as u64, 0));
            }
            Item::Audio { track, position: stamp.position, lost: stamp.lost, fresh: stamp.fresh }
        }
    })
}

fn all(reader: &mut TeeReader<'_, CAP>) -> Vec<Item> {
    std::iter::from_fn(|| pop(reader)).collect()
}

/// A capture path of 16 kHz that is given a frame's worth a turn in periods of any length.
fn captured(
    rng: &mut Rng,
    turns: u64,
    mut turn_over: impl FnMut(u64, &mut dyn FnMut(&mut dyn FnMut(&Frame<CAP>))),
) {
    let mut session = Box::new(Session::<CAP, 1, 8, 8, 8, 4, 16_000>::new());
    let terminal = SessionFormat { rate: rate(), near_channels: 1, far_channels: 1 };
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).unwrap();
    halves.intake.configure(intake_config(rate(), ChannelMap::natural(1, 1).unwrap(), 480)).unwrap();
    let mut position = 0;
    for turn in 0..turns {
        while position < (turn + 1) * 160 {
            let length = rng.range(1, (turn + 1) * 160 - position + 1) as usize;
            let period: Vec<i16> = (0..length as u64).map(|i| sample_at(position + i, 0)).collect();
            halves.intake.on_period(&period, captured_at(position, length, rate(), 0));
            position += length as u64;
        }
        let now = captured_at(position, 0, rate(), 0).called;
        turn_over(turn, &mut |sink| {
            halves.capture.poll(&|| now, &mut |frame: &Frame<CAP>| sink(frame));
        });
    }
}

#[test]
fn a_slow_sink_of_the_capture_path_loses_only_its_own_frames() {
    for_seeds(20, |rng| {
        let mut sinks = [const { TeeSink::<CAP, 8>::new() }; 4];
        let mut tee = Tee::<CAP, 4>::new();
        let (mut control, mut feed) = tee.split();
        let [(a, mut quick), (b, mut slow), (c, mut never), (d, forgotten)] =
            sinks.each_mut().map(TeeSink::split);
        for writer in [a, b, c, d] {
            control.add(writer, TapFilter::Track(CAPTURED)).unwrap();
        }
        std::mem::forget(forgotten);
        let (mut direct, mut late) = (Vec::new(), Vec::new());
        let pause = rng.range(8, 40);
        captured(rng, 200, |turn, poll| {
            poll(&mut |frame| {
                FrameSink::on_frame(&mut feed, frame);
                direct.push(frame.stamp.position);
            });
            // Paced: one frame a turn, neither more nor later.
            let expected = Item::Audio { track: CAPTURED, position: turn * 160, lost: 0, fresh: turn == 0 };
            assert_eq!(all(&mut quick), [expected]);
            if turn % pause == pause - 1 {
                late.extend(all(&mut slow));
            }
        });
        assert_eq!(direct, (0..200).map(|turn| turn * 160).collect::<Vec<_>>());
        assert_eq!((quick.dropped_frames(), never.dropped_frames()), (0, 193));
        let kept = all(&mut never);
        assert_eq!(
            (kept.len(), kept[6]),
            (7, Item::Audio { track: 0, position: 960, lost: 0, fresh: false })
        );

        // What the slow one missed is exactly what the frames after it say, and what was counted.
        late.extend(all(&mut slow));
        let mut next = 0;
        let mut missed = 0;
        for item in &late {
            let Item::Audio { position, lost, .. } = *item else { panic!("{item:?} on the capture path") };
            assert_eq!(position, next + u64::from(lost));
            next = position + 160;
            missed += lost / LENGTH;
        }
        let tail = (200 * 160 - next) / 160;
        assert_eq!(u64::from(slow.dropped_frames()), u64::from(missed) + tail);
        assert!(pause < 9 || missed > 0, "nothing was lost in {pause} turns");
    });
}

#[test]
fn sinks_hear_of_pause_and_interrupt_where_they_happened() {
    let mut sinks = [const { TeeSink::<CAP, 8>::new() }; 2];
    let mut tee = Tee::<CAP, 2>::new();
    let (mut control, mut feed) = tee.split();
    let [(a, mut everything), (b, mut one)] = sinks.each_mut().map(TeeSink::split);
    control.add(a, TapFilter::All).unwrap();
    control.add(b, TapFilter::Track(2)).unwrap();
    let about_1 = [
        SessionEvent::TrackStarted { track: 1 },
        paused(1, 160),
        SessionEvent::TrackResumed { track: 1 },
        SessionEvent::TrackStarved { track: 1 },
        SessionEvent::TrackInterrupted { track: 1, position: 320 },
        SessionEvent::TrackEnded { track: 1, position: 320 },
    ];
    let interrupted = SessionEvent::TrackInterrupted { track: 2, position: 160 };
    feed.on_event(about_1[0]);
    TrackTap::on_frame(&mut feed, 1, &frame(0));
    feed.on_event(about_1[1]);
    TrackTap::on_frame(&mut feed, 2, &frame(0));
    feed.on_event(interrupted);
    feed.on_event(about_1[2]);
    TrackTap::on_frame(&mut feed, 1, &frame(160));
    about_1[3..].iter().for_each(|&event| feed.on_event(event));
    feed.on_event(SessionEvent::VoiceDisabled);

    let audio = |track, position| Item::Audio { track, position, lost: 0, fresh: false };
    let event = |index: usize| Item::Event(about_1[index]);
    let given_up = Item::Event(SessionEvent::VoiceDisabled);
    let (second, interrupted) = (audio(2, 0), Item::Event(interrupted));
    let expected = [
        event(0),
        audio(1, 0),
        event(1),
        second,
        interrupted,
        event(2),
        audio(1, 160),
        event(3),
        event(4),
        event(5),
    ];
    assert_eq!(all(&mut everything), [&expected[..], &[given_up]].concat());
    assert_eq!(all(&mut one), [second, interrupted, given_up]);
}

#[test]
fn the_direct_path_is_silent_only_while_a_sink_hears_the_track() {
    let mut sinks = [const { TeeSink::<CAP, 8>::new() }; 2];
    let mut tee = Tee::<CAP, 2>::new();
    let (mut control, mut feed) = tee.split();
    let [(a, _ra), (b, _rb)] = sinks.each_mut().map(TeeSink::split);
    let replaced = |feed: &mut dyn TrackTap<CAP>| [1, 2].map(|track| feed.replaces(track));
    assert_eq!(replaced(&mut feed), [false, false]);
    control.set_direct(false);
    assert_eq!(replaced(&mut feed), [false, false], "no sink, so the loudspeaker plays");
    let a = control.add(a, TapFilter::Track(1)).unwrap();
    feed.poll();
    assert_eq!(replaced(&mut feed), [true, false]);
    let b = control.add(b, TapFilter::All).unwrap();
    feed.poll();
    assert_eq!(replaced(&mut feed), [true, true]);
    control.set_direct(true);
    assert_eq!(replaced(&mut feed), [false, false], "sinks beside the loudspeaker");
    assert!(feed.wants(1) && feed.wants(2));
    control.set_direct(false);
    control.remove(b).unwrap();
    feed.poll();
    assert_eq!(replaced(&mut feed), [true, false]);
    control.remove(a).unwrap();
    feed.poll();
    assert_eq!(replaced(&mut feed), [false, false]);
    assert!(!feed.wants(1));
}

#[test]
fn without_its_control_it_goes_on() {
    let mut sink = TeeSink::<CAP, 8>::new();
    let mut tee = Tee::<CAP, 1>::new();
    let (mut control, mut feed) = tee.split();
    let (writer, mut reader) = sink.split();
    let id = control.add(writer, TapFilter::All).unwrap();
    drop(control);
    for turn in 0..5 {
        TrackTap::on_frame(&mut feed, 1, &frame(turn * 160));
    }
    // The first frame only brought the sink in.
    assert_eq!(all(&mut reader).len(), 4, "{id:?} stays");
    drop(reader);
    feed.poll();
    assert_eq!(feed.sinks(), 0);
}

/// Where a sink of the model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Away,
    Arriving,
    Attached,
    Leaving,
}

const FRAMES: usize = 5;
const TRACKS: usize = 2;
const EVENTS: usize = 31;

/// A sink written down a second time.
struct Model {
    at: At,
    id: Option<SinkId>,
    filter: TapFilter,
    removed: bool,
    deserted: bool,
    queue: VecDeque<Item>,
    /// The reader holds the oldest event, so that there is room for another.
    held: bool,
    losses: Vec<(u32, u32, bool)>,
    dropped: (u32, u32),
}

impl Model {
    fn new() -> Self {
        Self {
            at: At::Away,
            id: None,
            filter: TapFilter::All,
            removed: false,
            deserted: false,
            queue: VecDeque::new(),
            held: false,
            losses: Vec::new(),
            dropped: (0, 0),
        }
    }

    fn hears(&self, track: u32) -> bool {
        self.at == At::Attached && self.filter.wants(track)
    }

    fn look(&mut self) {
        if self.at == At::Arriving {
            self.at = At::Attached;
            self.losses.clear();
        }
        if self.at == At::Attached && (self.removed || self.deserted) {
            self.at = At::Leaving;
        }
    }

    fn waiting(&self, audio: bool) -> usize {
        self.queue.iter().filter(|item| matches!(item, Item::Audio { .. }) == audio).count()
    }

    fn frame(&mut self, track: u32, position: u64, mut lost: u32, mut fresh: bool) {
        if !self.hears(track) {
            return;
        }
        let known = self.losses.iter().position(|loss| loss.0 == track);
        if let Some((_, more, again)) = known.map(|index| self.losses.swap_remove(index)) {
            lost += more;
            fresh |= again;
        }
        if self.waiting(true) < FRAMES - 1 {
            self.queue.push_back(Item::Audio { track, position, lost, fresh });
            return;
        }
        self.dropped.0 += 1;
        if self.losses.len() < TRACKS {
            self.losses.push((track, lost + LENGTH, fresh));
        }
    }

    fn pop(&mut self) -> Option<Item> {
        self.held = self.waiting(false) > 0;
        let item = self.queue.pop_front();
        self.held &= !matches!(item, Some(Item::Event(_)));
        item
    }

    fn event(&mut self, event: SessionEvent, track: u32) {
        if !self.hears(track) {
            return;
        }
        if self.waiting(false) < EVENTS + usize::from(self.held) {
            self.queue.push_back(Item::Event(event));
        } else {
            self.dropped.1 += 1;
        }
        if matches!(event, SessionEvent::TrackEnded { .. }) {
            self.losses.retain(|loss| loss.0 != track);
        }
    }
}

const SINKS: usize = 4;
const PLACES: usize = 3;

/// Adds, removes, stalls and drops at random and compares everything that can be seen with the model.
fn live(rng: &mut Rng) {
    let mut sinks = [const { TeeSink::<CAP, FRAMES, TRACKS>::new() }; SINKS];
    let mut tee = Tee::<CAP, PLACES>::new();
    let (mut control, mut feed) = tee.split();
    let mut writers: [Option<TeeWriter<'_, CAP>>; SINKS] = [const { None }; SINKS];
    let mut readers: [Option<TeeReader<'_, CAP>>; SINKS] = [const { None }; SINKS];
    for ((sink, writer), reader) in sinks.iter_mut().zip(&mut writers).zip(&mut readers) {
        let (w, r) = sink.split();
        (*writer, *reader) = (Some(w), Some(r));
    }
    let mut model: [Model; SINKS] = std::array::from_fn(|_| Model::new());
    let (mut direct, mut position) = (true, 0);
    // Some runs hardly ever read, some read at once.
    let stall = pick(rng, &[1, 3, 60, 400]);
    for _ in 0..1_500 {
        let chosen = rng.range(0, SINKS as u64) as usize;
        let track = rng.range(1, 4) as u32;
        match rng.range(0, 24) {
            0 | 1 => {
                let Some(writer) = writers[chosen].take() else { continue };
                let filter = if one_in(rng, 2) { TapFilter::All } else { TapFilter::Track(track) };
                let taken = model.iter().filter(|sink| sink.at != At::Away).count();
                assert_eq!(control.free(), PLACES - taken);
                match control.add(writer, filter) {
                    Ok(id) => {
                        assert!(taken < PLACES && !model[chosen].deserted);
                        let sink = &mut model[chosen];
                        (sink.at, sink.id, sink.filter, sink.removed) =
                            (At::Arriving, Some(id), filter, false);
                    }
                    Err(refused) => {
                        let deserted = model[chosen].deserted;
                        let no_place = TeeError::NoPlace { sinks: PLACES };
                        assert!(deserted || taken == PLACES);
                        assert_eq!(refused.error, if deserted { TeeError::Deserted } else { no_place });
                        writers[chosen] = Some(refused.writer);
                    }
                }
            }
            2 => {
                let Some(id) = model[chosen].id else { continue };
                let away = model[chosen].at == At::Away;
                assert_eq!(control.remove(id).is_err(), away);
                model[chosen].removed |= !away;
            }
            3 | 4 => match control.reclaim() {
                Some((id, writer)) => {
                    let index = model.iter().position(|sink| sink.id == Some(id)).unwrap();
                    assert_eq!(model[index].at, At::Leaving);
                    model[index].at = At::Away;
                    writers[index] = Some(writer);
                }
                None => assert!(model.iter().all(|sink| sink.at != At::Leaving)),
            },
            5 => {
                feed.poll();
                model.iter_mut().for_each(Model::look);
            }
            6 => {
                direct = one_in(rng, 2);
                control.set_direct(direct);
            }
            7 if one_in(rng, 40) => {
                readers[chosen] = None;
                model[chosen].deserted = true;
            }
            8..11 => {
                position += 160;
                let event = match rng.range(0, 3) {
                    0 => paused(track, position),
                    1 => SessionEvent::TrackInterrupted { track, position },
                    _ => SessionEvent::TrackEnded { track, position },
                };
                feed.on_event(event);
                model.iter_mut().for_each(|sink| {
                    sink.look();
                    sink.event(event, track);
                });
            }
            _ => {
                // As the mixer does it.
                position += 160;
                let heard = model.iter().any(|sink| sink.hears(track));
                let arriving = model.iter().any(|sink| sink.at == At::Arriving);
                assert_eq!(feed.replaces(track), !direct && heard);
                assert_eq!(feed.wants(track), heard || arriving);
                if feed.wants(track) {
                    let mut frame = frame(position);
                    (frame.stamp.lost, frame.stamp.fresh) = (rng.range(0, 2) as u32 * 7, one_in(rng, 9));
                    TrackTap::on_frame(&mut feed, track, &frame);
                    for sink in &mut model {
                        sink.frame(track, position, frame.stamp.lost, frame.stamp.fresh);
                        sink.look();
                    }
                }
            }
        }
        assert_eq!(feed.sinks(), model.iter().filter(|sink| sink.at == At::Attached).count());
        for (reader, sink) in readers.iter_mut().zip(&mut model) {
            let Some(reader) = reader else { continue };
            assert_eq!((reader.dropped_frames(), reader.dropped_events()), sink.dropped);
            assert_eq!(reader.frames(), sink.waiting(true));
            if one_in(rng, stall) {
                for _ in 0..rng.range(0, 50) {
                    assert_eq!(pop(reader), sink.pop());
                }
            }
        }
    }
    for (reader, sink) in readers.iter_mut().zip(&model) {
        if let Some(reader) = reader {
            assert_eq!(all(reader), Vec::from(sink.queue.clone()));
        }
    }
}

#[test]
fn it_behaves_as_its_model_whatever_is_done_to_it() {
    for_seeds(150, live);
}

/// What one stay of a sink came to.
struct Stay {
    next: u64,
    frames: u64,
    events: u64,
}

/// Takes all there is and checks that nothing is missing but what is said, and nothing out of order.
fn follow(reader: &mut TeeReader<'_, CAP>, stay: &mut Option<Stay>) {
    while let Some(item) = pop(reader) {
        match item {
            Item::Audio { track: 1, position, lost, .. } => {
                let stay = stay.get_or_insert(Stay { next: position, frames: 0, events: 0 });
                assert_eq!(position, stay.next + u64::from(lost));
                stay.next = position + 160;
                stay.frames += 1;
            }
            // The worker says it before each 16th frame.
            Item::Event(SessionEvent::TrackPaused { track: 1, position }) => {
                if let Some(stay) = stay {
                    assert!(position >= stay.next, "an event after a later frame");
                    stay.events += 1;
                }
            }
            other => panic!("{other:?} was never sent"),
        }
    }
}

#[test]
fn sinks_come_and_go_on_another_thread_while_a_worker_runs() {
    const STAYS: usize = 400;
    let mut sinks = [const { TeeSink::<CAP, 8>::new() }; 3];
    let mut tee = Tee::<CAP, 2>::new();
    let (mut control, mut feed) = tee.split();
    let mut free: Vec<_> = sinks.each_mut().map(TeeSink::split).into_iter().collect();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut position = 0;
            while !over.load(Ordering::Relaxed) {
                if position % 2_560 == 0 {
                    feed.on_event(paused(1, position));
                }
                if feed.wants(1) {
                    TrackTap::on_frame(&mut feed, 1, &frame(position));
                }
                feed.poll();
                position += 160;
            }
        });
        let mut staying = Vec::new();
        let (mut done, mut heard, mut events, mut dropped) = (0, 0, 0, 0);
        while done < STAYS {
            while let Some((writer, reader)) = free.pop() {
                match control.add(writer, TapFilter::Track(1)) {
                    Ok(id) => staying.push((id, reader, None::<Stay>)),
                    Err(refused) => {
                        free.insert(0, (refused.writer, reader));
                        break;
                    }
                }
            }
            for (id, reader, stay) in &mut staying {
                follow(reader, stay);
                if stay.as_ref().is_some_and(|stay| stay.frames > 20) {
                    control.remove(*id).unwrap();
                }
            }
            while let Some((gone, writer)) = control.reclaim() {
                let index = staying.iter().position(|(id, ..)| *id == gone).unwrap();
                let (_, mut reader, mut stay) = staying.swap_remove(index);
                follow(&mut reader, &mut stay);
                let stay = stay.unwrap();
                heard += stay.frames;
                events += stay.events;
                dropped = dropped.max(reader.dropped_frames());
                done += 1;
                free.insert(0, (writer, reader));
            }
        }
        over.store(true, Ordering::Relaxed);
        println!("{done} stays, {heard} frames, {events} events, up to {dropped} frames dropped");
        assert!(events > 0 && heard >= 20 * STAYS as u64);
    });
}

/// A voice over a background through the real mixer: a sink gets both, paced, as they were mixed, and hears of the
/// interruption; with direct audio off the loudspeaker is silent while a sink is there, and nothing else changes.
#[test]
fn a_mixing_track_is_teed_as_it_is_mixed() {
    const FRAME: usize = 160;
    with_desk::<4>(16_000, 1, |desk, pool| {
        let ducking = Ducking { attack: handsfree_core::Duration::ZERO, ..Ducking::default() };
        let mut both = MixingTrack::new(pool.open().unwrap(), pool.open().unwrap(), ducking).unwrap();
        let (voice, background) = (both.voice.id(), both.background.id());
        let mut memory = TeeSink::<{ desk::CAP }, 16>::new();
        let (writer, mut reader) = memory.split();
        let mut tee = Tee::<{ desk::CAP }, 2>::new();
        let (mut control, mut feed) = tee.split();
        both.voice.push(&[6_000; 6 * FRAME]).unwrap();
        both.background.push(&[1_000; 6 * FRAME]).unwrap();
        assert_eq!(desk.frame_tapped(&mut feed), [6_250; FRAME], "without a sink the loudspeaker plays");

        control.set_direct(false);
        let id = control.add(writer, TapFilter::All).map_err(|refused| refused.error).unwrap();
        feed.poll();
        assert_eq!(desk.frame_tapped(&mut feed), [0; FRAME], "the sink plays instead");
        let mut heard = Vec::new();
        while let Some(item) = reader.pop() {
            let Tapped::Audio { track, frame } = item else { panic!("{item:?}") };
            heard.push((track, frame.stamp.position, frame.samples()[FRAME - 1]));
        }
        heard.sort_unstable();
        let mut expected = [(voice, 160, 6_000), (background, 160, 250)];
        expected.sort_unstable();
        assert_eq!(heard, expected, "one frame each for each frame that is played");
        assert_eq!(both.voice.played_position(desk.now()), 2 * FRAME as u64, "the state is kept");
        assert!(both.voice.is_speaking(desk.now()));

        both.interrupt();
        assert_eq!(desk.frame_tapped(&mut feed), [0; FRAME]);
        let told: Vec<_> = std::iter::from_fn(|| reader.pop())
            .filter_map(|item| match item {
                Tapped::Event(SessionEvent::TrackInterrupted { track, position }) => Some((track, position)),
                Tapped::Audio { frame, .. } => {
                    assert_eq!(frame.samples()[FRAME - 1], 0, "it fades for the sink as well");
                    None
                }
                Tapped::Event(_) => None,
            })
            .collect();
        assert_eq!(told.len(), 2);
        assert!(told.contains(&(voice, 400)), "{told:?}");
        assert_eq!(both.voice.interrupted_at(desk.now()), Some(400));

        both.voice.push(&[7_000; 2 * FRAME]).unwrap();
        assert_eq!(desk.frame_tapped(&mut feed), [0; FRAME]);
        control.remove(id).unwrap();
        feed.poll();
        assert_eq!(desk.frame_tapped(&mut feed), [7_000; FRAME], "the sink is gone");
    });
}
