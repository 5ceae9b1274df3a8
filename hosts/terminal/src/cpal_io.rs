//! Control side: the desktop's audio system as a host, by cpal, and what the command line says about it.

use clap::Args;
use handsfree_core::audio_io::Direction;
use handsfree_cpal::CpalConfig;
use handsfree_host::worker::Work;

use crate::failure::Failure;
use crate::io::{AnyIo, OpenHost};
use crate::terminal::{CAP, SLOTS};

/// Switches of `--io cpal`.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Desktop audio (--io cpal)")]
pub struct CpalArgs {
    /// Which audio system, such as pulseaudio, alsa, coreaudio or wasapi [default: the first that answers]
    #[arg(long, value_name = "SYSTEM")]
    pub audio_system: Option<String>,
}

impl CpalArgs {
    fn config(self) -> CpalConfig {
        CpalConfig { host: self.audio_system, ..CpalConfig::default() }
    }
}

/// Whether a sound server answers that has a microphone and a loudspeaker.
pub(crate) fn has_devices() -> bool {
    let Some(host) = handsfree_cpal::server() else { return false };
    let config = CpalConfig { host: Some(host), priority: None, ..CpalConfig::default() };
    let Ok(io) = handsfree_cpal::open::<CAP, SLOTS>(config, Box::new(|| {})) else { return false };
    let Ok(devices) = io.list() else { return false };
    [Direction::Capture, Direction::Playback]
        .into_iter()
        .all(|direction| devices.iter().any(|device| device.direction == direction && device.is_default))
}

/// Starts the worker, which does the work.
pub(crate) fn open(args: CpalArgs, work: Work) -> Result<OpenHost, Failure> {
    let io = handsfree_cpal::open::<CAP, SLOTS>(args.config(), work)
        .map_err(|error| Failure::run(format!("desktop audio: {error}")))?;
    Ok(OpenHost { io: AnyIo::new(io), sim: None })
}
