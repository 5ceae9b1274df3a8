//! Any side: what the connections of a service share.

use std::collections::{BTreeMap, VecDeque};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use handsfree::{MediaDevices, OutputPlayer};
use handsfree_core::audio_io::Direction;
use handsfree_host::clock;
use serde::Serialize;

use super::event_hub::{EventHub, ServiceEvent};
use crate::pcm::rate_hubs::RateHubs;
use crate::status::StatusObserver;

/// Longest name of a client, in bytes; a longer one is cut.
const MAX_NAME: usize = 64;

/// Request to a speaking client from another connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum SpeakerCommand {
    Interrupt,
    Pause,
    Resume,
    Gain(f32),
}

/// What other connections know of a speaking client.
#[derive(Debug)]
pub(crate) struct SpeakerState {
    pub(crate) priority: i32,
    /// Whether the track is a background, which neither pauses others nor is paused.
    pub(crate) is_background: bool,
    /// Whether the track has something to play and is not paused by its client.
    pub(crate) is_active: AtomicBool,
    pub(crate) commands: Mutex<VecDeque<SpeakerCommand>>,
}

/// Kind of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ClientKind {
    Mic,
    Speak,
    Control,
}

impl ClientKind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Mic => "mic",
            Self::Speak => "speak",
            Self::Control => "control",
        }
    }
}

/// Counters of a client, which its own thread writes.
#[derive(Debug, Default)]
pub(crate) struct ClientCounters {
    /// Sample frames of the client that were delivered to it, or have left the loudspeaker.
    pub(crate) position: AtomicU64,
    /// Sample frames, at the terminal's rate, that the client missed.
    pub(crate) dropped: Arc<AtomicU64>,
    /// Time since which the client has not read, in ms since the service started; 0 while it reads.
    pub(crate) unread_since_ms: AtomicU64,
}

/// Entry of a client in the list.
#[derive(Debug)]
struct ClientEntry {
    kind: ClientKind,
    name: String,
    rate_hz: u32,
    channels: u32,
    opened_at: Instant,
    counters: Arc<ClientCounters>,
    speaker: Option<Arc<SpeakerState>>,
    /// The connection, for closing it from elsewhere.
    stream: UnixStream,
}

/// Description of a client for lists.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ClientInfo {
    id: u64,
    kind: ClientKind,
    name: String,
    rate_hz: u32,
    channels: u32,
    connected_s: f64,
    position: u64,
    dropped_sample_frames: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    active: Option<bool>,
}

impl ClientInfo {
    /// Returns whether the client's track has something to play.
    pub(crate) fn is_playing(&self) -> bool {
        self.active == Some(true)
    }
}

/// State that all connections share.
pub(crate) struct ServiceState {
    pub(crate) devices: MediaDevices,
    /// Player of all tracks; `None` without a loudspeaker.
    pub(crate) player: Mutex<Option<OutputPlayer>>,
    pub(crate) hub: RateHubs,
    pub(crate) events: EventHub,
    pub(crate) host_name: &'static str,
    pub(crate) rate_hz: u32,
    pub(crate) max_clients: usize,
    pub(crate) has_microphone: bool,
    /// Whether the service ends: connections end too.
    pub(crate) is_ending: AtomicBool,
    /// Whether silence replaces the microphone for all clients.
    pub(crate) is_muted: AtomicBool,
    pub(crate) refused_clients: AtomicU64,
    /// Whether each direction's device is lost, indexed by direction.
    pub(crate) lost: [AtomicBool; 2],
    /// Observer of the whole service, which has the processor time since the last status.
    pub(crate) observer: Mutex<StatusObserver>,
    clients: Mutex<BTreeMap<u64, ClientEntry>>,
    next_id: AtomicU64,
    started_at: Instant,
}

/// Settings of the shared state.
pub(crate) struct ServiceParts {
    pub(crate) host_name: &'static str,
    pub(crate) devices: MediaDevices,
    pub(crate) player: Option<OutputPlayer>,
    pub(crate) rate_hz: u32,
    pub(crate) max_clients: usize,
    pub(crate) has_microphone: bool,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Properties of a client that asks to be accepted.
pub(crate) struct NewClient {
    pub(crate) kind: ClientKind,
    pub(crate) name: String,
    pub(crate) rate_hz: u32,
    pub(crate) channels: u32,
    pub(crate) counters: Arc<ClientCounters>,
    pub(crate) speaker: Option<Arc<SpeakerState>>,
}

impl ServiceState {
    pub(crate) fn new(parts: ServiceParts) -> Self {
        Self {
            devices: parts.devices,
            player: Mutex::new(parts.player),
            hub: RateHubs::new(parts.rate_hz),
            events: EventHub::default(),
            host_name: parts.host_name,
            rate_hz: parts.rate_hz,
            max_clients: parts.max_clients,
            has_microphone: parts.has_microphone,
            is_ending: AtomicBool::new(false),
            is_muted: AtomicBool::new(false),
            refused_clients: AtomicU64::new(0),
            lost: [AtomicBool::new(false), AtomicBool::new(false)],
            observer: Mutex::new(StatusObserver::new(clock::now())),
            clients: Mutex::default(),
            next_id: AtomicU64::new(1),
            started_at: Instant::now(),
        }
    }

    /// Returns whether any device runs.
    pub(crate) fn is_any_device_running(&self) -> bool {
        let has_loudspeaker = lock(&self.player).is_some();
        let opened = [(Direction::Capture, self.has_microphone), (Direction::Playback, has_loudspeaker)];
        let is_lost = |direction: Direction| self.lost[direction as usize].load(Ordering::Relaxed);
        opened.into_iter().any(|(direction, is_open)| is_open && !is_lost(direction))
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Relaxed)
    }

    /// Returns the time since the service started, in seconds.
    pub(crate) fn at_s(&self) -> f64 {
        (self.started_at.elapsed().as_secs_f64() * 1e3).round() / 1e3
    }

    pub(crate) fn publish(&self, event: &ServiceEvent) {
        self.events.publish(event, self.at_s());
    }

    /// Lists a client, and returns its number.
    pub(crate) fn add_client(&self, client: NewClient, stream: UnixStream) -> u64 {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let NewClient { kind, mut name, rate_hz, channels, counters, speaker } = client;
        name.truncate(name.floor_char_boundary(MAX_NAME));
        self.publish(&ServiceEvent::ClientOpened { id, kind: kind.name(), name: name.clone() });
        let entry = ClientEntry {
            kind,
            name,
            rate_hz,
            channels,
            opened_at: Instant::now(),
            counters,
            speaker,
            stream,
        };
        lock(&self.clients).insert(id, entry);
        id
    }

    pub(crate) fn remove_client(&self, id: u64, reason: &str) {
        if lock(&self.clients).remove(&id).is_some() {
            self.publish(&ServiceEvent::ClientClosed { id, reason: reason.to_owned() });
        }
    }

    /// Returns a description of each client.
    pub(crate) fn clients(&self) -> Vec<ClientInfo> {
        lock(&self.clients)
            .iter()
            .map(|(&id, entry)| ClientInfo {
                id,
                kind: entry.kind,
                name: entry.name.clone(),
                rate_hz: entry.rate_hz,
                channels: entry.channels,
                connected_s: (entry.opened_at.elapsed().as_secs_f64() * 1e3).round() / 1e3,
                position: entry.counters.position.load(Ordering::Relaxed),
                dropped_sample_frames: entry.counters.dropped.load(Ordering::Relaxed),
                priority: entry.speaker.as_ref().map(|speaker| speaker.priority),
                active: entry.speaker.as_ref().map(|speaker| speaker.is_active.load(Ordering::Relaxed)),
            })
            .collect()
    }

    /// Gives a command to a speaking client. Returns false if no speaking client has this number.
    pub(crate) fn command(&self, id: u64, command: SpeakerCommand) -> bool {
        let clients = lock(&self.clients);
        let Some(speaker) = clients.get(&id).and_then(|entry| entry.speaker.as_ref()) else { return false };
        lock(&speaker.commands).push_back(command);
        true
    }

    /// Closes a client's connection. Returns false if no client has this number.
    pub(crate) fn close_client(&self, id: u64) -> bool {
        // The connection's own thread notices, and removes the client.
        lock(&self.clients).get(&id).is_some_and(|entry| entry.stream.shutdown(Shutdown::Both).is_ok())
    }

    /// Returns the time since the service started, in ms, at least 1.
    pub(crate) fn at_ms(&self) -> u64 {
        u64::try_from(self.started_at.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    /// Closes the client that has not read for the longest, and at least for this time. Returns false if there is none.
    pub(crate) fn close_stopped_client(&self, least: Duration) -> bool {
        let now_ms = self.at_ms();
        let clients = lock(&self.clients);
        let unread_ms = |entry: &ClientEntry| match entry.counters.unread_since_ms.load(Ordering::Relaxed) {
            0 => 0,
            since_ms => now_ms.saturating_sub(since_ms),
        };
        clients
            .values()
            .max_by_key(|entry| unread_ms(entry))
            .filter(|entry| u128::from(unread_ms(entry)) >= least.as_millis())
            .is_some_and(|entry| entry.stream.shutdown(Shutdown::Both).is_ok())
    }

    /// Closes all connections.
    pub(crate) fn close_all(&self) {
        for entry in lock(&self.clients).values() {
            // A connection that has ended already needs no closing.
            _ = entry.stream.shutdown(Shutdown::Both);
        }
    }

    /// Returns whether a track of a higher priority sounds.
    pub(crate) fn is_outranked(&self, state: &SpeakerState) -> bool {
        lock(&self.clients).values().filter_map(|entry| entry.speaker.as_ref()).any(|other| {
            other.priority > state.priority && !other.is_background && other.is_active.load(Ordering::Relaxed)
        })
    }
}
