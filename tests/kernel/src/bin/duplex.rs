//! Guest program: plays a signal in which each sample identifies its position through a whole session, searches for it in
//! the captured sound, and prints the events and a final report as lines of JSON.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration as Span, Instant as Moment};

use clap::Parser;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use handsfree_alsa::{AlsaConfig, AlsaIo, OpenedPcm, RealTimeConfig, SampleFormat};
use handsfree_core::audio_io::{AudioIo, DirectionRequest, Directions, Event, StreamHalves, StreamRequest};
use handsfree_core::capture::Bypass;
use handsfree_core::playback::Track;
use handsfree_core::{ChannelMap, Frame, Gain, SampleRate, Session, SessionFormat};
use handsfree_host::clock;
use rtrb::{Producer, RingBuffer};
use serde_json::{Value, json};

const CAP: usize = 960;
type DuplexSession = Session<CAP, 2, 64, 32, 128, 64, 288_000>;
type DuplexIo = AlsaIo<'static, CAP, 2>;

/// Plays a test signal and checks what is captured
#[derive(Parser, Debug)]
struct DuplexArgs {
    /// Capture device
    #[arg(long)]
    input: Option<String>,
    /// Playback device
    #[arg(long)]
    output: Option<String>,
    /// Sample rate of the session, in hertz
    #[arg(long, default_value_t = 48_000)]
    rate: u32,
    /// Sample rate requested from the devices, in hertz [default: the session's]
    #[arg(long)]
    device_rate: Option<u32>,
    /// Number of channels of both devices
    #[arg(long, default_value_t = 1)]
    channels: u32,
    /// Channel that carries the signal, counted from 0
    #[arg(long)]
    channel: Option<u8>,
    /// Sample format that the devices must use
    #[arg(long)]
    format: Option<SampleFormat>,
    /// Period of both devices, in sample frames
    #[arg(long, default_value_t = 480)]
    period: u32,
    /// Number of periods that are kept queued for the loudspeaker
    #[arg(long, default_value_t = 10)]
    periods: u32,
    /// Length of the run, in seconds
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// End the run when this file exists
    #[arg(long)]
    until: Option<PathBuf>,
    /// List the devices and exit
    #[arg(long)]
    list: bool,
    /// Start both devices separately instead of linking them
    #[arg(long)]
    no_link: bool,
    /// Reopen a lost device when it has returned
    #[arg(long)]
    reopen: bool,
}

/// Returns the test signal's sample at a position. It is never 0 and differs from its neighbours.
fn sample(position: u64) -> i16 {
    let mut x = position.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D;
    x ^= x >> 29;
    x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x ^= x >> 32;
    (x as i16 >> 2) | 1
}

fn main() -> ExitCode {
    match run(&DuplexArgs::parse()) {
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
            "abilities": format!("{:?}", device.capabilities),
        })
    });
    Ok(json!({ "devices": devices.collect::<Vec<_>>() }))
}

fn run(args: &DuplexArgs) -> Result<Value, Box<dyn Error>> {
    if args.list {
        return list();
    }
    let rate = SampleRate::new(args.rate)?;
    let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
    let session: &'static mut DuplexSession = Box::leak(Box::new(Session::new()));
    let halves = session.split::<CriticalSectionRawMutex, _, _>(terminal, Bypass, ())?;
    let (mut capture, mut playback, tracks) = (halves.capture, halves.playback, halves.tracks);
    let config = AlsaConfig {
        real_time: RealTimeConfig::default(),
        playback_periods: args.periods,
        capture_format: args.format,
        playback_format: args.format,
        link: !args.no_link,
    };
    let (mut io, board) = handsfree_alsa::open(config)?;
    let (mut captured_in, mut captured_out) = RingBuffer::new(args.rate as usize * 2);
    board.spawn(Box::new(move || {
        playback.poll();
        capture.poll(&clock::now, &mut |frame: &Frame<CAP>| keep(&mut captured_in, frame));
    }))?;
    let mut track = tracks.open()?;
    let mut position = 0;
    feed(&mut track, &mut position);

    let device_rate = SampleRate::new(args.device_rate.unwrap_or(args.rate))?;
    let direction = |device, map| DirectionRequest {
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
        capture: args.input.as_deref().map(|name| direction(Some(name), picked)),
        playback: args.output.as_deref().map(|name| direction(Some(name), placed)),
    };
    let stream_halves = StreamHalves {
        intake: args.input.as_ref().map(|_| halves.intake),
        outlet: args.output.as_ref().map(|_| halves.outlet),
    };
    let granted = io.start(&request, stream_halves).map_err(|refused| refused.error)?;
    let opened = (io.capture().map(show), io.playback().map(show));

    let mut follower = SignalFollower::default();
    let mut xruns = [0_u32; 2];
    print_line(&json!({ "event": "Started" }));
    let began = Moment::now();
    let ended = || args.until.as_ref().is_some_and(|file| file.exists());
    while began.elapsed().as_secs_f64() < args.seconds && !ended() {
        feed(&mut track, &mut position);
        tracks.dispatch();
        while let Ok(sample) = captured_out.pop() {
            follower.hear(sample);
        }
        while let Some(event) = io.poll_event() {
            print_line(
                &json!({ "event": format!("{event:?}"), "heard": follower.heard, "exact": follower.exact }),
            );
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
    let timing_stats = format!("{:?}", io.timing_stats());
    let stream_halves = io.stop(Directions::Both);
    Ok(json!({
        "seconds": seconds,
        "listener": follower.report(),
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
        "trust": timing_stats,
        "halves_returned": [stream_halves.intake.is_some(), stream_halves.outlet.is_some()],
    }))
}

fn show(opened: &OpenedPcm) -> Value {
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
        // The main thread reads every few milliseconds, and the ring holds two seconds.
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

/// Prints one line with the time on the clock that the kernel's messages use.
fn print_line(what: &Value) {
    let mut line = what.clone();
    line["at_s"] = json!(clock::now().as_nanos() as f64 / 1e9);
    println!("{line}");
}

fn reopen(io: &mut DuplexIo, request: &StreamRequest<'_>, event: Event) {
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
    print_line(&json!({ "event": "Reopened", "direction": format!("{direction:?}"), "error": result.err() }));
}

/// Finds the test signal in the captured sound and follows it.
#[derive(Debug, Default)]
struct SignalFollower {
    heard: u64,
    silent_before: u64,
    /// Signal position that is expected next.
    next: Option<u64>,
    exact: u64,
    longest_run: u64,
    run: u64,
    breaks: Vec<Value>,
    recent: Vec<i16>,
    /// Number of failed searches since the signal was last found.
    failed_searches: u32,
}

/// Number of samples that identify a position in the signal uniquely.
const NEEDLE: usize = 4;
/// Search range before and after the expected position, in sample frames.
const REACH: u64 = 192_000;
/// Limit for failed searches, because a signal that was converted to another rate is never found.
const MAX_SEARCHES: u32 = 100;

impl SignalFollower {
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
        if self.recent.len() == NEEDLE && self.failed_searches < MAX_SEARCHES {
            self.next = self.find();
            self.failed_searches = if self.next.is_some() { 0 } else { self.failed_searches + 1 };
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
