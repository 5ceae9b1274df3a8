//! A host for the examples.

use handsfree_core::{Duration, SampleRate};
use handsfree_sim::acoustics::Wire;
use handsfree_sim::board::BoardConfig;
use handsfree_sim::side::SideConfig;

use super::{MediaDevices, MediaError, Upkeep};
use crate::sim_io::{Pace, SimClock, SimIo};

/// The simulated board at 16 kHz in real time, a wire from loudspeaker to microphone.
///
/// # Errors
/// When no thread can be started.
pub fn quiet_room() -> Result<MediaDevices<SimIo>, MediaError> {
    let rate = SampleRate::new(16_000)?;
    let clock = SimClock::shared();
    MediaDevices::new(rate, clock.clone(), Upkeep::Thread, |work| {
        let (io, _handle) = SimIo::spawn(board(rate), Box::new(Wire), work, &clock, Pace::RealTime)?;
        Ok(io)
    })
}

pub(super) fn board(rate: SampleRate) -> BoardConfig {
    let side = SideConfig::new(rate, 160);
    BoardConfig {
        capture: side.clone(),
        playback: side,
        worker_delay: Duration::from_micros(200),
        worker_spread: Duration::ZERO,
        seed: 1,
    }
}
