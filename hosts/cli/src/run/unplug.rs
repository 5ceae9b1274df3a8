//! Control side: the times at which the simulated loudspeaker is unplugged and plugged in again.

use handsfree::host::HostConfig;
use handsfree::sim::SimHandle;
use handsfree_core::audio_io::Direction;

use crate::args::RunArgs;

/// Schedule of `--unplug` for the simulated loudspeaker.
pub(super) struct UnplugSchedule {
    handle: SimHandle,
    device: handsfree_sim::device::DeviceConfig,
    /// Times in seconds, each with whether the device is plugged in from then on; the earliest is last.
    changes: Vec<(f64, bool)>,
}

impl UnplugSchedule {
    pub(super) fn new(handle: SimHandle, args: &RunArgs, config: &HostConfig) -> Self {
        let mut changes: Vec<(f64, bool)> = args
            .devices
            .sim
            .unplug
            .iter()
            .flat_map(|unplug| [(unplug.at_s, false), (unplug.at_s + unplug.seconds, true)])
            .collect();
        changes.sort_by(|a, b| b.0.total_cmp(&a.0));
        Self { handle, device: config.sim.board(config.rate, config.period_sample_frames).playback, changes }
    }

    /// Applies all changes that are due at `at_s`.
    pub(super) fn apply_until(&mut self, at_s: f64) {
        while let Some((_, plugged_in)) = self.changes.pop_if(|(change_at_s, _)| *change_at_s <= at_s) {
            // An error means that the simulation has ended, which the streams report themselves.
            _ = match plugged_in {
                true => self.handle.plug_in(Direction::Playback, self.device.clone()),
                false => self.handle.unplug(Direction::Playback),
            };
        }
    }
}
