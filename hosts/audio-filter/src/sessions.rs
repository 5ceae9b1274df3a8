//! Worker side: runs 10 ms through one mono session for each channel, and checks what the filter wrote.

use std::ffi::CStr;
use std::time::{Duration, Instant};

use handsfree_core::limits::{FRAMES_PER_SECOND, MAX_CHANNELS, MAX_RATE_HZ};
use handsfree_core::{DeviceSample, Gain};

use crate::fault::FilterFault;
use crate::ffi::{FilterSample, FilterSession};

/// Samples in each buffer that is passed to a filter: 10 ms of the largest possible frame, all channels. A filter that
/// assumes more channels or a different rate reads silence and writes only to memory that is checked.
pub(crate) const BUFFER_SAMPLES: usize = (MAX_RATE_HZ / FRAMES_PER_SECOND) as usize * MAX_CHANNELS as usize;

/// Number of samples at an edge that must all hold their canary for the edge to count as unwritten: a single sample of
/// the signal may equal its canary by chance.
const EDGE_SAMPLES: usize = 8;

/// Measures the time that a filter takes for a frame.
pub(crate) struct FrameTimer {
    started: Instant,
    limit: Duration,
}

impl FrameTimer {
    pub(crate) fn start(limit: Duration) -> Self {
        Self { started: Instant::now(), limit }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Sample type with a canary value for each position, which shows whether a filter has written there.
pub(crate) trait CheckedSample: FilterSample + DeviceSample {
    /// Returns the value that marks an unwritten position.
    fn canary(index: usize) -> Self;
    fn is_canary(self, index: usize) -> bool;
    fn is_number(self) -> bool;
}

/// Returns a value that changes from position to position, unlike silence or a clipped signal.
fn pattern(index: usize) -> u16 {
    ((index as u32).wrapping_mul(0x9E37_79B1) >> 16) as u16
}

impl CheckedSample for i16 {
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

impl CheckedSample for f32 {
    /// Returns a NaN, so that the check for numbers also finds gaps within what the filter wrote.
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

/// The sessions of all channels of a processor, for either sample type.
pub(crate) trait ChannelSessions: Send {
    /// Filters interleaved `samples` into `filtered`, both 10 ms. Returns the number of samples that were clipped.
    /// After a fault the content of `filtered` is unspecified.
    fn process(
        &mut self,
        samples: &[i16],
        filtered: &mut [i16],
        timer: &FrameTimer,
    ) -> Result<u64, FilterFault>;

    /// Passes new stream information to the session of each channel.
    fn update_stream_info(&mut self, stream_info: &CStr);
}

/// One session for each channel, and the buffers that are passed to them.
pub(crate) struct TypedSessions<S: CheckedSample> {
    sessions: Vec<FilterSession<S>>,
    input: Box<[S]>,
    output: Box<[S]>,
    canaries: Box<[S]>,
    in_samples: usize,
}

impl<S: CheckedSample> TypedSessions<S> {
    /// Allocates all memory for frames of `in_samples` input and `out_samples` output samples a channel.
    pub(crate) fn new(sessions: Vec<FilterSession<S>>, in_samples: usize, out_samples: usize) -> Self {
        let canaries: Box<[S]> = (0..BUFFER_SAMPLES).map(S::canary).collect();
        Self {
            sessions,
            input: vec![S::SILENCE; BUFFER_SAMPLES].into(),
            output: canaries.clone(),
            canaries: canaries.into_iter().take(out_samples).collect(),
            in_samples: in_samples.min(BUFFER_SAMPLES),
        }
    }
}

impl<S: CheckedSample> ChannelSessions for TypedSessions<S> {
    fn process(
        &mut self,
        samples: &[i16],
        filtered: &mut [i16],
        timer: &FrameTimer,
    ) -> Result<u64, FilterFault> {
        let channels = self.sessions.len();
        let out_samples = self.canaries.len();
        let (input, _) = self.input.split_at_mut(self.in_samples);
        let mut clipped_samples = 0;
        for (channel, session) in self.sessions.iter_mut().enumerate() {
            for (to, from) in input.iter_mut().zip(samples.iter().skip(channel).step_by(channels)) {
                *to = S::from_pcm(*from);
            }
            for (to, from) in self.output.iter_mut().zip(&self.canaries) {
                *to = *from;
            }
            session.process(input, &mut self.output, out_samples);
            check_length(&mut self.output, out_samples)?;
            if timer.elapsed() > timer.limit {
                return Err(FilterFault::Slow);
            }
            let written = self.output.iter().take(out_samples);
            for (to, &from) in filtered.iter_mut().skip(channel).step_by(channels).zip(written) {
                if !from.is_number() {
                    return Err(FilterFault::NotANumber);
                }
                let (sample, was_clipped) = from.to_pcm(Gain::UNITY);
                *to = sample;
                clipped_samples += u64::from(was_clipped);
            }
        }
        Ok(clipped_samples)
    }

    fn update_stream_info(&mut self, stream_info: &CStr) {
        for session in &mut self.sessions {
            session.update_stream_info(stream_info);
        }
    }
}

/// Checks that exactly the first `wanted` samples were written. Restores the canaries beyond them.
fn check_length<S: CheckedSample>(output: &mut [S], wanted: usize) -> Result<(), FilterFault> {
    let unwritten = |(index, sample): (usize, &S)| sample.is_canary(index);
    let mut beyond = output.iter().enumerate().skip(wanted).take(EDGE_SAMPLES);
    if !beyond.all(unwritten) {
        for (index, sample) in output.iter_mut().enumerate().skip(wanted) {
            *sample = S::canary(index);
        }
        return Err(FilterFault::TooLong);
    }
    let mut end = output.iter().enumerate().take(wanted).skip(wanted.saturating_sub(EDGE_SAMPLES));
    if end.all(unwritten) { Err(FilterFault::TooShort) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written<S: CheckedSample>(samples: usize, value: S) -> Vec<S> {
        let canaries = (samples..BUFFER_SAMPLES).map(S::canary);
        std::iter::repeat_n(value, samples).chain(canaries).collect()
    }

    fn check_all_lengths<S: CheckedSample>(values: &[S]) {
        for &value in values {
            for wanted in [80, 441, 480, 1_920] {
                for (samples, expected) in [
                    (0, Err(FilterFault::TooShort)),
                    (wanted / 2, Err(FilterFault::TooShort)),
                    (wanted - EDGE_SAMPLES, Err(FilterFault::TooShort)),
                    (wanted, Ok(())),
                    (wanted + 1, Err(FilterFault::TooLong)),
                    (2 * wanted, Err(FilterFault::TooLong)),
                    (BUFFER_SAMPLES, Err(FilterFault::TooLong)),
                ] {
                    let mut output = written(samples, value);
                    assert_eq!(check_length(&mut output, wanted), expected, "{samples} of {wanted}");
                    let repaired = output.iter().enumerate().skip(wanted).all(|(i, s)| s.is_canary(i));
                    assert!(repaired, "the canaries are restored for the next frame");
                }
            }
        }
    }

    #[test]
    fn check_length_detects_every_wrong_length() {
        check_all_lengths(&[0i16, 1, -1, i16::MIN, i16::MAX, i16::canary(3)]);
        check_all_lengths(&[0.0f32, 1.0, -1.0, f32::NAN, f32::INFINITY, 1e38]);
    }

    #[test]
    fn writing_every_second_sample_beyond_the_end_is_too_long() {
        let mut output = written(0, 0i16);
        output.iter_mut().take(960).step_by(2).for_each(|sample| *sample = 5);
        assert_eq!(check_length(&mut output, 480), Err(FilterFault::TooLong));
    }

    #[test]
    fn canaries_differ_from_their_neighbours() {
        assert!((0..BUFFER_SAMPLES).all(|i| i16::canary(i) != i16::canary(i + 1)));
        assert!((0..BUFFER_SAMPLES).all(|i| !f32::canary(i).is_number()));
    }
}
