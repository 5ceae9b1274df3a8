//! Both sides: the messages of the service: one line of JSON each, with a payload of samples if it has `bytes`.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use clap::Subcommand;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Version of the protocol. A change that old clients do not understand increments it.
pub const PROTOCOL: u32 = 1;
/// Longest line, in bytes: the longest message without names has 200.
pub const MAX_LINE: usize = 4_096;
/// Longest line of the service, in bytes: the list of a thousand clients has some 250,000.
const MAX_SERVICE_LINE: usize = 1 << 20;
/// Longest payload, in bytes: 0.34 s at 48 kHz in two channels.
pub const MAX_PAYLOAD: usize = 65_536;
/// Time within which a message that has begun must go on.
pub const HALF_MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// Number of bytes read at once.
const READ_BYTES: usize = 16_384;

const fn default_rate_hz() -> u32 {
    16_000
}

const fn default_channels() -> u32 {
    1
}

const fn default_queue_ms() -> u32 {
    500
}

/// First message of a client, which says what the connection is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Hello {
    /// The client reads the cleaned microphone.
    Mic {
        /// Rate of the samples, in hertz, 8000 to 48000.
        #[serde(default = "default_rate_hz")]
        rate_hz: u32,
        /// Number of channels, 1 or 2, with the same samples in each.
        #[serde(default = "default_channels")]
        channels: u32,
        /// Length of the client's queue in the service, 20 to 10000 ms.
        #[serde(default = "default_queue_ms")]
        queue_ms: u32,
        /// Name of the client for lists and events.
        #[serde(default)]
        name: String,
    },
    /// The client plays samples on a track of its own.
    Speak {
        /// Rate of the samples, in hertz, 4000 to 192000.
        #[serde(default = "default_rate_hz")]
        rate_hz: u32,
        /// Number of interleaved channels, 1 to 8.
        #[serde(default = "default_channels")]
        channels: u32,
        /// Gain of the track, -100 to 36 dB.
        #[serde(default)]
        gain_db: f32,
        /// Priority: while a track of a higher one sounds, this one pauses.
        #[serde(default)]
        priority: i32,
        /// Makes the track a background, which fades by this many dB (negative) while others sound, instead of pausing.
        #[serde(default)]
        duck_db: Option<f32>,
        /// Interval of `position` messages, 10 to 10000 ms; 0 for none.
        #[serde(default)]
        report_ms: u32,
        /// Name of the client for lists and events.
        #[serde(default)]
        name: String,
    },
    /// The client reads status and events, and controls other clients.
    Control {
        /// Name of the client for lists and events.
        #[serde(default)]
        name: String,
    },
}

/// Message of a speaking client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SpeakRequest {
    /// Samples to play, 16-bit little-endian, in the payload.
    Audio,
    /// Everything was sent: `played` follows when it was heard. More may be sent afterwards.
    End,
    /// Fades out and drops what was sent before: `interrupted` follows with the position heard.
    Interrupt,
    /// Drops what was sent before; a paused track stays paused. `interrupted` follows.
    Clear,
    /// Fades out and keeps what was sent.
    Pause,
    /// Goes on after a pause.
    Resume,
    /// Changes the gain.
    Gain {
        /// Gain of the track, -100 to 36 dB.
        gain_db: f32,
    },
    /// Asks for a `position` message.
    Position,
}

/// Message of a controlling client, and request of `handsfree ctl`.
#[derive(Subcommand, Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ControlRequest {
    /// Prints levels, echo reduction, delay, drift, counters and the number of clients.
    Status,
    /// Lists the clients.
    Clients,
    /// Prints events until it is interrupted.
    Events,
    /// Interrupts a speaking client, and discards what it sends until its `end`.
    Interrupt {
        /// Number of the client.
        id: u64,
    },
    /// Pauses a speaking client.
    Pause {
        /// Number of the client.
        id: u64,
    },
    /// Lets a paused client go on.
    Resume {
        /// Number of the client.
        id: u64,
    },
    /// Changes the gain of a speaking client.
    Gain {
        /// Number of the client.
        id: u64,
        /// Gain of the track, -100 to 36 dB.
        #[arg(allow_negative_numbers = true)]
        gain_db: f32,
    },
    /// Closes a client's connection.
    Close {
        /// Number of the client.
        id: u64,
    },
    /// Replaces the microphone by silence for everybody.
    Mute,
    /// Undoes `mute`.
    Unmute,
}

/// Message of the service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Reply {
    /// The connection is open.
    Opened {
        /// Version of the protocol.
        protocol: u32,
        /// Number of this client.
        id: u64,
        /// Rate of the terminal's processing, in hertz.
        terminal_rate_hz: u32,
        /// Speaking clients: number of sample frames that may be sent at once.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        limit: Option<u64>,
    },
    /// Samples of the microphone, in the payload.
    Audio {
        /// Sample frames before these since the connection was opened, including lost ones.
        position: u64,
        /// Sample frames that are missing before these, because the client was slow or the microphone lost them.
        lost: u64,
        /// Length of the payload, in bytes.
        bytes: usize,
    },
    /// State of a track, in sample frames since the connection was opened.
    Position {
        /// Sample frames that have left the loudspeaker.
        position: u64,
        /// Sample frames that the track has taken.
        taken: u64,
        /// Sample frames that may have been sent in all without the service making the client wait.
        limit: u64,
    },
    /// Everything before `end` was heard.
    Played {
        /// Sample frames that have left the loudspeaker.
        position: u64,
    },
    /// The track was interrupted or cleared.
    Interrupted {
        /// Sample frames before the interruption that have left the loudspeaker.
        position: u64,
    },
    /// A request was carried out.
    Done,
    /// A request was refused. If the message was not understood, the connection is closed.
    Error {
        /// Word for programs.
        code: String,
        /// Sentence for people.
        message: String,
    },
}

/// Reason why a peer is not listened to any longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolError {
    /// Word for programs.
    pub code: &'static str,
    /// Sentence for people.
    pub message: String,
}

impl ProtocolError {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// Returns the error for a message that is none of the expected ones.
    pub(crate) fn bad_message(error: &serde_json::Error) -> Self {
        Self::new("bad_message", format!("the message is not understood: {error}"))
    }

    /// Returns the message that tells the peer.
    #[must_use]
    pub fn reply(&self) -> Reply {
        Reply::Error { code: self.code.into(), message: self.message.clone() }
    }
}

/// Result of waiting for a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Received {
    /// A message with its payload, which is empty unless the message has `bytes`.
    Message(Value, Vec<u8>),
    /// No message was complete in time.
    Nothing,
    /// The peer closed its end after a whole message.
    End,
}

/// Reader of messages, which never takes more memory than the longest message.
#[derive(Debug)]
pub struct MessageReader {
    stream: UnixStream,
    max_line: usize,
    buffer: Vec<u8>,
    /// Read timeout that is set on the stream.
    timeout: Option<Duration>,
    last_byte_at: Instant,
}

impl MessageReader {
    /// Makes a reader.
    #[must_use]
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, max_line: MAX_LINE, buffer: Vec::new(), timeout: None, last_byte_at: Instant::now() }
    }

    /// Makes a reader of the service's messages, among which lists are long.
    #[must_use]
    pub fn of_service(stream: UnixStream) -> Self {
        Self { max_line: MAX_SERVICE_LINE, ..Self::new(stream) }
    }

    /// Waits for a message, at most for `timeout`, which is at least 1 ms.
    ///
    /// # Errors
    /// Returns an error for a message that is too long, is not JSON, does not go on, or ends in the middle.
    pub fn poll(&mut self, timeout: Duration) -> Result<Received, ProtocolError> {
        let timeout = timeout.max(Duration::from_millis(1));
        let begun = Instant::now();
        loop {
            if let Some((message, payload)) = self.take_message()? {
                return Ok(Received::Message(message, payload));
            }
            if self.timeout != Some(timeout) {
                self.stream
                    .set_read_timeout(Some(timeout))
                    .map_err(|error| ProtocolError::new("failed", error.to_string()))?;
                self.timeout = Some(timeout);
            }
            let mut bytes = [0; READ_BYTES];
            match self.stream.read(&mut bytes) {
                Ok(0) if self.buffer.is_empty() => return Ok(Received::End),
                Ok(0) => {
                    return Err(ProtocolError::new(
                        "half_message",
                        format!("the connection ended in a message, after {} bytes of it", self.buffer.len()),
                    ));
                }
                Ok(count) => {
                    self.buffer.extend_from_slice(bytes.get(..count).unwrap_or(&[]));
                    self.last_byte_at = Instant::now();
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                    ) =>
                {
                    if !self.buffer.is_empty() && self.last_byte_at.elapsed() > HALF_MESSAGE_TIMEOUT {
                        return Err(ProtocolError::new(
                            "half_message",
                            format!(
                                "a message did not go on for {} s after {} bytes of it",
                                HALF_MESSAGE_TIMEOUT.as_secs(),
                                self.buffer.len()
                            ),
                        ));
                    }
                    return Ok(Received::Nothing);
                }
                // A peer that was killed may have left data unread.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(Received::End),
                Err(error) => return Err(ProtocolError::new("failed", error.to_string())),
            }
            if begun.elapsed() > timeout {
                // A peer that sends byte by byte must not keep the caller here.
                return Ok(match self.take_message()? {
                    Some((message, payload)) => Received::Message(message, payload),
                    None => Received::Nothing,
                });
            }
        }
    }

    /// Takes the first message if all its bytes are there.
    fn take_message(&mut self) -> Result<Option<(Value, Vec<u8>)>, ProtocolError> {
        let head = self.buffer.get(..self.buffer.len().min(self.max_line)).unwrap_or(&[]);
        let Some(length) = head.iter().position(|&byte| byte == b'\n') else {
            if self.buffer.len() >= self.max_line {
                return Err(ProtocolError::new(
                    "line_too_long",
                    format!("found no end of the line in {} bytes: expected one line of JSON", self.max_line),
                ));
            }
            return Ok(None);
        };
        let line = self.buffer.get(..length).unwrap_or(&[]);
        let message: Value =
            serde_json::from_slice(line).map_err(|error| ProtocolError::bad_message(&error))?;
        if !message.is_object() {
            return Err(ProtocolError::new(
                "bad_message",
                "found JSON that is no object: expected an object",
            ));
        }
        let bytes = match message.get("bytes") {
            None => 0,
            Some(bytes) => bytes
                .as_u64()
                .and_then(|bytes| usize::try_from(bytes).ok())
                .filter(|&bytes| bytes <= MAX_PAYLOAD)
                .ok_or_else(|| {
                    ProtocolError::new(
                        "payload_too_long",
                        format!("bytes {bytes}: expected 0 to {MAX_PAYLOAD}"),
                    )
                })?,
        };
        let end = length + 1 + bytes;
        if self.buffer.len() < end {
            return Ok(None);
        }
        let payload = self.buffer.get(length + 1..end).unwrap_or(&[]).to_vec();
        self.buffer.drain(..end);
        Ok(Some((message, payload)))
    }
}

/// Writes a message with its payload.
///
/// # Errors
/// Returns the error of the stream.
pub fn write_message(stream: &mut UnixStream, message: &impl Serialize, payload: &[u8]) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(message)?;
    bytes.push(b'\n');
    bytes.extend_from_slice(payload);
    stream.write_all(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (UnixStream, MessageReader) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (ours, MessageReader::new(theirs))
    }

    const SOON: Duration = Duration::from_millis(5);

    #[test]
    fn messages_arrive_whole_however_they_are_cut() {
        let payload: Vec<u8> = (0..=255).collect();
        let mut bytes = Vec::new();
        for position in 0..20u64 {
            let message = Reply::Audio { position, lost: 0, bytes: payload.len() };
            bytes.extend(serde_json::to_vec(&message).unwrap());
            bytes.push(b'\n');
            bytes.extend(&payload);
        }
        for step in [1, 7, 300, bytes.len()] {
            let (mut ours, mut reader) = pair();
            let mut found = 0;
            for piece in bytes.chunks(step) {
                ours.write_all(piece).unwrap();
                while let Received::Message(message, samples) = reader.poll(Duration::from_millis(1)).unwrap()
                {
                    assert_eq!((&message["position"], &samples), (&found.into(), &payload));
                    found += 1;
                    if step < bytes.len() {
                        break;
                    }
                }
            }
            assert_eq!(found, 20, "pieces of {step} bytes");
            drop(ours);
            assert_eq!(reader.poll(SOON).unwrap(), Received::End);
        }
    }

    #[test]
    fn garbage_is_refused_with_its_reason() {
        let long = vec![b'x'; MAX_LINE + 1];
        for (bytes, code) in [
            (&b"hello\n"[..], "bad_message"),
            (b"\x00\xff\xfe\n", "bad_message"),
            (b"[1, 2]\n", "bad_message"),
            (&long, "line_too_long"),
            (b"{\"type\":\"audio\",\"bytes\":65537}\n", "payload_too_long"),
            (b"{\"type\":\"audio\",\"bytes\":-1}\n", "payload_too_long"),
            (b"{\"type\":\"audio\",\"bytes\":\"8\"}\n", "payload_too_long"),
            (b"{\"type\":\"audio\",\"bytes\":8}\nabc", "half_message"),
            (b"{\"type\"", "half_message"),
        ] {
            let (mut ours, mut reader) = pair();
            ours.write_all(bytes).unwrap();
            drop(ours);
            let error = loop {
                match reader.poll(SOON) {
                    Err(error) => break error,
                    Ok(Received::End) => panic!("{}", String::from_utf8_lossy(bytes)),
                    Ok(_) => {}
                }
            };
            assert_eq!(error.code, code, "{}: {error:?}", String::from_utf8_lossy(bytes));
        }
    }
}
