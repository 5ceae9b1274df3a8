//! Control side: the status of a running service.

use std::sync::atomic::Ordering;

use handsfree_core::audio_io::Direction;
use handsfree_host::clock;
use serde::Serialize;

use super::service::{ServiceState, lock};
use crate::status::{FlowState, Status, StatusSources};

/// Status of a service at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ServiceStatus {
    host: &'static str,
    rate_hz: u32,
    muted: bool,
    clients: usize,
    refused_clients: u64,
    #[serde(flatten)]
    terminal: Status,
}

impl ServiceStatus {
    pub(crate) fn of(state: &ServiceState) -> Self {
        let clients = state.clients();
        let stats = state.devices.stats();
        let sources = StatusSources {
            meters: state.devices.meters(),
            stats: &stats,
            dropped_frames: state.devices.dropped_frames(),
        };
        let flow = |direction: Direction| {
            let is_open = match direction {
                Direction::Capture => state.has_microphone,
                Direction::Playback => lock(&state.player).is_some(),
            };
            match (is_open, state.lost[direction as usize].load(Ordering::Relaxed)) {
                (false, _) => FlowState::Closed,
                (true, true) => FlowState::Waiting,
                (true, false) => FlowState::Running,
            }
        };
        let now = clock::now();
        let playing = clients.iter().filter(|client| client.is_playing()).count();
        let mut terminal = lock(&state.observer).observe(&sources, flow, playing, now);
        terminal.at_s = state.at_s();
        Self {
            host: state.host_name,
            rate_hz: state.rate_hz,
            muted: state.is_muted.load(Ordering::Relaxed),
            clients: clients.len(),
            refused_clients: state.refused_clients.load(Ordering::Relaxed),
            terminal,
        }
    }
}
