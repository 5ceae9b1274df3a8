//! Control side: the switches of `handsfree sim`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use handsfree_sim::far_program::FarProgram;

use super::{NearArg, RawArgs};
use crate::switches::Switches;

pub(super) const SIM_HELP: &str = "\
The loudspeaker plays the far end. Its echo reaches the microphone through a simulated room,
together with a talker (the near end) and noise, and the terminal removes the echo. Everything
between the simulated converters is the code that runs on a device. The far end speaks during the
first two thirds of the run and the talker during the last two thirds, which gives far end alone,
double talk and near end alone. With --near none the far end speaks during the whole run.

Examples:
  handsfree sim                                   one minute with the shipped voices
  handsfree sim --near none --no-ns --no-agc      measures the echo canceller alone
  handsfree sim --playback-ppm 200 --latency-step 150@30
                                                  fast loudspeaker clock; 150 ms more latency at 30 s
  handsfree sim --scenario bluetooth.toml         file with lines such as render-latency-ms = 250.0
  handsfree sim --json --seed 7 > report.json     output for programs

Exit codes: 0 success, 1 a file could not be read or written, 2 the command line is invalid.";

/// Value of one `--latency-step` or `--drift-step`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepArg {
    /// Size of the step, in ms or ppm.
    pub by: f64,
    /// Time of the step, in seconds from the start.
    pub at_s: f64,
}

impl FromStr for StepArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = || format!("'{text}': expected AMOUNT@SECONDS, such as 150@30 or -40@20");
        let (by, at_s) = text.split_once('@').ok_or_else(expected)?;
        let number = |part: &str| part.parse::<f64>().ok().filter(|n| n.is_finite()).ok_or_else(expected);
        Ok(Self { by: number(by)?, at_s: number(at_s)? })
    }
}

/// Value of one `--talk`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TalkArg {
    /// Start of the stretch, in seconds from the start of the run.
    pub from_s: f64,
    /// End of the stretch, in seconds from the start of the run.
    pub to_s: f64,
}

impl FromStr for TalkArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = || format!("'{text}': expected FROM-TO in seconds, such as 20-25.5");
        let (from, to) = text.split_once('-').ok_or_else(expected)?;
        let number = |part: &str| {
            part.parse::<f64>().ok().filter(|n| (0.0..=3_600.0).contains(n)).ok_or_else(expected)
        };
        let (from_s, to_s) = (number(from)?, number(to)?);
        if to_s > from_s { Ok(Self { from_s, to_s }) } else { Err(expected()) }
    }
}

/// Switches of `handsfree sim`.
#[derive(Args, Clone, Debug)]
#[command(args_override_self = true)]
pub struct SimArgs {
    /// Reads switches from a TOML file; keys are switch names without the dashes. The command line takes precedence
    #[arg(long, value_name = "TOML", help_heading = "Run")]
    pub scenario: Option<PathBuf>,
    /// Recording that the loudspeaker plays, in a loop [default: a shipped voice]
    #[arg(long, value_name = "FILE", help_heading = "Sound")]
    pub far: Option<PathBuf>,
    /// Sounds that the loudspeaker plays one after another, in a loop: NAME:SECONDS,... with the names speech, music,
    /// dial-tone, ring-back, siren, ring, silence
    #[arg(long, value_name = "LIST", conflicts_with = "far", help_heading = "Sound")]
    pub far_program: Option<FarProgram>,
    /// Recording of the talker, played in a loop; 'none' for no talker [default: a shipped voice]
    #[arg(long, value_name = "FILE|none", help_heading = "Sound")]
    pub near: Option<NearArg>,
    /// Stretches in which the talker speaks, in seconds from the start; the far end then speaks during the whole
    /// run. May be repeated [default: the last two thirds of the run]
    #[arg(long, value_name = "FROM-TO", help_heading = "Sound")]
    pub talk: Vec<TalkArg>,
    /// Room impulse response from loudspeaker to microphone [default: a living room, image-source method]
    #[arg(long, value_name = "FILE", help_heading = "Sound")]
    pub rir: Option<PathBuf>,
    /// Reverberation time of the room, in ms: exponentially decaying noise instead of the living room
    #[arg(long, value_name = "X", conflicts_with = "rir", help_heading = "Sound")]
    pub rt60_ms: Option<f64>,
    /// Level of the background noise at the microphone, in dBFS
    #[arg(long, value_name = "X", default_value_t = -75.0, allow_negative_numbers = true, help_heading = "Sound")]
    pub noise_dbfs: f64,
    /// Length of the simulation, in seconds
    #[arg(long, value_name = "N", default_value_t = 60.0, help_heading = "Run")]
    pub seconds: f64,
    /// Random seed of noise, timestamp jitter, worker scheduling and room positions; the same seed repeats a run
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Run")]
    pub seed: u64,
    /// Folder that receives the report and the recordings
    #[arg(long, value_name = "DIR", default_value = "handsfree-report", help_heading = "Run")]
    pub out: PathBuf,
    /// Repeats the run with each echo canceller and prints a table
    #[arg(long, help_heading = "Run")]
    pub compare: bool,
    /// Prints only the contents of report.json on stdout
    #[arg(long, help_heading = "Run")]
    pub json: bool,
    /// Sample rate of the terminal's processing, in hertz
    #[arg(long, value_name = "HZ", default_value_t = 48_000, help_heading = "Devices")]
    pub rate: u32,
    /// Sample rate of the microphone's device, in hertz [default: the terminal's]
    #[arg(long, value_name = "HZ", help_heading = "Devices")]
    pub capture_rate: Option<u32>,
    /// Sample rate of the loudspeaker's device, in hertz [default: the terminal's]
    #[arg(long, value_name = "HZ", help_heading = "Devices")]
    pub playback_rate: Option<u32>,
    /// Period of the microphone's device, in sample frames [default: 10 ms]
    #[arg(long, value_name = "N", help_heading = "Devices")]
    pub capture_period: Option<u32>,
    /// Period of the loudspeaker's device, in sample frames [default: 10 ms]
    #[arg(long, value_name = "N", help_heading = "Devices")]
    pub playback_period: Option<u32>,
    /// Rate error of the microphone's clock, in ppm; positive is fast
    #[arg(
        long,
        value_name = "X",
        default_value_t = 0.0,
        allow_negative_numbers = true,
        help_heading = "Devices"
    )]
    pub capture_ppm: f64,
    /// Rate error of the loudspeaker's clock, in ppm; positive is fast
    #[arg(
        long,
        value_name = "X",
        default_value_t = 0.0,
        allow_negative_numbers = true,
        help_heading = "Devices"
    )]
    pub playback_ppm: f64,
    /// Latency from the playback interrupt to the loudspeaker, in ms
    #[arg(long, value_name = "X", default_value_t = 40.0, help_heading = "Devices")]
    pub render_latency_ms: f64,
    /// Latency from the microphone to the capture interrupt, in ms, in addition to the period
    #[arg(long, value_name = "X", default_value_t = 10.0, help_heading = "Devices")]
    pub capture_latency_ms: f64,
    /// Changes the render latency by MS (may be negative) after S seconds; may be repeated
    #[arg(long, value_name = "MS@S", allow_hyphen_values = true, help_heading = "Devices")]
    pub latency_step: Vec<StepArg>,
    /// Changes the rate of the loudspeaker's clock by PPM (may be negative) after S seconds; may be repeated
    #[arg(long, value_name = "PPM@S", allow_hyphen_values = true, help_heading = "Devices")]
    pub drift_step: Vec<StepArg>,
    /// Lets the rate of the loudspeaker's clock wander as a sine: by plus or minus PPM, once in S seconds
    #[arg(long, value_name = "PPM@S", help_heading = "Devices")]
    pub wander: Option<StepArg>,
    /// Treats the devices as driven by two clocks, also when both have the same rate error
    #[arg(long, help_heading = "Devices")]
    pub two_clocks: bool,
    /// Makes the host's clock jump by SECONDS (may be negative) after S seconds; may be repeated
    #[arg(long, value_name = "SECONDS@S", allow_hyphen_values = true, help_heading = "Devices")]
    pub time_jump: Vec<StepArg>,
    /// Delivers up to N periods together; the timestamps of such a group share one error, which is late
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Devices")]
    pub burst_periods: u32,
    /// Jitter of the devices' timestamps, in microseconds: uniform in plus or minus this value
    #[arg(long, value_name = "X", default_value_t = 50.0, help_heading = "Devices")]
    pub timestamp_jitter_us: f64,
    /// Uses normally distributed timestamp jitter; --timestamp-jitter-us is its standard deviation
    #[arg(long, help_heading = "Devices")]
    pub timestamp_jitter_normal: bool,
    /// Error of the loudspeaker's timestamps, in ms; positive means that sound leaves later than its timestamp
    #[arg(
        long,
        value_name = "X",
        default_value_t = 0.0,
        allow_negative_numbers = true,
        help_heading = "Devices"
    )]
    pub timestamp_bias_ms: f64,
    /// Aligns by the devices' timestamps alone, without acoustic delay estimation
    #[arg(long, help_heading = "Devices")]
    pub no_echo_search: bool,
    /// Switches of the voice processing stages.
    #[command(flatten)]
    pub switches: Switches,
    /// Format of files without a header.
    #[command(flatten)]
    pub raw: RawArgs,
}
