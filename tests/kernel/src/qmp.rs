//! QEMU's own control protocol: JSON, one object a line.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{Failure, Result};

/// A command is answered at once, or QEMU is stuck.
const ANSWER: Duration = Duration::from_secs(20);

/// The connection, with the events that nobody asked for yet.
pub(crate) struct Qmp {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
    /// The begun line, kept when the time was up in the middle of it.
    line: Vec<u8>,
    events: VecDeque<Value>,
}

impl Qmp {
    /// Takes QEMU's greeting and enters the command mode.
    pub(crate) fn new(stream: UnixStream) -> Result<Self> {
        let lines = BufReader::new(stream.try_clone().map_err(Failure::of("QMP"))?);
        let mut qmp = Self { stream, lines, line: Vec::new(), events: VecDeque::new() };
        qmp.next(Instant::now() + ANSWER)?;
        qmp.execute("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Executes a command; what it returned.
    pub(crate) fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        self.stream.write_all(format!("{request}\n").as_bytes()).map_err(Failure::of(command))?;
        let deadline = Instant::now() + ANSWER;
        loop {
            let mut answer = self.next(deadline)?;
            if let Some(error) = answer.get("error") {
                return Err(Failure::new(format!("QEMU refused {request}: {error}")));
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            self.events.push_back(answer);
        }
    }

    /// Waits for an event, taking all up to it.
    pub(crate) fn event(&mut self, name: &str, deadline: Instant) -> Result<Value> {
        loop {
            let event = match self.events.pop_front() {
                Some(event) => event,
                None => self.next(deadline)?,
            };
            if event["event"] == name {
                return Ok(event);
            }
        }
    }

    fn next(&mut self, deadline: Instant) -> Result<Value> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Failure::new("QEMU said nothing on QMP in time"));
            }
            self.stream.set_read_timeout(Some(left)).map_err(Failure::of("QMP"))?;
            match self.lines.read_until(b'\n', &mut self.line) {
                Ok(_) if self.line.ends_with(b"\n") => {
                    let value = serde_json::from_slice(&self.line).map_err(Failure::of("QMP"));
                    self.line.clear();
                    return value;
                }
                Ok(_) => return Err(Failure::new("QEMU closed QMP")),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(Failure::of("QMP")(error)),
            }
        }
    }
}
