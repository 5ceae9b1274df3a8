//! What the mixer makes of one slot's frames, pauses and interruptions.

use super::*;
use crate::playback::slot::{self, SlotMemory, TrackPort};
use crate::playback::starvation_fade::STARVATION_FADE;

/// Samples in 10 ms at 8 kHz.
const CAP: usize = 80;

struct MixerRig<'a> {
    mixer: Mixer<'a, CAP, 1>,
    port: TrackPort<'a, CAP>,
    counters: PlaybackCounters,
    /// Number of sample frames pushed, which is the next frame's position in the track.
    pushed: u64,
}

/// Calls `test` with a mixer whose one slot has track 1 and space for four frames.
fn with_rig(test: impl FnOnce(&mut MixerRig<'_>)) {
    let mut memory = [SlotMemory::<CAP, 5>::new()];
    let mut mixer_memory = MixerMemory::new();
    let ([port], slots) = slot::split(&mut memory);
    let mixer = Mixer::new(slots, &mut mixer_memory, Format::new(8_000, 1).unwrap());
    let mut rig = MixerRig { mixer, port: port.unwrap(), counters: PlaybackCounters::new(), pushed: 0 };
    rig.port.shared.open(1);
    test(&mut rig);
}

impl MixerRig<'_> {
    /// Pushes 10 ms in which every sample is `value`.
    fn push(&mut self, value: i16) {
        self.push_in(Format::new(8_000, 1).unwrap(), value);
    }

    fn push_in(&mut self, format: Format, value: i16) {
        let mut frame = Frame::EMPTY;
        frame.begin(format);
        frame.extend(format.sample_frames().min(CAP)).fill(value);
        frame.stamp.track = 1;
        frame.stamp.epoch = self.port.epoch;
        frame.stamp.position = self.pushed;
        self.pushed += 80;
        assert!(self.port.frames.push_copy(&frame));
    }

    fn interrupt(&mut self) {
        self.port.epoch += 1;
        self.port.shared.interrupt(self.port.epoch, 24);
    }

    /// Mixes 10 ms and returns its samples and events.
    fn mix(&mut self) -> (Frame<CAP, 1>, Vec<SessionEvent>) {
        let (mut out, mut events) = (Frame::EMPTY, Vec::new());
        self.mixer.mix(&mut out, &mut (), &self.counters, &mut |event| events.push(event));
        (out, events)
    }
}

#[test]
fn a_pause_loses_and_repeats_no_sample() {
    with_rig(|rig| {
        (0..3).for_each(|_| rig.push(1_000));
        rig.mix();
        rig.port.shared.set_paused(Some(24));
        let (paused, events) = rig.mix();
        assert_eq!(events, [SessionEvent::TrackPaused { track: 1, position: 104 }]);
        assert_eq!(paused.samples()[24..], [0; 56], "silent behind the fade");
        let span = paused.stamp.tracks[0];
        assert_eq!((span.position, span.offset, span.sample_frames), (80, 0, 24));
        let (silent, _) = rig.mix();
        assert_eq!(silent.samples(), [0; 80]);
        assert_eq!((silent.stamp.tracks[0].position, silent.stamp.tracks[0].sample_frames), (104, 0));
        rig.port.shared.set_paused(None);
        let (resumed, events) = rig.mix();
        assert_eq!(events, [SessionEvent::TrackResumed { track: 1 }]);
        let span = resumed.stamp.tracks[0];
        assert_eq!((span.position, span.offset, span.sample_frames), (104, 24, 56), "the rest of the frame");
        assert_eq!(resumed.samples()[..24], [0; 24]);
        assert!((300..700).contains(&resumed.samples()[36]), "half of the fade: {}", resumed.samples()[36]);
        assert_eq!(resumed.samples()[79], 1_000, "the fade ended");
        let (last, _) = rig.mix();
        assert_eq!((last.stamp.tracks[0].position, last.samples()), (160, &[1_000; 80][..]));
    });
}

#[test]
fn frames_of_another_format_are_counted_and_dropped() {
    with_rig(|rig| {
        rig.push_in(Format::new(16_000, 1).unwrap(), 5);
        rig.push(9);
        assert_eq!(rig.mix().0.samples(), [9; 80]);
        assert_eq!(rig.counters.foreign_frames.get(), 1);
    });
}

#[test]
fn a_starved_track_is_told_once_until_it_plays() {
    with_rig(|rig| {
        let starved = [SessionEvent::TrackStarved { track: 1 }];
        assert_eq!(rig.mix().1, [], "a track that has not begun does not starve");
        rig.push(1);
        rig.mix();
        assert_eq!(rig.mix().1, starved);
        assert!(!rig.mixer.available().is_late, "it is late no more than once");
        assert_eq!(rig.mix().1, []);
        assert_eq!(rig.counters.starved_frames.get(), 2);
        rig.push(1);
        rig.mix();
        assert!(rig.mixer.available().is_late);
        assert_eq!(rig.mix().1, starved, "it played in between");
        rig.interrupt();
        let interrupted = SessionEvent::TrackInterrupted { track: 1, position: 160 };
        assert_eq!(rig.mix().1, [interrupted, starved[0]], "an interruption begins anew");
    });
}

#[test]
fn late_frames_are_skipped_one_for_each_missing_one() {
    with_rig(|rig| {
        rig.port.commands.push(slot::TrackCommand::SkipLate(true)).unwrap();
        rig.push(1);
        rig.mix();
        rig.mix();
        rig.mix();
        (2..=4).for_each(|value| rig.push(value));
        assert_eq!(rig.mix().0.samples(), [4; 80], "two were missing, so two are dropped");
        assert_eq!(rig.counters.late_frames.get(), 2);
        rig.mix();
        rig.interrupt();
        rig.push(5);
        assert_eq!(rig.mix().0.samples(), [5; 80], "what follows an interruption is not late");
        assert_eq!(rig.counters.late_frames.get(), 2);
    });
}

#[test]
fn a_starved_track_fades_out_and_in_if_it_is_told_to() {
    with_rig(|rig| {
        rig.port.commands.push(slot::TrackCommand::FadeStarved(Some(&STARVATION_FADE))).unwrap();
        rig.push(1_000);
        assert_eq!(rig.mix().0.samples(), [1_000; 80], "a track begins as it was pushed");
        let (faded, _) = rig.mix();
        assert!((900..1_000).contains(&faded.samples()[0]), "no step: {}", faded.samples()[0]);
        assert!(faded.samples().windows(2).all(|pair| pair[0] >= pair[1]));
        assert_eq!((&faded.samples()[24..], faded.stamp.tracks[0].sample_frames), (&[0; 56][..], 0));
        assert_eq!(rig.mix().0.samples(), [0; 80], "it fades once");
        rig.push(-1_000);
        rig.push(-1_000);
        let (resumed, _) = rig.mix();
        assert!((-100..0).contains(&resumed.samples()[0]), "no step: {}", resumed.samples()[0]);
        assert!(resumed.samples().windows(2).all(|pair| pair[0] >= pair[1]));
        assert_eq!(resumed.samples()[24..], [-1_000; 56], "the fade takes 3 ms");
        assert_eq!(rig.mix().0.samples(), [-1_000; 80]);
        rig.mix();
        rig.interrupt();
        rig.push(5);
        assert_eq!(rig.mix().0.samples(), [5; 80], "what follows an interruption begins at once");
    });
}

#[test]
fn a_pause_after_the_last_frame_fades_too() {
    with_rig(|rig| {
        let fade = slot::TrackCommand::FadeStarved(Some(&STARVATION_FADE));
        rig.port.commands.push(fade).unwrap();
        rig.push(1_000);
        rig.mix();
        rig.port.shared.set_paused(Some(24));
        let (paused, _) = rig.mix();
        assert!((900..1_000).contains(&paused.samples()[0]), "no step: {}", paused.samples()[0]);
        assert_eq!(paused.samples()[24..], [0; 56]);
        rig.port.shared.set_paused(None);
        rig.mix();
        rig.push(2_000);
        rig.mix();
        rig.port.commands.push(slot::TrackCommand::FadeStarved(None)).unwrap();
        rig.push(3_000);
        rig.mix();
        rig.port.commands.push(fade).unwrap();
        assert_eq!(rig.mix().0.samples(), [0; 80], "an older sample is not heard");
    });
}

#[test]
fn a_track_that_ended_in_silence_needs_no_fade() {
    with_rig(|rig| {
        let mut tail = Frame::EMPTY;
        tail.begin(Format::new(8_000, 1).unwrap());
        tail.extend(40).fill(1_000);
        tail.stamp.track = 1;
        assert!(rig.port.frames.push_copy(&tail));
        rig.pushed = 40;
        rig.push(1_000);
        rig.mix();
        rig.port.shared.set_paused(Some(24));
        let (paused, _) = rig.mix();
        assert_eq!((paused.samples(), paused.stamp.tracks[0].sample_frames), (&[0; 80][..], 0));
    });
}

#[test]
fn a_track_resumes_with_a_fade_after_a_silent_pause() {
    with_rig(|rig| {
        rig.push(1_000);
        rig.mix();
        rig.mix();
        rig.port.shared.set_paused(Some(24));
        rig.mix();
        rig.push(1_000);
        rig.port.shared.set_paused(None);
        let (resumed, _) = rig.mix();
        assert!(resumed.samples()[0] < 100 && resumed.samples()[79] == 1_000, "{:?}", resumed.samples());
    });
}

#[test]
fn an_interruption_states_where_and_the_rest_begins_at_once() {
    with_rig(|rig| {
        (0..3).for_each(|_| rig.push(1_000));
        rig.mix();
        rig.interrupt();
        let (faded, events) = rig.mix();
        assert_eq!(events, [SessionEvent::TrackInterrupted { track: 1, position: 104 }]);
        assert_eq!(faded.samples()[24..], [0; 56]);
        let progress = rig.port.shared.progress();
        assert_eq!((progress.epoch, progress.cut, progress.position), (1, 104, 104));
        rig.push(1_000);
        assert_eq!(rig.mix().0.samples(), [1_000; 80]);
    });
}

#[test]
fn a_removed_track_fades_over_the_frame() {
    with_rig(|rig| {
        (0..3).for_each(|_| rig.push(1_000));
        rig.mix();
        rig.port.shared.close(1, CloseMode::Remove);
        let (faded, events) = rig.mix();
        assert_eq!(events, [SessionEvent::TrackEnded { track: 1, position: 160 }]);
        assert_eq!(faded.stamp.tracks[0].sample_frames, 80);
        assert!(faded.samples().is_sorted_by(|one, next| one >= next), "{:?}", faded.samples());
        assert!(rig.port.shared.is_done(1) && rig.port.frames.is_empty());
    });
}

#[test]
fn a_pause_before_the_first_frame_is_not_told() {
    with_rig(|rig| {
        rig.port.shared.set_paused(Some(24));
        rig.interrupt();
        assert_eq!(rig.mix().1, []);
        rig.port.shared.set_paused(None);
        rig.push(1_000);
        let (first, events) = rig.mix();
        assert_eq!(events, [SessionEvent::TrackStarted { track: 1 }]);
        assert_eq!(first.samples(), [1_000; 80], "without a fade");
    });
}

#[test]
fn a_track_that_was_never_played_ends_unsaid() {
    with_rig(|rig| {
        rig.port.shared.close(1, CloseMode::Drain);
        assert_eq!(rig.mix().1, []);
        assert!(rig.port.shared.is_done(1));
    });
}

#[test]
fn a_background_comes_back_when_the_voice_was_away_for_the_hold() {
    with_rig(|rig| {
        let ms = |ms: i64| Duration::from_micros(ms * 1_000);
        let ducking =
            crate::playback::Ducking { depth: Gain::SILENT, hold: ms(20), attack: ms(0), release: ms(0) };
        rig.port.commands.push(slot::TrackCommand::Duck(Some(ducking))).unwrap();
        rig.push(1_000);
        rig.mixer.since_voice = Duration::ZERO;
        rig.mixer.slots[0].apply_commands();
        for (since_ms, sample) in [(10, 0), (20, 0), (30, 1_000)] {
            rig.push(1_000);
            let (mixed, _) = rig.mix();
            assert_eq!(mixed.samples()[79], sample, "{since_ms} ms after the voice");
        }
    });
}

#[test]
fn an_interrupted_frame_counts_only_while_it_must_fade() {
    with_rig(|rig| {
        (0..2).for_each(|_| rig.push(1_000));
        rig.mix();
        rig.interrupt();
        assert!(rig.mixer.available().has_data, "what sounds fades out");
        rig.mixer.mark_silent();
        assert!(!rig.mixer.available().has_data, "after silence there is nothing to fade");
    });
}
