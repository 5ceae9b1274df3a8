//! Runs in the guest: plays a signal that names its own positions through a whole session, looks for it in what the
//! microphone's device delivers, and says what happens and what came of it, a line of JSON each.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration as Span, Instant as Moment};

use clap::Parser;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use handsfree_alsa::{AlsaConfig, AlsaIo, Opened, RealTime, SampleFormat};
use handsfree_core::audio_io::{AudioIo, DirectionRequest, Directions, Event, StreamHalves, StreamRequest};
use handsfree_core::capture::Bypass;
use handsfree_core::playback::Track;
use handsfree_core::{ChannelMap, Frame, Gain, SampleRate, Session, SessionFormat};
use handsfree_host::clock;
use rtrb::{Producer, RingBuffer};
use serde_json::{Value, json};

const CAP: usize = 960;
type Terminal48 = Session<CAP, 2, 64, 32, 128, 64, 288_000>;
type Io = AlsaIo<'static, CAP, 2>;

/// Plays and listens.
#[derive(Parser, Debug)]
struct Args {
    /// The microphone's device
    #[arg(long)]
    input: Option<String>,
    /// The loudspeaker's device
    #[arg(long)]
    output: Option<String>,
    /// The terminal's rate in hertz
    #[arg(long, default_value_t = 48_000)]
    rate: u32,
    /// Rate asked of the devices, if it is another one
    #[arg(long)]
    device_rate: Option<u32>,
    /// Channels of both devices
    #[arg(long, default_value_t = 1)]
    channels: u32,
    /// Which of them carries the signal, from 0
    #[arg(long)]
    channel: Option<u8>,
    /// Only sample format
    #[arg(long)]
    format: Option<SampleFormat>,
    /// Period in sample frames
    #[arg(long, default_value_t = 480)]
    period: u32,
    /// Periods kept before the loudspeaker
    #[arg(long, default_value_t = 10)]
    periods: u32,
    /// How long, in seconds
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// End earlier, when this file is there
    #[arg(long)]
    until: Option<PathBuf>,
    /// Only say which devices there are
    #[arg(long)]
    list: bool,
    /// Leave both devices to start by themselves
    #[arg(long)]
    no_link: bool,
    /// Starts a device again when it was lost and is there again
    #[arg(long)]
    reopen: bool,
}

/// The sample that a position has: never silent, and no neighbour is like another.
fn sample(position: u64) -> i16 {
    let mut x = position.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D;
    x ^= x >> 29;
    x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x ^= x >> 32;
    (x as i16 >> 2) | 1
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{}", json!({ "error": error.to_string() }));
            ExitCode::FAILURE
        }
    }
}

fn list() -> Result<Value, Box<dyn Error>> {
    let devices = handsfree_alsa::devices()?.into_iter().map(|device| {
        json!({
            "id": device.id,
            "alsa_name": device.alsa_name,
            "direction": format!("{:?}", device.direction),
            "is_default": device.is_default,
            "abilities": format!("{:?}", device.abilities),
        })
    });
    Ok(json!({ "devices": devices.collect::<Vec<_>>() }))
}

fn run(args: &Args) -> Result<Value, Box<dyn Error>> {
    if args.list {
        return list();
    }
    let rate = SampleRate::new(args.rate)?;
    let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
    let session: &'static mut Terminal48 = Box::leak(Box::new(Session::new()));
    let halves = session.split::<CriticalSectionRawMutex, _, _>(terminal, Bypass, ())?;
    let (mut capture, mut playback, tracks) = (halves.capture, halves.playback, halves.tracks);
    let config = AlsaConfig {
        real_time: RealTime::default(),
        playback_periods: args.periods,
        capture_format: args.format,
        playback_format: args.format,
        link: !args.no_link,
    };
    let (mut io, board) = handsfree_alsa::open(config)?;
    let (mut heard, mut ears) = RingBuffer::new(args.rate as usize * 2);
    board.spawn(Box::new(move || {
        playback.poll();
        capture.poll(&clock::now, &mut |frame: &Frame<CAP>| keep(&mut heard, frame));
    }))?;
    let mut track = tracks.open()?;
    let mut position = 0;
    feed(&mut track, &mut position);

    let device_rate = SampleRate::new(args.device_rate.unwrap_or(args.rate))?;
    let end = |device, map| DirectionRequest {
        device,
        rate: device_rate,
        device_channels: args.channels,
        map,
        period_sample_frames: args.period,
        worker_slack_sample_frames: 0,
        gain: Gain::UNITY,
    };
    let (picked, placed) = match args.channel {
        Some(channel) => (
            Some(ChannelMap::select(args.channels, &[channel])?),
            Some(ChannelMap::place(&[channel], args.channels)?),
        ),
        None => (None, None),
    };
    let request = StreamRequest {
        capture: args.input.as_deref().map(|name| end(Some(name), picked)),
        playback: args.output.as_deref().map(|name| end(Some(name), placed)),
    };
    let stream_halves = StreamHalves {
        intake: args.input.as_ref().map(|_| halves.intake),
        outlet: args.output.as_ref().map(|_| halves.outlet),
    };
    let granted = io.start(&request, stream_halves).map_err(|refused| refused.error)?;
    let opened = (io.capture().map(show), io.playback().map(show));

    let mut listener = Listener::default();
    let mut xruns = [0_u32; 2];
    say(&json!({ "event": "Started" }));
    let began = Moment::now();
    let ended = || args.until.as_ref().is_some_and(|file| file.exists());
    while began.elapsed().as_secs_f64() < args.seconds && !ended() {
        feed(&mut track, &mut position);
        tracks.dispatch();
        while let Ok(sample) = ears.pop() {
            listener.hear(sample);
        }
        while let Some(event) = io.poll_event() {
            say(&json!({ "event": format!("{event:?}"), "heard": listener.heard, "exact": listener.exact }));
            if let Event::Xrun { direction, .. } = event {
                xruns[direction as usize] += 1;
            }
            if args.reopen {
                reopen(&mut io, &request, event);
            }
        }
        std::thread::sleep(Span::from_millis(2));
    }
    let stats = halves.stats.read();
    let seconds = began.elapsed().as_secs_f64();
    let trust = format!("{:?}", io.trust());
    let stream_halves = io.stop(Directions::Both);
    Ok(json!({
        "seconds": seconds,
        "listener": listener.report(),
        "xrun_events": xruns,
        "granted": format!("{granted:?}"),
        "capture": opened.0,
        "playback": opened.1,
        "intake": { "periods": stats.intake.periods, "gaps": stats.intake.gaps,
            "gap_sample_frames": stats.intake.gap_sample_frames, "overrun_frames": stats.intake.overrun_frames },
        "outlet": { "periods": stats.outlet.periods, "gaps": stats.outlet.gaps,
            "gap_sample_frames": stats.outlet.gap_sample_frames, "underruns": stats.outlet.underruns,
            "discarded_sample_frames": stats.outlet.discarded_sample_frames },
        "xruns": stats.xruns(),
        "delay_us": stats.capture.delay_us,
        "trust": trust,
        "ends_back": [stream_halves.intake.is_some(), stream_halves.outlet.is_some()],
    }))
}

fn show(opened: &Opened) -> Value {
    json!({
        "alsa_name": opened.alsa_name,
        "format": opened.format.name(),
        "rate_hz": opened.rate_hz,
        "channels": opened.channels,
        "period_sample_frames": opened.period_sample_frames,
        "buffer_sample_frames": opened.buffer_sample_frames,
        "fill_sample_frames": opened.fill_sample_frames,
    })
}

fn keep(heard: &mut Producer<i16>, frame: &Frame<CAP>) {
    for &sample in frame.samples() {
        // The listener reads every few milliseconds and there is room for two seconds.
        if heard.push(sample).is_err() {
            return;
        }
    }
}

fn feed(track: &mut Track<'_, 'static, CriticalSectionRawMutex, CAP, 2>, position: &mut u64) {
    let mut block = [0_i16; 480];
    loop {
        for (k, value) in block.iter_mut().enumerate() {
            *value = sample(*position + k as u64);
        }
        match track.push(&block) {
            Ok(0) | Err(_) => return,
            Ok(taken) => *position += taken as u64,
        }
    }
}

/// One line, with the moment on the clock that the kernel's messages have too.
fn say(what: &Value) {
    let mut line = what.clone();
    line["at_s"] = json!(clock::now().as_nanos() as f64 / 1e9);
    println!("{line}");
}

fn reopen(io: &mut Io, request: &StreamRequest<'_>, event: Event) {
    let Event::DeviceReturned { direction } = event else { return };
    let (directions, only) = match direction {
        handsfree_core::audio_io::Direction::Capture => {
            (Directions::Capture, StreamRequest { capture: request.capture, playback: None })
        }
        handsfree_core::audio_io::Direction::Playback => {
            (Directions::Playback, StreamRequest { capture: None, playback: request.playback })
        }
    };
    let stream_halves = io.stop(directions);
    let result = io.start(&only, stream_halves).map_err(|refused| refused.error.to_string());
    say(&json!({ "event": "Reopened", "direction": format!("{direction:?}"), "error": result.err() }));
}

/// Finds the signal in what is heard and follows it.
#[derive(Debug, Default)]
struct Listener {
    heard: u64,
    silent_before: u64,
    /// The signal's position expected next.
    next: Option<u64>,
    exact: u64,
    longest_run: u64,
    run: u64,
    breaks: Vec<Value>,
    recent: Vec<i16>,
    /// Searches in vain since the signal was last found.
    vain: u32,
}

/// Samples by which a place in the signal is known beyond doubt.
const NEEDLE: usize = 4;
/// How far ahead or behind the signal is looked for after a break.
const REACH: u64 = 192_000;
/// A signal that was converted is not found; looking on would only take time.
const MAX_SEARCHES: u32 = 100;

impl Listener {
    fn hear(&mut self, value: i16) {
        self.heard += 1;
        if let Some(next) = self.next {
            if value == sample(next) {
                self.next = Some(next + 1);
                self.exact += 1;
                self.run += 1;
                self.longest_run = self.longest_run.max(self.run);
                return;
            }
            if self.breaks.len() < 20 {
                self.breaks.push(json!({ "at": self.heard, "expected_position": next, "heard": value }));
            }
            self.next = None;
            self.run = 0;
            self.recent.clear();
        }
        if value == 0 {
            self.silent_before += u64::from(self.exact == 0);
            self.recent.clear();
            return;
        }
        if self.recent.len() < NEEDLE {
            self.recent.push(value);
        }
        if self.recent.len() == NEEDLE && self.vain < MAX_SEARCHES {
            self.next = self.find();
            self.vain = if self.next.is_some() { 0 } else { self.vain + 1 };
            self.exact += if self.next.is_some() { NEEDLE as u64 } else { 0 };
            self.recent.remove(0);
        }
    }

    fn find(&self) -> Option<u64> {
        let middle = self.exact;
        (middle.saturating_sub(REACH)..middle + REACH)
            .find(|&start| {
                self.recent.iter().enumerate().all(|(k, &value)| value == sample(start + k as u64))
            })
            .map(|start| start + NEEDLE as u64)
    }

    fn report(&self) -> Value {
        json!({
            "heard": self.heard,
            "silent_before": self.silent_before,
            "exact": self.exact,
            "longest_run": self.longest_run,
            "breaks": self.breaks,
        })
    }
}
