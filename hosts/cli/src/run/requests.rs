//! Control side: converts the switches of `handsfree run` to device configurations and sources to play.

use handsfree_core::{ChannelMap, SampleRate};
use handsfree_host::supervisor::{DirectionConfig, OpenError};
use handsfree_sim::wav::Clip;

use crate::args::{DeviceArgs, RunArgs};
use crate::player::Source;
use handsfree::failure::Failure;
use handsfree::host::{AnyHostError, HostConfig};
use handsfree::pcm::to_i16;

/// Value of `--input` or `--output` that selects no device.
const NO_DEVICE: &str = "none";
/// Pause between two repetitions of the shipped voice, in seconds, so that a listener hears where the clip repeats.
const REPEAT_PAUSE_S: usize = 2;

/// Returns the host's configuration for the switches.
///
/// # Errors
/// Returns an error that names an invalid value and the valid range, or the talker's recording that cannot be read.
pub fn host_config(args: &DeviceArgs, rate: SampleRate) -> Result<HostConfig, Failure> {
    args.switches.check()?;
    within("--period-ms", args.period_ms, 0.1..=500.0)?;
    within("--playback-ppm", args.sim.playback_ppm, -20_000.0..=20_000.0)?;
    within("--render-latency-ms", args.sim.render_latency_ms, 0.0..=2_500.0)?;
    let period = (args.period_ms * f64::from(rate.hz()) / 1e3).round().max(1.0);
    Ok(HostConfig {
        rate,
        period_sample_frames: period as u32,
        sim: args.sim.config(args.raw.format())?,
        #[cfg(feature = "cpal")]
        cpal: args.cpal.config(),
        #[cfg(all(target_os = "linux", feature = "alsa"))]
        alsa: args.alsa.config(),
    })
}

/// Returns the value if it lies in the range, and otherwise an error with the name, the value and the range.
pub(crate) fn within(name: &str, value: f64, range: std::ops::RangeInclusive<f64>) -> Result<f64, Failure> {
    if range.contains(&value) {
        return Ok(value);
    }
    Err(Failure::usage(format!("{name} {value}: expected {} to {}", range.start(), range.end())))
}

/// Returns the configurations for capture and playback, in this order; `None` for a direction without a device.
pub(crate) fn direction_configs(
    args: &DeviceArgs,
    rate: SampleRate,
    config: &HostConfig,
) -> Result<[Option<DirectionConfig>; 2], Failure> {
    let config_for = |device: &Option<String>, channels: u32| DirectionConfig {
        device: device.clone(),
        device_channels: channels,
        period_sample_frames: config.period_sample_frames,
        ..DirectionConfig::new(rate)
    };
    let is_none = |device: &Option<String>| device.as_deref() == Some(NO_DEVICE);
    let mut capture = config_for(&args.input, args.input_channels);
    if let Some(channel) = args.input_channel {
        let channels: Vec<u8> = std::iter::once(channel).chain(args.input_loopback).collect();
        let needed = channels.iter().max().map_or(1, |&highest| u32::from(highest) + 1);
        capture.device_channels = args.input_channels.max(needed);
        capture.map = Some(ChannelMap::select(capture.device_channels, &channels)?);
    }
    let playback = config_for(&args.output, args.output_channels);
    let configs = [(!is_none(&args.input)).then_some(capture), (!is_none(&args.output)).then_some(playback)];
    if configs.iter().all(Option::is_none) {
        return Err(Failure::usage("--input none and --output none: expected at least one device"));
    }
    Ok(configs)
}

/// Returns the failure for devices that could not be opened, with their ids.
pub(super) fn open_failure(args: &DeviceArgs, error: OpenError<AnyHostError>) -> Failure {
    let device = |id: &Option<String>| id.as_deref().unwrap_or("the default device").to_owned();
    match error {
        OpenError::Host(error) => {
            let devices = format!("microphone {}, loudspeaker {}", device(&args.input), device(&args.output));
            let failure = Failure::from(error);
            let message = format!("{failure} ({devices}): 'handsfree devices' lists the available devices");
            if failure.code() == 2 { Failure::usage(message) } else { Failure::run(message) }
        }
        other => Failure::run(other.to_string()),
    }
}

/// Returns the sources to play: the files or, in the simulated room, the shipped voice.
pub(super) fn sources(args: &RunArgs, is_simulated: bool) -> Vec<Source> {
    if !args.play.is_empty() || !is_simulated || args.pcm_in.is_some() {
        let raw = args.devices.raw.format();
        return args.play.iter().map(|path| Source::File { path: path.clone(), raw }).collect();
    }
    let clip = Clip::far();
    let rate_hz = clip.rate_hz;
    let mut samples = to_i16(&clip.to_mono_at(rate_hz));
    samples.resize(samples.len() + REPEAT_PAUSE_S * rate_hz as usize, 0);
    vec![Source::Clip { name: "a shipped voice".into(), rate_hz, samples: samples.into() }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn args(words: &str) -> RunArgs {
        let words = ["handsfree", "run"].into_iter().chain(words.split_whitespace());
        match crate::args::Cli::try_parse_from(words).unwrap().command {
            crate::args::Command::Run(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    fn configs_of(words: &str) -> Result<[Option<DirectionConfig>; 2], Failure> {
        let args = args(words);
        let rate = SampleRate::new(args.devices.rate)?;
        if let Some(duration_s) = args.duration {
            within("--duration", duration_s, 0.0..=1e9)?;
        }
        direction_configs(&args.devices, rate, &host_config(&args.devices, rate)?)
    }

    #[test]
    fn a_selected_channel_opens_enough_channels() {
        let [capture, _] = configs_of("--input-channel 3 --period-ms 5").unwrap();
        let capture = capture.unwrap();
        assert_eq!((capture.device_channels, capture.period_sample_frames), (4, 240));
        assert_eq!(capture.map, Some(ChannelMap::select(4, &[3]).unwrap()));
    }

    #[test]
    fn one_direction_may_be_disabled_but_not_both() {
        let [capture, playback] = configs_of("--input none --output hw:1").unwrap();
        assert_eq!(capture, None);
        assert_eq!(playback.unwrap().device.as_deref(), Some("hw:1"));
        assert_eq!(configs_of("--input none --output none").unwrap_err().code(), 2);
    }

    #[test]
    fn invalid_values_are_named() {
        for (words, expected) in
            [("--period-ms 0", "--period-ms 0"), ("--rate 7000", "7000"), ("--duration=-1", "--duration -1")]
        {
            let failure = configs_of(words).unwrap_err();
            assert_eq!(failure.code(), 2);
            assert!(failure.to_string().contains(expected), "{failure}");
        }
    }

    #[test]
    fn only_the_simulated_room_plays_a_default_voice() {
        assert!(sources(&args(""), false).is_empty());
        assert_eq!(sources(&args(""), true).len(), 1);
        assert!(matches!(sources(&args("--play a.wav"), true)[..], [Source::File { .. }]));
    }
}
