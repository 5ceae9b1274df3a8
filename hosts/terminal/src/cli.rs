//! The command line: what can be said, and what it means when it is not said.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};

use crate::switches::Switches;

/// The audio half of a hands-free voice device: microphone in, loudspeaker out, echo removed.
#[derive(Parser, Debug)]
#[command(name = "handsfree", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the command does.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run a hands-free terminal in a simulated room and report how it did
    #[command(after_help = SIM_HELP)]
    Sim(Box<SimArgs>),
    /// Clean a recording of a microphone, given what the loudspeaker played
    #[command(after_help = PROCESS_HELP)]
    Process(ProcessArgs),
}

const SIM_HELP: &str = "\
The loudspeaker plays the far end; its echo reaches the microphone through a room, together with a talker
and noise; the terminal takes the echo out. Everything between the simulated converters is the code that
runs on a board. With a talker, the far end speaks in the first two thirds of the run and the talker in the
last two, so that each is heard alone and both at once; with --near none the far end speaks all the time.

Examples:
  handsfree sim                                   one minute with the shipped voices
  handsfree sim --near none --no-ns --no-agc      how much echo is taken out, nothing else
  handsfree sim --playback-ppm 200 --latency-step 150@30
                                                  a loudspeaker with its own clock, and a jump of its delay
  handsfree sim --scenario bluetooth.toml         switches from a file: render-latency-ms = 250.0 and so on
  handsfree sim --json --seed 7 > report.json     for programs

Exit codes: 0 done, 1 something outside failed (a file, the disk), 2 the command line asks for what cannot be.";

const PROCESS_HELP: &str = "\
Both recordings go through the same interrupt halves, rings and workers as on a board, faster than real time.
They must start together and share a clock. The result is as long as the microphone's recording; a shorter far
end goes on as silence. Any WAV may be given; several channels are mixed to one.

Example:
  handsfree process --far played.wav --mic heard.wav --out clean.wav

Exit codes: 0 done, 1 something outside failed (a file, the disk), 2 the command line asks for what cannot be.";

/// What `--near` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NearArg {
    /// Nobody talks.
    None,
    /// A WAV file.
    File(PathBuf),
}

impl FromStr for NearArg {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text == "none" { Self::None } else { Self::File(text.into()) })
    }
}

/// What one `--latency-step` or `--drift-step` says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepArg {
    /// By how much, in ms or ppm.
    pub by: f64,
    /// When.
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

/// `handsfree sim`.
#[derive(Args, Clone, Debug)]
#[command(args_override_self = true)]
pub struct SimArgs {
    /// Take switches from a TOML file, named as here without the dashes; the command line goes first
    #[arg(long, value_name = "TOML", help_heading = "Run")]
    pub scenario: Option<PathBuf>,
    /// What the loudspeaker plays; repeats when it is too short [default: a shipped voice]
    #[arg(long, value_name = "WAV", help_heading = "Sound")]
    pub far: Option<PathBuf>,
    /// What the talker says, or 'none'; repeats when it is too short [default: a shipped voice]
    #[arg(long, value_name = "WAV|none", help_heading = "Sound")]
    pub near: Option<NearArg>,
    /// Impulse response from loudspeaker to microphone [default: a living room by the image-source method]
    #[arg(long, value_name = "WAV", help_heading = "Sound")]
    pub rir: Option<PathBuf>,
    /// Noise at the microphone, in dB of full scale
    #[arg(long, value_name = "X", default_value_t = -75.0, allow_negative_numbers = true, help_heading = "Sound")]
    pub noise_dbfs: f64,
    /// Length of the run
    #[arg(long, value_name = "N", default_value_t = 60.0, help_heading = "Run")]
    pub seconds: f64,
    /// Seed of noise, timestamp jitter, worker scheduling and of where things stand in the room
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Run")]
    pub seed: u64,
    /// Where the report and the recordings go
    #[arg(long, value_name = "DIR", default_value = "handsfree-report", help_heading = "Run")]
    pub out: PathBuf,
    /// Print report.json's object on stdout and nothing else
    #[arg(long, help_heading = "Run")]
    pub json: bool,
    /// Rate of the terminal, in hertz
    #[arg(long, value_name = "HZ", default_value_t = 48_000, help_heading = "Devices")]
    pub rate: u32,
    /// Rate of the microphone's device [default: the terminal's]
    #[arg(long, value_name = "HZ", help_heading = "Devices")]
    pub capture_rate: Option<u32>,
    /// Rate of the loudspeaker's device [default: the terminal's]
    #[arg(long, value_name = "HZ", help_heading = "Devices")]
    pub playback_rate: Option<u32>,
    /// Period of the microphone's device, in sample frames [default: 10 ms]
    #[arg(long, value_name = "N", help_heading = "Devices")]
    pub capture_period: Option<u32>,
    /// Period of the loudspeaker's device, in sample frames [default: 10 ms]
    #[arg(long, value_name = "N", help_heading = "Devices")]
    pub playback_period: Option<u32>,
    /// How much faster than nominal the microphone's clock runs, in ppm
    #[arg(
        long,
        value_name = "X",
        default_value_t = 0.0,
        allow_negative_numbers = true,
        help_heading = "Devices"
    )]
    pub capture_ppm: f64,
    /// How much faster than nominal the loudspeaker's clock runs, in ppm
    #[arg(
        long,
        value_name = "X",
        default_value_t = 0.0,
        allow_negative_numbers = true,
        help_heading = "Devices"
    )]
    pub playback_ppm: f64,
    /// From the playback interrupt to the loudspeaker
    #[arg(long, value_name = "X", default_value_t = 40.0, help_heading = "Devices")]
    pub render_latency_ms: f64,
    /// From the microphone to the capture interrupt, the period itself excluded
    #[arg(long, value_name = "X", default_value_t = 10.0, help_heading = "Devices")]
    pub capture_latency_ms: f64,
    /// Change the render latency by MS (may be negative) after S seconds; may be given several times
    #[arg(long, value_name = "MS@S", allow_hyphen_values = true, help_heading = "Devices")]
    pub latency_step: Vec<StepArg>,
    /// Change the loudspeaker's clock by PPM (may be negative) after S seconds; may be given several times
    #[arg(long, value_name = "PPM@S", allow_hyphen_values = true, help_heading = "Devices")]
    pub drift_step: Vec<StepArg>,
    /// The devices' timestamps scatter evenly by plus or minus so much
    #[arg(long, value_name = "X", default_value_t = 50.0, help_heading = "Devices")]
    pub timestamp_jitter_us: f64,
    /// They scatter normally instead, with that standard deviation
    #[arg(long, help_heading = "Devices")]
    pub timestamp_jitter_normal: bool,
    /// The loudspeaker's timestamps are wrong: sound leaves it so much later than they say (negative: earlier)
    #[arg(
        long,
        value_name = "X",
        default_value_t = 0.0,
        allow_negative_numbers = true,
        help_heading = "Devices"
    )]
    pub timestamp_bias_ms: f64,
    /// Believe the devices' timestamps; do not listen for where the echo really is
    #[arg(long, help_heading = "Devices")]
    pub no_echo_search: bool,
    /// Voice processing.
    #[command(flatten)]
    pub switches: Switches,
}

/// `handsfree process`.
#[derive(Args, Clone, Debug)]
pub struct ProcessArgs {
    /// What the loudspeaker played
    #[arg(long, value_name = "WAV")]
    pub far: PathBuf,
    /// What the microphone heard
    #[arg(long, value_name = "WAV")]
    pub mic: PathBuf,
    /// Where the cleaned recording goes; its delay is taken out
    #[arg(long, value_name = "WAV")]
    pub out: PathBuf,
    /// Rate of the terminal, in hertz [default: the microphone recording's if the processor takes it, else 48000]
    #[arg(long, value_name = "HZ")]
    pub rate: Option<u32>,
    /// The microphone's clock ran so much faster than the loudspeaker's, in ppm [default: found by listening]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub mic_ppm: Option<f64>,
    /// Print the figures as one JSON object on stdout and nothing else
    #[arg(long)]
    pub json: bool,
    /// Voice processing.
    #[command(flatten)]
    pub switches: Switches,
}
