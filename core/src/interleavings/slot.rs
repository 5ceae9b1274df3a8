//! Both sides: the words and queues by which application and mixer agree on a slot.

use super::{Lines, THREE, both, forever, prove};
use crate::format::Format;
use crate::frame::Frame;
use crate::playback::InputGate;
use crate::playback::slot::{self, CloseMode, MixProgress, MixSlot, SlotMemory, SlotShared, TrackPort};

const CAP: usize = 80;

/// The lines that `a_track_follows_another` proves.
pub(super) const CLOSED: &[Lines] = &[("slot/shared.rs", "self.closed."), ("slot/shared.rs", "self.done.")];

/// The lines that `a_new_track_is_not_paused` proves.
pub(super) const OPENED: &[Lines] = &[("slot/shared.rs", "self.opened.")];

/// The lines that `an_interruption_ends_a_pause` proves.
pub(super) const PAUSED: &[Lines] = &[("slot/shared.rs", "self.paused."), ("slot/shared.rs", "self.epoch.")];

/// The lines that `the_input_ends_after_its_tracks` proves.
pub(super) const GATE: &[Lines] = &[("input_gate.rs", "ENDED"), ("input_gate.rs", "OPEN")];

/// The lines that `the_input_closes_after_the_last_progress` proves.
pub(super) const GATE_CLOSED: &[Lines] = &[("input_gate.rs", "CLOSED")];

/// Returns the application's and the mixer's end of a slot whose queue holds one frame.
fn ends() -> (TrackPort<'static, CAP>, MixSlot<'static, CAP>) {
    let memory = forever([SlotMemory::<CAP, 2>::new()]);
    let ([port], [slot]) = slot::split(memory);
    let port = port.expect("one slot");
    // Splitting made new atomics.
    _ = format!("{:?}", port.shared);
    (port, slot)
}

fn frame_of(track: u32) -> Frame<CAP> {
    let mut frame = Frame::silence(Format::new(8_000, 1).unwrap()).unwrap();
    frame.stamp.track = track;
    frame.samples_mut().fill(track as i16);
    frame
}

/// A track is closed with a frame in its queue, and a second one opens when the mixer is done with the first.
fn a_track_follows_another() {
    let (mut port, mut slot) = ends();
    port.shared.open(1);
    both(
        move || {
            assert!(port.frames.push_copy(&frame_of(1)));
            port.shared.close(1, CloseMode::Drain);
            for _ in 0..2 {
                if port.shared.is_done(1) {
                    port.shared.open(2);
                    assert!(port.frames.push_copy(&frame_of(2)), "the queue of a new track is empty");
                    return;
                }
            }
        },
        move || {
            let mut frames_of_first = 0;
            for _ in 0..2 {
                let active = slot.shared.active();
                let closing = slot.shared.closing();
                while let Some(frame) = slot.frames.pop() {
                    assert!(frame.samples().iter().all(|&sample| sample == frame.stamp.track as i16));
                    frames_of_first += u32::from(frame.stamp.track == 1);
                }
                if closing == Some((1, CloseMode::Drain)) {
                    assert_eq!(active, 1);
                    assert_eq!(frames_of_first, 1, "a closed track has all its frames in the queue");
                    slot.release(1);
                }
            }
        },
    );
}

/// A track that was opened after another begins without the other's pause.
fn a_new_track_is_not_paused() {
    let shared: &'static SlotShared = ends().0.shared;
    shared.set_paused(Some(40));
    both(
        move || shared.open(1),
        move || {
            if shared.active() == 1 {
                assert_eq!(shared.paused(), None, "the pause was another track's");
            }
        },
    );
}

/// A paused track that is interrupted and resumed is never heard between the two.
fn an_interruption_ends_a_pause() {
    let shared: &'static SlotShared = ends().0.shared;
    shared.set_paused(Some(40));
    both(
        move || {
            shared.interrupt(1, 24);
            shared.set_paused(None);
        },
        move || {
            for _ in 0..2 {
                let paused = shared.paused();
                let epoch = shared.epoch();
                match paused {
                    Some(fade) => assert_eq!(fade, 40),
                    None => assert_eq!(epoch, 1, "resumed before it was interrupted"),
                }
                if epoch == 1 {
                    assert_eq!(shared.fade(), 24, "the interruption's own fade");
                }
            }
        },
    );
}

/// Progress in six words, two of which make one number.
fn progress_is_of_one_moment() {
    let shared: &'static SlotShared = ends().0.shared;
    let at = MixProgress { track: 1, epoch: 2, cut: 3 << 32 | 4, position: 5 << 32 | 6 };
    both(
        move || shared.publish_progress(at),
        move || {
            let progress = shared.progress();
            assert!(progress == MixProgress::default() || progress == at, "{progress:?}");
        },
    );
    assert_eq!(shared.progress(), at);
}

/// The mixer that sees the input ended sees all tracks that were opened before.
fn the_input_ends_after_its_tracks() {
    let shared: &'static SlotShared = ends().0.shared;
    let gate: &'static InputGate = forever(InputGate::new());
    both(
        move || {
            shared.open(1);
            gate.end();
        },
        move || {
            if gate.is_ended() {
                assert_eq!(shared.active(), 1, "the track was opened before");
            }
        },
    );
    assert!(gate.is_ended() && !gate.is_closed());
}

/// The application that sees the input closed sees how far the mixer came.
fn the_input_closes_after_the_last_progress() {
    let shared: &'static SlotShared = ends().0.shared;
    let gate: &'static InputGate = forever(InputGate::new());
    both(
        move || {
            shared.set_done(1);
            gate.close();
        },
        move || {
            if gate.is_closed() {
                assert!(shared.is_done(1), "the mixer was done before");
            }
        },
    );
}

#[test]
fn a_track_finds_the_slot_empty() {
    prove("slot", a_track_follows_another, THREE, CLOSED);
}

#[test]
fn a_track_does_not_inherit_a_pause() {
    prove("slot opened", a_new_track_is_not_paused, None, OPENED);
}

#[test]
fn an_interrupted_pause_stays_silent() {
    prove("slot paused", an_interruption_ends_a_pause, THREE, PAUSED);
}

#[test]
fn progress_is_read_whole() {
    prove("slot progress", progress_is_of_one_moment, THREE, &[]);
}

#[test]
fn the_end_of_input_hides_no_track() {
    prove("input gate", the_input_ends_after_its_tracks, None, GATE);
}

#[test]
fn the_close_of_input_hides_no_progress() {
    prove("input gate closed", the_input_closes_after_the_last_progress, None, GATE_CLOSED);
}
