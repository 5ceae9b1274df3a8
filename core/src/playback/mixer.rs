//! Worker side: all tracks into one frame.

use core::fmt;

use crate::dsp::Ramp;
use crate::event::SessionEvent;
use crate::format::Format;
use crate::frame::{self, Frame, Stamp, TrackSpan};
use crate::limits::FRAME_NS;
use crate::playback::limiter::{Limiter, Settle, clip};
use crate::playback::slot::{Closing, Gains, MixSlot};
use crate::playback::tap::TrackTap;
use crate::sample::Gain;
use crate::stats::PlaybackCounters;
use crate::time::Duration;

/// Mixes a fixed number of slots, each a queue that a [`Track`](crate::playback::Track) fills.
///
/// The sum is exact in 32 bits: 64 slots at the largest gain stay below 2^28.
pub(crate) struct Mixer<'a, const CAP: usize, const SLOTS: usize> {
    slots: [MixSlot<'a, CAP>; SLOTS],
    memory: &'a mut MixerMemory<CAP>,
    format: Format,
    limiter: Limiter,
    /// Through a pointer, so that what is not chosen is not linked.
    settle: Settle,
    /// Since a voice was in the mix.
    since_voice: Duration,
}

/// Working memory of a mixer.
#[derive(Debug)]
pub(crate) struct MixerMemory<const CAP: usize> {
    sum: [i32; CAP],
    /// A single track's frame, for a tap.
    single: Frame<CAP>,
}

impl<const CAP: usize> MixerMemory<CAP> {
    pub(crate) const fn new() -> Self {
        Self { sum: [0; CAP], single: Frame::EMPTY }
    }
}

impl<const CAP: usize, const SLOTS: usize> fmt::Debug for Mixer<'_, CAP, SLOTS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let playing = self.slots.iter().filter(|slot| slot.track != 0).count();
        f.debug_struct("Mixer").field("slots", &SLOTS).field("playing", &playing).finish()
    }
}

/// What a mixer has to mix.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Supply {
    /// Tracks that are open or not yet played to their ends.
    pub(crate) tracks: usize,
    /// One of them has a frame.
    pub(crate) has_data: bool,
    /// One of them should have a frame and has none.
    pub(crate) is_late: bool,
}

/// What mixing one frame works on.
struct Mixing<'m, T, const CAP: usize> {
    sum: &'m mut [i32],
    single: &'m mut Frame<CAP>,
    format: Format,
    tap: &'m mut T,
    counters: &'m PlaybackCounters,
    events: &'m mut dyn FnMut(SessionEvent),
}

impl<T: TrackTap<CAP>, const CAP: usize> Mixing<'_, T, CAP> {
    fn tell(&mut self, event: SessionEvent) {
        (self.events)(event);
        self.tap.on_event(event);
    }
}

impl<'a, const CAP: usize, const SLOTS: usize> Mixer<'a, CAP, SLOTS> {
    pub(crate) fn new(
        slots: [MixSlot<'a, CAP>; SLOTS],
        memory: &'a mut MixerMemory<CAP>,
        format: Format,
    ) -> Self {
        let since_voice = Duration::from_nanos(i64::MAX);
        Self { slots, memory, format, limiter: Limiter::Off, settle: clip, since_voice }
    }

    pub(crate) const fn set_limiter(&mut self, limiter: Limiter) {
        self.limiter = limiter;
        self.settle = limiter.settle();
    }

    pub(crate) const fn format(&self) -> Format {
        self.format
    }

    /// Takes tracks away that have ended and holds nothing of; a frame need not be mixed for that.
    pub(crate) fn reap(&mut self, tell: &mut dyn FnMut(SessionEvent)) {
        for slot in &mut self.slots {
            if let Some((track, _)) = slot.shared.closing().filter(|_| slot.frames.is_empty()) {
                end_track(slot, track, tell);
            }
        }
    }

    /// What there is to mix.
    pub(crate) fn supply(&self) -> Supply {
        let mut supply = Supply::default();
        for slot in self.slots.iter().filter(|slot| slot.shared.active() != 0) {
            // What an interruption drops is only of use for the fade of what sounds.
            let epoch = slot.shared.epoch();
            let is_of_use = |frame: &Frame<CAP>| slot.sounding || frame.stamp.epoch == epoch;
            let has_frame = slot.frames.peek().is_some_and(is_of_use);
            let paused = slot.shared.paused().is_some();
            supply.tracks += 1;
            supply.has_data |= has_frame && !paused;
            supply.is_late |= !has_frame && !paused && !slot.starving;
        }
        supply
    }

    /// Says of every track that what was mixed of it was heard.
    pub(crate) fn publish_heard(&self) {
        for slot in self.slots.iter().filter(|slot| slot.track != 0) {
            slot.shared.playout.publish_heard(slot.track, slot.position);
        }
    }

    /// Drops everything.
    pub(crate) fn close(&mut self, tell: &mut dyn FnMut(SessionEvent)) {
        for slot in &mut self.slots {
            match slot.shared.active() {
                0 => {}
                track => end_track(slot, track, tell),
            }
        }
    }

    /// Nothing is heard any more, so nothing needs a fade.
    pub(crate) fn silence(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.sounding = false);
    }

    /// While nothing is mixed: frees the slots of tracks that were taken away, and lets
    /// interruptions happen.
    #[cold]
    #[inline(never)]
    pub(crate) fn idle(&mut self, tell: &mut dyn FnMut(SessionEvent)) {
        for slot in &mut self.slots {
            if let Some((track, Closing::Removed)) = slot.shared.closing() {
                end_track(slot, track, tell);
                continue;
            }
            let paused = slot.shared.paused();
            let epoch = slot.shared.epoch();
            if epoch != slot.epoch {
                cut_off(slot, epoch, paused.is_some(), tell);
                slot.tell();
            }
        }
    }

    /// Mixes the next 10 ms. Costs an addition a sample and playing track, and where a gain is not 1
    /// three 64-bit products a sample frame and one or, where a tap listens too, two a sample more.
    pub(crate) fn mix(
        &mut self,
        out: &mut Frame<CAP, SLOTS>,
        tap: &mut impl TrackTap<CAP>,
        counters: &PlaybackCounters,
        events: &mut dyn FnMut(SessionEvent),
    ) {
        let MixerMemory { sum, single } = &mut *self.memory;
        let Some(sum) = sum.get_mut(..self.format.samples()) else {
            return;
        };
        sum.fill(0);
        out.begin(self.format);
        out.stamp = Stamp::ZERO;
        let mut mixing = Mixing { sum, single, format: self.format, tap, counters, events };
        self.slots.iter_mut().for_each(MixSlot::obey);
        // Voices first: the background must know in the same frame.
        self.since_voice = self.since_voice + Duration::from_nanos(FRAME_NS);
        let places = self.slots.iter_mut().zip(&mut out.stamp.tracks);
        for (slot, span) in places.filter(|(slot, _)| slot.ducking.is_none()) {
            *span = add_slot(slot, &mut mixing);
            if span.sample_frames > 0 {
                self.since_voice = Duration::ZERO;
            }
        }
        let places = self.slots.iter_mut().zip(&mut out.stamp.tracks);
        for (slot, span) in places.filter(|(slot, _)| slot.ducking.is_some()) {
            duck(slot, self.since_voice, self.format);
            *span = add_slot(slot, &mut mixing);
        }
        let target = out.extend(self.format.sample_frames());
        let touched = (self.settle)(mixing.sum, target);
        match self.limiter {
            Limiter::Off if touched > 0 => counters.clipped_samples.add(touched),
            Limiter::Soft if touched > 0 => counters.limited_samples.add(touched),
            _ => {}
        }
    }
}

/// Lets a background give way to voices or come back.
fn duck<const CAP: usize>(slot: &mut MixSlot<'_, CAP>, since_voice: Duration, format: Format) {
    let Some(ducking) = slot.ducking else { return };
    let (gain, within) = if since_voice <= ducking.hold {
        (ducking.depth, ducking.attack)
    } else {
        (Gain::UNITY, ducking.release)
    };
    if slot.gains.duck.target() != gain {
        slot.gains.duck.move_to(gain, within.in_sample_frames(format.rate()));
    }
}

/// Adds a slot's next frame to the sum, says what it added and how far it has come.
fn add_slot<T: TrackTap<CAP>, const CAP: usize>(
    slot: &mut MixSlot<'_, CAP>,
    mixing: &mut Mixing<'_, T, CAP>,
) -> TrackSpan {
    let span = next_span(slot, mixing);
    slot.tell();
    span
}

fn next_span<T: TrackTap<CAP>, const CAP: usize>(
    slot: &mut MixSlot<'_, CAP>,
    mixing: &mut Mixing<'_, T, CAP>,
) -> TrackSpan {
    // Read before the queue: whoever closed the track had queued all of it by then. And pauses
    // before interruptions, see `SlotShared::interrupt`.
    let closing = slot.shared.closing();
    let paused = slot.shared.paused();
    let epoch = slot.shared.epoch();
    if let Some((track, Closing::Removed)) = closing {
        let span = fade_out(slot, u32::MAX, mixing);
        end_track(slot, track, &mut |event| mixing.tell(event));
        return span;
    }
    if epoch != slot.epoch {
        let faded = fade_out(slot, slot.shared.fade(), mixing);
        cut_off(slot, epoch, paused.is_some(), &mut |event| mixing.tell(event));
        if faded.sample_frames > 0 {
            return faded;
        }
    }
    match paused {
        // A track that has not begun waits, without a fade when it comes.
        Some(_) if slot.track == 0 => return TrackSpan::default(),
        Some(fade) if !slot.paused => return pause(slot, fade, mixing),
        Some(_) => return silent(slot),
        None if slot.paused => resume(slot, mixing),
        None => {}
    }
    let Some(span) = play(slot, usize::MAX, mixing) else {
        match closing {
            Some((track, _)) => {
                end_track(slot, track, &mut |event| mixing.tell(event));
                return TrackSpan::default();
            }
            None => starve(slot, mixing),
        }
        return silent(slot);
    };
    slot.starving = false;
    span
}

/// Where a track is that is not heard.
fn silent<const CAP: usize>(slot: &MixSlot<'_, CAP>) -> TrackSpan {
    TrackSpan { track: slot.track, offset: 0, sample_frames: 0, position: slot.position }
}

/// Whether the queue's first frame may be played; frames of another format are dropped, and as many
/// late ones as are owed.
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
            // Pushed after an interruption that the next mix carries out.
            return false;
        } else if slot.owed_frames > 0 {
            slot.owed_frames -= 1;
            counters.late_frames.add(1);
        } else {
            return true;
        }
        slot.drop_front();
    }
    false
}

/// Adds up to `limit` sample frames of the queue's first frame. What a pause left of a frame comes
/// at the end of its 10 ms, so that the next frame follows it.
#[inline(never)]
fn play<T: TrackTap<CAP>, const CAP: usize>(
    slot: &mut MixSlot<'_, CAP>,
    limit: usize,
    mixing: &mut Mixing<'_, T, CAP>,
) -> Option<TrackSpan> {
    slot.sounding = false;
    if !is_ready(slot, mixing.format, mixing.counters) {
        return None;
    }
    let MixSlot { frames, gains, taken, track, .. } = slot;
    let frame = frames.peek()?;
    let started = *track == 0;
    *track = frame.stamp.track;
    let (full, channels) = (mixing.format.sample_frames(), mixing.format.channels());
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
    let place = offset * channels..(offset + sample_frames) * channels;
    let heard = !mixing.tap.replaces(span.track);
    let sum = mixing.sum.get_mut(place.clone()).filter(|_| heard).unwrap_or(&mut []);
    let wanted = mixing.tap.wants(span.track);
    let mut copy = None;
    if wanted {
        mixing.single.clear(mixing.format, full);
        mixing.single.stamp.position = span.position;
        copy = mixing.single.samples_mut().get_mut(place);
    }
    add(samples, gains, channels, sum, copy.unwrap_or(&mut []));
    slot.position = span.position + sample_frames as u64;
    slot.sounding = offset + sample_frames == full;
    if sample_frames == rest {
        slot.drop_front();
    } else {
        slot.taken += sample_frames;
    }
    if started {
        mixing.tell(SessionEvent::TrackStarted { track: span.track });
    }
    if wanted {
        mixing.tap.on_frame(span.track, mixing.single);
    }
    Some(span)
}

/// Samples times gains, added to `sum` and copied to `copy`; either may be empty.
fn add(samples: &[i16], gains: &mut Gains, channels: usize, sum: &mut [i32], copy: &mut [i16]) {
    if gains.is_unity() {
        for (sum, &sample) in sum.iter_mut().zip(samples) {
            *sum += i32::from(sample);
        }
        frame::copy(samples, copy);
        return;
    }
    if gains.stand() {
        let gain = gains.next();
        for (sum, &sample) in sum.iter_mut().zip(samples) {
            *sum += gain.amplify(sample);
        }
        return scale(samples, gain, copy);
    }
    let channels = channels.max(1);
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

/// Apart, for only taps want it.
#[inline(never)]
fn scale(samples: &[i16], gain: Gain, copy: &mut [i16]) {
    for (copy, &sample) in copy.iter_mut().zip(samples) {
        *copy = gain.amplify(sample).clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16;
    }
}

/// Lets a track that sounds fade away within the next frame.
#[cold]
#[inline(never)]
fn fade_out<T: TrackTap<CAP>, const CAP: usize>(
    slot: &mut MixSlot<'_, CAP>,
    fade_sample_frames: u32,
    mixing: &mut Mixing<'_, T, CAP>,
) -> TrackSpan {
    if !slot.sounding || !is_ready(slot, mixing.format, mixing.counters) {
        slot.sounding = false;
        return silent(slot);
    }
    let rest = slot.frames.peek().map_or(0, |frame| frame.sample_frames() - slot.taken);
    let fade = rest.min(fade_sample_frames as usize);
    slot.gains.fade.move_to(Gain::SILENT, fade as u32);
    let span = play(slot, fade, mixing).unwrap_or(silent(slot));
    slot.sounding = false;
    span
}

#[cold]
#[inline(never)]
fn pause<T: TrackTap<CAP>, const CAP: usize>(
    slot: &mut MixSlot<'_, CAP>,
    fade_sample_frames: u32,
    mixing: &mut Mixing<'_, T, CAP>,
) -> TrackSpan {
    slot.fade_sample_frames = fade_sample_frames;
    let span = fade_out(slot, fade_sample_frames, mixing);
    slot.gains.fade = Ramp::at(Gain::SILENT);
    slot.paused = true;
    mixing.tell(SessionEvent::TrackPaused { track: slot.track, position: slot.position });
    span
}

#[cold]
#[inline(never)]
fn resume<T: TrackTap<CAP>, const CAP: usize>(slot: &mut MixSlot<'_, CAP>, mixing: &mut Mixing<'_, T, CAP>) {
    slot.paused = false;
    slot.gains.fade.move_to(Gain::UNITY, slot.fade_sample_frames);
    mixing.tell(SessionEvent::TrackResumed { track: slot.track });
}

/// Drops what was pushed before interruption `epoch`.
#[cold]
#[inline(never)]
fn cut_off<const CAP: usize>(
    slot: &mut MixSlot<'_, CAP>,
    epoch: u32,
    paused: bool,
    tell: &mut dyn FnMut(SessionEvent),
) {
    slot.drop_older_than(epoch);
    slot.epoch = epoch;
    slot.cut = slot.position;
    slot.paused = paused && slot.track != 0;
    // What comes next is not a continuation, so it needs no fade.
    slot.gains.fade = Ramp::at(Gain::UNITY);
    slot.starving = false;
    slot.owed_frames = 0;
    if slot.track != 0 {
        tell(SessionEvent::TrackInterrupted { track: slot.track, position: slot.position });
    }
}

#[cold]
#[inline(never)]
fn starve<T: TrackTap<CAP>, const CAP: usize>(slot: &mut MixSlot<'_, CAP>, mixing: &mut Mixing<'_, T, CAP>) {
    if slot.track == 0 {
        return;
    }
    mixing.counters.starved_frames.add(1);
    if slot.skip_late {
        slot.owed_frames = slot.owed_frames.saturating_add(1);
    }
    if !slot.starving {
        slot.starving = true;
        mixing.tell(SessionEvent::TrackStarved { track: slot.track });
    }
}

/// Frees the slot; a track of which nothing was played ends without an event.
#[cold]
#[inline(never)]
fn end_track<const CAP: usize>(slot: &mut MixSlot<'_, CAP>, track: u32, tell: &mut dyn FnMut(SessionEvent)) {
    if slot.track != 0 {
        tell(SessionEvent::TrackEnded { track, position: slot.position });
    }
    slot.vacate(track);
}
