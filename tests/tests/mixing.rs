//! `MixingTrack`, a voice over a background: ducking, common controls and saturation.

use handsfree_core::playback::{Ducking, MixingTrack, TrackError};
use handsfree_core::{Duration, Gain, SessionEvent};
use handsfree_tests::playback_rig::{PlaybackRig, RigTracks, with_playback_rig};

const FRAME: usize = 160;

fn with_rig(test: impl FnOnce(&mut PlaybackRig<'_, 4>, &RigTracks<'_, 4>)) {
    with_playback_rig::<4>(16_000, 1, test);
}

fn ducking() -> Ducking {
    Ducking {
        depth: Gain::linear(0.25).unwrap(),
        attack: Duration::from_millis(20),
        release: Duration::from_millis(50),
        hold: Duration::from_millis(30),
    }
}

/// Plays frames of the background and, unless `voice` is 0, of a voice with this level. Returns the background's level at
/// the end of each frame.
fn levels(
    rig: &mut PlaybackRig<'_, 4>,
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
            rig.frame()[FRAME - 1] - voice
        })
        .collect()
}

#[test]
fn the_background_is_ducked_while_the_voice_speaks() {
    with_rig(|rig, pool| {
        let mut both = MixingTrack::new(pool.open().unwrap(), pool.open().unwrap(), ducking()).unwrap();
        assert!(levels(rig, &mut both, 5, 0).iter().all(|&level| level == 8_000));
        let speaking = levels(rig, &mut both, 10, 1_000);
        assert!(
            (4_950..5_050).contains(&speaking[0]),
            "the level halfway through the attack is wrong: {speaking:?}"
        );
        assert!(speaking[1..].iter().all(|&level| level == 2_000), "{speaking:?}");
        // A gap in the voice that is shorter than the hold time does not raise the background.
        let after = levels(rig, &mut both, 10, 0);
        assert_eq!(after[..3], [2_000; 3]);
        assert!(after[3] > 2_000 && after[3..8].is_sorted(), "{after:?}");
        assert_eq!(after[8..], [8_000; 2], "the background has returned 50 ms after the hold time");
        // A paused voice does not duck the background.
        levels(rig, &mut both, 3, 1_000);
        both.voice.pause();
        let paused = levels(rig, &mut both, 12, 0);
        assert_eq!(paused.last(), Some(&8_000));
    });
}

#[test]
fn the_voice_itself_and_other_voices_are_not_ducked() {
    with_rig(|rig, pool| {
        let mut voice = pool.open().unwrap();
        let mut other = pool.open().unwrap();
        voice.push(&[100; 4 * FRAME]).unwrap();
        other.push(&[3_000; 4 * FRAME]).unwrap();
        (0..4).for_each(|_| assert_eq!(rig.frame(), [3_100; FRAME]));
        // Ducking can be removed again.
        voice.set_ducking(Some(ducking())).unwrap();
        voice.set_ducking(None).unwrap();
        voice.push(&[100; FRAME]).unwrap();
        other.push(&[3_000; FRAME]).unwrap();
        assert_eq!(rig.frame(), [3_100; FRAME]);
    });
}

/// 30000 + 5000 gives full scale instead of -30536, and is counted as clipped.
#[test]
fn the_sum_of_voice_and_background_saturates() {
    with_rig(|rig, pool| {
        let depth = Ducking { depth: Gain::UNITY, ..ducking() };
        let mut both = MixingTrack::new(pool.open().unwrap(), pool.open().unwrap(), depth).unwrap();
        both.voice.push(&[30_000; FRAME]).unwrap();
        both.background.push(&[5_000; FRAME]).unwrap();
        assert_eq!(rig.frame(), [i16::MAX; FRAME]);
        assert_eq!(rig.stats().clipped_samples, FRAME as u32);
    });
}

/// Pause, resume, interruption and manual input control act on the voice and on the background.
#[test]
fn mixing_track_controls_act_on_voice_and_background() {
    with_rig(|rig, pool| {
        let mut both = MixingTrack::new(pool.open().unwrap(), pool.open().unwrap(), ducking()).unwrap();
        both.enable_input(true);
        both.voice.push(&[1_000; 6 * FRAME]).unwrap();
        both.background.push(&[400; 6 * FRAME]).unwrap();
        rig.frame();
        both.pause();
        rig.frame();
        (0..20).for_each(|_| assert_eq!(rig.frame(), [0; FRAME]));
        assert_eq!(
            (both.voice.queued_frames(), both.background.queued_frames()),
            (5, 5),
            "the queues are kept during a pause"
        );
        both.resume();
        // The rest of the interrupted frame, and the attack, since the background was raised during the pause.
        (0..3).for_each(|_| drop(rig.frame()));
        assert_eq!(rig.frame(), [1_000 + 100; FRAME]);
        both.interrupt();
        rig.frame();
        assert_eq!(rig.frame(), [0; FRAME]);
        assert_eq!(both.voice.push(&[1; 1]), Err(TrackError::InputClosed));
        assert_eq!(both.background.push(&[1; 1]), Err(TrackError::InputClosed));
        both.enable_input(false);
        both.voice.push(&[5; FRAME]).unwrap();
        assert_eq!(rig.frame(), [5; FRAME]);
        let events = rig.events();
        let count = |wanted: fn(&SessionEvent) -> bool| events.iter().filter(|event| wanted(event)).count();
        assert_eq!(count(|event| matches!(event, SessionEvent::TrackPaused { .. })), 2);
        assert_eq!(count(|event| matches!(event, SessionEvent::TrackResumed { .. })), 2);
        assert_eq!(count(|event| matches!(event, SessionEvent::TrackInterrupted { .. })), 2);
    });
}
