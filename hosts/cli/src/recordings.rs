//! Control side: reads the recordings of `handsfree process` into temporary files and picks their channels.

use std::path::{Path, PathBuf};

use handsfree::failure::Failure;
use handsfree_apm::MAX_CHANNELS;
use handsfree_sim::interpolate::PieceResampler;

use crate::args::{FarChannels, ProcessArgs};
use crate::decode::Recording;
use crate::signal::{ChannelMean, PART, Signal, SignalFile, SignalWriter, for_each_part, temporary_folder};

/// Both recordings at one rate.
#[derive(Debug)]
pub struct Recordings {
    /// Rate of both recordings, in hertz.
    pub rate_hz: u32,
    /// Channels of the far end that the canceller receives; all have the same length.
    pub far: Vec<SignalFile>,
    /// Microphone.
    pub mic: SignalFile,
    /// Messages for the user about the recordings.
    pub notices: Vec<String>,
    /// Folder of the temporary files.
    pub folder: PathBuf,
}

impl Recordings {
    /// Reads the files that `args` name.
    ///
    /// # Errors
    /// Returns an error that names the file that cannot be read, or the channel or rate that cannot be used.
    pub fn read(args: &ProcessArgs) -> Result<Self, Failure> {
        let raw = args.raw.format();
        let folder = temporary_folder(&args.out);
        let mic_file = Recording::open(&args.mic, raw)?;
        let rate_hz = args.rate.unwrap_or_else(|| default_rate_hz(mic_file.rate_hz()));
        handsfree_core::SampleRate::new(rate_hz)?;
        let channels = mic_file.channels();
        let reference = args
            .reference_channel
            .map(|channel| check("--reference-channel", channel, channels, &args.mic))
            .transpose()?;
        let mic_channels: Vec<usize> = match args.mic_channel {
            Some(channel) => vec![check("--mic-channel", channel, channels, &args.mic)?],
            None => (0..usize::from(channels)).filter(|&channel| Some(channel) != reference).collect(),
        };
        if mic_channels.is_empty() || reference.is_some_and(|channel| mic_channels == [channel]) {
            return Err(Failure::usage(format!(
                "--reference-channel {}: expected another channel than the microphone's; {} has {channels}",
                args.reference_channel.unwrap_or_default(),
                args.mic.display(),
            )));
        }
        let groups: Vec<Vec<usize>> =
            std::iter::once(mic_channels).chain(reference.map(|channel| vec![channel])).collect();
        let Channels { mut signals, mut notices, .. } = Channels::read(mic_file, &groups, rate_hz, &folder)?;
        let mic = signals.remove(0);
        let far = match &args.far {
            _ if reference.is_some() => signals,
            Some(path) => {
                let file = Recording::open(path, raw)?;
                let (far, more) = far_channels(args.far_channels, path, file, rate_hz, &folder)?;
                notices.extend(more);
                far
            }
            None => return Err(Failure::usage("--far: expected a file, or --reference-channel")),
        };
        Ok(Self { rate_hz, far, mic, notices, folder })
    }

    /// Returns the signals in which the echo is searched, the likeliest first: the mean of the far end's channels unless they
    /// cancel each other, then each channel.
    ///
    /// # Errors
    /// Returns an error if a temporary file cannot be read.
    pub fn search_signals(&self) -> Result<Vec<Box<dyn Signal + '_>>, Failure> {
        let mut channels: Vec<&SignalFile> = self.far.iter().collect();
        channels.sort_by(|a, b| b.power().total_cmp(&a.power()));
        let loudest = channels.first().map_or(0.0, |channel| channel.power());
        let mut signals: Vec<Box<dyn Signal + '_>> = Vec::new();
        signals.extend(channels.into_iter().map(|channel| Box::new(channel) as Box<dyn Signal + '_>));
        if signals.len() > 1 {
            let mean = ChannelMean(&self.far);
            let mut energy = 0.0;
            for_each_part(&mean, PART, |part| {
                energy += part.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
                Ok(())
            })?;
            // Half of the loudest channel's power is what the mean of unrelated channels has.
            let is_loud = energy / mean.length().max(1) as f64 >= 0.4 * loudest;
            signals.insert(if is_loud { 0 } else { signals.len() }, Box::new(mean));
        }
        Ok(signals)
    }

    /// Mixes the far end's channels to one.
    ///
    /// # Errors
    /// Returns an error if a temporary file cannot be used.
    pub fn mix_far(&mut self) -> Result<(), Failure> {
        let mut mean = SignalWriter::create(&self.folder)?;
        for_each_part(&ChannelMean(&self.far), PART, |part| mean.push(part))?;
        self.far = vec![mean.finish()?];
        Ok(())
    }
}

/// Returns the index of a channel that a switch names.
fn check(switch: &str, channel: u16, channels: u16, path: &Path) -> Result<usize, Failure> {
    if (1..=channels).contains(&channel) {
        return Ok(usize::from(channel) - 1);
    }
    Err(Failure::usage(format!(
        "{switch} {channel}: expected 1 to {channels}, the number of channels of {}",
        path.display()
    )))
}

/// Returns the channels of the far end that the canceller receives, and messages for the user.
fn far_channels(
    choice: Option<FarChannels>,
    path: &Path,
    file: Recording,
    rate_hz: u32,
    folder: &Path,
) -> Result<(Vec<SignalFile>, Vec<String>), Failure> {
    let channels = file.channels();
    let all: Vec<usize> = (0..usize::from(channels)).collect();
    let each = all.iter().map(|&channel| vec![channel]).collect();
    let groups: Vec<Vec<usize>> = match choice {
        Some(FarChannels::Mono) => vec![all],
        Some(FarChannels::Number(channel)) => vec![vec![check("--far-channels", channel, channels, path)?]],
        Some(FarChannels::Each) if all.len() > MAX_CHANNELS => {
            return Err(Failure::usage(format!(
                "--far-channels each: {} has {channels} channels; expected at most {MAX_CHANNELS}, which the \
                 canceller accepts",
                path.display(),
            )));
        }
        Some(FarChannels::Each) => each,
        None if all.len() <= MAX_CHANNELS => each,
        None => vec![all, vec![0]],
    };
    let Channels { mut signals, mut notices, are_equal } = Channels::read(file, &groups, rate_hz, folder)?;
    match choice {
        Some(_) => {}
        // Equal channels need no canceller for each.
        None if are_equal => drop(signals.drain(..signals.len() - 1)),
        None if usize::from(channels) > MAX_CHANNELS => {
            signals.truncate(1);
            notices.push(format!(
                "{}: its {channels} channels are mixed to one, because the canceller accepts at most \
                 {MAX_CHANNELS}; --far-channels selects one",
                path.display(),
            ));
        }
        None => {}
    }
    Ok((signals, notices))
}

/// Channels of a recording at another rate.
struct Channels {
    signals: Vec<SignalFile>,
    notices: Vec<String>,
    /// Whether all channels of the recording carry the same samples.
    are_equal: bool,
}

impl Channels {
    /// Reads the means of groups of channels.
    fn read(
        mut file: Recording,
        groups: &[Vec<usize>],
        rate_hz: u32,
        folder: &Path,
    ) -> Result<Self, Failure> {
        let resampler = PieceResampler::new(file.rate_hz(), rate_hz);
        let mut writers = groups
            .iter()
            .map(|group| Ok((group, resampler.clone(), SignalWriter::create(folder)?)))
            .collect::<Result<Vec<_>, Failure>>()?;
        let channels = usize::from(file.channels());
        let (mut part, mut mean, mut resampled) = (Vec::new(), Vec::new(), Vec::new());
        let mut are_equal = true;
        while file.next(&mut part)? {
            let frames = || part.chunks_exact(channels);
            are_equal =
                are_equal && frames().all(|frame| frame.iter().all(|sample| Some(sample) == frame.first()));
            for (group, resampler, writer) in &mut writers {
                mean.clear();
                let count = group.len().max(1) as f32;
                mean.extend(
                    frames().map(|frame| group.iter().filter_map(|&at| frame.get(at)).sum::<f32>() / count),
                );
                resampled.clear();
                resampler.push(&mean, &mut resampled);
                writer.push(&resampled)?;
            }
        }
        let finished = writers.into_iter().map(|(_, resampler, mut writer)| {
            resampled.clear();
            resampler.finish(&mut resampled);
            writer.push(&resampled)?;
            writer.finish()
        });
        let signals = finished.collect::<Result<_, Failure>>()?;
        Ok(Self { signals, notices: file.notice().into_iter().collect(), are_equal })
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
