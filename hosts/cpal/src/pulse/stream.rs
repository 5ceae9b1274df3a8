//! Control side: a stream on a PulseAudio server, with a connection and a thread of its own.
//!
//! cpal's streams are not used there for two reasons. They request a playback buffer of two periods and transfers of one
//! period, which leaves nothing for the sink, so that the server runs it at its lowest latency: a null sink then
//! transfers 2,000 pieces a second. And they request a capture buffer as long as a fragment, so that the server drops
//! what a late client has not taken.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use cpal::{Error, ErrorKind};
use handsfree_core::audio_io::Direction;
use pulseaudio::protocol::stream::{BufferAttr, StreamFlags};
use pulseaudio::protocol::{
    ChannelMap, ChannelPosition, Command, CreatePlaybackStreamReply, CreateRecordStreamReply,
    PlaybackStreamParams, Prop, Props, ProtocolError, PulseError, RecordStreamParams, SampleSpec,
};

use super::connection::PulseConnection;
use super::sample;
use super::transfer::{CaptureTransfer, PlaybackTransfer, StreamTransfer};
use crate::error::word;
use crate::negotiation::NegotiatedFormat;
use crate::stream_thread::{CallbackFactory, StreamOrder};

/// Playback buffer in the server, in periods: one that is played and one that is filled. The sink has a third.
const PLAYBACK_PERIODS: u32 = 2;

/// A stream of one direction. Dropping it ends its thread.
pub(crate) struct PulseStream {
    direction: Direction,
    /// What the thread will run, until it is started.
    transfer: Option<Box<dyn StreamTransfer>>,
    thread: Option<JoinHandle<()>>,
    socket: UnixStream,
    is_closing: Arc<AtomicBool>,
}

impl PulseStream {
    /// Opens a stream on the device of this name. Its callbacks are called from [`start`](Self::start) on.
    pub(crate) fn open(device: &str, order: &StreamOrder, format: &NegotiatedFormat) -> Result<Self, Error> {
        let mut connection = PulseConnection::connect().map_err(|error| error_of(&error))?;
        let is_closing = Arc::new(AtomicBool::new(false));
        let signals = Arc::clone(&order.signals);
        let closing = Arc::clone(&is_closing);
        let on_error = Box::new(move |kind| {
            // The end of the connection that `drop` causes is no error.
            if !closing.load(Ordering::Acquire) {
                signals.record_error(kind);
            }
        });
        let socket = connection.socket.get_ref().try_clone().map_err(|error| error_of(&error.into()))?;
        let (direction, transfer): (_, Box<dyn StreamTransfer>) = match &order.callbacks {
            CallbackFactory::Capture(create) => {
                let reply = create_record_stream(&mut connection, device, format)?;
                let callback = create(format);
                let transfer = CaptureTransfer::boxed(connection, reply.channel, format, callback, on_error);
                (Direction::Capture, transfer)
            }
            CallbackFactory::Playback(create) => {
                let reply = create_playback_stream(&mut connection, device, format)?;
                let callback = create(format);
                let transfer = PlaybackTransfer::boxed(connection, &reply, format, callback, on_error);
                (Direction::Playback, transfer)
            }
        };
        Ok(Self { direction, transfer: Some(transfer), thread: None, socket, is_closing })
    }

    /// Starts the stream and the thread that calls its callbacks.
    pub(crate) fn start(&mut self) -> Result<(), Error> {
        let Some(transfer) = self.transfer.take() else { return Ok(()) };
        // The thread waits for the server as long as the stream runs; control notices one that hangs.
        let timeouts = self.socket.set_read_timeout(None).and(self.socket.set_write_timeout(None));
        timeouts.map_err(|error| error_of(&error.into()))?;
        let thread = std::thread::Builder::new()
            .name(format!("pulse {}", word(self.direction)))
            .spawn(move || transfer.run())
            .map_err(|error| Error::with_message(ErrorKind::BackendError, error.to_string()))?;
        self.thread = Some(thread);
        Ok(())
    }
}

impl Drop for PulseStream {
    fn drop(&mut self) {
        // Release: partner of the Acquire in the error callback.
        self.is_closing.store(true, Ordering::Release);
        // Fails only if the server closed the connection, which also ends the thread.
        _ = self.socket.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

fn create_record_stream(
    connection: &mut PulseConnection,
    device: &str,
    format: &NegotiatedFormat,
) -> Result<CreateRecordStreamReply, Error> {
    let (sample_spec, channel_map) = spec(format)?;
    let params = RecordStreamParams {
        sample_spec,
        channel_map,
        source_name: Some(c_string(device)?),
        buffer_attr: BufferAttr {
            max_length: u32::MAX,
            fragment_size: period_bytes(format),
            ..BufferAttr::default()
        },
        flags: StreamFlags {
            start_corked: true,
            no_remap_channels: format.channels > 2,
            adjust_latency: true,
            ..StreamFlags::default()
        },
        props: props(Direction::Capture),
        ..RecordStreamParams::default()
    };
    connection.request(Command::CreateRecordStream(params)).map_err(|error| error_of(&error))
}

fn create_playback_stream(
    connection: &mut PulseConnection,
    device: &str,
    format: &NegotiatedFormat,
) -> Result<CreatePlaybackStreamReply, Error> {
    let (sample_spec, channel_map) = spec(format)?;
    let period = period_bytes(format);
    let params = PlaybackStreamParams {
        sample_spec,
        channel_map,
        sink_name: Some(c_string(device)?),
        buffer_attr: BufferAttr {
            max_length: u32::MAX,
            target_length: PLAYBACK_PERIODS.saturating_mul(period),
            minimum_request_length: period,
            ..BufferAttr::default()
        },
        flags: StreamFlags {
            start_corked: true,
            no_remap_channels: format.channels > 2,
            // Gives the sink a latency of one transfer.
            early_requests: true,
            ..StreamFlags::default()
        },
        props: props(Direction::Playback),
        ..PlaybackStreamParams::default()
    };
    connection.request(Command::CreatePlaybackStream(params)).map_err(|error| error_of(&error))
}

fn spec(format: &NegotiatedFormat) -> Result<(SampleSpec, ChannelMap), Error> {
    let unsupported = || {
        let message = format!("PulseAudio has no format {}", format.sample_format);
        Error::with_message(ErrorKind::UnsupportedConfig, message)
    };
    let sample_format = sample::format(format.sample_format).ok_or_else(unsupported)?;
    let channels = u8::try_from(format.channels).map_err(|_| unsupported())?;
    let spec = SampleSpec { format: sample_format, channels, sample_rate: format.rate.hz() };
    let map = match channels {
        1 => ChannelMap::mono(),
        2 => ChannelMap::stereo(),
        // More channels are taken by their index, whatever the device calls them.
        _ => ChannelMap::new((0..channels).map(|_| ChannelPosition::Mono)),
    };
    Ok((spec, map))
}

fn period_bytes(format: &NegotiatedFormat) -> u32 {
    format.period_sample_frames.saturating_mul(bytes_per_sample_frame(format))
}

pub(super) fn bytes_per_sample_frame(format: &NegotiatedFormat) -> u32 {
    format.sample_format.sample_size() as u32 * format.channels
}

fn props(direction: Direction) -> Props {
    let mut props = Props::new();
    props.set(
        Prop::MediaName,
        match direction {
            Direction::Capture => c"handsfree capture",
            Direction::Playback => c"handsfree playback",
        },
    );
    props
}

fn c_string(device: &str) -> Result<std::ffi::CString, Error> {
    std::ffi::CString::new(device)
        .map_err(|error| Error::with_message(ErrorKind::InvalidInput, error.to_string()))
}

/// Returns cpal's error for one of the protocol, so that all systems report the same kinds.
fn error_of(error: &ProtocolError) -> Error {
    let kind = match error {
        ProtocolError::ServerError(PulseError::NoEntity) => ErrorKind::DeviceNotAvailable,
        ProtocolError::ServerError(PulseError::AccessDenied | PulseError::AuthKey) => {
            ErrorKind::PermissionDenied
        }
        ProtocolError::ServerError(PulseError::Busy) | ProtocolError::Timeout => ErrorKind::DeviceBusy,
        ProtocolError::ServerError(PulseError::Invalid | PulseError::NotSupported) => {
            ErrorKind::UnsupportedConfig
        }
        ProtocolError::Io(_) => ErrorKind::HostUnavailable,
        _ => ErrorKind::BackendError,
    };
    Error::with_message(kind, error.to_string())
}
