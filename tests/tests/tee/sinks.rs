//! Sinks that are added, removed, slow or attached to the mixer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::capture::{Bypass, FrameSink};
use handsfree_core::playback::{Ducking, MixingTrack, TrackTap};
use handsfree_core::tee::{CAPTURED, TapFilter, Tee, TeeItem, TeeReader, TeeSink};
use handsfree_core::{ChannelMap, Frame, Session, SessionEvent, SessionFormat};
use handsfree_sim::noise::Rng;
use handsfree_tests::playback_rig::{self, with_playback_rig};
use handsfree_tests::{captured_at, for_seeds, intake_config, sample_at};

use super::{CAP, LENGTH, SinkItem, all, frame, paused, pop, rate};

/// Runs a capture path at 16 kHz for `turns` frames, captured in periods of random lengths, and calls `turn_over` after
/// each frame.
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
            // Paced delivery: exactly one frame in each turn.
            let expected =
                SinkItem::Audio { track: CAPTURED, position: turn * 160, lost: 0, fresh: turn == 0 };
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
            (7, SinkItem::Audio { track: 0, position: 960, lost: 0, fresh: false })
        );

        // The frames that the slow sink missed equal the losses in the next stamps and the counter.
        late.extend(all(&mut slow));
        let mut next = 0;
        let mut missed = 0;
        for item in &late {
            let SinkItem::Audio { position, lost, .. } = *item else {
                panic!("{item:?} on the capture path")
            };
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
fn sinks_receive_events_in_order_with_the_audio() {
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

    let audio = |track, position| SinkItem::Audio { track, position, lost: 0, fresh: false };
    let event = |index: usize| SinkItem::Event(about_1[index]);
    let disabled = SinkItem::Event(SessionEvent::VoiceDisabled);
    let (second, interrupted) = (audio(2, 0), SinkItem::Event(interrupted));
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
    assert_eq!(all(&mut everything), [&expected[..], &[disabled]].concat());
    assert_eq!(all(&mut one), [second, interrupted, disabled]);
}

#[test]
fn the_direct_path_is_muted_only_while_a_sink_gets_the_track() {
    let mut sinks = [const { TeeSink::<CAP, 8>::new() }; 2];
    let mut tee = Tee::<CAP, 2>::new();
    let (mut control, mut feed) = tee.split();
    let [(a, _ra), (b, _rb)] = sinks.each_mut().map(TeeSink::split);
    let replaced = |feed: &mut dyn TrackTap<CAP>| [1, 2].map(|track| feed.replaces(track));
    assert_eq!(replaced(&mut feed), [false, false]);
    control.set_direct(false);
    assert_eq!(replaced(&mut feed), [false, false], "without a sink the loudspeaker plays");
    let a = control.add(a, TapFilter::Track(1)).unwrap();
    feed.poll();
    assert_eq!(replaced(&mut feed), [true, false]);
    let b = control.add(b, TapFilter::All).unwrap();
    feed.poll();
    assert_eq!(replaced(&mut feed), [true, true]);
    control.set_direct(true);
    assert_eq!(replaced(&mut feed), [false, false], "with direct audio on, the loudspeaker plays too");
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
fn a_tee_continues_after_its_control_is_dropped() {
    let mut sink = TeeSink::<CAP, 8>::new();
    let mut tee = Tee::<CAP, 1>::new();
    let (mut control, mut feed) = tee.split();
    let (writer, mut reader) = sink.split();
    let id = control.add(writer, TapFilter::All).unwrap();
    drop(control);
    for turn in 0..5 {
        TrackTap::on_frame(&mut feed, 1, &frame(turn * 160));
    }
    // The first frame only attaches the sink.
    assert_eq!(all(&mut reader).len(), 4, "{id:?} is no longer attached");
    drop(reader);
    feed.poll();
    assert_eq!(feed.sinks(), 0);
}

/// Counters of one period in which a sink was attached.
struct Attachment {
    next: u64,
    frames: u64,
    events: u64,
}

/// Takes all items and checks that they are in order and that exactly the reported frames are missing.
fn follow(reader: &mut TeeReader<'_, CAP>, attachment: &mut Option<Attachment>) {
    while let Some(item) = pop(reader) {
        match item {
            SinkItem::Audio { track: 1, position, lost, .. } => {
                let attachment =
                    attachment.get_or_insert(Attachment { next: position, frames: 0, events: 0 });
                assert_eq!(position, attachment.next + u64::from(lost));
                attachment.next = position + 160;
                attachment.frames += 1;
            }
            // The worker sends this event before each 16th frame.
            SinkItem::Event(SessionEvent::TrackPaused { track: 1, position }) => {
                if let Some(attachment) = attachment {
                    assert!(position >= attachment.next, "an event after a later frame");
                    attachment.events += 1;
                }
            }
            other => panic!("{other:?} was never sent"),
        }
    }
}

#[test]
fn another_thread_adds_and_removes_sinks_while_a_worker_runs() {
    const ATTACHMENTS: usize = 400;
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
        while done < ATTACHMENTS {
            while let Some((writer, reader)) = free.pop() {
                match control.add(writer, TapFilter::Track(1)) {
                    Ok(id) => staying.push((id, reader, None::<Attachment>)),
                    Err(refused) => {
                        free.insert(0, (refused.writer, reader));
                        break;
                    }
                }
            }
            for (id, reader, attachment) in &mut staying {
                follow(reader, attachment);
                if attachment.as_ref().is_some_and(|attachment| attachment.frames > 20) {
                    control.remove(*id).unwrap();
                }
            }
            while let Some((gone, writer)) = control.reclaim() {
                let index = staying.iter().position(|(id, ..)| *id == gone).unwrap();
                let (_, mut reader, mut attachment) = staying.swap_remove(index);
                follow(&mut reader, &mut attachment);
                let attachment = attachment.unwrap();
                heard += attachment.frames;
                events += attachment.events;
                dropped = dropped.max(reader.dropped_frames());
                done += 1;
                free.insert(0, (writer, reader));
            }
        }
        over.store(true, Ordering::Relaxed);
        println!("{done} attachments, {heard} frames, {events} events, up to {dropped} frames dropped");
        assert!(events > 0 && heard >= 20 * ATTACHMENTS as u64);
    });
}

/// Plays a voice over a background through the mixer: a sink receives both tracks as they are mixed, and the
/// interruption. With direct audio off the loudspeaker is silent while a sink is attached, and nothing else changes.
#[test]
fn a_mixing_track_is_teed_as_it_is_mixed() {
    const FRAME: usize = 160;
    with_playback_rig::<4>(16_000, 1, |rig, pool| {
        let ducking = Ducking { attack: handsfree_core::Duration::ZERO, ..Ducking::default() };
        let mut both = MixingTrack::new(pool.open().unwrap(), pool.open().unwrap(), ducking).unwrap();
        let (voice, background) = (both.voice.id(), both.background.id());
        let mut memory = TeeSink::<{ playback_rig::CAP }, 16>::new();
        let (writer, mut reader) = memory.split();
        let mut tee = Tee::<{ playback_rig::CAP }, 2>::new();
        let (mut control, mut feed) = tee.split();
        both.voice.push(&[6_000; 6 * FRAME]).unwrap();
        both.background.push(&[1_000; 6 * FRAME]).unwrap();
        assert_eq!(rig.frame_tapped(&mut feed), [6_250; FRAME], "without a sink the loudspeaker plays");

        control.set_direct(false);
        let id = control.add(writer, TapFilter::All).map_err(|refused| refused.error).unwrap();
        feed.poll();
        assert_eq!(rig.frame_tapped(&mut feed), [0; FRAME], "the sink plays instead");
        let mut heard = Vec::new();
        while let Some(item) = reader.pop() {
            let TeeItem::Audio { track, frame } = item else { panic!("{item:?}") };
            heard.push((track, frame.stamp.position, frame.samples()[FRAME - 1]));
        }
        heard.sort_unstable();
        let mut expected = [(voice, 160, 6_000), (background, 160, 250)];
        expected.sort_unstable();
        assert_eq!(heard, expected, "the sink gets one frame of each track per played frame");
        assert_eq!(
            both.voice.played_position(rig.now()),
            2 * FRAME as u64,
            "the position advances while the loudspeaker is muted"
        );
        assert!(both.voice.is_speaking(rig.now()));

        both.interrupt();
        assert_eq!(rig.frame_tapped(&mut feed), [0; FRAME]);
        let interruptions: Vec<_> = std::iter::from_fn(|| reader.pop())
            .filter_map(|item| match item {
                TeeItem::Event(SessionEvent::TrackInterrupted { track, position }) => Some((track, position)),
                TeeItem::Audio { frame, .. } => {
                    assert_eq!(frame.samples()[FRAME - 1], 0, "the fade is missing at the sink");
                    None
                }
                TeeItem::Event(_) => None,
            })
            .collect();
        assert_eq!(interruptions.len(), 2);
        assert!(interruptions.contains(&(voice, 400)), "{interruptions:?}");
        assert_eq!(both.voice.interrupted_at(rig.now()), Some(400));

        both.voice.push(&[7_000; 2 * FRAME]).unwrap();
        assert_eq!(rig.frame_tapped(&mut feed), [0; FRAME]);
        control.remove(id).unwrap();
        feed.poll();
        assert_eq!(rig.frame_tapped(&mut feed), [7_000; FRAME], "without a sink the loudspeaker plays again");
    });
}
