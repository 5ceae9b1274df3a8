//! Application side: `handsfree speak`, which plays on a service and ends when everything was heard.

use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use handsfree::failure::Failure;
use serde::Serialize;
use serde_json::json;

use super::{Answer, Connection, service_ended};
use crate::args::{SpeakArgs, SpokenType};
use crate::console;
use crate::decode::{Decoded, Decoder, RawFormat};
use crate::interrupts::{handle_interrupts, is_interrupted};
use crate::pcm::endpoint::Endpoint;
use crate::pcm::format::PcmFormat;
use crate::serve::protocol::{Hello, MAX_PAYLOAD, Reply, SpeakRequest};

/// Interval of position messages: short beside the second that a track's queue holds.
const REPORT_MS: u32 = 50;
/// Time for which the client waits for input or for the service in turn.
const POLL: Duration = Duration::from_millis(10);
/// Time that an interruption may take, with the latency of the loudspeaker.
const INTERRUPT_TIMEOUT: Duration = Duration::from_secs(5);
/// Exit code of an interrupted command, as shells define it for SIGINT.
const INTERRUPTED: u8 = 130;

/// Plays all files one after the other, and returns the exit code: 0 or 130.
///
/// # Errors
/// Returns an error that names the service, the file or the value that cannot be used.
pub fn run(args: &SpeakArgs) -> Result<u8, Failure> {
    handle_interrupts()?;
    for file in &args.files {
        let sound = Sound::open(file, args)?;
        if !speak(args, file, sound)? {
            return Ok(INTERRUPTED);
        }
    }
    Ok(0)
}

/// Samples to play.
struct Sound {
    format: PcmFormat,
    pieces: Receiver<Result<Vec<i16>, String>>,
}

impl Sound {
    fn open(place: &Endpoint, args: &SpeakArgs) -> Result<Self, Failure> {
        // One piece may wait beside the one that is read.
        let (sender, pieces) = sync_channel(1);
        let mut decoder = match (args.file_type, place) {
            (SpokenType::Raw, _) => {
                let format = RawFormat::new(args.rate, args.channels, args.format.into())?;
                Decoder::raw(&place.to_string(), place.open_source()?, format)
            }
            (_, Endpoint::Path(path)) if !place.is_stream() => Decoder::open(path, None)?,
            _ => Decoder::from_stream(&place.to_string(), place.open_source()?, None)?,
        };
        let format = PcmFormat::of_track(decoder.rate_hz(), decoder.channels())
            .map_err(|failure| Failure::run(format!("{place}: {failure}")))?;
        let read = move || {
            loop {
                let mut samples = Vec::new();
                let piece = match decoder.next(&mut samples) {
                    Decoded::Samples => Ok(samples),
                    Decoded::End => return,
                    Decoded::Broken(reason) => Err(reason),
                };
                let is_last = piece.is_err();
                if sender.send(piece).is_err() || is_last {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name("reader".into())
            .spawn(read)
            .map_err(|error| Failure::run(format!("the reader's thread could not be started: {error}")))?;
        Ok(Self { format, pieces })
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "audio")]
struct AudioMessage {
    bytes: usize,
}

/// Plays one sound. Returns false if it was interrupted.
fn speak(args: &SpeakArgs, place: &Endpoint, sound: Sound) -> Result<bool, Failure> {
    let hello = Hello::Speak {
        rate_hz: sound.format.rate_hz,
        channels: sound.format.channels,
        gain_db: args.gain_db,
        priority: args.priority,
        duck_db: args.duck_db,
        report_ms: REPORT_MS,
        name: args.name.clone(),
    };
    let mut connection = Connection::open(args.socket.as_deref(), &hello)?;
    let mut talk = Talk { limit: connection.limit, sent: 0, pending: Vec::new(), has_ended: false };
    let mut failure = None;
    let mut interrupted_at: Option<Instant> = None;
    loop {
        if is_interrupted() && interrupted_at.is_none() {
            connection.send(&SpeakRequest::Interrupt, &[])?;
            interrupted_at = Some(Instant::now());
        }
        if interrupted_at.is_some_and(|at| at.elapsed() > INTERRUPT_TIMEOUT) {
            return Err(Failure::run("the service did not report where it was interrupted"));
        }
        let mut timeout = POLL;
        if interrupted_at.is_none() && !talk.has_ended {
            if talk.pending.is_empty() {
                match sound.pieces.recv_timeout(POLL) {
                    Ok(Ok(samples)) => talk.pending = samples,
                    Ok(Err(reason)) => failure = Some(format!("{place}: {reason}")),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => {
                        talk.has_ended = true;
                        connection.send(&SpeakRequest::End, &[])?;
                    }
                }
                timeout = Duration::from_millis(1);
            }
            if talk.send(&mut connection, sound.format)? {
                timeout = Duration::from_millis(1);
            }
        }
        match connection.receive(timeout)? {
            Answer::Reply(Reply::Position { limit, .. }, _) => talk.limit = limit,
            Answer::Reply(Reply::Played { position }, _) => {
                report(args, place, sound.format, "played", position)?;
                return failure.map_or(Ok(true), |reason| Err(Failure::run(reason)));
            }
            Answer::Reply(Reply::Interrupted { position }, _) => {
                report(args, place, sound.format, "interrupted", position)?;
                return Ok(false);
            }
            Answer::Reply(Reply::Error { message, .. }, _) => return Err(Failure::run(message)),
            Answer::End => return Err(service_ended()),
            Answer::Reply(..) | Answer::Other(_) | Answer::Nothing => {}
        }
    }
}

/// Progress of sending.
struct Talk {
    /// Number of sample frames that may have been sent in all.
    limit: u64,
    sent: u64,
    pending: Vec<i16>,
    has_ended: bool,
}

impl Talk {
    /// Sends as much as the service takes at once, so that an interruption does not wait behind samples. Returns
    /// whether anything was sent.
    fn send(&mut self, connection: &mut Connection, format: PcmFormat) -> Result<bool, Failure> {
        let channels = format.channels as usize;
        let most = (MAX_PAYLOAD / format.frame_bytes()) as u64;
        let waiting = (self.pending.len() / channels) as u64;
        let count = waiting.min(self.limit.saturating_sub(self.sent)).min(most);
        if count == 0 {
            return Ok(false);
        }
        let rest = self.pending.split_off(count as usize * channels);
        let bytes: Vec<u8> = self.pending.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        connection.send(&AudioMessage { bytes: bytes.len() }, &bytes)?;
        self.pending = rest;
        self.sent += count;
        Ok(true)
    }
}

fn report(
    args: &SpeakArgs,
    place: &Endpoint,
    format: PcmFormat,
    event: &str,
    position: u64,
) -> Result<(), Failure> {
    let seconds = position as f64 / f64::from(format.rate_hz);
    if args.json {
        let name = place.to_string();
        let line = json!({ "event": event, "name": name, "position": position, "seconds": (seconds * 1e3).round() / 1e3 });
        return console::print_result(&format!("{line}\n"));
    }
    if event == "interrupted" {
        let text =
            format!("{place}: interrupted after {seconds:.3} s: {position} sample frames were heard\n");
        return console::print_result(&text);
    }
    Ok(())
}
