//! Interrupt side: the thread of a stream. It waits for the server's messages and calls the stream's callback for the audio
//! that they carry or request.

use std::io::{self, BufRead, Read, Write};
use std::time::{Instant as Moment, SystemTime};

use cpal::{ErrorKind, SampleFormat};
use handsfree_core::audio_io::Direction;
use pulseaudio::protocol::{
    self, Command, CorkStreamParams, CreatePlaybackStreamReply, DESCRIPTOR_SIZE, Descriptor, DescriptorFlags,
    LatencyParams, MAX_MEMBLOCKQ_LENGTH, PlaybackLatency, ProtocolError, RecordLatency, TagStructRead,
    TagStructReader,
};

use super::connection::PulseConnection;
use super::sample::PulseSample;
use super::stream::bytes_per_sample_frame;
use super::timing::{LatencyQuery, PulseTiming};
use crate::format::{CapturedSamples, SamplesToPlay};
use crate::negotiation::NegotiatedFormat;
use crate::stream_thread::{InputCallback, OutputCallback};
use crate::timing::CpalTimestamps;

/// Called once with the reason why a stream ended by itself.
pub(super) type OnError = Box<dyn FnMut(ErrorKind) + Send>;

/// What the thread of a stream does.
pub(super) trait StreamTransfer: Send {
    /// Starts the stream and returns when it has ended.
    fn run(self: Box<Self>);
}

/// Channel of messages that carry no audio.
const CONTROL_CHANNEL: u32 = u32::MAX;

/// Longest expected transfer from the server, in bytes: a block of its memory. A longer one makes the thread allocate once.
const LONGEST_TRANSFER: usize = 1 << 16;

/// What both directions share.
struct StreamConnection {
    connection: PulseConnection,
    direction: Direction,
    channel: u32,
    timing: PulseTiming,
    query: Option<LatencyQuery>,
    on_error: OnError,
}

/// What a message means for a stream.
enum Message {
    /// Audio of this many bytes follows.
    Audio(usize),
    /// The server wants this many bytes.
    Request(usize),
    Other,
}

impl StreamConnection {
    fn new(
        connection: PulseConnection,
        direction: Direction,
        channel: u32,
        format: &NegotiatedFormat,
        on_error: OnError,
    ) -> Self {
        let timing = PulseTiming::new(format.rate.hz().saturating_mul(bytes_per_sample_frame(format)));
        Self { connection, direction, channel, timing, query: None, on_error }
    }

    fn start(&mut self) -> Result<(), ProtocolError> {
        let params = CorkStreamParams { channel: self.channel, cork: false };
        let start = match self.direction {
            Direction::Capture => Command::CorkRecordStream(params),
            Direction::Playback => Command::CorkPlaybackStream(params),
        };
        self.connection.send_short(&start)?;
        self.query_latency()
    }

    /// Asks for the latency unless a reply is outstanding.
    fn query_latency(&mut self) -> Result<(), ProtocolError> {
        if self.query.is_some() {
            return Ok(());
        }
        let params = LatencyParams { channel: self.channel, now: SystemTime::now() };
        let query = match self.direction {
            Direction::Capture => Command::GetRecordLatency(params),
            Direction::Playback => Command::GetPlaybackLatency(params),
        };
        let sent = Moment::now();
        let sequence = self.connection.send_short(&query)?;
        self.query = Some(LatencyQuery { sequence, sent });
        Ok(())
    }

    /// Waits for the next message. The audio of [`Message::Audio`] is left in the socket.
    fn next(&mut self) -> Result<Message, ProtocolError> {
        let Descriptor { length, channel, .. } = protocol::read_descriptor(&mut self.connection.socket)?;
        if channel != CONTROL_CHANNEL {
            let length = length as usize;
            return if length <= MAX_MEMBLOCKQ_LENGTH {
                Ok(Message::Audio(length))
            } else {
                Err(ProtocolError::Invalid(format!(
                    "{length} bytes of audio; expected at most {MAX_MEMBLOCKQ_LENGTH}"
                )))
            };
        }
        let mut body = Read::take(&mut self.connection.socket, length.into());
        let (sequence, command) = match Command::read_tag_prefixed(&mut body, self.connection.version) {
            // A newer server has messages that are not known here.
            Err(ProtocolError::Unimplemented(..)) => {
                discard(&mut body)?;
                return Ok(Message::Other);
            }
            read => read?,
        };
        let message = match command {
            Command::Request(request) if request.channel == self.channel => {
                Message::Request(request.length as usize)
            }
            Command::Reply => {
                if let Some(query) = self.query.take_if(|query| query.sequence == sequence) {
                    let arrived = (Moment::now(), SystemTime::now());
                    let mut reply = TagStructReader::new(&mut body, self.connection.version);
                    let latency = match self.direction {
                        Direction::Capture => {
                            RecordLatency::read(&mut reply, self.connection.version)?.into()
                        }
                        Direction::Playback => {
                            PlaybackLatency::read(&mut reply, self.connection.version)?.into()
                        }
                    };
                    self.timing.observe(self.direction, latency, query, arrived);
                }
                Message::Other
            }
            Command::Error(error) => return Err(ProtocolError::ServerError(error)),
            Command::PlaybackStreamKilled(_) | Command::RecordStreamKilled(_) => {
                return Err(ProtocolError::ServerError(protocol::PulseError::Killed));
            }
            _ => Message::Other,
        };
        // What a newer server adds to a message is not known here.
        discard(&mut body)?;
        Ok(message)
    }

    /// Returns the timestamps of a callback whose first byte is at `position`.
    fn timestamps(&self, position: i64) -> CpalTimestamps {
        let callback = self.timing.now();
        // Equal times are taken for unknown ones.
        CpalTimestamps { callback, converter: self.timing.converter_time(position).unwrap_or(callback) }
    }

    /// Reports the end of the stream.
    fn end(&mut self, result: Result<(), ProtocolError>) {
        let kind = match result {
            Ok(()) => return,
            Err(ProtocolError::ServerError(_)) => ErrorKind::DeviceNotAvailable,
            Err(_) => ErrorKind::StreamInvalidated,
        };
        (self.on_error)(kind);
    }
}

/// Reads the rest of a message.
fn discard(body: &mut impl BufRead) -> io::Result<()> {
    loop {
        let length = body.fill_buf()?.len();
        if length == 0 {
            return Ok(());
        }
        body.consume(length);
    }
}

/// A stream from a microphone.
pub(super) struct CaptureTransfer<S> {
    stream: StreamConnection,
    callback: InputCallback,
    wrap: fn(&[S]) -> CapturedSamples<'_>,
    bytes: Vec<u8>,
    samples: Vec<S>,
    /// Position of the next byte.
    position: i64,
}

impl CaptureTransfer<i16> {
    /// Makes the transfer of a stream that the server created.
    pub(super) fn boxed(
        connection: PulseConnection,
        channel: u32,
        format: &NegotiatedFormat,
        callback: InputCallback,
        on_error: OnError,
    ) -> Box<dyn StreamTransfer> {
        let stream = StreamConnection::new(connection, Direction::Capture, channel, format, on_error);
        match format.sample_format {
            SampleFormat::F32 => CaptureTransfer::boxed_as(stream, callback, |s| CapturedSamples::F32(s)),
            SampleFormat::I32 => CaptureTransfer::boxed_as(stream, callback, |s| CapturedSamples::I32(s)),
            SampleFormat::I24 => CaptureTransfer::boxed_as(stream, callback, |s| CapturedSamples::I24(s)),
            _ => CaptureTransfer::boxed_as(stream, callback, |s| CapturedSamples::I16(s)),
        }
    }
}

impl<S: PulseSample> CaptureTransfer<S> {
    fn boxed_as(
        stream: StreamConnection,
        callback: InputCallback,
        wrap: fn(&[S]) -> CapturedSamples<'_>,
    ) -> Box<dyn StreamTransfer> {
        let bytes = Vec::with_capacity(LONGEST_TRANSFER);
        let samples = Vec::with_capacity(LONGEST_TRANSFER / size_of::<S>());
        Box::new(Self { stream, callback, wrap, bytes, samples, position: 0 })
    }

    fn transfer(&mut self) -> Result<(), ProtocolError> {
        self.stream.start()?;
        loop {
            let Message::Audio(length) = self.stream.next()? else { continue };
            self.bytes.resize(length, 0);
            self.stream.connection.socket.read_exact(&mut self.bytes)?;
            S::decode(&self.bytes, &mut self.samples);
            (self.callback)(&(self.wrap)(&self.samples), self.stream.timestamps(self.position));
            self.position += length as i64;
            self.stream.query_latency()?;
        }
    }
}

impl<S: PulseSample> StreamTransfer for CaptureTransfer<S> {
    fn run(mut self: Box<Self>) {
        let result = self.transfer();
        self.stream.end(result);
    }
}

/// A stream to a loudspeaker.
pub(super) struct PlaybackTransfer<S> {
    stream: StreamConnection,
    callback: OutputCallback,
    wrap: fn(&mut [S]) -> SamplesToPlay<'_>,
    /// A message's header and its audio.
    message: Vec<u8>,
    /// Memory for a period.
    samples: Vec<S>,
    /// Bytes that the server has requested and that are not sent yet.
    requested: usize,
    /// Position of the next byte.
    position: i64,
}

impl PlaybackTransfer<i16> {
    /// Makes the transfer of a stream that the server created.
    pub(super) fn boxed(
        connection: PulseConnection,
        created: &CreatePlaybackStreamReply,
        format: &NegotiatedFormat,
        callback: OutputCallback,
        on_error: OnError,
    ) -> Box<dyn StreamTransfer> {
        let stream =
            StreamConnection::new(connection, Direction::Playback, created.channel, format, on_error);
        let requested = created.requested_bytes as usize;
        let period = format.period_sample_frames as usize * format.channels as usize;
        match format.sample_format {
            SampleFormat::F32 => {
                PlaybackTransfer::boxed_as(stream, callback, |s| SamplesToPlay::F32(s), period, requested)
            }
            SampleFormat::I32 => {
                PlaybackTransfer::boxed_as(stream, callback, |s| SamplesToPlay::I32(s), period, requested)
            }
            SampleFormat::I24 => {
                PlaybackTransfer::boxed_as(stream, callback, |s| SamplesToPlay::I24(s), period, requested)
            }
            _ => PlaybackTransfer::boxed_as(stream, callback, |s| SamplesToPlay::I16(s), period, requested),
        }
    }
}

impl<S: PulseSample> PlaybackTransfer<S> {
    fn boxed_as(
        stream: StreamConnection,
        callback: OutputCallback,
        wrap: fn(&mut [S]) -> SamplesToPlay<'_>,
        period_samples: usize,
        requested: usize,
    ) -> Box<dyn StreamTransfer> {
        let message = Vec::with_capacity(DESCRIPTOR_SIZE + period_samples * size_of::<S>());
        let samples = vec![S::SILENCE; period_samples.max(1)];
        Box::new(Self { stream, callback, wrap, message, samples, requested, position: 0 })
    }

    fn transfer(&mut self) -> Result<(), ProtocolError> {
        self.stream.start()?;
        loop {
            self.send_requested()?;
            if let Message::Request(length) = self.stream.next()? {
                self.requested += length;
            }
        }
    }

    /// Sends what the server has requested, in pieces of at most a period.
    fn send_requested(&mut self) -> Result<(), ProtocolError> {
        while self.requested >= size_of::<S>() {
            let count = (self.requested / size_of::<S>()).min(self.samples.len());
            let piece = self.samples.get_mut(..count).unwrap_or_default();
            let timestamps = self.stream.timestamps(self.position);
            (self.callback)(&mut (self.wrap)(piece), timestamps);
            let length = count * size_of::<S>();
            let mut header = [0; DESCRIPTOR_SIZE];
            let descriptor = Descriptor {
                length: length as u32,
                channel: self.stream.channel,
                offset: 0,
                flags: DescriptorFlags::empty(),
            };
            protocol::encode_descriptor(&mut header, &descriptor);
            self.message.clear();
            self.message.extend_from_slice(&header);
            S::encode(piece, &mut self.message);
            self.stream.connection.socket.get_mut().write_all(&self.message)?;
            self.requested -= length;
            self.position += length as i64;
            self.stream.query_latency()?;
        }
        Ok(())
    }
}

impl<S: PulseSample> StreamTransfer for PlaybackTransfer<S> {
    fn run(mut self: Box<Self>) {
        let result = self.transfer();
        self.stream.end(result);
    }
}
