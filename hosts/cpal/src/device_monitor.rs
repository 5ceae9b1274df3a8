//! Control side: the device monitor, a thread that polls the audio system for devices that return and for a
//! changed default device, because cpal reports neither.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::time::{Duration as Span, Instant as Moment};

use cpal::Host;
use cpal::traits::HostTrait;
use handsfree_core::audio_io::Direction;
use handsfree_host::request::{BOTH_DIRECTIONS, index};

use crate::audio_system::AudioSystem;
use crate::devices::{self, CpalDevice};
use crate::error::CpalError;
use crate::pulse;
use crate::stream_thread::REPLY_TIMEOUT;

/// Polling interval while a lost device is awaited: short, because the user hears nothing until it is found.
const AWAIT_INTERVAL: Span = Span::from_millis(250);
/// Polling interval for the default device where the query is a single request to a server.
const QUERY_INTERVAL: Span = Span::from_millis(250);
/// Polling interval for the default device where the query enumerates all devices, which costs more.
const ENUMERATION_INTERVAL: Span = Span::from_millis(1_000);

enum MonitorCommand {
    List(SyncSender<Result<Vec<CpalDevice>, CpalError>>),
    /// Reports when the awaited device is present, or stops waiting for one.
    Await(Direction, Option<AwaitedDevice>),
}

/// A lost device that the monitor waits for.
#[derive(Debug)]
struct AwaitedDevice {
    /// Name of the device; `None` for any default device.
    name: Option<String>,
}

/// A change that the device monitor observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MonitorEvent {
    /// The device that was awaited is present.
    Returned(Direction),
    /// Another device is the default device of the direction.
    DefaultChanged {
        direction: Direction,
        /// Stable name of the new default device.
        device: String,
        /// Whether the audio system reports this process's streams of the direction on the new device.
        has_streams: bool,
    },
}

/// Control's handle of the device monitor. The monitor's thread exits after this is dropped.
#[derive(Debug)]
pub(crate) struct DeviceMonitor {
    commands: Sender<MonitorCommand>,
    events: Receiver<MonitorEvent>,
}

impl DeviceMonitor {
    pub(crate) fn spawn(system: AudioSystem) -> Result<Self, CpalError> {
        let (commands, received) = mpsc::channel();
        let (event_sender, events) = mpsc::channel();
        std::thread::Builder::new()
            .name("cpal monitor".to_owned())
            .spawn(move || {
                let mut state =
                    MonitorState { system, host: None, defaults: [None, None], awaited: [None, None] };
                state.run(&received, &event_sender);
            })
            .map_err(|error| CpalError::Backend {
                doing: "starting a thread".to_owned(),
                message: error.to_string(),
            })?;
        Ok(Self { commands, events })
    }

    /// Lists all devices. Waits at most [`REPLY_TIMEOUT`] for the audio system.
    pub(crate) fn list(&self) -> Result<Vec<CpalDevice>, CpalError> {
        let no_answer = || CpalError::NoAnswer {
            doing: "listing devices".to_owned(),
            waited_ms: REPLY_TIMEOUT.as_millis() as u32,
        };
        let (reply, answer) = mpsc::sync_channel(1);
        self.commands.send(MonitorCommand::List(reply)).map_err(|_| no_answer())?;
        answer.recv_timeout(REPLY_TIMEOUT).map_err(|_| no_answer())?
    }

    /// Makes the monitor report once when the device, or any default device for `None`, is present again.
    pub(crate) fn await_device(&self, direction: Direction, name: Option<String>) {
        // If the monitor's thread is gone, the supervisor still retries at its own intervals.
        _ = self.commands.send(MonitorCommand::Await(direction, Some(AwaitedDevice { name })));
    }

    /// Stops waiting for a device of the direction.
    pub(crate) fn stop_awaiting(&self, direction: Direction) {
        _ = self.commands.send(MonitorCommand::Await(direction, None));
    }

    /// Returns the oldest pending event. Does not wait.
    pub(crate) fn try_event(&self) -> Option<MonitorEvent> {
        self.events.try_recv().ok()
    }
}

/// State that the device monitor's thread owns.
struct MonitorState {
    system: AudioSystem,
    host: Option<Host>,
    /// Stable names of the default devices, indexed by direction.
    defaults: [Option<String>; 2],
    /// Devices to wait for, indexed by direction.
    awaited: [Option<AwaitedDevice>; 2],
}

impl MonitorState {
    /// Polls and executes commands until control drops its handle. Polls before the first command, so that
    /// changes after that command are noticed, and continues to poll at its interval however many commands
    /// arrive.
    fn run(&mut self, commands: &Receiver<MonitorCommand>, events: &Sender<MonitorEvent>) {
        let mut next_poll = Moment::now();
        loop {
            let left = next_poll.saturating_duration_since(Moment::now());
            if left.is_zero() {
                self.poll(events);
                // The interval counts from the end of the poll, so commands are executed between two slow polls.
                next_poll = Moment::now() + self.interval();
                continue;
            }
            match commands.recv_timeout(left) {
                Ok(MonitorCommand::List(reply)) => _ = reply.send(self.list()),
                Ok(MonitorCommand::Await(direction, awaited)) => {
                    if awaited.is_some() {
                        // Not at once: the system may still list a device for a while after its loss.
                        next_poll = Moment::now() + AWAIT_INTERVAL;
                    }
                    self.awaited[index(direction)] = awaited;
                }
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Returns the time between the end of one poll and the begin of the next.
    fn interval(&self) -> Span {
        let awaits = self.awaited.iter().any(Option::is_some);
        match (awaits, self.system.has_default_query()) {
            (true, _) => AWAIT_INTERVAL,
            (false, true) => QUERY_INTERVAL,
            (false, false) => ENUMERATION_INTERVAL,
        }
    }

    /// Returns the existing connection if `is_usable`, or else a new one. A connection to a running server is
    /// never replaced, because cpal's PulseAudio host cannot close a connection.
    fn host(&mut self, is_usable: impl FnOnce(&Host) -> bool) -> Result<&Host, CpalError> {
        let kept = self.host.take().filter(|host| !self.system.is_snapshot() && is_usable(host));
        let host = match kept {
            Some(host) => host,
            None => self.system.connect()?,
        };
        Ok(self.host.insert(host))
    }

    fn list(&mut self) -> Result<Vec<CpalDevice>, CpalError> {
        let doing = format!("listing the devices of {}", self.system.name);
        let host = self.host(|host| host.devices().is_ok())?;
        devices::list(host).map_err(|error| CpalError::of_host(&doing, &error))
    }

    fn poll(&mut self, events: &Sender<MonitorEvent>) {
        let mut awaited = std::mem::take(&mut self.awaited);
        let mut defaults = std::mem::take(&mut self.defaults);
        // Enumerating all devices is expensive on some systems, so it is done only when there is no default
        // device.
        let has_default = |host: &Host| {
            BOTH_DIRECTIONS.iter().any(|&direction| devices::default(host, direction).is_some())
        };
        let moves_streams = self.system.moves_streams();
        if let Ok(host) = self.host(|host| has_default(host) || host.devices().is_ok()) {
            for direction in BOTH_DIRECTIONS {
                let known = &mut defaults[index(direction)];
                // A missing default device is not reported here: the loss of the device reports it.
                if let Some(default) = devices::default(host, direction)
                    && let Some(device) = devices::id(&default)
                    && known.as_ref() != Some(&device)
                    && known.replace(device.clone()).is_some()
                {
                    let has_streams = moves_streams && pulse::has_streams(direction, &default);
                    _ = events.send(MonitorEvent::DefaultChanged { direction, device, has_streams });
                }
                let awaited = &mut awaited[index(direction)];
                let is_present = |awaited: &AwaitedDevice| {
                    devices::find(host, direction, awaited.name.as_deref())
                        .is_ok_and(|device| device.is_some())
                };
                if awaited.as_ref().is_some_and(is_present) {
                    *awaited = None;
                    _ = events.send(MonitorEvent::Returned(direction));
                }
            }
        }
        self.awaited = awaited;
        self.defaults = defaults;
    }
}
