//! Worker side: the likelihood of speech in a cleaned frame, for processors without a speech detector.
//!
//! The echo canceller tells a near talker from echo and from steady noise. Where it is wrong, a far end has just
//! set in with sounds that the filter has not met, and what passes is quiet, because it is suppressed all the
//! same. The likelihood is therefore multiplied by the gain of a Wiener filter for a fixed power of the rest (Lim
//! and Oppenheim, "Enhancement and bandwidth compression of noisy speech", Proc. IEEE 67, 1979).

/// Mean square of a frame at which its near-end likelihood counts half: -60 dB of full scale. Speech at a device
/// is 20 to 45 dB louder; most of what the canceller leaves of an echo is quieter.
const QUIET: f32 = 1e-6 * 32_768.0 * 32_768.0;

/// Returns the likelihood of speech in a cleaned frame, from 0 to 1. Costs a multiplication for each sample.
///
/// `near_end` is the likelihood that an [`EchoCanceller`](crate::canceller::EchoCanceller) reported for the frame,
/// as [`FrameSink::on_near_end`](crate::capture::FrameSink::on_near_end) receives it. The result tells speech
/// from echo and from steady noise, but not from other sounds in the room, such as a knock.
#[must_use]
pub fn near_end_speech(near_end: f32, samples: &[i16]) -> f32 {
    let square = |&sample: &i16| f32::from(sample) * f32::from(sample);
    let energy = samples.iter().fold(0.0, |sum, sample| sum + square(sample));
    near_end * energy / (energy + QUIET * samples.len() as f32 + f32::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loud_talker_counts_in_full_and_a_trace_does_not() {
        assert!(near_end_speech(0.9, &[3_000; 160]) > 0.89);
        assert!((near_end_speech(1.0, &[33; 160]) - 0.5).abs() < 0.01, "-60 dBFS");
        assert!(near_end_speech(1.0, &[3; 160]) < 0.01);
        assert_eq!(near_end_speech(0.0, &[i16::MIN; 480]), 0.0);
        assert_eq!(near_end_speech(1.0, &[]), 0.0);
    }
}
