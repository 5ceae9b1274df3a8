//! Any side: hands events to the clients that asked for them.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

/// Largest number of events that wait for one client. A client that is slower misses events and receives their number.
const MAX_WAITING: usize = 256;

/// Event of the service. Times are seconds since the service started.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum ServiceEvent {
    /// A client was accepted.
    ClientOpened {
        /// Number of the client.
        id: u64,
        /// "mic", "speak" or "control".
        kind: &'static str,
        /// Name that the client gave.
        name: String,
    },
    /// A client's connection has ended.
    ClientClosed {
        /// Number of the client.
        id: u64,
        /// Reason, as a sentence.
        reason: String,
    },
    /// A speaking client's utterance was heard to its end.
    Played {
        /// Number of the client.
        id: u64,
        /// Sample frames of the client that have left the loudspeaker.
        position: u64,
    },
    /// A speaking client was interrupted.
    Interrupted {
        /// Number of the client.
        id: u64,
        /// Sample frames of the client that have left the loudspeaker.
        position: u64,
    },
    /// A device was unplugged or failed.
    DeviceLost {
        /// Direction: "capture" or "playback".
        direction: &'static str,
    },
    /// A lost device is running again.
    DeviceReturned {
        /// Direction: "capture" or "playback".
        direction: &'static str,
        /// Sample rate of the device, in hertz.
        rate_hz: u32,
    },
    /// Recorded samples were lost, or silence was played because samples came too late.
    Xrun {
        /// Number of xruns since the last event.
        count: u32,
    },
    /// A message for people.
    Note {
        /// Text of the message.
        message: String,
    },
    /// This client was too slow for its events.
    EventsLost {
        /// Number of events that it missed.
        count: u64,
    },
}

/// Event with its time.
#[derive(Debug, Serialize)]
struct TimedEvent<'e> {
    #[serde(rename = "type")]
    kind: &'static str,
    at_s: f64,
    #[serde(flatten)]
    event: &'e ServiceEvent,
}

/// Returns the event as one line of JSON, with its end.
pub(crate) fn event_line(event: &ServiceEvent, at_s: f64) -> String {
    let mut line = serde_json::to_string(&TimedEvent { kind: "event", at_s, event })
        .unwrap_or_else(|error| format!("{{\"type\":\"event\",\"event\":\"note\",\"message\":\"{error}\"}}"));
    line.push('\n');
    line
}

#[derive(Debug)]
struct EventPort {
    lines: SyncSender<Arc<str>>,
    missed: u64,
}

/// Distributor of events. Publishing never waits.
#[derive(Debug, Default)]
pub(crate) struct EventHub {
    ports: Mutex<Vec<EventPort>>,
}

impl EventHub {
    /// Gives an event to every client that asked for events.
    pub(crate) fn publish(&self, event: &ServiceEvent, at_s: f64) {
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        if ports.is_empty() {
            return;
        }
        let line: Arc<str> = event_line(event, at_s).into();
        ports.retain_mut(|port| {
            if port.missed > 0 {
                let lost = event_line(&ServiceEvent::EventsLost { count: port.missed }, at_s);
                match port.lines.try_send(lost.into()) {
                    Ok(()) => port.missed = 0,
                    Err(TrySendError::Full(_)) => {
                        port.missed += 1;
                        return true;
                    }
                    Err(TrySendError::Disconnected(_)) => return false,
                }
            }
            match port.lines.try_send(Arc::clone(&line)) {
                Ok(()) => true,
                Err(TrySendError::Full(_)) => {
                    port.missed += 1;
                    true
                }
                Err(TrySendError::Disconnected(_)) => false,
            }
        });
    }

    /// Adds a client. The receiver gives lines of JSON with their ends.
    pub(crate) fn subscribe(&self) -> Receiver<Arc<str>> {
        let (lines, receiver) = sync_channel(MAX_WAITING);
        self.ports.lock().unwrap_or_else(PoisonError::into_inner).push(EventPort { lines, missed: 0 });
        receiver
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_client_is_told_how_many_events_it_missed() {
        let hub = EventHub::default();
        let events = hub.subscribe();
        let note = |number: usize| ServiceEvent::Note { message: number.to_string() };
        (0..MAX_WAITING + 10).for_each(|number| hub.publish(&note(number), 1.5));
        assert_eq!(events.try_iter().count(), MAX_WAITING);
        hub.publish(&note(7), 2.0);
        let lines: Vec<_> = events.try_iter().collect();
        assert_eq!(&*lines[0], "{\"type\":\"event\",\"at_s\":2.0,\"event\":\"events_lost\",\"count\":10}\n");
        assert_eq!(&*lines[1], "{\"type\":\"event\",\"at_s\":2.0,\"event\":\"note\",\"message\":\"7\"}\n");
        drop(events);
        hub.publish(&note(8), 3.0);
        assert!(hub.ports.lock().unwrap().is_empty());
    }
}
