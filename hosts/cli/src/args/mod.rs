//! The command line: subcommands, switches, defaults and help texts.

mod hosts;

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};

#[cfg(target_os = "linux")]
pub use self::hosts::AlsaArgs;
pub use self::hosts::{CpalArgs, HostArg, NearArg, SimRoomArgs};
use crate::switches::Switches;

/// The audio half of a hands-free voice device: microphone in, loudspeaker out, echo removed.
#[derive(Parser, Debug)]
#[command(name = "handsfree", version, max_term_width = 100)]
pub struct Cli {
    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Simulate a hands-free conversation in a room and write a report
    #[command(after_help = SIM_HELP)]
    Sim(Box<SimArgs>),
    /// Remove the echo from a microphone's recording, given what the loudspeaker played
    #[command(after_help = PROCESS_HELP)]
    Process(ProcessArgs),
    /// Run a hands-free terminal: play, record the cleaned microphone, show levels and delay
    #[command(after_help = RUN_HELP)]
    Run(Box<RunArgs>),
    /// Replay a run recorded by 'handsfree run --dump' and compare
    #[command(after_help = REPLAY_HELP)]
    Replay(ReplayArgs),
    /// List the audio devices
    #[command(after_help = DEVICES_HELP)]
    Devices(DevicesArgs),
    /// Measure latency, clocks and scheduling of this machine, and suggest settings
    #[command(after_help = DOCTOR_HELP)]
    Doctor(Box<RunArgs>),
    /// Print a shell's completion script
    #[command(after_help = COMPLETIONS_HELP)]
    Completions(CompletionsArgs),
}

const SIM_HELP: &str = "\
The loudspeaker plays the far end. Its echo reaches the microphone through a room, together with a talker and
noise, and the terminal removes the echo. Everything between the simulated converters is the code that runs on
a board. With a talker, the far end speaks in the first two thirds of the run and the talker in the last two, so
that each is heard alone and both at once; with --near none the far end speaks all the time.

Examples:
  handsfree sim                                   one minute with the shipped voices
  handsfree sim --near none --no-ns --no-agc      echo reduction of the canceller alone
  handsfree sim --playback-ppm 200 --latency-step 150@30
                                                  a loudspeaker with its own clock, and a jump of its delay
  handsfree sim --scenario bluetooth.toml         switches from a file: render-latency-ms = 250.0 and so on
  handsfree sim --json --seed 7 > report.json     for programs

Exit codes: 0 done, 1 a file or the disk failed, 2 the command line is invalid.";

const PROCESS_HELP: &str = "\
Both recordings pass through the same interrupt halves, rings and workers as on a board, faster than real time.
They must start together. The result is as long as the microphone's recording; a shorter far end continues as
silence. Any WAV file is accepted; several channels are mixed to one.

Example:
  handsfree process --far played.wav --mic heard.wav --out clean.wav

Exit codes: 0 done, 1 a file or the disk failed, 2 the command line is invalid.";

const RUN_HELP: &str = "\
Plays files, removes their echo from the microphone and shows levels, echo reduction, delay and drift, until
--duration is over, Ctrl-C is pressed or, where files are played without --duration, all of them were heard. A
device that is unplugged is started again by its id when it returns. In the simulated room a shipped voice
speaks unless --play names files.

On a terminal there is a live view; with TERM=dumb or without a terminal, one line a second; with --json one
object a line: \"started\", \"status\" each second, \"device_lost\", \"device_returned\", \"xrun\", \"note\",
\"played\", \"ended\". docs/run.md explains the fields.

Examples:
  handsfree run                                      real devices, or the simulated room
  handsfree run --io cpal --input usb-mic --output usb-speaker       ids that 'handsfree devices' lists
  handsfree run --io alsa --input hw:CARD=Device,DEV=0 --output hw:CARD=Device,DEV=0
  handsfree run --io sim --duration 10 --json        for programs
  handsfree run --play voice.flac --record clean.wav
  handsfree run --io sim --playback-ppm 200 --render-latency-ms 600 --unplug 2@10
                                                     a loudspeaker with 600 ms of latency, unplugged for 2 s

Exit codes: 0 done, 1 a device or a file failed, 2 the command line is invalid.";

const REPLAY_HELP: &str = "\
Feeds the raw periods of a dump with their times to the terminal's halves, faster than real time, and compares
every sample of the cleaned microphone and of the loudspeaker with the recorded run. A dump holds the mixed
signal, not the single tracks. On another processor, or with another version, samples may differ.

Example:
  handsfree run --duration 20 --dump last_error
  handsfree replay last_error --out heard               microphone.wav, loudspeaker.wav, cleaned.wav

Exit codes: 0 every sample is equal, 1 some differ or a file failed, 2 the command line is invalid.";

const DOCTOR_HELP: &str = "\
Takes the device switches of 'handsfree run'. Plays five chirps and records them, watches both clocks for 20 s, and
tries periods from 2.5 to 20 ms for 3 s each. The microphone must hear the loudspeaker.

  round trip      from the interrupt that writes a sample to the one that reads its echo, measured by the chirp and
                  computed from the devices' times; the chirp also includes the way through air (3 ms a metre) and
                  latency that the times do not report
  clocks          the loudspeaker's clock minus the microphone's
  safe period     one step above the shortest period that ran without xruns

Examples:
  handsfree doctor --io alsa --input hw:CARD=Device,DEV=0 --output hw:CARD=Device,DEV=0
  handsfree doctor --json

Exit codes: 0 measured, 1 a device failed, 2 the command line is invalid.";

const DEVICES_HELP: &str = "\
Lists id, name, direction, whether it is the default, channels, rates and period limits. An id is the value of
--input or --output of 'handsfree run', and stays the same when the device is plugged in again.

Examples:
  handsfree devices
  handsfree devices --io sim --json                  one array of objects

Exit codes: 0 done, 1 the audio system does not answer, 2 the command line is invalid.";

const COMPLETIONS_HELP: &str = "\
Examples:
  handsfree completions bash > ~/.local/share/bash-completion/completions/handsfree
  handsfree completions zsh > ~/.zfunc/_handsfree
  handsfree completions fish > ~/.config/fish/completions/handsfree.fish";

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

/// Switches of `handsfree sim`.
#[derive(Args, Clone, Debug)]
#[command(args_override_self = true)]
pub struct SimArgs {
    /// Read switches from a TOML file, named as here without the dashes; the command line overrides them
    #[arg(long, value_name = "TOML", help_heading = "Run")]
    pub scenario: Option<PathBuf>,
    /// Recording that the loudspeaker plays, repeated as needed [default: a shipped voice]
    #[arg(long, value_name = "WAV", help_heading = "Sound")]
    pub far: Option<PathBuf>,
    /// Recording that the talker speaks, repeated as needed, or 'none' [default: a shipped voice]
    #[arg(long, value_name = "WAV|none", help_heading = "Sound")]
    pub near: Option<NearArg>,
    /// Impulse response from loudspeaker to microphone [default: a living room by the image-source method]
    #[arg(long, value_name = "WAV", help_heading = "Sound")]
    pub rir: Option<PathBuf>,
    /// Level of the noise at the microphone, in dBFS
    #[arg(long, value_name = "X", default_value_t = -75.0, allow_negative_numbers = true, help_heading = "Sound")]
    pub noise_dbfs: f64,
    /// Length of the simulation, in seconds
    #[arg(long, value_name = "N", default_value_t = 60.0, help_heading = "Run")]
    pub seconds: f64,
    /// Seed of the noise, timestamp jitter, worker scheduling and positions in the room
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Run")]
    pub seed: u64,
    /// Folder for the report and the recordings
    #[arg(long, value_name = "DIR", default_value = "handsfree-report", help_heading = "Run")]
    pub out: PathBuf,
    /// Print only the JSON object of report.json on stdout
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
    /// Latency from the playback interrupt to the loudspeaker, in ms
    #[arg(long, value_name = "X", default_value_t = 40.0, help_heading = "Devices")]
    pub render_latency_ms: f64,
    /// Latency from the microphone to the capture interrupt, in ms, without the period itself
    #[arg(long, value_name = "X", default_value_t = 10.0, help_heading = "Devices")]
    pub capture_latency_ms: f64,
    /// Change the render latency by MS (may be negative) after S seconds; may be given several times
    #[arg(long, value_name = "MS@S", allow_hyphen_values = true, help_heading = "Devices")]
    pub latency_step: Vec<StepArg>,
    /// Change the loudspeaker's clock by PPM (may be negative) after S seconds; may be given several times
    #[arg(long, value_name = "PPM@S", allow_hyphen_values = true, help_heading = "Devices")]
    pub drift_step: Vec<StepArg>,
    /// Uniform jitter of the devices' timestamps, plus or minus, in microseconds
    #[arg(long, value_name = "X", default_value_t = 50.0, help_heading = "Devices")]
    pub timestamp_jitter_us: f64,
    /// Make the timestamp jitter normally distributed, with that standard deviation
    #[arg(long, help_heading = "Devices")]
    pub timestamp_jitter_normal: bool,
    /// Error of the loudspeaker's timestamps, in ms: sound leaves it this much later than they say (negative: earlier)
    #[arg(
        long,
        value_name = "X",
        default_value_t = 0.0,
        allow_negative_numbers = true,
        help_heading = "Devices"
    )]
    pub timestamp_bias_ms: f64,
    /// Align by the devices' timestamps alone, without acoustic delay estimation
    #[arg(long, help_heading = "Devices")]
    pub no_echo_search: bool,
    /// Switches of the voice processing.
    #[command(flatten)]
    pub switches: Switches,
}

/// Switches of `handsfree process`.
#[derive(Args, Clone, Debug)]
pub struct ProcessArgs {
    /// Recording of what the loudspeaker played
    #[arg(long, value_name = "WAV")]
    pub far: PathBuf,
    /// Recording of the microphone
    #[arg(long, value_name = "WAV")]
    pub mic: PathBuf,
    /// File for the cleaned recording, whose processing delay is removed
    #[arg(long, value_name = "WAV")]
    pub out: PathBuf,
    /// Rate of the terminal, in hertz [default: the microphone recording's if the processor takes it, else 48000]
    #[arg(long, value_name = "HZ")]
    pub rate: Option<u32>,
    /// How much faster the microphone's clock ran than the loudspeaker's, in ppm [default: measured from the echo]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub mic_ppm: Option<f64>,
    /// Print only one JSON object with the figures on stdout
    #[arg(long)]
    pub json: bool,
    /// Switches of the voice processing.
    #[command(flatten)]
    pub switches: Switches,
}

/// Value of one `--unplug`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnplugArg {
    /// Length of the absence, in seconds.
    pub seconds: f64,
    /// Time of the unplugging, in seconds from the start.
    pub at_s: f64,
}

impl FromStr for UnplugArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("'{text}': expected SECONDS@SECONDS of at least 0, such as 2@10");
        let step: StepArg = text.parse().map_err(|_| wrong())?;
        if step.by < 0.0 || step.at_s < 0.0 {
            return Err(wrong());
        }
        Ok(Self { seconds: step.by, at_s: step.at_s })
    }
}

/// Switches of `handsfree run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Host whose devices are used
    #[arg(long, value_enum, value_name = "HOST", default_value_t, help_heading = "Devices")]
    pub io: HostArg,
    /// The microphone's device, by its id in 'handsfree devices' [default: the system's]
    #[arg(long, value_name = "ID", help_heading = "Devices")]
    pub input: Option<String>,
    /// The loudspeaker's device, by its id in 'handsfree devices' [default: the system's]
    #[arg(long, value_name = "ID", help_heading = "Devices")]
    pub output: Option<String>,
    /// Channels to open on the microphone's device
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Devices")]
    pub input_channels: u32,
    /// Take one channel of the microphone's device, counted from 0 [default: the mean of all]
    #[arg(long, value_name = "I", help_heading = "Devices")]
    pub input_channel: Option<u8>,
    /// Channel of the microphone's device that records the loudspeaker; it becomes the echo reference
    #[arg(long, value_name = "I", requires = "input_channel", help_heading = "Devices")]
    pub input_loopback: Option<u8>,
    /// Channels to open on the loudspeaker's device; all play the same signal
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Devices")]
    pub output_channels: u32,
    /// Rate of the terminal, in hertz, which devices are asked for; other rates are converted
    #[arg(long, value_name = "HZ", default_value_t = 48_000, help_heading = "Devices")]
    pub rate: u32,
    /// Period that devices are asked for, in ms
    #[arg(long, value_name = "X", default_value_t = 10.0, help_heading = "Devices")]
    pub period_ms: f64,
    /// Align by the devices' timestamps alone, without acoustic delay estimation
    #[arg(long, help_heading = "Devices")]
    pub no_echo_search: bool,
    /// Play a file (WAV, AIFF, CAF, FLAC, Ogg Vorbis, MP3, MP4); several play at once
    #[arg(long, value_name = "FILE", help_heading = "Sound")]
    pub play: Vec<PathBuf>,
    /// Repeat the files until the end
    #[arg(long, requires = "play", help_heading = "Sound")]
    pub repeat: bool,
    /// Record the cleaned microphone to a file
    #[arg(long, value_name = "WAV", help_heading = "Sound")]
    pub record: Option<PathBuf>,
    /// End after this many seconds
    #[arg(long, value_name = "S", help_heading = "Run")]
    pub duration: Option<f64>,
    /// Record all inputs and outputs, for 'handsfree replay' and bug reports (300 to 500 kB a second)
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub dump: Option<PathBuf>,
    /// Print only JSON objects on stdout, one a line
    #[arg(long, help_heading = "Run")]
    pub json: bool,
    /// Print lines instead of the live view
    #[arg(long, conflicts_with = "json", help_heading = "Run")]
    pub plain: bool,
    /// Bypass voice processing for a second when it takes longer than this for a frame
    #[arg(long, value_name = "X", default_value_t = 20, help_heading = "Voice processing")]
    pub voice_deadline_ms: u32,
    /// Switches of the voice processing.
    #[command(flatten)]
    pub switches: Switches,
    /// Switches of the desktop's audio system.
    #[command(flatten)]
    pub cpal: CpalArgs,
    /// Switches of ALSA.
    #[cfg(target_os = "linux")]
    #[command(flatten)]
    pub alsa: AlsaArgs,
    /// Switches of the simulated room.
    #[command(flatten)]
    pub sim: SimRoomArgs,
}

/// Switches of `handsfree replay`.
#[derive(Args, Clone, Debug)]
pub struct ReplayArgs {
    /// Folder that 'handsfree run --dump' wrote
    #[arg(value_name = "DIR")]
    pub dump: PathBuf,
    /// Write the microphone, the loudspeaker and the cleaned microphone as WAV files to this folder
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print only one JSON object with the figures on stdout
    #[arg(long)]
    pub json: bool,
}

/// Switches of `handsfree devices`.
#[derive(Args, Clone, Debug)]
pub struct DevicesArgs {
    /// Host whose devices are used
    #[arg(long, value_enum, value_name = "HOST", default_value_t)]
    pub io: HostArg,
    /// Print only one JSON array on stdout
    #[arg(long)]
    pub json: bool,
}

/// Switches of `handsfree completions`.
#[derive(Args, Clone, Copy, Debug)]
pub struct CompletionsArgs {
    /// Shell to complete for
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}
