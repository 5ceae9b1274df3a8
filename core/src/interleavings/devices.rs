//! Control side and workers: the words about devices, which are one word each so that no half of them can be seen.

use super::{both, forever, prove};
use crate::devices::{PlaybackTarget, SharedPlaybackTarget};
use crate::format::Format;

/// A reader gets whole targets, and none that is older than one it had.
fn targets_are_whole() {
    let shared: &'static SharedPlaybackTarget = forever(SharedPlaybackTarget::new());
    let first = PlaybackTarget { format: Format::new(8_000, 1).unwrap(), ring_frames: 1 };
    let second = PlaybackTarget { format: Format::new(48_000, 2).unwrap(), ring_frames: 9 };
    let states = [None, Some(first), Some(second)];
    both(
        move || {
            shared.set(first);
            shared.set(second);
        },
        move || {
            let mut last = 0;
            for _ in 0..3 {
                let target = shared.get();
                let state = states.iter().position(|&state| state == target);
                let state = state.unwrap_or_else(|| panic!("{target:?} was never set"));
                assert!(state >= last, "{target:?} is older than {:?}", states[last]);
                last = state;
            }
        },
    );
    assert_eq!(shared.get(), Some(second));
}

#[test]
fn a_playback_target_is_seen_whole() {
    prove("playback target", targets_are_whole, None, &[]);
}
