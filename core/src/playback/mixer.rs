//! Worker side: all tracks into one frame.

use core::fmt;

use crate::event::{EventSender, SessionEvent};
use crate::format::Format;
use crate::frame::{Frame, Stamp, TrackSpan};
use crate::playback::slot::{Closing, MixSlot};
use crate::sample::Gain;
use crate::stats::PlaybackCounters;

/// What happens to a sum beyond 16 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Limiter {
    /// It saturates; a single source at unity gain passes bit by bit.
    #[default]
    Off,
    /// Everything above -2.5 dBFS is bent smoothly towards full scale, which is never reached.
    Soft,
}

/// Mixes a fixed number of slots, each a queue that a [`Track`](crate::playback::Track) fills.
///
/// The sum is exact in 32 bits: 64 slots at the largest gain stay below 2^28.
pub struct Mixer<'a, const CAP: usize, const SLOTS: usize> {
    slots: [MixSlot<'a, CAP>; SLOTS],
    sum: &'a mut [i32; CAP],
    format: Format,
    limiter: Limiter,
}

impl<const CAP: usize, const SLOTS: usize> fmt::Debug for Mixer<'_, CAP, SLOTS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let playing = self.slots.iter().filter(|slot| slot.track != 0).count();
        f.debug_struct("Mixer").field("slots", &SLOTS).field("playing", &playing).finish()
    }
}

impl<'a, const CAP: usize, const SLOTS: usize> Mixer<'a, CAP, SLOTS> {
    pub(crate) const fn new(
        slots: [MixSlot<'a, CAP>; SLOTS],
        sum: &'a mut [i32; CAP],
        format: Format,
    ) -> Self {
        Self { slots, sum, format, limiter: Limiter::Off }
    }

    /// Chooses what happens to sums beyond 16 bits, from the next frame on.
    pub const fn set_limiter(&mut self, limiter: Limiter) {
        self.limiter = limiter;
    }

    /// Frees the slots of tracks that were taken away while nothing plays.
    pub(crate) fn reap(&mut self, events: &mut EventSender<'_>) {
        for slot in &mut self.slots {
            if let Some((track, Closing::Removed)) = slot.flags.closing() {
                end_track(slot, track, events);
            }
        }
    }

    /// Mixes the next 10 ms. Costs an addition a sample and playing track, a 64-bit product more
    /// where a gain is not 1.
    pub(crate) fn mix(
        &mut self,
        out: &mut Frame<CAP, SLOTS>,
        counters: &PlaybackCounters,
        events: &mut EventSender<'_>,
    ) {
        let samples = self.format.samples();
        let Some(sum) = self.sum.get_mut(..samples) else {
            return;
        };
        sum.fill(0);
        out.begin(self.format);
        out.stamp = Stamp::ZERO;
        for (slot, span) in self.slots.iter_mut().zip(&mut out.stamp.tracks) {
            *span = add_slot(slot, sum, self.format, counters, events);
        }
        let target = out.extend(self.format.sample_frames());
        let touched = settle(sum, target, self.limiter);
        match self.limiter {
            Limiter::Off if touched > 0 => counters.clipped_samples.add(touched),
            Limiter::Soft if touched > 0 => counters.limited_samples.add(touched),
            _ => {}
        }
    }
}

/// Adds a slot's next frame to the sum and says what it added.
fn add_slot<const CAP: usize>(
    slot: &mut MixSlot<'_, CAP>,
    sum: &mut [i32],
    format: Format,
    counters: &PlaybackCounters,
    events: &mut EventSender<'_>,
) -> TrackSpan {
    // Read before the queue: whoever closed the track had queued all of it by then.
    let closing = slot.flags.closing();
    if let Some((track, Closing::Removed)) = closing {
        return fade_away(slot, track, sum, format, events);
    }
    let Some(frame) = next_frame(slot, format, counters) else {
        match closing {
            Some((track, _)) => end_track(slot, track, events),
            None => starve(slot, counters, events),
        }
        return TrackSpan::default();
    };
    if slot.track == 0 {
        slot.track = frame.stamp.track;
        events.send(SessionEvent::TrackStarted { track: slot.track });
    }
    slot.obey();
    slot.starving = false;
    add_frame(slot, &frame, sum, format)
}

/// The next frame of the mixer's format; others are dropped, at most as many as the queue holds.
fn next_frame<const CAP: usize>(
    slot: &mut MixSlot<'_, CAP>,
    format: Format,
    counters: &PlaybackCounters,
) -> Option<Frame<CAP>> {
    for _ in 0..slot.frames.capacity() {
        let frame = slot.frames.pop()?;
        if frame.format() == format {
            return Some(frame);
        }
        counters.foreign_frames.add(1);
    }
    None
}

fn add_frame<const CAP: usize>(
    slot: &mut MixSlot<'_, CAP>,
    frame: &Frame<CAP>,
    sum: &mut [i32],
    format: Format,
) -> TrackSpan {
    if slot.gain.is_unity() {
        for (sum, &sample) in sum.iter_mut().zip(frame.samples()) {
            *sum += i32::from(sample);
        }
    } else {
        let channels = format.channels();
        for (sums, samples) in sum.chunks_exact_mut(channels).zip(frame.samples().chunks_exact(channels)) {
            let gain = slot.gain.next();
            for (sum, &sample) in sums.iter_mut().zip(samples) {
                *sum += scaled(sample, gain);
            }
        }
    }
    slot.position = frame.stamp.position + frame.sample_frames() as u64;
    TrackSpan {
        track: slot.track,
        sample_frames: frame.sample_frames() as u16,
        position: frame.stamp.position,
    }
}

/// A sample times a gain, rounded to nearest; at most 2^15 x 64, so i32 holds it.
#[inline]
fn scaled(sample: i16, gain: Gain) -> i32 {
    ((i64::from(sample) * i64::from(gain.q16()) + 0x8000) >> 16) as i32
}

/// Plays one more frame of a removed track, fading to silence, and drops the rest of it.
fn fade_away<const CAP: usize>(
    slot: &mut MixSlot<'_, CAP>,
    track: u32,
    sum: &mut [i32],
    format: Format,
    events: &mut EventSender<'_>,
) -> TrackSpan {
    let mut span = TrackSpan::default();
    if slot.track != 0
        && let Some(frame) = slot.frames.pop()
        && frame.format() == format
    {
        slot.gain.move_to(Gain::SILENT, frame.sample_frames() as u32);
        span = add_frame(slot, &frame, sum, format);
    }
    end_track(slot, track, events);
    span
}

fn starve<const CAP: usize>(
    slot: &mut MixSlot<'_, CAP>,
    counters: &PlaybackCounters,
    events: &mut EventSender<'_>,
) {
    if slot.track == 0 {
        return;
    }
    counters.starved_frames.add(1);
    if !slot.starving {
        slot.starving = true;
        events.send(SessionEvent::TrackStarved { track: slot.track });
    }
}

/// Frees the slot; a track of which nothing was played ends without an event.
fn end_track<const CAP: usize>(slot: &mut MixSlot<'_, CAP>, track: u32, events: &mut EventSender<'_>) {
    if slot.track != 0 {
        events.send(SessionEvent::TrackEnded { track, position: slot.position });
    }
    slot.vacate(track);
}

/// Brings the sum back to 16 bits and says how many samples that changed.
fn settle(sum: &[i32], out: &mut [i16], limiter: Limiter) -> u32 {
    let mut touched = 0;
    for (sample, &wide) in out.iter_mut().zip(sum) {
        let settled = match limiter {
            Limiter::Off => wide.clamp(i32::from(i16::MIN), i32::from(i16::MAX)),
            Limiter::Soft => bend(wide),
        };
        touched += u32::from(settled != wide);
        *sample = settled as i16;
    }
    touched
}

const KNEE: i32 = 24_576;
const HEADROOM: i32 = i16::MAX as i32 - KNEE;

/// Leaves samples up to the knee as they are and bends the excess d to d * H / (d + H): slope 1 at
/// the knee, full scale in the limit.
fn bend(wide: i32) -> i32 {
    let excess = i64::from(wide.unsigned_abs()) - i64::from(KNEE);
    if excess <= 0 {
        return wide;
    }
    let headroom = i64::from(HEADROOM);
    let bent = KNEE + (excess * headroom / (excess + headroom)) as i32;
    if wide < 0 { -bent } else { bent }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limiter_is_monotonic_odd_and_stays_inside() {
        let mut before = bend(-1 << 28);
        for wide in (-70_000..70_000).chain([1 << 20, 1 << 28]) {
            let bent = bend(wide);
            assert!(bent >= before && bent.abs() < 32_767, "{wide} -> {bent}");
            assert_eq!(bend(-wide), -bent);
            if wide.abs() <= KNEE {
                assert_eq!(bent, wide);
            }
            before = bent;
        }
    }

    #[test]
    fn scaling_is_exact_at_unity_and_rounds_to_nearest() {
        for sample in [i16::MIN, -1, 0, 1, i16::MAX] {
            assert_eq!(scaled(sample, Gain::UNITY), i32::from(sample));
            assert_eq!(scaled(sample, Gain::MAX), i32::from(sample) * 64);
            assert_eq!(scaled(sample, Gain::SILENT), 0);
        }
        assert_eq!(scaled(3, Gain::linear(0.5).unwrap()), 2);
    }
}
