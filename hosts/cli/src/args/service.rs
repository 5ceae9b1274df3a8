//! Switches of `serve` and of its clients `mic`, `speak` and `ctl`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::DeviceArgs;
use crate::decode::RawCodingName;
use crate::pcm::endpoint::Endpoint;
use crate::serve::protocol::ControlRequest;
use crate::serve::socket::parse_mode;

/// Help text behind the switches of `serve`.
pub(super) const SERVE_HELP: &str = "\
Opens the devices once and lets other programs share them: 'handsfree mic' records the cleaned
microphone, 'handsfree speak' plays on a track of its own, 'handsfree ctl' shows status and events.
docs/serve.md describes the protocol for other clients. The first of these sockets is used:
--socket, the variable HANDSFREE_SOCKET, $XDG_RUNTIME_DIR/handsfree.socket, /run/handsfree/socket.
A socket that systemd opened (LISTEN_FDS) is used instead of all of them. Who may write to the
socket's file (--mode, --group) may listen and speak.

Examples:
  handsfree serve                                    real devices; without any, the simulated room
  handsfree serve --virtual --input usb-mic --output usb-speaker
                                                     ids from 'handsfree devices'
  handsfree serve --io alsa --input hw:CARD=Mic,DEV=0 --output hw:CARD=Speaker,DEV=0 --group audio

Exit codes: 0 interrupted, 1 a device or the socket failed, 2 the command line is invalid.";

/// Help text behind the switches of `mic`.
pub(super) const MIC_HELP: &str = "\
Records from a running 'handsfree serve', as arecord does from a device. What the program that
reads stdout misses is dropped and counted on stderr at the end.

Examples:
  handsfree mic -r 16000 -t raw | speech_to_text
  handsfree mic -d 5 clean.wav

Exit codes: 0 success or interrupted, 1 the service or a file failed, 2 the command line is invalid.";

/// Help text behind the switches of `speak`.
pub(super) const SPEAK_HELP: &str = "\
Plays files or stdin on a running 'handsfree serve', as aplay does on a device, and ends when the
last sample was heard. Ctrl-C or SIGTERM fades out and prints how much was heard.

Examples:
  text_to_speech | handsfree speak -r 22050 -t raw
  handsfree speak hello.wav music.flac
  handsfree speak --duck-db -15 music.mp3            a background under other speakers

Exit codes: 0 everything was heard, 1 the service or a file failed, 2 the command line is invalid,
130 interrupted.";

/// Help text behind the switches of `ctl`.
pub(super) const CTL_HELP: &str = "\
Prints JSON objects, one per line. 'clients' lists the numbers that other requests take.

Examples:
  handsfree ctl status
  handsfree ctl events
  handsfree ctl interrupt 7

Exit codes: 0 success, 1 the service failed or refused, 2 the command line is invalid.";

/// Switches of `handsfree serve`.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Switches of the devices and of the processing.
    #[command(flatten)]
    pub devices: DeviceArgs,
    /// Socket to listen on
    #[arg(long, value_name = "PATH", help_heading = "Service")]
    pub socket: Option<PathBuf>,
    /// Mode of the socket's file, in octal: who may write to it may connect
    #[arg(long, value_name = "MODE", default_value = "660", value_parser = parse_mode, help_heading = "Service")]
    pub mode: u32,
    /// Group of the socket's file, by name or number [default: that of the process]
    #[arg(long, value_name = "GROUP", help_heading = "Service")]
    pub group: Option<String>,
    /// Largest number of clients that are connected at the same time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000), help_heading = "Service")]
    pub max_clients: u32,
    /// Adds a microphone and a loudspeaker to PulseAudio or PipeWire, which any application can choose
    #[cfg(target_os = "linux")]
    #[arg(long = "virtual", help_heading = "Service")]
    pub virtual_devices: bool,
    /// Makes the virtual devices the defaults; needs --input and --output where the service uses the sound server itself
    #[cfg(target_os = "linux")]
    #[arg(long, requires = "virtual_devices", help_heading = "Service")]
    pub virtual_default: bool,
    /// Prints the events as JSON objects on stdout, one per line
    #[arg(long, help_heading = "Service")]
    pub json: bool,
}

/// Value of `--type` of `mic`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RecordedType {
    /// WAV file
    #[default]
    Wav,
    /// Samples alone
    Raw,
}

/// Value of `--type` of `speak`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SpokenType {
    /// File with a header, detected from its content
    #[default]
    Auto,
    /// WAV file
    Wav,
    /// Samples alone, in the format of the switches
    Raw,
}

/// Value of `--format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "verbatim")]
pub enum PlainFormat {
    /// 16-bit little-endian samples
    #[default]
    #[allow(non_camel_case_types, reason = "the name that ALSA's programs use")]
    S16_LE,
}

/// Switches of `handsfree mic`.
#[derive(Args, Clone, Debug)]
pub struct MicArgs {
    /// Sample rate, in hertz, 8000 to 48000
    #[arg(short, long, value_name = "HZ", default_value_t = 16_000)]
    pub rate: u32,
    /// Number of channels, 1 or 2, with the same samples in each
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    pub channels: u32,
    /// Sample format
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    pub format: PlainFormat,
    /// File type
    #[arg(short = 't', long = "type", value_enum, value_name = "TYPE", default_value_t)]
    pub file_type: RecordedType,
    /// Ends after S seconds
    #[arg(short, long, value_name = "S")]
    pub duration: Option<f64>,
    /// Length of this client's queue in the service, in ms
    #[arg(long, value_name = "MS", default_value_t = 500)]
    pub queue_ms: u32,
    /// Prints no message about lost samples
    #[arg(short, long)]
    pub quiet: bool,
    /// Name of this client in lists and events
    #[arg(long, value_name = "NAME", default_value = "handsfree mic")]
    pub name: String,
    /// Socket of the service
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// File, FIFO or descriptor (fd:N) to write to
    #[arg(value_name = "FILE", default_value = "-")]
    pub file: Endpoint,
}

/// Switches of `handsfree speak`.
#[derive(Args, Clone, Debug)]
pub struct SpeakArgs {
    /// Sample rate of raw samples, in hertz, 4000 to 192000
    #[arg(short, long, value_name = "HZ", default_value_t = 16_000)]
    pub rate: u32,
    /// Number of channels of raw samples, 1 to 8
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    pub channels: u32,
    /// Coding of raw samples
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    pub format: RawCodingName,
    /// File type
    #[arg(short = 't', long = "type", value_enum, value_name = "TYPE", default_value_t)]
    pub file_type: SpokenType,
    /// Gain, in dB
    #[arg(long, value_name = "DB", default_value_t = 0.0, allow_negative_numbers = true)]
    pub gain_db: f32,
    /// Priority: while a speaker of a higher one sounds, this one pauses
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub priority: i32,
    /// Makes this a background, which fades by DB (negative) while others sound, instead of pausing
    #[arg(long, value_name = "DB", allow_negative_numbers = true)]
    pub duck_db: Option<f32>,
    /// Prints JSON objects on stdout: "played" or "interrupted", with the position heard
    #[arg(long)]
    pub json: bool,
    /// Accepted for compatibility with aplay
    #[arg(short, long, hide = true)]
    pub quiet: bool,
    /// Name of this client in lists and events
    #[arg(long, value_name = "NAME", default_value = "handsfree speak")]
    pub name: String,
    /// Socket of the service
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Files, FIFOs or descriptors (fd:N) to play, one after the other
    #[arg(value_name = "FILE", default_value = "-")]
    pub files: Vec<Endpoint>,
}

/// Switches of `handsfree ctl`.
#[derive(Args, Clone, Debug)]
pub struct CtlArgs {
    /// Socket of the service
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Chosen request.
    #[command(subcommand)]
    pub request: ControlRequest,
}
