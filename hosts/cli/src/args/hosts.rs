//! Switches that select and configure the audio host.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use handsfree::HostChoice;
use handsfree::failure::Failure;
use handsfree::pcm::to_i16;
use handsfree::sim::{SimRoomConfig, Talker};
#[cfg(all(target_os = "linux", feature = "alsa"))]
use handsfree_alsa::{AlsaConfig, RealTimeConfig, SampleFormat};
#[cfg(feature = "cpal")]
use handsfree_cpal::CpalConfig;

use super::UnplugArg;
use crate::decode::{RawFormat, read_clip};

/// Value of `--io`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum HostArg {
    /// Desktop audio if it responds, else Linux sound cards, else the simulated room
    #[default]
    Auto,
    /// Desktop audio: PulseAudio, PipeWire, Core Audio or WASAPI
    #[cfg(feature = "cpal")]
    Cpal,
    /// Linux sound cards, without a sound server
    #[cfg(all(target_os = "linux", feature = "alsa"))]
    Alsa,
    /// Simulated room, in real time
    Sim,
}

impl From<HostArg> for HostChoice {
    fn from(arg: HostArg) -> Self {
        match arg {
            HostArg::Auto => Self::Auto,
            #[cfg(feature = "cpal")]
            HostArg::Cpal => Self::Cpal,
            #[cfg(all(target_os = "linux", feature = "alsa"))]
            HostArg::Alsa => Self::Alsa,
            HostArg::Sim => Self::Sim,
        }
    }
}

/// Value of `--near`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NearArg {
    /// The talker is silent.
    None,
    /// The talker speaks the content of a file.
    File(PathBuf),
}

impl FromStr for NearArg {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text == "none" { Self::None } else { Self::File(text.into()) })
    }
}

fn talker(near: Option<&NearArg>, raw: Option<RawFormat>) -> Result<Talker, Failure> {
    Ok(match near {
        None => Talker::ShippedVoice,
        Some(NearArg::None) => Talker::Silent,
        Some(NearArg::File(path)) => {
            let clip = read_clip(path, raw)?;
            let samples = to_i16(&clip.to_mono_at(clip.rate_hz)).into();
            Talker::Speech { rate_hz: clip.rate_hz, samples }
        }
    })
}

/// Switches of `--io cpal`.
#[cfg(feature = "cpal")]
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Desktop audio (--io cpal)")]
pub struct CpalArgs {
    /// Audio system, such as pulseaudio, alsa, coreaudio or wasapi [default: the first that responds]
    #[arg(long, value_name = "SYSTEM")]
    pub audio_system: Option<String>,
}

#[cfg(feature = "cpal")]
impl CpalArgs {
    /// Returns the host's configuration.
    #[must_use]
    pub fn config(&self) -> CpalConfig {
        CpalConfig { host: self.audio_system.clone(), ..CpalConfig::default() }
    }
}

/// Switches of `--io alsa`.
#[cfg(all(target_os = "linux", feature = "alsa"))]
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "ALSA (--io alsa)")]
pub struct AlsaArgs {
    /// Number of periods kept in the loudspeaker's buffer. More periods tolerate scheduling delay; fewer reduce latency
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=255))]
    pub periods: u32,
    /// Sample format of the microphone, such as S16_LE [default: the best that the device supports]
    #[arg(long, value_name = "FORMAT")]
    pub input_format: Option<SampleFormat>,
    /// Sample format of the loudspeaker, such as S16_LE [default: the best that the device supports]
    #[arg(long, value_name = "FORMAT")]
    pub output_format: Option<SampleFormat>,
    /// Real-time priority of the audio thread; 0 uses normal scheduling and does not lock memory
    #[arg(long, value_name = "N", default_value_t = 70, value_parser = clap::value_parser!(u8).range(0..=99))]
    pub real_time: u8,
}

#[cfg(all(target_os = "linux", feature = "alsa"))]
impl AlsaArgs {
    /// Returns the host's configuration.
    #[must_use]
    pub fn config(self) -> AlsaConfig {
        let real_time = RealTimeConfig {
            priority: (self.real_time > 0).then_some(self.real_time),
            lock_memory: self.real_time > 0,
        };
        AlsaConfig {
            real_time,
            playback_periods: self.periods,
            capture_format: self.input_format,
            playback_format: self.output_format,
            ..AlsaConfig::default()
        }
    }
}

/// Switches of the simulated room.
#[derive(Args, Clone, Debug)]
pub struct SimRoomArgs {
    /// Recording of the talker, played at intervals; 'none' for no talker [default: a shipped voice]
    #[arg(long, value_name = "FILE|none", help_heading = "Simulated room")]
    pub near: Option<NearArg>,
    /// Rate of the loudspeaker's clock relative to the microphone's, in ppm; positive is fast
    #[arg(
        long,
        value_name = "X",
        default_value_t = 0.0,
        allow_negative_numbers = true,
        help_heading = "Simulated room"
    )]
    pub playback_ppm: f64,
    /// Latency from the playback interrupt to the loudspeaker, in ms
    #[arg(long, value_name = "X", default_value_t = 40.0, help_heading = "Simulated room")]
    pub render_latency_ms: f64,
    /// Unplugs the loudspeaker for SECONDS, S seconds after the start; may be repeated
    #[arg(long, value_name = "SECONDS@S", help_heading = "Simulated room")]
    pub unplug: Vec<UnplugArg>,
    /// Random seed of noise, timestamp jitter and room positions
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Simulated room")]
    pub seed: u64,
    /// Lets the microphone record exactly the loudspeaker's samples, without room, noise and talker, for tests
    #[arg(long, help_heading = "Simulated room")]
    pub wire: bool,
}

impl SimRoomArgs {
    /// Returns the configuration of the simulated room, with the talker's recording read. `raw` is its format if it has no
    /// header. `--unplug` is not part of it.
    ///
    /// # Errors
    /// Returns an error that names a recording that cannot be read.
    pub fn config(&self, raw: Option<RawFormat>) -> Result<SimRoomConfig, Failure> {
        Ok(SimRoomConfig {
            talker: talker(self.near.as_ref(), raw)?,
            playback_ppm: self.playback_ppm,
            render_latency_ms: self.render_latency_ms,
            seed: self.seed,
            wire: self.wire,
        })
    }
}
