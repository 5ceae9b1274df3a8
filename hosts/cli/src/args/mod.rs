//! The command line: subcommands, switches, defaults and help texts.

mod devices;
mod hosts;
mod raw;
#[cfg(unix)]
mod service;
mod sim;
mod sweep;

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};

pub use self::devices::DeviceArgs;
#[cfg(all(target_os = "linux", feature = "alsa"))]
pub use self::hosts::AlsaArgs;
#[cfg(feature = "cpal")]
pub use self::hosts::CpalArgs;
pub use self::hosts::{HostArg, NearArg, SimRoomArgs};
pub use self::raw::RawArgs;
#[cfg(unix)]
pub use self::service::{CtlArgs, MicArgs, PlainFormat, RecordedType, ServeArgs, SpeakArgs, SpokenType};
pub use self::sim::{SimArgs, StepArg, TalkArg};
pub use self::sweep::{SweepAction, SweepArgs, SweepReportArgs};
use crate::pcm::endpoint::Endpoint;
use crate::switches::Switches;

/// Runs, simulates and examines a hands-free voice terminal: microphone in, loudspeaker out, echo removed.
#[derive(Parser, Debug)]
#[command(name = "handsfree", version = VERSION, max_term_width = 100)]
pub struct Cli {
    /// Chosen subcommand with its switches.
    #[command(subcommand)]
    pub command: Command,
}

/// What `--version` prints after the name: the version, and what this build lacks.
const VERSION: &str = if handsfree_apm::IS_LINKED {
    env!("CARGO_PKG_VERSION")
} else {
    concat!(
        env!("CARGO_PKG_VERSION"),
        ", without WebRTC's audio processing (built without the feature 'apm')"
    )
};

/// Subcommands of `handsfree`.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Simulates a hands-free conversation in a room and writes a report
    #[command(after_help = sim::SIM_HELP)]
    Sim(Box<SimArgs>),
    /// Simulates many conversations, a grid or a random sample, and reports the worst
    #[command(after_help = sweep::SWEEP_HELP)]
    Sweep(SweepArgs),
    /// Removes the echo from a microphone recording, given a recording of what the loudspeaker played
    #[command(after_help = PROCESS_HELP)]
    Process(ProcessArgs),
    /// Runs a hands-free terminal: plays files, records the cleaned microphone, shows levels and delay
    #[command(after_help = RUN_HELP)]
    Run(Box<RunArgs>),
    /// Owns the devices and lets many programs share them over a Unix socket
    #[cfg(unix)]
    #[command(after_help = service::SERVE_HELP)]
    Serve(Box<ServeArgs>),
    /// Records the cleaned microphone of a running 'handsfree serve', like arecord
    #[cfg(unix)]
    #[command(after_help = service::MIC_HELP)]
    Mic(MicArgs),
    /// Plays on a running 'handsfree serve', like aplay
    #[cfg(unix)]
    #[command(after_help = service::SPEAK_HELP)]
    Speak(SpeakArgs),
    /// Shows and controls a running 'handsfree serve'
    #[cfg(unix)]
    #[command(after_help = service::CTL_HELP)]
    Ctl(CtlArgs),
    /// Replays a run recorded with 'handsfree run --dump' and compares the outputs sample by sample
    #[command(after_help = REPLAY_HELP)]
    Replay(ReplayArgs),
    /// Lists the audio devices
    #[command(after_help = DEVICES_HELP)]
    Devices(DevicesArgs),
    /// Measures latency, clock drift and scheduling on this machine, and suggests settings
    #[command(after_help = DOCTOR_HELP)]
    Doctor(Box<RunArgs>),
    /// Prints a completion script for a shell
    #[command(after_help = COMPLETIONS_HELP)]
    Completions(CompletionsArgs),
    /// Prints the manual page, or writes the pages of all subcommands
    #[command(after_help = MAN_HELP)]
    Man(ManArgs),
}

const PROCESS_HELP: &str = "\
Both recordings pass through the same code as on a device, faster than real time. The echo is first
searched in the whole recording: the recordings may start up to 10 s apart, either one first, and
their clocks may differ by up to 20000 ppm. The far end is moved to the echo's place, and what it
was moved by, the drift and the echo reduction are printed. If the far end is a tone or repeats
itself, its place is ambiguous, and the recordings are used as they are.

The result has the length of the microphone recording; a shorter far-end recording is extended with
silence. WAV (also RF64, BW64 and W64; PCM, float, mu-law, A-law), AIFF, CAF, FLAC, Ogg Vorbis, MP3
and MP4 are accepted, and with --raw-rate raw samples. The channels of a multi-channel microphone are mixed to mono unless --mic-channel selects one.

Examples:
  handsfree process --far played.wav --mic heard.wav --out clean.wav
  handsfree process --mic array.wav --mic-channel 2 --reference-channel 6 --out clean.wav
  handsfree process --far played.raw --mic heard.raw --raw-rate 16000 --out clean.wav

Exit codes: 0 success, 1 a file could not be read or written, 2 the command line is invalid, 3 no
echo was found (the output is written): the microphone records other sound almost all the time that
the far end is active, so the recordings seem not to belong together. It is 0 with a message if the
far end is silent, if the microphone stays quiet for a second while the far end is active (as with
headphones), if less than 5 s can be compared, if the echo's place is ambiguous, or with --no-aec.
With --require-echo it is 3 in all these cases.";

const RUN_HELP: &str = "\
Plays files, removes their echo from the microphone and shows levels, echo reduction, delay and
drift. The run ends when --duration has passed, when Ctrl-C is pressed, or when all files have
been played (without --duration and --repeat). A device that is unplugged is reopened by its id
when it returns. The simulated room plays a shipped voice unless --play names files.

Output is a live view on a terminal, and one line per second with --plain, with TERM=dumb or
without a terminal. With --json it is one object per line: \"started\", \"status\" every second,
\"device_lost\", \"device_returned\", \"xrun\", \"note\", \"played\", \"ended\". docs/run.md explains the
fields.

Examples:
  handsfree run                                      real devices; without any, the simulated room
  handsfree run --io cpal --input usb-mic --output usb-speaker       ids from 'handsfree devices'
  handsfree run --io alsa --input hw:CARD=Device,DEV=0 --output hw:CARD=Device,DEV=0
  handsfree run --io sim --duration 10 --json        output for programs
  handsfree run --play voice.flac --record clean.wav
  text_to_speech | handsfree run --pcm-in - --pcm-rate 22050
  handsfree run --pcm-out - --pcm-in fifo --events log.txt | speech_to_text
  handsfree run --io sim --playback-ppm 200 --render-latency-ms 600 --unplug 2@10
                                                     600 ms of latency; unplugged from 10 s to 12 s

Exit codes: 0 success, 1 a device or a file failed, 2 the command line is invalid.";

const REPLAY_HELP: &str = "\
Feeds the recorded device data with its timestamps through the same code again, faster than real
time, and compares every sample of the cleaned microphone and of the loudspeaker with the recorded
run. A dump contains the mixed loudspeaker signal, not the individual tracks. Samples may differ
on another processor type or with another version of handsfree.

Example:
  handsfree run --duration 20 --dump last_error
  handsfree replay last_error --out heard     writes microphone.wav, loudspeaker.wav, cleaned.wav
  handsfree replay last_error --recompute     echo reduction, delay and drift with this version

Exit codes: 0 all samples are equal or --recompute, 1 samples differ or a file failed, 2 the command line is
invalid.";

const DOCTOR_HELP: &str = "\
Accepts the device switches of 'handsfree run'. Plays and records five chirps, compares both
clocks for 20 s, and runs with periods from 2.5 to 20 ms for 3 s each. The microphone must be able
to record the loudspeaker.

  round trip      latency from writing a sample to reading its echo, once measured with the chirps
                  and once computed from the devices' timestamps; the measured value includes the
                  sound's path through air (3 ms per metre) and any latency that the timestamps do
                  not report
  clocks          rate of the loudspeaker's clock relative to the microphone's, in ppm
  safe period     the next longer period after the shortest one without xruns

Examples:
  handsfree doctor --io alsa --input hw:CARD=Device,DEV=0 --output hw:CARD=Device,DEV=0
  handsfree doctor --json

Exit codes: 0 success, 1 a device failed, 2 the command line is invalid.";

const DEVICES_HELP: &str = "\
Prints the direction, id, name, channels, rates and period limits of each device; '*' marks the
default device. --input and --output of 'handsfree run' take an id. A device keeps its id when it
is unplugged and returns.

Examples:
  handsfree devices
  handsfree devices --io sim --json                  prints one JSON array

Exit codes: 0 success, 1 the audio system does not respond, 2 the command line is invalid.";

const COMPLETIONS_HELP: &str = "\
Examples:
  handsfree completions bash > ~/.local/share/bash-completion/completions/handsfree
  handsfree completions zsh > ~/.zfunc/_handsfree
  handsfree completions fish > ~/.config/fish/completions/handsfree.fish";

const MAN_HELP: &str = "\
Examples:
  handsfree man | man -l -
  handsfree man --out ~/.local/share/man/man1        then: man handsfree-run

Exit codes: 0 success, 1 a file could not be written, 2 the command line is invalid.";

/// Value of `--far-channels`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FarChannels {
    /// All channels are mixed to one.
    Mono,
    /// The canceller receives each channel.
    Each,
    /// The canceller receives one channel, which is counted from 1.
    Number(u16),
}

impl FromStr for FarChannels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "mono" => Ok(Self::Mono),
            "each" => Ok(Self::Each),
            number => number.parse().map(Self::Number).map_err(|_| {
                format!("'{text}': expected mono, each or the number of a channel, counted from 1")
            }),
        }
    }
}

/// Switches of `handsfree process`.
#[derive(Args, Clone, Debug)]
pub struct ProcessArgs {
    /// Recording of what the loudspeaker played
    #[arg(long, value_name = "FILE", required_unless_present = "reference_channel")]
    pub far: Option<PathBuf>,
    /// Recording of the microphone, with the echo
    #[arg(long, value_name = "FILE")]
    pub mic: PathBuf,
    /// File to write the cleaned recording to; the processing delay is removed
    #[arg(long, value_name = "WAV")]
    pub out: PathBuf,
    /// Channels of the far end for the canceller: 'mono' mixes them, 'each' uses every one (at most 2), a number uses
    /// that one, counted from 1 [default: each of two, else mono]
    #[arg(long, value_name = "mono|each|N")]
    pub far_channels: Option<FarChannels>,
    /// Channel of the microphone recording to clean, counted from 1 [default: the mean of all]
    #[arg(long, value_name = "N")]
    pub mic_channel: Option<u16>,
    /// Channel of the microphone recording that holds what the loudspeaker played, counted from 1; replaces --far
    #[arg(long, value_name = "N", conflicts_with_all = ["far", "far_channels"])]
    pub reference_channel: Option<u16>,
    /// Sample rate of the processing, in hertz [default: the microphone recording's if supported, else 48000]
    #[arg(long, value_name = "HZ")]
    pub rate: Option<u32>,
    /// Rate of the microphone's clock relative to the loudspeaker's, in ppm, -20000 to 20000; positive is fast
    /// [default: measured from the echo]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub mic_ppm: Option<f64>,
    /// Ends with exit code 3 unless the echo was found
    #[arg(long)]
    pub require_echo: bool,
    /// Repeats the processing with each echo canceller and prints a table
    #[arg(long)]
    pub compare: bool,
    /// Prints only one JSON object with the results on stdout
    #[arg(long)]
    pub json: bool,
    /// Switches of the voice processing stages.
    #[command(flatten)]
    pub switches: Switches,
    /// Format of files without a header.
    #[command(flatten)]
    pub raw: RawArgs,
}

/// Value of one `--unplug`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnplugArg {
    /// Time for which the device is unplugged, in seconds.
    pub seconds: f64,
    /// Time at which the device is unplugged, in seconds from the start.
    pub at_s: f64,
}

impl FromStr for UnplugArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || format!("'{text}': expected SECONDS@SECONDS of 0 to 1e9 each, such as 2@10");
        let step: StepArg = text.parse().map_err(|_| invalid())?;
        // More than 30 years is a mistake.
        if ![step.by, step.at_s].iter().all(|seconds| (0.0..=1e9).contains(seconds)) {
            return Err(invalid());
        }
        Ok(Self { seconds: step.by, at_s: step.at_s })
    }
}

/// Switches of `handsfree run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Switches of the devices and of the processing.
    #[command(flatten)]
    pub devices: DeviceArgs,
    /// Plays a file (WAV, AIFF, CAF, FLAC, Ogg Vorbis, MP3, MP4, or raw samples with --raw-rate); may be repeated to mix several files
    #[arg(long, value_name = "FILE", help_heading = "Sound")]
    pub play: Vec<PathBuf>,
    /// Repeats the files until the run ends
    #[arg(long, requires = "play", help_heading = "Sound")]
    pub repeat: bool,
    /// Records the cleaned microphone to a WAV file; a pipe (-, fd:N or a FIFO) receives a header without length
    #[arg(long, value_name = "WAV|-|fd:N", help_heading = "Sound")]
    pub record: Option<PathBuf>,
    /// Records numbered files of S seconds each, such as clean-0001.wav for --record clean.wav
    #[arg(
        long,
        value_name = "S",
        requires = "record",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000),
        help_heading = "Sound"
    )]
    pub record_segments: Option<u32>,
    /// Plays 16-bit little-endian samples from stdin (-), an inherited descriptor (fd:N), a FIFO or a file, as fast as the
    /// loudspeaker plays them
    #[arg(long, value_name = "-|fd:N|FILE", help_heading = "Plain samples")]
    pub pcm_in: Option<Endpoint>,
    /// Writes the cleaned microphone as 16-bit little-endian samples to stdout (-), an inherited descriptor (fd:N), a FIFO
    /// or a file; what a slow reader misses is dropped and counted
    #[arg(long, value_name = "-|fd:N|FILE", help_heading = "Plain samples")]
    pub pcm_out: Option<Endpoint>,
    /// Sample rate of --pcm-in and --pcm-out, in hertz, 8000 to 48000
    #[arg(long, value_name = "HZ", default_value_t = 16_000, help_heading = "Plain samples")]
    pub pcm_rate: u32,
    /// Number of channels of --pcm-in and --pcm-out, 1 or 2; --pcm-out has the same samples in both
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Plain samples")]
    pub pcm_channels: u32,
    /// Ends the run after S seconds
    #[arg(long, value_name = "S", help_heading = "Run")]
    pub duration: Option<f64>,
    /// Records all inputs and outputs for 'handsfree replay' and bug reports; 300 to 500 kB per second
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub dump: Option<PathBuf>,
    /// Writes the events to stderr (fd:2), an inherited descriptor (fd:N), a FIFO or a file instead of stdout
    /// [default: stderr if sound is written to stdout]
    #[arg(long, value_name = "fd:N|FILE", help_heading = "Run")]
    pub events: Option<Endpoint>,
    /// Prints only JSON objects on stdout, one per line
    #[arg(long, help_heading = "Run")]
    pub json: bool,
    /// Prints text lines instead of the live view
    #[arg(long, conflicts_with = "json", help_heading = "Run")]
    pub plain: bool,
}

/// Switches of `handsfree replay`.
#[derive(Args, Clone, Debug)]
pub struct ReplayArgs {
    /// Folder written by 'handsfree run --dump'
    #[arg(value_name = "DIR")]
    pub dump: PathBuf,
    /// Measures the echo reduction of this version with the recorded periods and times, instead of comparing samples
    #[arg(long)]
    pub recompute: bool,
    /// Folder to write microphone.wav, loudspeaker.wav and cleaned.wav to
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Prints only one JSON object with the results on stdout
    #[arg(long)]
    pub json: bool,
}

/// Switches of `handsfree devices`.
#[derive(Args, Clone, Debug)]
pub struct DevicesArgs {
    /// Audio host to use
    #[arg(long, value_enum, value_name = "HOST", default_value_t)]
    pub io: HostArg,
    /// Prints only one JSON array on stdout
    #[arg(long)]
    pub json: bool,
}

/// Switches of `handsfree completions`.
#[derive(Args, Clone, Copy, Debug)]
pub struct CompletionsArgs {
    /// Shell that will load the script
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// Switches of `handsfree man`.
#[derive(Args, Clone, Debug)]
pub struct ManArgs {
    /// Folder to write one page for the command and one for each subcommand to
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}
