//! Control side: `handsfree ctl`, which shows and controls a service.

use std::io::Write as _;
use std::time::{Duration, Instant};

use handsfree::failure::Failure;
use serde::Serialize;

use super::{Answer, Connection, service_ended};
use crate::args::{CtlArgs, CtlRequest};
use crate::interrupts::{handle_interrupts, is_interrupted};
use crate::serve::protocol::{ControlRequest, Hello, Reply};

/// Time for which the client waits before it looks whether it was interrupted.
const POLL: Duration = Duration::from_millis(50);
/// Time within which the service must answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

impl From<CtlRequest> for ControlRequest {
    fn from(request: CtlRequest) -> Self {
        match request {
            CtlRequest::Status => Self::Status,
            CtlRequest::Clients => Self::Clients,
            CtlRequest::Events => Self::Events,
            CtlRequest::Interrupt { id } => Self::Interrupt { id },
            CtlRequest::Pause { id } => Self::Pause { id },
            CtlRequest::Resume { id } => Self::Resume { id },
            CtlRequest::Gain { id, gain_db } => Self::Gain { id, gain_db },
            CtlRequest::Close { id } => Self::Close { id },
            CtlRequest::Mute => Self::Mute,
            CtlRequest::Unmute => Self::Unmute,
        }
    }
}

/// Sends the request and prints the answer, or events until the command is interrupted.
///
/// # Errors
/// Returns an error when the service cannot be reached, and its reason when it refuses the request.
pub fn run(args: &CtlArgs) -> Result<(), Failure> {
    handle_interrupts()?;
    let hello = Hello::Control { name: "handsfree ctl".into() };
    let mut connection = Connection::open(args.socket.as_deref(), &hello)?;
    connection.send(&ControlRequest::from(args.request), &[])?;
    let is_endless = args.request == CtlRequest::Events;
    let begun = Instant::now();
    while !is_interrupted() {
        match connection.receive(POLL)? {
            Answer::Reply(Reply::Done, _) if is_endless => {}
            Answer::Reply(Reply::Error { message, .. }, _) => return Err(Failure::run(message)),
            Answer::Reply(Reply::Done, _) => return Ok(()),
            Answer::Other(message) if !print(&message) || !is_endless => return Ok(()),
            Answer::End => return Err(service_ended()),
            Answer::Nothing if !is_endless && begun.elapsed() > ANSWER_TIMEOUT => {
                return Err(Failure::run("the service does not answer"));
            }
            Answer::Reply(..) | Answer::Other(_) | Answer::Nothing => {}
        }
    }
    Ok(())
}

/// Prints one line. Returns false when the reader has closed the output.
fn print(message: &impl Serialize) -> bool {
    let mut line = serde_json::to_string(message).unwrap_or_default();
    line.push('\n');
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush()).is_ok()
}
