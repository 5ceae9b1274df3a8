//! Worker side: reads the history between its samples.

use super::MAX_SLEW;
use crate::dsp::fractional::{FractionalReader, FullReader, MediumReader, QuickReader};
use crate::format::Format;
use crate::frame::Frame;
use crate::limits::MAX_CHANNELS;
use crate::timing::history::History;
use crate::timing::stream_clock::FractionalPosition;

/// Number of samples interpolated at a time, from one stretch of the history that is converted once.
const CHUNK: usize = 64;
/// Number of additional samples that a chunk may reach by slewing.
const SLACK: usize = 4;

/// Number of samples around a chunk that the longest kernel needs.
const MAX_AROUND: usize = 64;

const _: () = assert!(CHUNK as f32 * MAX_SLEW < (SLACK - 1) as f32);
const _: () = assert!(FullReader::AROUND <= MAX_AROUND && MediumReader::AROUND <= MAX_AROUND);
const _: () = assert!(QuickReader::AROUND <= MAX_AROUND);

/// Reads a frame of format `far` into `out`, from `start` on in steps of `step_q32`, 1/2^32 of a sample frame. Returns the position after it.
pub(super) fn interpolate<R: FractionalReader, const CAP: usize>(
    history: &History<'_>,
    start: FractionalPosition,
    step_q32: u64,
    out: &mut Frame<CAP>,
    far: Format,
) -> FractionalPosition {
    let mut position = start;
    let channels = far.channels().clamp(1, usize::from(MAX_CHANNELS));
    out.begin(far);
    let mut window = [R::Sample::default(); CHUNK + SLACK + MAX_AROUND];
    for chunk in out.extend(far.sample_frames()).chunks_mut(CHUNK * channels) {
        let sample_frames = chunk.len() / channels;
        let window = window.get_mut(..sample_frames + SLACK + R::AROUND).unwrap_or(&mut []);
        for channel in 0..channels {
            history.load(position.index - R::BEFORE as i64, channel, window);
            if channels == 1 {
                R::read(window, u64::from(position.fraction_q32), step_q32, chunk);
                continue;
            }
            let mut single = [0; CHUNK];
            let single = single.get_mut(..sample_frames).unwrap_or(&mut []);
            R::read(window, u64::from(position.fraction_q32), step_q32, single);
            interleave(single, channel, channels, chunk);
        }
        position = position.plus_q32((step_q32 * sample_frames as u64) as i64);
    }
    position
}

/// Writes one channel into interleaved samples.
#[inline(never)]
fn interleave(single: &[i16], channel: usize, channels: usize, out: &mut [i16]) {
    let mut at = channel;
    for &sample in single {
        let Some(stored) = out.get_mut(at) else { return };
        *stored = sample;
        at += channels;
    }
}
