//! Worker side: 10 ms through one mono session a channel, and the check of what came back.

use std::ffi::CStr;
use std::time::{Duration, Instant};

use handsfree_core::limits::{FRAMES_PER_SECOND, MAX_CHANNELS, MAX_RATE_HZ};
use handsfree_core::{DeviceSample, Gain};

use crate::fault::Fault;
use crate::ffi::{Sample, Session};

/// Samples that a channel's buffers hold: 10 ms of the largest frame there is, all channels. So a filter that takes
/// its samples for more channels or another rate reads silence and writes where nobody looks but the check.
pub(crate) const ROOM: usize = (MAX_RATE_HZ / FRAMES_PER_SECOND) as usize * MAX_CHANNELS as usize;

/// Samples at an end that must all look untouched, or all written, for the end to count as that.
const EDGE: usize = 8;

/// When a frame's work began and how long it may take.
pub(crate) struct Watch {
    begun: Instant,
    limit: Duration,
}

impl Watch {
    pub(crate) fn start(limit: Duration) -> Self {
        Self { begun: Instant::now(), limit }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }
}

/// A sample that can tell whether a filter has written it.
pub(crate) trait LaneSample: Sample + DeviceSample {
    /// What a place holds that nobody has written since.
    fn canary(index: usize) -> Self;
    fn is_canary(self, index: usize) -> bool;
    fn is_number(self) -> bool;
}

/// Changes from place to place, as no signal at rest or at its limit does.
fn pattern(index: usize) -> u16 {
    ((index as u32).wrapping_mul(0x9E37_79B1) >> 16) as u16
}

impl LaneSample for i16 {
    fn canary(index: usize) -> Self {
        pattern(index).cast_signed()
    }

    fn is_canary(self, index: usize) -> bool {
        self == Self::canary(index)
    }

    fn is_number(self) -> bool {
        true
    }
}

impl LaneSample for f32 {
    /// No number, so that a hole in what was written is found too.
    fn canary(index: usize) -> Self {
        Self::from_bits(0x7FC0_0000 | u32::from(pattern(index)))
    }

    fn is_canary(self, index: usize) -> bool {
        self.to_bits() == Self::canary(index).to_bits()
    }

    fn is_number(self) -> bool {
        self.is_finite()
    }
}

/// What a processor calls with a frame, whatever the sample type.
pub(crate) trait Lane: Send {
    /// Filters interleaved `samples` into `done`, both 10 ms. Returns how many samples were out of range and cut.
    /// After a fault `done` holds nothing of use.
    fn run(&mut self, samples: &[i16], done: &mut [i16], watch: &Watch) -> Result<u64, Fault>;

    /// Tells every channel's session.
    fn update_stream_info(&mut self, stream_info: &CStr);
}

/// One session a channel and the memory that their samples pass through.
pub(crate) struct Lanes<S: LaneSample> {
    sessions: Vec<Session<S>>,
    input: Box<[S]>,
    output: Box<[S]>,
    untouched: Box<[S]>,
    in_samples: usize,
}

impl<S: LaneSample> Lanes<S> {
    /// For 10 ms of `in_samples` samples a channel in and `out_samples` out. Allocates all that it will need.
    pub(crate) fn new(sessions: Vec<Session<S>>, in_samples: usize, out_samples: usize) -> Self {
        let untouched: Box<[S]> = (0..ROOM).map(S::canary).collect();
        Self {
            sessions,
            input: vec![S::SILENCE; ROOM].into(),
            output: untouched.clone(),
            untouched: untouched.into_iter().take(out_samples).collect(),
            in_samples: in_samples.min(ROOM),
        }
    }
}

impl<S: LaneSample> Lane for Lanes<S> {
    fn run(&mut self, samples: &[i16], done: &mut [i16], watch: &Watch) -> Result<u64, Fault> {
        let channels = self.sessions.len();
        let out_samples = self.untouched.len();
        let (input, _) = self.input.split_at_mut(self.in_samples);
        let mut cut = 0;
        for (channel, session) in self.sessions.iter_mut().enumerate() {
            for (to, from) in input.iter_mut().zip(samples.iter().skip(channel).step_by(channels)) {
                *to = S::from_pcm(*from);
            }
            for (to, from) in self.output.iter_mut().zip(&self.untouched) {
                *to = *from;
            }
            session.process(input, &mut self.output, out_samples);
            check_length(&mut self.output, out_samples)?;
            if watch.elapsed() > watch.limit {
                return Err(Fault::Slow);
            }
            let filtered = self.output.iter().take(out_samples);
            for (to, &from) in done.iter_mut().skip(channel).step_by(channels).zip(filtered) {
                if !from.is_number() {
                    return Err(Fault::NotANumber);
                }
                let (sample, was_cut) = from.to_pcm(Gain::UNITY);
                *to = sample;
                cut += u64::from(was_cut);
            }
        }
        Ok(cut)
    }

    fn update_stream_info(&mut self, stream_info: &CStr) {
        for session in &mut self.sessions {
            session.update_stream_info(stream_info);
        }
    }
}

/// Whether exactly the first `wanted` samples look written. Repairs what was written beyond.
fn check_length<S: LaneSample>(output: &mut [S], wanted: usize) -> Result<(), Fault> {
    let untouched = |(index, sample): (usize, &S)| sample.is_canary(index);
    let mut beyond = output.iter().enumerate().skip(wanted).take(EDGE);
    if !beyond.all(untouched) {
        for (index, sample) in output.iter_mut().enumerate().skip(wanted) {
            *sample = S::canary(index);
        }
        return Err(Fault::TooLong);
    }
    let mut end = output.iter().enumerate().take(wanted).skip(wanted.saturating_sub(EDGE));
    if end.all(untouched) { Err(Fault::TooShort) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written<S: LaneSample>(samples: usize, value: S) -> Vec<S> {
        let canaries = (samples..ROOM).map(S::canary);
        std::iter::repeat_n(value, samples).chain(canaries).collect()
    }

    fn check_all_lengths<S: LaneSample>(values: &[S]) {
        for &value in values {
            for wanted in [80, 441, 480, 1_920] {
                for (samples, expected) in [
                    (0, Err(Fault::TooShort)),
                    (wanted / 2, Err(Fault::TooShort)),
                    (wanted - EDGE, Err(Fault::TooShort)),
                    (wanted, Ok(())),
                    (wanted + 1, Err(Fault::TooLong)),
                    (2 * wanted, Err(Fault::TooLong)),
                    (ROOM, Err(Fault::TooLong)),
                ] {
                    let mut output = written(samples, value);
                    assert_eq!(check_length(&mut output, wanted), expected, "{samples} of {wanted}");
                    let repaired = output.iter().enumerate().skip(wanted).all(|(i, s)| s.is_canary(i));
                    assert!(repaired, "the next frame's check starts clean");
                }
            }
        }
    }

    #[test]
    fn every_wrong_length_is_seen_and_the_right_one_is_not_taken_for_wrong() {
        check_all_lengths(&[0i16, 1, -1, i16::MIN, i16::MAX, i16::canary(3)]);
        check_all_lengths(&[0.0f32, 1.0, -1.0, f32::NAN, f32::INFINITY, 1e38]);
    }

    #[test]
    fn a_stride_of_two_is_too_long() {
        let mut output = written(0, 0i16);
        output.iter_mut().take(960).step_by(2).for_each(|sample| *sample = 5);
        assert_eq!(check_length(&mut output, 480), Err(Fault::TooLong));
    }

    #[test]
    fn canaries_differ_from_their_neighbours() {
        assert!((0..ROOM).all(|i| i16::canary(i) != i16::canary(i + 1)));
        assert!((0..ROOM).all(|i| !f32::canary(i).is_number()));
    }
}
