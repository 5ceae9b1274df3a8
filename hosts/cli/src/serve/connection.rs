//! Any side: accepts connections, each with a thread of its own, and hands each to what its first message asks for.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::protocol::{Hello, MessageReader, ProtocolError, Received, write_message};
use super::service::ServiceState;
use super::{control, microphone, speaker};

/// Time within which the first message must come.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Interval at which a waiting thread looks whether the service ends.
pub(crate) const POLL: Duration = Duration::from_millis(100);
/// Time within which a client must read the service's replies. Its microphone's samples are not replies.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for which a listener must not have read before it is closed in favour of a new client.
const STOPPED: Duration = Duration::from_secs(60);
/// Pause after the system refused a connection, for example because too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Counts a connection while it lives.
struct Seat(Arc<AtomicUsize>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accepts connections until the service ends.
pub(crate) fn accept_all(listener: &UnixListener, state: &Arc<ServiceState>) {
    let taken = Arc::new(AtomicUsize::new(0));
    while !state.is_ending() {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => {
                std::thread::sleep(ACCEPT_PAUSE);
                continue;
            }
        };
        if state.is_ending() {
            return;
        }
        let is_full = taken.fetch_add(1, Ordering::Relaxed) >= state.max_clients;
        if is_full && !make_room(&taken, state) {
            taken.fetch_sub(1, Ordering::Relaxed);
            state.refused_clients.fetch_add(1, Ordering::Relaxed);
            let error = ProtocolError::new(
                "too_many_clients",
                format!("{0} clients are connected: expected at most {0}", state.max_clients),
            );
            refuse(stream, &error);
            continue;
        }
        let (seat, shared) = (Seat(Arc::clone(&taken)), Arc::clone(state));
        let spawned = std::thread::Builder::new().name("client".into()).spawn(move || {
            let _seat = seat;
            serve_client(stream, &shared);
        });
        // Without a thread the connection is closed, and its seat is free again.
        if spawned.is_err() {
            state.refused_clients.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Closes a listener that has stopped reading long ago, so that those that hang do not lock others out. Returns whether that gave
/// the newest connection a place.
fn make_room(taken: &AtomicUsize, state: &ServiceState) -> bool {
    if !state.close_stopped_client(STOPPED) {
        return false;
    }
    let begun = Instant::now();
    while taken.load(Ordering::Relaxed) > state.max_clients {
        if begun.elapsed() > POLL {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

/// Tells a client why it is refused, without waiting for it.
fn refuse(mut stream: UnixStream, error: &ProtocolError) {
    // A client that does not read is closed all the same.
    _ = stream.set_nonblocking(true);
    _ = write_message(&mut stream, &error.reply(), &[]);
}

fn serve_client(stream: UnixStream, state: &Arc<ServiceState>) {
    let Ok(reading) = stream.try_clone() else { return };
    let mut reader = MessageReader::new(reading);
    let mut stream = stream;
    // A refused timeout only means that a client that does not read keeps its thread.
    _ = stream.set_write_timeout(Some(REPLY_TIMEOUT));
    let outcome = match hello(&mut reader, state) {
        Ok(Some(hello @ Hello::Mic { .. })) => microphone::serve(&hello, stream.try_clone(), reader, state),
        Ok(Some(hello @ Hello::Speak { .. })) => speaker::serve(&hello, stream.try_clone(), reader, state),
        Ok(Some(Hello::Control { name })) => control::serve(name, stream.try_clone(), reader, state),
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = outcome {
        // The client may be gone.
        _ = write_message(&mut stream, &error.reply(), &[]);
    }
}

/// Waits for the first message. Returns `None` if the client leaves or the service ends.
fn hello(reader: &mut MessageReader, state: &ServiceState) -> Result<Option<Hello>, ProtocolError> {
    let begun = Instant::now();
    while !state.is_ending() {
        match reader.poll(POLL)? {
            Received::Message(message, _) => {
                return serde_json::from_value(message)
                    .map(Some)
                    .map_err(|error| ProtocolError::bad_message(&error));
            }
            Received::End => return Ok(None),
            Received::Nothing if begun.elapsed() > HELLO_TIMEOUT => {
                return Err(ProtocolError::new(
                    "no_hello",
                    format!(
                        "no message came within {} s: expected mic, speak or control",
                        HELLO_TIMEOUT.as_secs()
                    ),
                ));
            }
            Received::Nothing => {}
        }
    }
    Ok(None)
}
