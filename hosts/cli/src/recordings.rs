//! Control side: reads the recordings of `handsfree process` and picks their channels.

use std::path::Path;

use handsfree::failure::Failure;
use handsfree_apm::MAX_CHANNELS;
use handsfree_sim::interpolate::resample_to;
use handsfree_sim::wav::Clip;

use crate::args::{FarChannels, ProcessArgs};
use crate::decode::read_clip;

/// Both recordings at one rate.
#[derive(Clone, Debug, PartialEq)]
pub struct Recordings {
    /// Rate of both recordings, in hertz.
    pub rate_hz: u32,
    /// Channels of the far end that the canceller receives, full scale at ±1.0; all have the same length.
    pub far: Vec<Vec<f32>>,
    /// Microphone, full scale at ±1.0.
    pub mic: Vec<f32>,
    /// Messages for the user about the recordings.
    pub notices: Vec<String>,
}

impl Recordings {
    /// Reads the files that `args` name.
    ///
    /// # Errors
    /// Returns an error that names the file that cannot be read, or the channel or rate that cannot be used.
    pub fn read(args: &ProcessArgs) -> Result<Self, Failure> {
        let raw = args.raw.format();
        let mic_clip = read_clip(&args.mic, raw)?;
        let rate_hz = args.rate.unwrap_or_else(|| default_rate_hz(mic_clip.rate_hz));
        handsfree_core::SampleRate::new(rate_hz)?;
        let mut notices: Vec<String> = mic_clip.notice.iter().cloned().collect();
        let at_rate = |samples: &[f32], clip: &Clip| resample_to(samples, clip.rate_hz, rate_hz);
        let check = |switch: &str, channel: u16, clip: &Clip, path: &Path| {
            if (1..=clip.channels).contains(&channel) {
                return Ok(usize::from(channel) - 1);
            }
            Err(Failure::usage(format!(
                "{switch} {channel}: expected 1 to {}, the number of channels of {}",
                clip.channels,
                path.display()
            )))
        };
        let reference = args
            .reference_channel
            .map(|channel| check("--reference-channel", channel, &mic_clip, &args.mic))
            .transpose()?;
        let mic_channels: Vec<usize> = match args.mic_channel {
            Some(channel) => vec![check("--mic-channel", channel, &mic_clip, &args.mic)?],
            None => {
                (0..usize::from(mic_clip.channels)).filter(|&channel| Some(channel) != reference).collect()
            }
        };
        if mic_channels.is_empty() || reference.is_some_and(|channel| mic_channels == [channel]) {
            return Err(Failure::usage(format!(
                "--reference-channel {}: expected another channel than the microphone's; {} has {}",
                args.reference_channel.unwrap_or_default(),
                args.mic.display(),
                mic_clip.channels
            )));
        }
        let mic = at_rate(&mic_clip.mean_of(&mic_channels), &mic_clip);
        let far = match (reference, &args.far) {
            (Some(channel), _) => vec![at_rate(&mic_clip.mean_of(&[channel]), &mic_clip)],
            (None, Some(path)) => {
                let clip = read_clip(path, raw)?;
                notices.extend(clip.notice.clone());
                let all: Vec<usize> = (0..usize::from(clip.channels)).collect();
                let each = all.iter().map(|&channel| vec![channel]);
                let groups: Vec<Vec<usize>> = match args.far_channels {
                    Some(FarChannels::Mono) => vec![all],
                    Some(FarChannels::Number(channel)) => {
                        vec![vec![check("--far-channels", channel, &clip, path)?]]
                    }
                    Some(FarChannels::Each) if all.len() > MAX_CHANNELS => {
                        return Err(Failure::usage(format!(
                            "--far-channels each: {} has {} channels; expected at most {MAX_CHANNELS}, which the \
                             canceller accepts",
                            path.display(),
                            clip.channels
                        )));
                    }
                    Some(FarChannels::Each) => each.collect(),
                    // Equal channels need no canceller for each.
                    None if all.len() <= MAX_CHANNELS && !clip.has_equal_channels() => each.collect(),
                    None if clip.has_equal_channels() => vec![vec![0]],
                    None => {
                        notices.push(format!(
                            "{}: its {} channels are mixed to one, because the canceller accepts at most \
                             {MAX_CHANNELS}; --far-channels selects one",
                            path.display(),
                            clip.channels
                        ));
                        vec![all]
                    }
                };
                groups.iter().map(|channels| at_rate(&clip.mean_of(channels), &clip)).collect()
            }
            (None, None) => {
                return Err(Failure::usage("--far: expected a file, or --reference-channel"));
            }
        };
        Ok(Self { rate_hz, far, mic, notices })
    }

    /// Returns the signals in which the echo is searched, the likeliest first: the mean of the far end's channels unless they
    /// cancel each other, then each channel.
    #[must_use]
    pub fn search_signals(&self) -> Vec<Vec<f32>> {
        if let [only] = &self.far[..] {
            return vec![only.clone()];
        }
        let power = handsfree_sim::measure::power;
        let mean = self.far_mean();
        let loudest = self.far.iter().map(|channel| power(channel)).fold(0.0, f64::max);
        let mut signals = self.far.clone();
        signals.sort_by(|a, b| power(b).total_cmp(&power(a)));
        // Half of the loudest channel's power is what the mean of unrelated channels has.
        let place = if power(&mean) >= 0.4 * loudest { 0 } else { signals.len() };
        signals.insert(place, mean);
        signals
    }

    /// Mixes the far end's channels to one.
    pub fn mix_far(&mut self) {
        self.far = vec![self.far_mean()];
    }

    fn far_mean(&self) -> Vec<f32> {
        let length = self.far.first().map_or(0, Vec::len);
        let count = self.far.len().max(1) as f32;
        (0..length)
            .map(|at| self.far.iter().filter_map(|channel| channel.get(at)).sum::<f32>() / count)
            .collect()
    }
}

/// Returns the recording's rate if the voice processor supports it, and otherwise 48 kHz.
fn default_rate_hz(rate_hz: u32) -> u32 {
    let supported: &[u32] = if handsfree_apm::IS_LINKED {
        &handsfree_apm::RATES_HZ
    } else {
        &handsfree::terminal::NATIVE_RATES_HZ
    };
    if supported.contains(&rate_hz) { rate_hz } else { 48_000 }
}
