//! Worker side: mixes all tracks into one frame.

mod mix_track;

use core::fmt;

use crate::event::SessionEvent;
use crate::format::Format;
use crate::frame::{Frame, Stamp};
use crate::limits::FRAME_NS;
use crate::playback::limiter::{Limiter, NarrowSum, clip};
use crate::playback::slot::{CloseMode, MixSlot};
use crate::playback::tap::TrackTap;
use crate::sample::Gain;
use crate::stats::PlaybackCounters;
use crate::time::Duration;
use mix_track::{MixContext, add_slot, cut_off, end_track};

/// Mixes a fixed number of slots, each of them a queue that a [`Track`](crate::playback::Track) fills.
///
/// The sum is exact in 32 bits: 64 slots at the largest gain stay below 2^28.
pub(crate) struct Mixer<'a, const CAP: usize, const SLOTS: usize> {
    slots: [MixSlot<'a, CAP>; SLOTS],
    memory: &'a mut MixerMemory<CAP>,
    format: Format,
    limiter: Limiter,
    /// A pointer, so that a limiter that is not chosen is not linked.
    narrow: NarrowSum,
    /// Time since a voice was in the mix.
    since_voice: Duration,
}

/// Working memory of a mixer.
#[derive(Debug)]
pub(crate) struct MixerMemory<const CAP: usize> {
    sum: [i32; CAP],
    /// One track's frame, for a tap.
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

/// What the slots offer to the mixer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MixerInput {
    /// Number of tracks that are open or not yet played to their ends.
    pub(crate) tracks: usize,
    /// Whether one of them has a frame.
    pub(crate) has_data: bool,
    /// Whether one of them should have a frame and has none.
    pub(crate) is_late: bool,
}

impl<'a, const CAP: usize, const SLOTS: usize> Mixer<'a, CAP, SLOTS> {
    pub(crate) fn new(
        slots: [MixSlot<'a, CAP>; SLOTS],
        memory: &'a mut MixerMemory<CAP>,
        format: Format,
    ) -> Self {
        let since_voice = Duration::from_nanos(i64::MAX);
        Self { slots, memory, format, limiter: Limiter::Off, narrow: clip, since_voice }
    }

    pub(crate) const fn set_limiter(&mut self, limiter: Limiter) {
        self.limiter = limiter;
        self.narrow = limiter.narrow();
    }

    pub(crate) const fn format(&self) -> Format {
        self.format
    }

    /// Ends tracks that were closed and have nothing queued, which needs no mixing.
    pub(crate) fn end_drained_tracks(&mut self, report: &mut dyn FnMut(SessionEvent)) {
        for slot in &mut self.slots {
            if let Some((track, _)) = slot.shared.closing().filter(|_| slot.frames.is_empty()) {
                end_track(slot, track, report);
            }
        }
    }

    /// Returns what there is to mix.
    pub(crate) fn available(&self) -> MixerInput {
        let mut available = MixerInput::default();
        for slot in self.slots.iter().filter(|slot| slot.shared.active() != 0) {
            // A frame that an interruption drops is only needed to fade out what sounds.
            let epoch = slot.shared.epoch();
            let is_of_use = |frame: &Frame<CAP>| slot.sounding || frame.stamp.epoch == epoch;
            let has_frame = slot.frames.peek().is_some_and(is_of_use);
            let paused = slot.shared.paused().is_some();
            available.tracks += 1;
            available.has_data |= has_frame && !paused;
            available.is_late |= !has_frame && !paused && !slot.starving;
        }
        available
    }

    /// Publishes for every track that what was mixed of it was played.
    pub(crate) fn publish_played(&self) {
        for slot in self.slots.iter().filter(|slot| slot.track != 0) {
            slot.shared.playout.publish_played(slot.track, slot.position);
        }
    }

    /// Ends all tracks and drops what they have queued.
    pub(crate) fn close(&mut self, report: &mut dyn FnMut(SessionEvent)) {
        for slot in &mut self.slots {
            match slot.shared.active() {
                0 => {}
                track => end_track(slot, track, report),
            }
        }
    }

    /// Marks all tracks as silent, so that none needs a fade.
    pub(crate) fn mark_silent(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.sounding = false);
    }

    /// Frees the slots of removed tracks and carries out interruptions while nothing is mixed.
    #[cold]
    #[inline(never)]
    pub(crate) fn idle(&mut self, report: &mut dyn FnMut(SessionEvent)) {
        for slot in &mut self.slots {
            if let Some((track, CloseMode::Remove)) = slot.shared.closing() {
                end_track(slot, track, report);
                continue;
            }
            let paused = slot.shared.paused();
            let epoch = slot.shared.epoch();
            if epoch != slot.epoch {
                cut_off(slot, epoch, paused.is_some(), report);
                slot.report_progress();
            }
        }
    }

    /// Mixes the next 10 ms. Costs an addition for each sample of a playing track, and two products of 16 bits more where a gain is
    /// not 1. While a gain moves, it costs a 64-bit addition for each sample frame too, and a 64-bit product for each further gain that is not 1; of
    /// several channels or without vector instructions, three 64-bit products. A tap that takes the track costs
    /// the products once more.
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
        let mut context = MixContext { sum, single, format: self.format, tap, counters, events };
        self.slots.iter_mut().for_each(MixSlot::apply_commands);
        // Voices come first, because the background fades down in the same frame.
        self.since_voice = self.since_voice + Duration::from_nanos(FRAME_NS);
        let slots_and_spans = self.slots.iter_mut().zip(&mut out.stamp.tracks);
        for (slot, span) in slots_and_spans.filter(|(slot, _)| slot.ducking.is_none()) {
            *span = add_slot(slot, &mut context);
            if span.sample_frames > 0 {
                self.since_voice = Duration::ZERO;
            }
        }
        let slots_and_spans = self.slots.iter_mut().zip(&mut out.stamp.tracks);
        for (slot, span) in slots_and_spans.filter(|(slot, _)| slot.ducking.is_some()) {
            duck(slot, self.since_voice, self.format);
            *span = add_slot(slot, &mut context);
        }
        let target = out.extend(self.format.sample_frames());
        let changed = (self.narrow)(context.sum, target);
        match self.limiter {
            Limiter::Off if changed > 0 => counters.clipped_samples.add(changed),
            Limiter::Soft if changed > 0 => counters.limited_samples.add(changed),
            _ => {}
        }
    }
}

/// Fades a background down under voices or back up.
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

#[cfg(test)]
mod tests;
