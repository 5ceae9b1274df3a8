//! Control side: the desktop's audio system as a host, through cpal.

use handsfree_core::audio_io::Direction;
use handsfree_cpal::CpalConfig;
use handsfree_host::worker::Work;

use super::{AnyIo, ChosenHost, HostConfig, OpenHost};
use crate::failure::Failure;
use crate::terminal::{CAP, SLOTS};

pub(super) fn host() -> ChosenHost {
    ChosenHost::of_devices("cpal", open)
}

/// Returns whether a sound server answers and has a default microphone and a default loudspeaker.
pub(super) fn has_devices() -> bool {
    let Some(host) = handsfree_cpal::server() else { return false };
    let config = CpalConfig { host: Some(host), priority: None, ..CpalConfig::default() };
    let Ok(io) = handsfree_cpal::open::<CAP, SLOTS>(config, Box::new(|| {})) else { return false };
    let Ok(devices) = io.list() else { return false };
    [Direction::Capture, Direction::Playback]
        .into_iter()
        .all(|direction| devices.iter().any(|device| device.direction == direction && device.is_default))
}

/// Starts the host and its worker thread, which calls the work.
fn open(config: &HostConfig, work: Work) -> Result<OpenHost, Failure> {
    let io = handsfree_cpal::open::<CAP, SLOTS>(config.cpal.clone(), work)
        .map_err(|error| Failure::run(format!("desktop audio: {error}")))?;
    Ok(OpenHost::of_devices(AnyIo::new(io)))
}
