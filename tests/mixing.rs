//! A voice over a background: ducking, common controls, sums that do not wrap.
#![allow(missing_docs)]

use handsfree_core::playback::{Ducking, MixingTrack, TrackError};
use handsfree_core::{Duration, Gain, SessionEvent};
use handsfree_tests::desk::{Desk, Pool, with_desk};

const FRAME: usize = 160;

fn at_desk(test: impl FnOnce(&mut Desk<'_, 4>, &Pool<'_, 4>)) {
    with_desk::<4>(16_000, 1, test);
}

fn ducking() -> Ducking {
    Ducking {
        depth: Gain::linear(0.25).unwrap(),
        attack: Duration::from_millis(20),
        release: Duration::from_millis(50),
        hold: Duration::from_millis(30),
    }
}

/// Feeds the background and, while `voice` says so, the voice; returns the background's part of each frame's middle.
fn levels(
    desk: &mut Desk<'_, 4>,
    both: &mut MixingTrack<'_, '_, embassy_sync::blocking_mutex::raw::NoopRawMutex, 960, 4>,
    frames: usize,
    voice: i16,
) -> Vec<i16> {
    (0..frames)
        .map(|_| {
            both.background.push(&[8_000; FRAME]).unwrap();
            if voice != 0 {
                both.voice.push(&[voice; FRAME]).unwrap();
            }
            desk.frame()[FRAME - 1] - voice
        })
        .collect()
}

#[test]
fn the_background_goes_down_while_the_voice_speaks() {
    at_desk(|desk, pool| {
        let mut both = MixingTrack::new(pool.open().unwrap(), pool.open().unwrap(), ducking()).unwrap();
        assert!(levels(desk, &mut both, 5, 0).iter().all(|&level| level == 8_000));
        let speaking = levels(desk, &mut both, 10, 1_000);
        assert!((4_950..5_050).contains(&speaking[0]), "half of the attack: {speaking:?}");
        assert!(speaking[1..].iter().all(|&level| level == 2_000), "{speaking:?}");
        // A gap in the voice shorter than the hold is no reason to pump.
        let after = levels(desk, &mut both, 10, 0);
        assert_eq!(after[..3], [2_000; 3]);
        assert!(after[3] > 2_000 && after[3..8].is_sorted(), "{after:?}");
        assert_eq!(after[8..], [8_000; 2], "50 ms after the hold it is back");
        // A paused voice does not speak.
        levels(desk, &mut both, 3, 1_000);
        both.voice.pause();
        let paused = levels(desk, &mut both, 12, 0);
        assert_eq!(paused.last(), Some(&8_000));
    });
}

#[test]
fn the_voice_itself_and_other_voices_are_not_ducked() {
    at_desk(|desk, pool| {
        let mut voice = pool.open().unwrap();
        let mut other = pool.open().unwrap();
        voice.push(&[100; 4 * FRAME]).unwrap();
        other.push(&[3_000; 4 * FRAME]).unwrap();
        (0..4).for_each(|_| assert_eq!(desk.frame(), [3_100; FRAME]));
        // A background may become a voice again.
        voice.set_ducking(Some(ducking())).unwrap();
        voice.set_ducking(None).unwrap();
        voice.push(&[100; FRAME]).unwrap();
        other.push(&[3_000; FRAME]).unwrap();
        assert_eq!(desk.frame(), [3_100; FRAME]);
    });
}

/// 30000 + 5000 is full scale, not -30536, and is counted.
#[test]
fn the_sum_saturates() {
    at_desk(|desk, pool| {
        let depth = Ducking { depth: Gain::UNITY, ..ducking() };
        let mut both = MixingTrack::new(pool.open().unwrap(), pool.open().unwrap(), depth).unwrap();
        both.voice.push(&[30_000; FRAME]).unwrap();
        both.background.push(&[5_000; FRAME]).unwrap();
        assert_eq!(desk.frame(), [i16::MAX; FRAME]);
        assert_eq!(desk.stats().clipped_samples, FRAME as u32);
    });
}

/// Pause, resume, interruption and manual control do what they say, for both.
#[test]
fn all_controls_work_on_both() {
    at_desk(|desk, pool| {
        let mut both = MixingTrack::new(pool.open().unwrap(), pool.open().unwrap(), ducking()).unwrap();
        both.enable_input(true);
        both.voice.push(&[1_000; 6 * FRAME]).unwrap();
        both.background.push(&[400; 6 * FRAME]).unwrap();
        desk.frame();
        both.pause();
        desk.frame();
        (0..20).for_each(|_| assert_eq!(desk.frame(), [0; FRAME]));
        assert_eq!((both.voice.queued_frames(), both.background.queued_frames()), (5, 5), "kept");
        both.resume();
        // The rest of the cut frame, and the attack, for in the pause the background came back up.
        (0..3).for_each(|_| drop(desk.frame()));
        assert_eq!(desk.frame(), [1_000 + 100; FRAME]);
        both.interrupt();
        desk.frame();
        assert_eq!(desk.frame(), [0; FRAME]);
        assert_eq!(both.voice.push(&[1; 1]), Err(TrackError::InputClosed));
        assert_eq!(both.background.push(&[1; 1]), Err(TrackError::InputClosed));
        both.enable_input(false);
        both.voice.push(&[5; FRAME]).unwrap();
        assert_eq!(desk.frame(), [5; FRAME]);
        let told = desk.events();
        let count = |wanted: fn(&SessionEvent) -> bool| told.iter().filter(|event| wanted(event)).count();
        assert_eq!(count(|event| matches!(event, SessionEvent::TrackPaused { .. })), 2);
        assert_eq!(count(|event| matches!(event, SessionEvent::TrackResumed { .. })), 2);
        assert_eq!(count(|event| matches!(event, SessionEvent::TrackInterrupted { .. })), 2);
    });
}
