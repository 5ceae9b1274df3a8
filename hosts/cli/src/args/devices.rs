//! Switches of the devices and of the processing, which every command that runs a terminal has.

use clap::Args;

#[cfg(all(target_os = "linux", feature = "alsa"))]
use super::AlsaArgs;
#[cfg(feature = "cpal")]
use super::CpalArgs;
use super::{HostArg, RawArgs, SimRoomArgs};
use crate::switches::Switches;

/// Switches of the devices and of the processing.
#[derive(Args, Clone, Debug)]
pub struct DeviceArgs {
    /// Audio host to use
    #[arg(long, value_enum, value_name = "HOST", default_value_t, help_heading = "Devices")]
    pub io: HostArg,
    /// Microphone by its id from 'handsfree devices', or 'none' [default: the system's default device]
    #[arg(long, value_name = "ID", help_heading = "Devices")]
    pub input: Option<String>,
    /// Loudspeaker by its id from 'handsfree devices', or 'none' [default: the system's default device]
    #[arg(long, value_name = "ID", help_heading = "Devices")]
    pub output: Option<String>,
    /// Number of channels to open on the microphone's device
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Devices")]
    pub input_channels: u32,
    /// Channel to use of the microphone's device, counted from 0 [default: the mean of all channels]
    #[arg(long, value_name = "I", help_heading = "Devices")]
    pub input_channel: Option<u8>,
    /// Channel of the microphone's device that carries the loudspeaker's signal and is the echo reference
    #[arg(long, value_name = "I", requires = "input_channel", help_heading = "Devices")]
    pub input_loopback: Option<u8>,
    /// Number of channels to open on the loudspeaker's device; all channels play the same signal
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Devices")]
    pub output_channels: u32,
    /// Sample rate of the terminal and requested from the devices, in hertz; other device rates are converted
    #[arg(long, value_name = "HZ", default_value_t = 48_000, help_heading = "Devices")]
    pub rate: u32,
    /// Period to request from the devices, in ms; shorter periods reduce latency but risk xruns
    #[arg(long, value_name = "X", default_value_t = 10.0, help_heading = "Devices")]
    pub period_ms: f64,
    /// Plays sound 10 ms earlier while no underrun happens for 10 s; each underrun doubles that time, to at most 10 min
    #[arg(long, help_heading = "Devices")]
    pub adaptive_latency: bool,
    /// Aligns by the devices' timestamps alone, without acoustic delay estimation
    #[arg(long, help_heading = "Devices")]
    pub no_echo_search: bool,
    /// Longest processor time that a 10 ms frame may take, in ms; a slower frame bypasses voice processing for 1 s
    #[arg(long, value_name = "X", default_value_t = 20, help_heading = "Voice processing")]
    pub voice_deadline_ms: u32,
    /// Switches of the voice processing stages.
    #[command(flatten)]
    pub switches: Switches,
    /// Switches of the desktop's audio system.
    #[cfg(feature = "cpal")]
    #[command(flatten)]
    pub cpal: CpalArgs,
    /// Switches of ALSA.
    #[cfg(all(target_os = "linux", feature = "alsa"))]
    #[command(flatten)]
    pub alsa: AlsaArgs,
    /// Switches of the simulated room.
    #[command(flatten)]
    pub sim: SimRoomArgs,
    /// Format of files without a header.
    #[command(flatten)]
    pub raw: RawArgs,
}
