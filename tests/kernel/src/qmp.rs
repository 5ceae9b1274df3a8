//! A client of QMP, QEMU's control protocol: JSON with one object per line.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{MachineFailure, Result};

/// Maximum time until QEMU answers a command.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection to QEMU, with the events that were received but not yet requested.
pub(crate) struct Qmp {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
    /// An incomplete line, which is kept if the deadline passed in the middle of it.
    line: Vec<u8>,
    events: VecDeque<Value>,
}

impl Qmp {
    /// Reads QEMU's greeting and enters command mode.
    pub(crate) fn new(stream: UnixStream) -> Result<Self> {
        let lines = BufReader::new(stream.try_clone().map_err(MachineFailure::of("QMP"))?);
        let mut qmp = Self { stream, lines, line: Vec::new(), events: VecDeque::new() };
        qmp.next(Instant::now() + ANSWER_TIMEOUT)?;
        qmp.execute("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Executes a command and returns its result.
    pub(crate) fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        self.stream.write_all(format!("{request}\n").as_bytes()).map_err(MachineFailure::of(command))?;
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            let mut answer = self.next(deadline)?;
            if let Some(error) = answer.get("error") {
                return Err(MachineFailure::new(format!("QEMU refused {request}: {error}")));
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            self.events.push_back(answer);
        }
    }

    /// Waits for an event and discards the events before it.
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
                return Err(MachineFailure::new("QEMU sent nothing on QMP in time"));
            }
            self.stream.set_read_timeout(Some(left)).map_err(MachineFailure::of("QMP"))?;
            match self.lines.read_until(b'\n', &mut self.line) {
                Ok(_) if self.line.ends_with(b"\n") => {
                    let value = serde_json::from_slice(&self.line).map_err(MachineFailure::of("QMP"));
                    self.line.clear();
                    return value;
                }
                Ok(_) => return Err(MachineFailure::new("QEMU closed its QMP connection")),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(MachineFailure::of("QMP")(error)),
            }
        }
    }
}
