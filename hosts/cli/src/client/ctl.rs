//! Control side: `handsfree ctl`, which shows and controls a service.

use std::time::{Duration, Instant};

use handsfree::failure::Failure;

use super::{Answer, Connection, service_ended};
use crate::args::CtlArgs;
use crate::console;
use crate::interrupts::{handle_interrupts, is_interrupted};
use crate::serve::protocol::{ControlRequest, Hello, Reply};

/// Time for which the client waits before it looks whether it was interrupted.
const POLL: Duration = Duration::from_millis(50);
/// Time within which the service must answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends the request and prints the answer, or events until the command is interrupted.
///
/// # Errors
/// Returns an error when the service cannot be reached, and its reason when it refuses the request.
pub fn run(args: &CtlArgs) -> Result<(), Failure> {
    handle_interrupts()?;
    let hello = Hello::Control { name: "handsfree ctl".into() };
    let mut connection = Connection::open(args.socket.as_deref(), &hello)?;
    connection.send(&args.request, &[])?;
    let is_endless = args.request == ControlRequest::Events;
    let begun = Instant::now();
    while !is_interrupted() {
        match connection.receive(POLL)? {
            Answer::Reply(Reply::Done, _) if is_endless => {}
            Answer::Reply(Reply::Error { message, .. }, _) => return Err(Failure::run(message)),
            Answer::Reply(Reply::Done, _) => return Ok(()),
            Answer::Other(message) => {
                console::print_result(&format!("{message}\n"))?;
                if !is_endless {
                    return Ok(());
                }
            }
            Answer::End => return Err(service_ended()),
            Answer::Nothing if !is_endless && begun.elapsed() > ANSWER_TIMEOUT => {
                return Err(Failure::run("the service does not answer"));
            }
            Answer::Reply(..) | Answer::Nothing => {}
        }
    }
    Ok(())
}
