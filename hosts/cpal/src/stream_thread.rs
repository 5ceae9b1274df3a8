//! Control side: the thread that opens, starts and drops the streams of one direction.
//!
//! Any call into an audio system may hang with its server, even dropping a stream. So the caller's thread makes
//! no such call: a [`StreamThread`] makes it, and the caller waits for the reply with a timeout. A thread that
//! hangs is detached; it drops its stream and exits once the call returns.
//!
//! Each stream thread has its own connection. It is kept from one stream to the next because cpal's PulseAudio host, which
//! lists the devices, cannot close a connection.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::time::Duration as Span;

use cpal::traits::{DeviceTrait, StreamTrait};
use cpal::{BufferSize, Data, Device, Host, InputCallbackInfo, OutputCallbackInfo, Stream};
use handsfree_core::audio_io::Direction;

use crate::audio_system::AudioSystem;
use crate::devices;
use crate::error::{CpalError, word};
use crate::format::{CapturedSamples, SamplesToPlay};
use crate::negotiation::{self, CpalDeviceRequest, NegotiatedFormat};
use crate::pulse;
use crate::signals::CallbackSignals;
use crate::timing::CpalTimestamps;

/// Maximum time that control waits for a reply of the audio system. A server that starts or takes up another
/// device may need a second or two; after five it hangs.
pub(crate) const REPLY_TIMEOUT: Span = Span::from_secs(5);

/// Maximum time that cpal waits while it builds a stream. It is shorter than [`REPLY_TIMEOUT`], so that cpal's
/// own error arrives before control stops waiting.
const BUILD_TIMEOUT: Span = Span::from_secs(3);

/// Callback that receives the microphone's samples.
pub(crate) type InputCallback = Box<dyn FnMut(&CapturedSamples<'_>, CpalTimestamps) + Send>;
/// Callback that fills in the loudspeaker's samples.
pub(crate) type OutputCallback = Box<dyn FnMut(&mut SamplesToPlay<'_>, CpalTimestamps) + Send>;

/// Creates a stream's callback for the negotiated format.
pub(crate) enum CallbackFactory {
    Capture(Box<dyn Fn(&NegotiatedFormat) -> InputCallback + Send>),
    Playback(Box<dyn Fn(&NegotiatedFormat) -> OutputCallback + Send>),
}

/// Description of a stream to open.
pub(crate) struct StreamOrder {
    /// Name of the device; `None` for the default device.
    pub(crate) device: Option<String>,
    pub(crate) request: CpalDeviceRequest,
    pub(crate) callbacks: CallbackFactory,
    pub(crate) signals: Arc<CallbackSignals>,
}

/// Description of a stream that was opened and is not started yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BuiltStream {
    /// Stable name of the device.
    pub(crate) device: String,
    pub(crate) format: NegotiatedFormat,
    /// Length of the longest expected callback, in sample frames.
    pub(crate) longest_sample_frames: u32,
}

enum StreamThreadCommand {
    Open(Box<StreamOrder>, SyncSender<Result<BuiltStream, CpalError>>),
    Start(SyncSender<Result<(), CpalError>>),
    DropStream(SyncSender<()>),
}

/// Control's handle of a stream thread. The thread exits after this is dropped.
#[derive(Debug)]
pub(crate) struct StreamThread {
    direction: Direction,
    commands: Sender<StreamThreadCommand>,
}

impl StreamThread {
    pub(crate) fn spawn(system: AudioSystem, direction: Direction) -> Result<Self, CpalError> {
        let (commands, received) = mpsc::channel();
        std::thread::Builder::new()
            .name(format!("cpal {}", word(direction)))
            .spawn(move || StreamThreadState { system, direction, host: None, stream: None }.run(&received))
            .map_err(|error| CpalError::Backend {
                doing: "starting a thread".to_owned(),
                message: error.to_string(),
            })?;
        Ok(Self { direction, commands })
    }

    pub(crate) fn open(&self, order: StreamOrder) -> Result<BuiltStream, CpalError> {
        self.request("opening", REPLY_TIMEOUT, |reply| StreamThreadCommand::Open(Box::new(order), reply))?
    }

    pub(crate) fn start(&self) -> Result<(), CpalError> {
        self.request("starting", REPLY_TIMEOUT, StreamThreadCommand::Start)?
    }

    /// Drops the stream and waits at most `timeout` for it. After an error the drop continues in the background.
    pub(crate) fn drop_stream(&self, timeout: Span) -> Result<(), CpalError> {
        self.request("dropping", timeout, StreamThreadCommand::DropStream)
    }

    fn request<R>(
        &self,
        doing: &str,
        timeout: Span,
        command: impl FnOnce(SyncSender<R>) -> StreamThreadCommand,
    ) -> Result<R, CpalError> {
        let no_answer = || CpalError::NoAnswer {
            doing: format!("{doing} the {} stream", word(self.direction)),
            waited_ms: timeout.as_millis() as u32,
        };
        let (reply, answer) = mpsc::sync_channel(1);
        self.commands.send(command(reply)).map_err(|_| no_answer())?;
        answer.recv_timeout(timeout).map_err(|_| no_answer())
    }
}

/// State that the stream thread owns.
struct StreamThreadState {
    system: AudioSystem,
    direction: Direction,
    host: Option<Host>,
    /// The open stream and the stable name of its device.
    stream: Option<(String, OpenStream)>,
}

/// A stream that is open.
enum OpenStream {
    Cpal(Stream),
    #[cfg(all(target_os = "linux", feature = "pulseaudio"))]
    Pulse(pulse::PulseStream),
}

impl StreamThreadState {
    /// Executes commands until control drops its handle.
    fn run(mut self, commands: &Receiver<StreamThreadCommand>) {
        // A reply fails to send if control's timeout has passed; there is nothing to do about it then.
        while let Ok(command) = commands.recv() {
            match command {
                StreamThreadCommand::Open(order, reply) => {
                    self.stream = None;
                    _ = reply.send(self.open(&order));
                }
                StreamThreadCommand::Start(reply) => _ = reply.send(self.start()),
                StreamThreadCommand::DropStream(reply) => {
                    self.stream = None;
                    _ = reply.send(());
                }
            }
        }
    }

    fn open(&mut self, order: &StreamOrder) -> Result<BuiltStream, CpalError> {
        let name = order.device.as_deref();
        let (host, device) = self.find(name)?;
        self.host = Some(host);
        let device = device.ok_or_else(|| CpalError::NotFound {
            device: name.unwrap_or("the default").to_owned(),
            direction: self.direction,
        })?;
        let id = devices::id(&device).unwrap_or_else(|| device.to_string());
        let query_error = |error| CpalError::on(&id, self.direction, "querying", &error);
        let ranges = devices::ranges(&device, self.direction).map_err(query_error)?;
        let format = negotiation::negotiate(&id, self.direction, &ranges, &order.request)?;
        let opened = if pulse::is_on_pulseaudio(&device) {
            open_on_pulseaudio(&device, order, &format)
        } else {
            open_with_cpal(&device, order, &format)
        };
        let (stream, longest_sample_frames) = opened.map_err(|error| {
            // The connection may belong to a server that is gone, so the next attempt makes a new one.
            self.host = None;
            CpalError::on(&id, self.direction, "opening", &error)
        })?;
        self.stream = Some((id.clone(), stream));
        Ok(BuiltStream { device: id, format, longest_sample_frames })
    }

    /// Finds the device and returns it with a connection that lists it: the connection that exists, or a new
    /// one if that one is no longer usable.
    fn find(&mut self, name: Option<&str>) -> Result<(Host, Option<Device>), CpalError> {
        if let Some(host) = self.host.take().filter(|_| !self.system.is_snapshot())
            && let Ok(device) = devices::find(&host, self.direction, name)
        {
            return Ok((host, device));
        }
        let host = self.system.connect()?;
        let list_error =
            |error| CpalError::of_host(&format!("listing the devices of {}", self.system.name), &error);
        let device = devices::find(&host, self.direction, name).map_err(list_error)?;
        Ok((host, device))
    }

    fn start(&mut self) -> Result<(), CpalError> {
        let Some((id, stream)) = &mut self.stream else {
            return Err(CpalError::Misuse("there is no stream to start"));
        };
        let started = match stream {
            OpenStream::Cpal(stream) => stream.play(),
            #[cfg(all(target_os = "linux", feature = "pulseaudio"))]
            OpenStream::Pulse(stream) => stream.start(),
        };
        started.map_err(|error| CpalError::on(id, self.direction, "starting", &error))
    }
}

/// Opens a stream of PulseAudio. Returns it with the length of its longest expected callback.
#[cfg(all(target_os = "linux", feature = "pulseaudio"))]
fn open_on_pulseaudio(
    device: &Device,
    order: &StreamOrder,
    format: &NegotiatedFormat,
) -> Result<(OpenStream, u32), cpal::Error> {
    let stream = pulse::PulseStream::open(device.id()?.id(), order, format)?;
    Ok((OpenStream::Pulse(stream), format.period_sample_frames))
}

#[cfg(not(all(target_os = "linux", feature = "pulseaudio")))]
use open_with_cpal as open_on_pulseaudio;

/// Opens a stream of cpal. Returns it with the length of its longest expected callback.
fn open_with_cpal(
    device: &Device,
    order: &StreamOrder,
    format: &NegotiatedFormat,
) -> Result<(OpenStream, u32), cpal::Error> {
    let stream = match build(device, order, format, BufferSize::Fixed(format.period_sample_frames)) {
        // Some systems do not allow the choice of a buffer size.
        Err(error)
            if matches!(
                error.kind(),
                cpal::ErrorKind::UnsupportedConfig | cpal::ErrorKind::UnsupportedOperation
            ) =>
        {
            build(device, order, format, BufferSize::Default)?
        }
        built => built?,
    };
    // Some systems report a buffer size that is rounded down.
    let reported = stream.buffer_size().unwrap_or(format.period_sample_frames);
    Ok((OpenStream::Cpal(stream), reported.max(format.period_sample_frames)))
}

fn build(
    device: &Device,
    order: &StreamOrder,
    format: &NegotiatedFormat,
    buffer_size: BufferSize,
) -> Result<Stream, cpal::Error> {
    let config = format.stream_config(buffer_size);
    let sample_format = format.sample_format;
    let signals = Arc::clone(&order.signals);
    let on_error = move |error: cpal::Error| signals.record_error(error.kind());
    match &order.callbacks {
        CallbackFactory::Capture(create) => {
            let mut callback = create(format);
            let on_data = move |data: &Data, info: &InputCallbackInfo| {
                let info = info.timestamp();
                let timestamps = CpalTimestamps { callback: info.callback, converter: info.capture };
                callback(&CapturedSamples::Cpal(data), timestamps);
            };
            device.build_input_stream_raw(config, sample_format, on_data, on_error, Some(BUILD_TIMEOUT))
        }
        CallbackFactory::Playback(create) => {
            let mut callback = create(format);
            let on_data = move |data: &mut Data, info: &OutputCallbackInfo| {
                let info = info.timestamp();
                let timestamps = CpalTimestamps { callback: info.callback, converter: info.playback };
                callback(&mut SamplesToPlay::Cpal(data), timestamps);
            };
            device.build_output_stream_raw(config, sample_format, on_data, on_error, Some(BUILD_TIMEOUT))
        }
    }
}
