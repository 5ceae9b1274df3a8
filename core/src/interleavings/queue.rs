//! Both sides: the two ends of a queue and of a frame ring.

use super::{LOOKS, Lines, THREE, both, forever, prove};
use crate::atomics::spsc::Queue;
use crate::format::Format;
use crate::frame::Frame;
use crate::queue;
use crate::ring::FrameRing;

/// The lines that these models prove.
pub(super) const PROVEN: &[Lines] = &[("src/queue.rs", "")];

/// Three items through a queue of two, so that a place is used twice.
fn items_come_out_in_order() {
    let (mut writer, mut reader) = queue::split_empty(forever(Queue::<Box<u32>, 3>::new()));
    let (pushed, (mut taken, mut reader)) = both(
        move || {
            let mut next = 1;
            for _ in 0..=LOOKS {
                next += u32::from(writer.push(Box::new(next)).is_ok());
            }
            next - 1
        },
        move || {
            let mut taken = 0;
            for _ in 0..LOOKS {
                if let Some(item) = reader.pop() {
                    taken += 1;
                    assert_eq!(*item, taken);
                }
            }
            (taken, reader)
        },
    );
    while let Some(item) = reader.pop() {
        taken += 1;
        assert_eq!(*item, taken);
    }
    assert_eq!(taken, pushed, "each item once");
}

/// A reader that looks before it takes, as the outlet and the mixer do.
fn what_is_looked_at_is_what_is_taken() {
    let (mut writer, mut reader) = queue::split_empty(forever(Queue::<u32, 2>::new()));
    let (pushed, (mut taken, mut reader)) = both(
        move || {
            let mut next = 1;
            for _ in 0..LOOKS {
                next += u32::from(writer.push_copy(&next));
            }
            next - 1
        },
        move || {
            let mut taken = 0;
            for _ in 0..2 {
                if let Some(&front) = reader.peek() {
                    assert_eq!(front, taken + 1);
                    assert!(reader.discard());
                    taken += 1;
                }
            }
            (taken, reader)
        },
    );
    while let Some(item) = reader.pop() {
        taken += 1;
        assert_eq!(item, taken);
    }
    assert_eq!(taken, pushed, "each item once");
}

fn frames_pass_whole() {
    let (mut producer, mut consumer) = forever(FrameRing::<80, 0, 2>::new()).split();
    let mut frame = Frame::silence(Format::new(8_000, 1).unwrap()).unwrap();
    let take = |frame: &Frame<80>| {
        assert!(frame.samples().iter().all(|&sample| sample == frame.stamp.position as i16));
        assert_eq!(frame.samples().len(), 80);
    };
    let (pushed, (mut taken, mut consumer)) = both(
        move || {
            let mut pushed = 0;
            for n in 1..=2 {
                frame.stamp.position = n;
                frame.samples_mut().fill(n as i16);
                pushed += u32::from(producer.push_copy(&frame));
            }
            pushed
        },
        move || {
            let mut taken = 0;
            for _ in 0..2 {
                if let Some(frame) = consumer.peek() {
                    take(frame);
                    consumer.discard();
                    taken += 1;
                }
            }
            (taken, consumer)
        },
    );
    while let Some(frame) = consumer.pop() {
        take(&frame);
        taken += 1;
    }
    assert_eq!(taken, pushed);
}

#[test]
fn a_queue_keeps_order_and_loses_nothing() {
    // The queue is a copy of heapless's. That its orderings are controls shows that the models would find a fault in it.
    prove("queue", items_come_out_in_order, THREE, &[("src/atomics/spsc.rs", "")]);
}

#[test]
fn a_queue_shows_what_it_gives() {
    prove("queue with a look", what_is_looked_at_is_what_is_taken, THREE, PROVEN);
}

#[test]
fn a_ring_passes_whole_frames() {
    prove("ring", frames_pass_whole, THREE, PROVEN);
}
