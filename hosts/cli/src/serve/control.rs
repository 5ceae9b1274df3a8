//! Control side: one client that reads status and events, and controls other clients.

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::protocol::{
    ControlRequest, MessageReader, PROTOCOL, ProtocolError, Received, Reply, write_message,
};
use super::service::{ClientCounters, ClientInfo, ClientKind, NewClient, ServiceState, SpeakerCommand};
use super::speaker::GAIN_DB;
use super::status::ServiceStatus;

/// Interval at which events are handed on while the client says nothing.
const EVENT_POLL: Duration = Duration::from_millis(25);

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ControlReply {
    Status(Box<ServiceStatus>),
    Clients { clients: Vec<ClientInfo> },
}

/// Serves the client until it leaves or the service ends.
pub(crate) fn serve(
    name: String,
    stream: io::Result<UnixStream>,
    mut reader: MessageReader,
    state: &Arc<ServiceState>,
) -> Result<(), ProtocolError> {
    let failed = |error: io::Error| ProtocolError::new("failed", error.to_string());
    let mut stream = stream.map_err(failed)?;
    let closing = stream.try_clone().map_err(failed)?;
    let client = NewClient {
        kind: ClientKind::Control,
        name,
        rate_hz: 0,
        channels: 0,
        counters: Arc::new(ClientCounters::default()),
        speaker: None,
    };
    let id = state.add_client(client, closing);
    let outcome = talk(&mut stream, id, &mut reader, state);
    let reason = outcome.as_ref().map_or_else(|error| error.message.clone(), |()| "it left".to_owned());
    state.remove_client(id, &reason);
    outcome
}

fn talk(
    stream: &mut UnixStream,
    id: u64,
    reader: &mut MessageReader,
    state: &ServiceState,
) -> Result<(), ProtocolError> {
    let not_read = |_: io::Error| ProtocolError::new("not_read", "the client does not read, or it left");
    let opened = Reply::Opened { protocol: PROTOCOL, id, terminal_rate_hz: state.rate_hz, limit: None };
    write_message(stream, &opened, &[]).map_err(not_read)?;
    let mut events: Option<Receiver<Arc<str>>> = None;
    while !state.is_ending() {
        for line in events.iter().flat_map(Receiver::try_iter) {
            stream.write_all(line.as_bytes()).map_err(not_read)?;
        }
        let message = match reader.poll(EVENT_POLL)? {
            Received::Message(message, _) => message,
            Received::Nothing => continue,
            Received::End => return Ok(()),
        };
        let request: ControlRequest =
            serde_json::from_value(message).map_err(|error| ProtocolError::bad_message(&error))?;
        if request == ControlRequest::Events && events.is_none() {
            events = Some(state.events.subscribe());
        }
        write_message(stream, &answer(&request, state), &[]).map_err(not_read)?;
    }
    Ok(())
}

fn answer(request: &ControlRequest, state: &ServiceState) -> Value {
    let command = |id: u64, command| match state.command(id, command) {
        true => Reply::Done,
        false => no_client(id, "speaking client"),
    };
    let reply = match *request {
        ControlRequest::Status => return value(&ControlReply::Status(Box::new(ServiceStatus::of(state)))),
        ControlRequest::Clients => return value(&ControlReply::Clients { clients: state.clients() }),
        ControlRequest::Events => Reply::Done,
        ControlRequest::Interrupt { id } => command(id, SpeakerCommand::Interrupt),
        ControlRequest::Pause { id } => command(id, SpeakerCommand::Pause),
        ControlRequest::Resume { id } => command(id, SpeakerCommand::Resume),
        ControlRequest::Gain { gain_db, .. } if !GAIN_DB.contains(&gain_db) => {
            ProtocolError::new("bad_gain", format!("gain_db {gain_db}: expected -100 to 36")).reply()
        }
        ControlRequest::Gain { id, gain_db } => command(id, SpeakerCommand::Gain(gain_db)),
        ControlRequest::Close { id } if state.close_client(id) => Reply::Done,
        ControlRequest::Close { id } => no_client(id, "client"),
        ControlRequest::Mute | ControlRequest::Unmute => {
            state.is_muted.store(*request == ControlRequest::Mute, Ordering::Relaxed);
            Reply::Done
        }
    };
    value(&reply)
}

fn no_client(id: u64, kind: &str) -> Reply {
    let message = format!("client {id}: expected the number of a {kind}");
    Reply::Error { code: "no_such_client".into(), message }
}

fn value(reply: &impl Serialize) -> Value {
    serde_json::to_value(reply).unwrap_or_else(|error| Value::String(error.to_string()))
}
