//! Interrupt side: the sample formats of streams on PulseAudio, which converts any other format itself.

use cpal::SampleFormat;
use handsfree_core::{DeviceSample, I24};
use pulseaudio::protocol;

/// A sample as it is transferred, in the byte order of this machine.
pub(super) trait PulseSample: DeviceSample + Send + 'static {
    /// Replaces the content of `samples` by the samples in `bytes`. An incomplete last sample is left out.
    fn decode(bytes: &[u8], samples: &mut Vec<Self>);

    /// Appends the samples to `bytes`.
    fn encode(samples: &[Self], bytes: &mut Vec<u8>);
}

macro_rules! pulse_samples {
    ($($sample:ty),*) => {
        $(impl PulseSample for $sample {
            fn decode(bytes: &[u8], samples: &mut Vec<Self>) {
                samples.clear();
                let (whole, _) = bytes.as_chunks();
                samples.extend(whole.iter().map(|&bytes| Self::from_ne_bytes(bytes)));
            }

            fn encode(samples: &[Self], bytes: &mut Vec<u8>) {
                bytes.extend(samples.iter().flat_map(|sample| sample.to_ne_bytes()));
            }
        })*
    };
}

pulse_samples!(i16, i32, f32);

impl PulseSample for I24 {
    fn decode(bytes: &[u8], samples: &mut Vec<Self>) {
        samples.clear();
        let (whole, _) = bytes.as_chunks();
        samples.extend(whole.iter().map(|&bytes| Self(i32::from_ne_bytes(bytes) << 8 >> 8)));
    }

    fn encode(samples: &[Self], bytes: &mut Vec<u8>) {
        bytes.extend(samples.iter().flat_map(|sample| sample.0.to_ne_bytes()));
    }
}

/// Returns PulseAudio's name of the format; `None` for a format in which no stream is opened.
pub(super) fn format(format: SampleFormat) -> Option<protocol::SampleFormat> {
    let little = cfg!(target_endian = "little");
    Some(match format {
        SampleFormat::I16 if little => protocol::SampleFormat::S16Le,
        SampleFormat::I16 => protocol::SampleFormat::S16Be,
        SampleFormat::I32 if little => protocol::SampleFormat::S32Le,
        SampleFormat::I32 => protocol::SampleFormat::S32Be,
        SampleFormat::I24 if little => protocol::SampleFormat::S24In32Le,
        SampleFormat::I24 => protocol::SampleFormat::S24In32Be,
        SampleFormat::F32 if little => protocol::SampleFormat::Float32Le,
        SampleFormat::F32 => protocol::SampleFormat::Float32Be,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_survive_the_transfer_to_the_bit() {
        fn check<S: PulseSample + PartialEq + std::fmt::Debug>(samples: &[S]) {
            let (mut bytes, mut decoded) = (Vec::new(), vec![S::SILENCE]);
            S::encode(samples, &mut bytes);
            assert_eq!(bytes.len(), size_of_val(samples));
            bytes.push(7);
            S::decode(&bytes, &mut decoded);
            assert_eq!(decoded, samples);
        }
        check(&[i16::MIN, -1, 0, 1, i16::MAX]);
        check(&[i32::MIN, -1, 0, 1, i32::MAX]);
        check(&[I24(-1 << 23), I24(-1), I24(0), I24(1), I24((1 << 23) - 1)]);
        check(&[-1.0_f32, 0.0, f32::MIN_POSITIVE, 1.0]);
    }
}
