//! Control side: Linux sound cards without a sound server as a host.

use handsfree_core::audio_io::Direction;
use handsfree_host::worker::Work;

use super::{AnyIo, ChosenHost, HostConfig, OpenHost};
use crate::failure::Failure;

pub(super) fn host() -> ChosenHost {
    ChosenHost::of_devices("alsa", open)
}

/// Returns whether there is a microphone and a loudspeaker.
pub(super) fn has_devices() -> bool {
    let Ok(devices) = handsfree_alsa::devices() else { return false };
    [Direction::Capture, Direction::Playback]
        .into_iter()
        .all(|direction| devices.iter().any(|device| device.direction == direction))
}

/// Starts the real-time thread that serves the devices and then calls the work.
fn open(config: &HostConfig, work: Work) -> Result<OpenHost, Failure> {
    let failed = |error: &dyn std::error::Error| Failure::run(format!("ALSA: {error}"));
    let (io, board) = handsfree_alsa::open(config.alsa).map_err(|error| failed(&error))?;
    board.spawn(work).map_err(|error| failed(&error))?;
    Ok(OpenHost::of_devices(AnyIo::new(io)))
}
