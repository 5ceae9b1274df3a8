//! Control side: the thread that opens, starts and drops the streams of one direction.
//!
//! Any call into an audio system may hang with its server, dropping a stream too. So none is made on the
//! caller's thread: an attendant makes it, and the caller waits for so long and no longer. One that hangs is
//! left to itself; it leaves as soon as it comes round, and drops what it had.
//!
//! Each attendant has its own connection, so on PulseAudio the two directions have a thread each for their
//! callbacks. It is kept from one stream to the next, because cpal's PulseAudio host cannot close one.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::time::Duration as Span;

use cpal::traits::{DeviceTrait, StreamTrait};
use cpal::{BufferSize, Data, Device, Host, InputCallbackInfo, OutputCallbackInfo, Stream};
use handsfree_core::audio_io::Direction;

use crate::agree::{self, Agreed, DeviceRequest};
use crate::devices;
use crate::error::{CpalError, word};
use crate::gauge::Gauge;
use crate::hosts::Source;
use crate::pulse;

/// How long an audio system may take for anything.
pub(crate) const PATIENCE: Span = Span::from_secs(5);
/// How long it may take to make a stream; cpal's own limit, below ours.
const BUILD_PATIENCE: Span = Span::from_secs(3);

/// What is called with the microphone's samples.
pub(crate) type Heard = Box<dyn FnMut(&Data, &InputCallbackInfo) + Send>;
/// What is called for the loudspeaker's.
pub(crate) type Wanted = Box<dyn FnMut(&mut Data, &OutputCallbackInfo) + Send>;

/// Makes a callback for what was agreed upon.
pub(crate) enum Maker {
    Capture(Box<dyn Fn(&Agreed) -> Heard + Send>),
    Playback(Box<dyn Fn(&Agreed) -> Wanted + Send>),
}

/// A stream to open.
pub(crate) struct Plan {
    pub(crate) device: Option<String>,
    pub(crate) wish: DeviceRequest,
    /// Periods that make up the buffer asked for.
    pub(crate) periods: u32,
    pub(crate) maker: Maker,
    pub(crate) gauge: Arc<Gauge>,
}

/// A stream that is open and stands still.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Built {
    /// The device's stable name.
    pub(crate) device: String,
    pub(crate) agreed: Agreed,
    /// What a callback is expected to bring at most.
    pub(crate) longest_sample_frames: u32,
}

enum Order {
    Open(Box<Plan>, SyncSender<Result<Built, CpalError>>),
    Play(SyncSender<Result<(), CpalError>>),
    End(SyncSender<()>),
}

/// Control's end of an attendant.
#[derive(Debug)]
pub(crate) struct Attendant {
    direction: Direction,
    orders: Sender<Order>,
}

impl Attendant {
    pub(crate) fn spawn(source: Source, direction: Direction) -> Result<Self, CpalError> {
        let (orders, taken) = mpsc::channel();
        std::thread::Builder::new()
            .name(format!("cpal {}", word(direction)))
            .spawn(move || Room { source, direction, host: None, stream: None }.attend(&taken))
            .map_err(|error| CpalError::Backend {
                doing: "starting a thread".to_owned(),
                message: error.to_string(),
            })?;
        Ok(Self { direction, orders })
    }

    pub(crate) fn open(&self, plan: Plan) -> Result<Built, CpalError> {
        self.ask("opening", PATIENCE, |reply| Order::Open(Box::new(plan), reply))?
    }

    pub(crate) fn play(&self) -> Result<(), CpalError> {
        self.ask("starting", PATIENCE, Order::Play)?
    }

    /// Drops the stream; an error says that this takes its time and goes on by itself.
    pub(crate) fn end(&self, patience: Span) -> Result<(), CpalError> {
        self.ask("dropping", patience, Order::End)
    }

    fn ask<R>(
        &self,
        doing: &str,
        patience: Span,
        order: impl FnOnce(SyncSender<R>) -> Order,
    ) -> Result<R, CpalError> {
        let silent = || CpalError::NoAnswer {
            doing: format!("{doing} the {} stream", word(self.direction)),
            waited_ms: patience.as_millis() as u32,
        };
        let (reply, answer) = mpsc::sync_channel(1);
        self.orders.send(order(reply)).map_err(|_| silent())?;
        answer.recv_timeout(patience).map_err(|_| silent())
    }
}

/// What an attendant has.
struct Room {
    source: Source,
    direction: Direction,
    host: Option<Host>,
    stream: Option<(String, Stream)>,
}

impl Room {
    /// Until control drops its end.
    fn attend(mut self, orders: &Receiver<Order>) {
        // Who asked may have stopped waiting, so nobody may hear an answer.
        while let Ok(order) = orders.recv() {
            match order {
                Order::Open(plan, reply) => {
                    self.stream = None;
                    _ = reply.send(self.open(&plan));
                }
                Order::Play(reply) => _ = reply.send(self.play()),
                Order::End(reply) => {
                    self.stream = None;
                    _ = reply.send(());
                }
            }
        }
    }

    fn open(&mut self, plan: &Plan) -> Result<Built, CpalError> {
        let name = plan.device.as_deref();
        let (host, device) = self.find(name)?;
        self.host = Some(host);
        let device = device.ok_or_else(|| CpalError::NotFound {
            device: name.unwrap_or("the default").to_owned(),
            direction: self.direction,
        })?;
        let id = devices::id(&device).unwrap_or_else(|| device.to_string());
        let told = |error| CpalError::on(&id, self.direction, "asking", &error);
        let ranges = devices::ranges(&device, self.direction).map_err(told)?;
        let agreed = agree::agree(&id, self.direction, &ranges, &plan.wish)?;
        // What PulseAudio takes for the most to keep, PipeWire takes for the length of a period, and keeps four.
        let periods = if plan.periods > 1 && pulse::is_pipewire() { 1 } else { plan.periods.max(1) };
        let asked = agreed.period_sample_frames.saturating_mul(periods);
        let stream = match build(&device, plan, &agreed, BufferSize::Fixed(asked)) {
            // Some systems let nobody choose.
            Err(error)
                if matches!(
                    error.kind(),
                    cpal::ErrorKind::UnsupportedConfig | cpal::ErrorKind::UnsupportedOperation
                ) =>
            {
                build(&device, plan, &agreed, BufferSize::Default)
            }
            built => built,
        };
        let stream = stream.map_err(|error| {
            // The connection may be of a server that is gone.
            self.host = None;
            CpalError::on(&id, self.direction, "opening", &error)
        })?;
        // Rounded down by some.
        let longest_sample_frames = stream.buffer_size().map_or(asked, |said| said.max(asked));
        self.stream = Some((id.clone(), stream));
        Ok(Built { device: id, agreed, longest_sample_frames })
    }

    /// The device and the connection that shows it: the one that is there, or a new one where it is of no
    /// use any more.
    fn find(&mut self, name: Option<&str>) -> Result<(Host, Option<Device>), CpalError> {
        if let Some(host) = self.host.take().filter(|_| !self.source.is_snapshot())
            && let Ok(device) = devices::find(&host, self.direction, name)
        {
            return Ok((host, device));
        }
        let host = self.source.connect()?;
        let told = |error| CpalError::of_host(&format!("asking {} for devices", self.source.name), &error);
        let device = devices::find(&host, self.direction, name).map_err(told)?;
        Ok((host, device))
    }

    fn play(&mut self) -> Result<(), CpalError> {
        let Some((id, stream)) = &self.stream else {
            return Err(CpalError::Misuse("there is no stream to start"));
        };
        stream.play().map_err(|error| CpalError::on(id, self.direction, "starting", &error))
    }
}

fn build(
    device: &Device,
    plan: &Plan,
    agreed: &Agreed,
    buffer_size: BufferSize,
) -> Result<Stream, cpal::Error> {
    let config = agreed.config(buffer_size);
    let gauge = Arc::clone(&plan.gauge);
    let failed = move |error: cpal::Error| gauge.failed(error.kind());
    match &plan.maker {
        Maker::Capture(make) => {
            device.build_input_stream_raw(config, agreed.format, make(agreed), failed, Some(BUILD_PATIENCE))
        }
        Maker::Playback(make) => {
            device.build_output_stream_raw(config, agreed.format, make(agreed), failed, Some(BUILD_PATIENCE))
        }
    }
}
