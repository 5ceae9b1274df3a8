//! Worker side: mixes the next 10 ms of one track and carries out its pauses, interruptions and end.

use crate::dsp::Ramp;
use crate::event::SessionEvent;
use crate::format::Format;
use crate::frame::{self, Frame, TrackSpan};
use crate::playback::slot::{CloseMode, GAINS, MixSlot, SlotGains};
use crate::playback::tap::TrackTap;
use crate::sample::{Gain, HAS_VECTORS};
use crate::stats::PlaybackCounters;

/// What the mixing of one frame reads and writes.
pub(super) struct MixContext<'m, T, const CAP: usize> {
    pub(super) sum: &'m mut [i32],
    pub(super) single: &'m mut Frame<CAP>,
    pub(super) format: Format,
    pub(super) tap: &'m mut T,
    pub(super) counters: &'m PlaybackCounters,
    pub(super) events: &'m mut dyn FnMut(SessionEvent),
}

impl<T: TrackTap<CAP>, const CAP: usize> MixContext<'_, T, CAP> {
    pub(super) fn report(&mut self, event: SessionEvent) {
        (self.events)(event);
        self.tap.on_event(event);
    }
}

/// Adds a slot's next frame to the sum, publishes the slot's progress and returns the span that was added.
pub(super) fn add_slot<T: TrackTap<CAP>, const CAP: usize>(
    slot: &mut MixSlot<'_, CAP>,
    context: &mut MixContext<'_, T, CAP>,
) -> TrackSpan {
    let span = next_span(slot, context);
    slot.report_progress();
    span
}

fn next_span<T: TrackTap<CAP>, const CAP: usize>(
    slot: &mut MixSlot<'_, CAP>,
    context: &mut MixContext<'_, T, CAP>,
) -> TrackSpan {
    // Read before the queue: a track that is closed has queued all of its audio by then. Pauses are read before
    // interruptions, see `SlotShared::interrupt`.
    let closing = slot.shared.closing();
    let paused = slot.shared.paused();
    let epoch = slot.shared.epoch();
    if let Some((track, CloseMode::Remove)) = closing {
        let span = fade_out(slot, u32::MAX, context);
        end_track(slot, track, &mut |event| context.report(event));
        return span;
    }
    if epoch != slot.epoch {
        let faded = fade_out(slot, slot.shared.fade(), context);
        cut_off(slot, epoch, paused.is_some(), &mut |event| context.report(event));
        if faded.sample_frames > 0 {
            return faded;
        }
    }
    match paused {
        // A track that has not begun to play stays silent and begins without a fade.
        Some(_) if slot.track == 0 => return TrackSpan::default(),
        Some(fade) if !slot.paused => return pause(slot, fade, context),
        Some(_) => return silent(slot),
        None if slot.paused => resume(slot, context),
        None => {}
    }
    let sounded = slot.sounding;
    if let Some(fade) = slot.starvation_fade.filter(|_| slot.starving && slot.gains.fade.is_unity()) {
        (fade.fade_in)(&mut slot.gains.fade, context.format);
    }
    let Some(span) = play(slot, usize::MAX, context) else {
        match closing {
            Some((track, _)) => {
                end_track(slot, track, &mut |event| context.report(event));
                return TrackSpan::default();
            }
            None => starve(slot, sounded, context),
        }
        return silent(slot);
    };
    slot.starving = false;
    span
}

/// Returns the span of a silent track: no samples, at the track's position.
fn silent<const CAP: usize>(slot: &MixSlot<'_, CAP>) -> TrackSpan {
    TrackSpan { track: slot.track, offset: 0, sample_frames: 0, position: slot.position }
}

/// Returns whether the queue's first frame may be played. Drops frames of another format, and late frames if
/// they are to be skipped.
#[inline(never)]
fn is_ready<const CAP: usize>(
    slot: &mut MixSlot<'_, CAP>,
    format: Format,
    counters: &PlaybackCounters,
) -> bool {
    for _ in 0..slot.frames.capacity() {
        let Some(frame) = slot.frames.peek() else { return false };
        if frame.format() != format {
            counters.foreign_frames.add(1);
        } else if frame.stamp.epoch != slot.epoch {
            // This frame was pushed after an interruption that the next mix carries out.
            return false;
        } else if slot.frames_to_skip > 0 {
            slot.frames_to_skip -= 1;
            counters.late_frames.add(1);
        } else {
            return true;
        }
        slot.drop_front();
    }
    false
}

/// Adds up to `limit` sample frames of the queue's first frame. The rest of a frame that a pause split goes to
/// the end of its 10 ms, so that the next frame follows it.
#[inline(never)]
fn play<T: TrackTap<CAP>, const CAP: usize>(
    slot: &mut MixSlot<'_, CAP>,
    limit: usize,
    context: &mut MixContext<'_, T, CAP>,
) -> Option<TrackSpan> {
    slot.sounding = false;
    if !is_ready(slot, context.format, context.counters) {
        return None;
    }
    let MixSlot { frames, gains, taken, track, last, starvation_fade, .. } = slot;
    let frame = frames.peek()?;
    let started = *track == 0;
    *track = frame.stamp.track;
    let (full, channels) = (context.format.sample_frames(), context.format.channels());
    let rest = frame.sample_frames().saturating_sub(*taken);
    let offset = if *taken > 0 { full - rest } else { 0 };
    let sample_frames = rest.min(limit);
    let span = TrackSpan {
        track: *track,
        offset: offset as u16,
        sample_frames: sample_frames as u16,
        position: frame.stamp.position + *taken as u64,
    };
    let samples = frame.samples().get(*taken * channels..).unwrap_or(&[]);
    let samples = samples.get(..sample_frames * channels).unwrap_or(&[]);
    let range = offset * channels..(offset + sample_frames) * channels;
    let in_mix = !context.tap.replaces(span.track);
    let sum = context.sum.get_mut(range.clone()).filter(|_| in_mix).unwrap_or(&mut []);
    let wanted = context.tap.wants(span.track);
    let mut copy = None;
    if wanted {
        context.single.clear(context.format, full);
        context.single.stamp.position = span.position;
        copy = context.single.samples_mut().get_mut(range);
    }
    add(samples, gains, channels, sum, copy.unwrap_or(&mut []));
    if let Some(fade) = *starvation_fade {
        (fade.keep)(last, samples, channels, gains);
    }
    slot.position = span.position + sample_frames as u64;
    slot.sounding = offset + sample_frames == full;
    if sample_frames == rest {
        slot.drop_front();
    } else {
        slot.taken += sample_frames;
    }
    if started {
        context.report(SessionEvent::TrackStarted { track: span.track });
    }
    if wanted {
        context.tap.on_frame(span.track, context.single);
    }
    Some(span)
}

/// Multiplies samples with gains, adds them to `sum` and copies them to `copy`; either may be empty.
fn add(samples: &[i16], gains: &mut SlotGains, channels: usize, sum: &mut [i32], copy: &mut [i16]) {
    if gains.is_unity() {
        for (sum, &sample) in sum.iter_mut().zip(samples) {
            *sum += i32::from(sample);
        }
        frame::copy(samples, copy);
        return;
    }
    if gains.are_constant() {
        let gain = gains.next();
        gain.add_amplified(samples, sum);
        return scale(samples, gain, copy);
    }
    let channels = channels.max(1);
    if HAS_VECTORS && channels == 1 {
        return add_moving(samples, gains, sum, copy);
    }
    let (mut sums, mut copies) = (sum.iter_mut(), copy.chunks_exact_mut(channels));
    for samples in samples.chunks_exact(channels) {
        let gain = gains.next();
        for &sample in samples {
            if let Some(sum) = sums.next() {
                *sum += gain.amplify(sample);
            }
        }
        if let Some(copy) = copies.next() {
            scale(samples, gain, copy);
        }
    }
}

/// As [`add`] of one channel while a gain moves, by vectors.
#[inline(never)]
fn add_moving(samples: &[i16], gains: &mut SlotGains, sum: &mut [i32], copy: &mut [i16]) {
    let mut moving = [Gain::UNITY; GAINS];
    let mut copies = copy.chunks_mut(GAINS);
    let mut sums = sum.chunks_mut(GAINS);
    for samples in samples.chunks(GAINS) {
        let moving = moving.get_mut(..samples.len()).unwrap_or(&mut []);
        gains.fill(moving);
        if let Some(sums) = sums.next() {
            Gain::add_each_amplified(moving, samples, sums);
        }
        if let Some(copies) = copies.next() {
            for ((copy, sample), &gain) in copies.iter_mut().zip(samples).zip(moving.iter()) {
                scale(core::slice::from_ref(sample), gain, core::slice::from_mut(copy));
            }
        }
    }
}

/// A function of its own, because only taps need it.
#[inline(never)]
fn scale(samples: &[i16], gain: Gain, copy: &mut [i16]) {
    for (copy, &sample) in copy.iter_mut().zip(samples) {
        *copy = gain.amplify(sample).clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16;
    }
}

/// Fades out a track that sounds, within the next frame.
#[cold]
#[inline(never)]
fn fade_out<T: TrackTap<CAP>, const CAP: usize>(
    slot: &mut MixSlot<'_, CAP>,
    fade_sample_frames: u32,
    context: &mut MixContext<'_, T, CAP>,
) -> TrackSpan {
    if !slot.sounding || !is_ready(slot, context.format, context.counters) {
        if slot.sounding {
            fade_last(slot, context);
        }
        slot.sounding = false;
        return silent(slot);
    }
    let rest = slot.frames.peek().map_or(0, |frame| frame.sample_frames() - slot.taken);
    let fade = rest.min(fade_sample_frames as usize);
    slot.gains.fade.move_to(Gain::SILENT, fade as u32);
    let span = play(slot, fade, context).unwrap_or(silent(slot));
    slot.sounding = false;
    span
}

#[cold]
#[inline(never)]
fn pause<T: TrackTap<CAP>, const CAP: usize>(
    slot: &mut MixSlot<'_, CAP>,
    fade_sample_frames: u32,
    context: &mut MixContext<'_, T, CAP>,
) -> TrackSpan {
    slot.fade_sample_frames = fade_sample_frames;
    let span = fade_out(slot, fade_sample_frames, context);
    slot.gains.fade = Ramp::at(Gain::SILENT);
    slot.paused = true;
    context.report(SessionEvent::TrackPaused { track: slot.track, position: slot.position });
    span
}

#[cold]
#[inline(never)]
fn resume<T: TrackTap<CAP>, const CAP: usize>(
    slot: &mut MixSlot<'_, CAP>,
    context: &mut MixContext<'_, T, CAP>,
) {
    slot.paused = false;
    slot.gains.fade.move_to(Gain::UNITY, slot.fade_sample_frames);
    context.report(SessionEvent::TrackResumed { track: slot.track });
}

/// Carries out interruption `epoch`: drops what was pushed before it.
#[cold]
#[inline(never)]
pub(super) fn cut_off<const CAP: usize>(
    slot: &mut MixSlot<'_, CAP>,
    epoch: u32,
    paused: bool,
    report: &mut dyn FnMut(SessionEvent),
) {
    slot.drop_older_than(epoch);
    slot.epoch = epoch;
    slot.cut = slot.position;
    slot.paused = paused && slot.track != 0;
    // The audio that follows is no continuation, so it needs no fade.
    slot.gains.fade = Ramp::at(Gain::UNITY);
    slot.starving = false;
    slot.frames_to_skip = 0;
    if slot.track != 0 {
        report(SessionEvent::TrackInterrupted { track: slot.track, position: slot.position });
    }
}

/// Fades a track out from its last sample, if it has nothing queued and fades then.
#[inline(never)]
fn fade_last<T: TrackTap<CAP>, const CAP: usize>(
    slot: &MixSlot<'_, CAP>,
    context: &mut MixContext<'_, T, CAP>,
) {
    if let Some(fade) = slot.starvation_fade.filter(|_| !context.tap.replaces(slot.track)) {
        (fade.fade_out)(slot.last, context.sum, context.format);
    }
}

/// Counts and reports a frame that is missing. A track that `sounded` until now may fade out, because a sound that stops at
/// once is heard as a click.
#[cold]
#[inline(never)]
fn starve<T: TrackTap<CAP>, const CAP: usize>(
    slot: &mut MixSlot<'_, CAP>,
    sounded: bool,
    context: &mut MixContext<'_, T, CAP>,
) {
    if slot.track == 0 {
        return;
    }
    if sounded {
        fade_last(slot, context);
    }
    context.counters.starved_frames.add(1);
    if slot.skip_late {
        slot.frames_to_skip = slot.frames_to_skip.saturating_add(1);
    }
    if !slot.starving {
        slot.starving = true;
        context.report(SessionEvent::TrackStarved { track: slot.track });
    }
}

/// Ends `track` and frees the slot. A track of which nothing was played ends without an event.
#[cold]
#[inline(never)]
pub(super) fn end_track<const CAP: usize>(
    slot: &mut MixSlot<'_, CAP>,
    track: u32,
    report: &mut dyn FnMut(SessionEvent),
) {
    if slot.track != 0 {
        report(SessionEvent::TrackEnded { track, position: slot.position });
    }
    slot.release(track);
}
