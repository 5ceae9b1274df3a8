//! The command line: what can be said, and what it means when it is not said.

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
    /// Be a hands-free terminal: play, record the cleaned microphone, show how it is
    #[command(after_help = RUN_HELP)]
    Run(Box<RunArgs>),
    /// Have a run again that 'handsfree run --dump' wrote down, and compare
    #[command(after_help = REPLAY_HELP)]
    Replay(ReplayArgs),
    /// List the audio devices
    #[command(after_help = DEVICES_HELP)]
    Devices(DevicesArgs),
    /// Measure what the devices and the machine really do, and say what to change
    #[command(after_help = DOCTOR_HELP)]
    Doctor(Box<RunArgs>),
    /// Print what a shell needs to complete these commands
    #[command(after_help = COMPLETIONS_HELP)]
    Completions(CompletionsArgs),
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

const RUN_HELP: &str = "\
Plays, listens, and takes what is played out of what is heard, until --duration is over, Ctrl-C is pressed or,
where files are played without --duration, all of them were heard. A device that is unplugged is waited for and
started again by its name. In the simulated room a shipped voice speaks unless --play says otherwise.

On a terminal there is a live view; on one that only prints (TERM=dumb), or where there is none, a line a second; with
--json an object a line: \"started\", \"status\" each second, \"device_lost\", \"device_returned\", \"xrun\", \"note\",
\"played\", \"ended\". docs/run.md explains the fields.

Examples:
  handsfree run                                      real devices, or the simulated room
  handsfree run --io cpal --input usb-mic --output usb-speaker       names that 'handsfree devices' lists
  handsfree run --io alsa --input hw:CARD=Device,DEV=0 --output hw:CARD=Device,DEV=0
  handsfree run --io sim --duration 10 --json        for programs
  handsfree run --play voice.flac --record clean.wav
  handsfree run --io sim --playback-ppm 200 --render-latency-ms 600 --unplug 2@10
                                                     a loudspeaker far away that is unplugged for 2 s

Exit codes: 0 done, 1 something outside failed (a device, a file), 2 the command line asks for what cannot be.";

const REPLAY_HELP: &str = "\
Puts the raw periods of a dump with their times into the terminal's halves, faster than real time, and compares
every sample of the cleaned microphone and of the loudspeaker with what came out then. What the tracks held is not in
a dump; what was mixed of them is. On another processor architecture, or with another version, some may differ.

Example:
  handsfree run --duration 20 --dump last_error
  handsfree replay last_error --out heard               microphone.wav, loudspeaker.wav, cleaned.wav

Exit codes: 0 every sample is the same, 1 some differ or a file cannot be used, 2 the command line asks for what cannot be.";

const DOCTOR_HELP: &str = "\
Takes the switches of 'handsfree run' that say which devices and how; plays five chirps, listens for them, watches
both clocks for 20 s, tries periods from 2.5 to 20 ms for 3 s each. The loudspeaker must be heard by the microphone.

  round trip      from the interrupt that writes a sample to the one that reads its echo: by the sound, and by the
                  devices' times; more by the sound is air (3 ms a metre) or times that leave something out
  clocks          the loudspeaker's minus the microphone's
  safe period     one longer than the shortest that ran without xruns

Examples:
  handsfree doctor --io alsa --input hw:CARD=Device,DEV=0 --output hw:CARD=Device,DEV=0
  handsfree doctor --json

Exit codes: 0 measured, 1 something outside failed (a device), 2 the command line asks for what cannot be.";

const DEVICES_HELP: &str = "\
Lists id, name, direction, whether it is the default, channels, rates and period limits. An id goes with
--input or --output of 'handsfree run', and stays the same when the device is plugged in again.

Examples:
  handsfree devices
  handsfree devices --io sim --json                  one array of objects

Exit codes: 0 done, 1 the audio system does not answer, 2 the command line asks for what cannot be.";

const COMPLETIONS_HELP: &str = "\
Examples:
  handsfree completions bash > ~/.local/share/bash-completion/completions/handsfree
  handsfree completions zsh > ~/.zfunc/_handsfree
  handsfree completions fish > ~/.config/fish/completions/handsfree.fish";

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

/// What one `--unplug` says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnplugArg {
    /// For how long.
    pub seconds: f64,
    /// When.
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

/// `handsfree run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Which devices
    #[arg(long, value_enum, value_name = "HOST", default_value_t, help_heading = "Devices")]
    pub io: HostArg,
    /// The microphone's device, by its id in 'handsfree devices' [default: the system's]
    #[arg(long, value_name = "ID", help_heading = "Devices")]
    pub input: Option<String>,
    /// The loudspeaker's device [default: the system's]
    #[arg(long, value_name = "ID", help_heading = "Devices")]
    pub output: Option<String>,
    /// Channels to open on the microphone's device
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Devices")]
    pub input_channels: u32,
    /// Take one channel of the microphone's device, counted from 0 [default: the mean of all]
    #[arg(long, value_name = "I", help_heading = "Devices")]
    pub input_channel: Option<u8>,
    /// The channel on which the microphone's device records what the loudspeaker plays: the echo reference then
    #[arg(long, value_name = "I", requires = "input_channel", help_heading = "Devices")]
    pub input_loopback: Option<u8>,
    /// Channels to open on the loudspeaker's device; all play the same
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Devices")]
    pub output_channels: u32,
    /// Rate of the terminal, in hertz; devices are asked for it and may have another
    #[arg(long, value_name = "HZ", default_value_t = 48_000, help_heading = "Devices")]
    pub rate: u32,
    /// Period that the devices are asked for
    #[arg(long, value_name = "X", default_value_t = 10.0, help_heading = "Devices")]
    pub period_ms: f64,
    /// Believe the devices' timestamps; do not listen for where the echo really is
    #[arg(long, help_heading = "Devices")]
    pub no_echo_search: bool,
    /// Play a file (WAV, AIFF, CAF, FLAC, Ogg Vorbis, MP3, MP4); several play at once
    #[arg(long, value_name = "FILE", help_heading = "Sound")]
    pub play: Vec<PathBuf>,
    /// Play the files over and over
    #[arg(long, requires = "play", help_heading = "Sound")]
    pub repeat: bool,
    /// Write the cleaned microphone into a file
    #[arg(long, value_name = "WAV", help_heading = "Sound")]
    pub record: Option<PathBuf>,
    /// End after so many seconds
    #[arg(long, value_name = "S", help_heading = "Run")]
    pub duration: Option<f64>,
    /// Write down all that goes in and out, for 'handsfree replay' and for bug reports; some 500 kB a second
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub dump: Option<PathBuf>,
    /// Print JSON objects on stdout, one a line, and nothing else
    #[arg(long, help_heading = "Run")]
    pub json: bool,
    /// Print lines instead of the live view
    #[arg(long, conflicts_with = "json", help_heading = "Run")]
    pub plain: bool,
    /// Bypass voice processing for a second when it takes longer than this for a frame
    #[arg(long, value_name = "X", default_value_t = 20, help_heading = "Voice processing")]
    pub voice_deadline_ms: u32,
    /// Voice processing.
    #[command(flatten)]
    pub switches: Switches,
    /// The desktop's audio system.
    #[command(flatten)]
    pub cpal: CpalArgs,
    /// ALSA.
    #[cfg(target_os = "linux")]
    #[command(flatten)]
    pub alsa: AlsaArgs,
    /// The simulated room.
    #[command(flatten)]
    pub sim: SimRoomArgs,
}

/// `handsfree replay`.
#[derive(Args, Clone, Debug)]
pub struct ReplayArgs {
    /// The dump
    #[arg(value_name = "DIR")]
    pub dump: PathBuf,
    /// Write what microphone and loudspeaker had, and the cleaned microphone, as WAV files into a folder
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print the figures as one JSON object on stdout and nothing else
    #[arg(long)]
    pub json: bool,
}

/// `handsfree devices`.
#[derive(Args, Clone, Debug)]
pub struct DevicesArgs {
    /// Which devices
    #[arg(long, value_enum, value_name = "HOST", default_value_t)]
    pub io: HostArg,
    /// Print one JSON array on stdout and nothing else
    #[arg(long)]
    pub json: bool,
}

/// `handsfree completions`.
#[derive(Args, Clone, Copy, Debug)]
pub struct CompletionsArgs {
    /// Which shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}
