//! Application side: clients of `handsfree serve`.

pub mod ctl;
pub mod mic;
pub mod speak;

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use handsfree::failure::Failure;
use serde::Serialize;
use serde_json::Value;

use crate::serve::protocol::{MessageReader, PROTOCOL, ProtocolError, Received, Reply, write_message};
use crate::serve::socket::client_path;

/// Time within which the service must accept a connection.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Open connection to a service.
#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    reader: MessageReader,
    /// Sample frames that may be sent at once; 0 unless the client speaks.
    limit: u64,
}

/// Message of the service.
enum Answer {
    Reply(Reply, Vec<u8>),
    /// A message that is no [`Reply`], such as an event.
    Other(Value),
    Nothing,
    End,
}

impl Connection {
    /// Connects and sends the first message.
    fn open(socket: Option<&Path>, hello: &impl Serialize) -> Result<Self, Failure> {
        let path = client_path(socket);
        let stream = UnixStream::connect(&path).map_err(|error| {
            Failure::run(format!("{}: {error}: expected a running 'handsfree serve'", path.display()))
        })?;
        let reading = stream.try_clone().map_err(|error| Failure::run(error.to_string()))?;
        let mut connection = Self { stream, reader: MessageReader::of_service(reading), limit: 0 };
        connection.send(hello, &[])?;
        let begun = Instant::now();
        while begun.elapsed() < OPEN_TIMEOUT {
            match connection.receive(Duration::from_millis(100))? {
                Answer::Reply(Reply::Opened { protocol: PROTOCOL, limit, .. }, _) => {
                    connection.limit = limit.unwrap_or(0);
                    return Ok(connection);
                }
                Answer::Reply(Reply::Opened { protocol, .. }, _) => {
                    return Err(Failure::run(format!(
                        "the service speaks version {protocol} of the protocol: expected {PROTOCOL}"
                    )));
                }
                Answer::Reply(Reply::Error { message, .. }, _) => return Err(Failure::run(message)),
                Answer::End => break,
                Answer::Reply(..) | Answer::Other(_) | Answer::Nothing => {}
            }
        }
        Err(Failure::run("the service does not answer"))
    }

    fn send(&mut self, message: &impl Serialize, payload: &[u8]) -> Result<(), Failure> {
        match write_message(&mut self.stream, message, payload) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.refusal().unwrap_or_else(|| {
                Failure::run(format!("the connection to the service has ended: {error}"))
            })),
        }
    }

    /// Returns the reason that the service sent before it closed the connection, if it did.
    fn refusal(&mut self) -> Option<Failure> {
        while let Ok(answer @ (Answer::Reply(..) | Answer::Other(_))) = self.receive(Duration::from_millis(1))
        {
            if let Answer::Reply(Reply::Error { message, .. }, _) = answer {
                return Some(Failure::run(message));
            }
        }
        None
    }

    fn receive(&mut self, timeout: Duration) -> Result<Answer, Failure> {
        let failed = |error: ProtocolError| Failure::run(format!("the service: {}", error.message));
        Ok(match self.reader.poll(timeout).map_err(failed)? {
            Received::Message(message, payload) => match serde_json::from_value(message.clone()) {
                Ok(reply) => Answer::Reply(reply, payload),
                Err(_) => Answer::Other(message),
            },
            Received::Nothing => Answer::Nothing,
            Received::End => Answer::End,
        })
    }
}

fn service_ended() -> Failure {
    Failure::run("the service has ended")
}
