//! Runs in the guest: a session that plays what it hears, frame by frame, until it is killed. What this takes is the way
//! through both halves, both workers and a track, and nothing else.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration as Span;

use clap::Parser;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use handsfree_alsa::{AlsaConfig, AlsaIo};
use handsfree_core::audio_io::{AudioIo, DirectionRequest, StreamHalves, StreamRequest};
use handsfree_core::capture::Bypass;
use handsfree_core::{Frame, Gain, SampleRate, Session, SessionFormat};
use handsfree_host::clock;

const CAP: usize = 480;
type Terminal48 = Session<CAP, 1, 64, 32, 128, 64, 144_000>;

/// Plays what it hears.
#[derive(Parser, Debug)]
struct Args {
    /// The microphone's device
    #[arg(long)]
    input: String,
    /// The loudspeaker's device
    #[arg(long)]
    output: String,
    /// The rate of both in hertz
    #[arg(long, default_value_t = 48_000)]
    rate: u32,
    /// Period of both in sample frames
    #[arg(long)]
    period: u32,
    /// Periods kept before the loudspeaker
    #[arg(long)]
    periods: u32,
}

fn main() -> ExitCode {
    if let Err(error) = run(&Args::parse()) {
        eprintln!("through: {error}");
    }
    ExitCode::FAILURE
}

/// Goes on until the process is killed, or a device has something to say: nothing is to happen here.
fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let rate = SampleRate::new(args.rate)?;
    let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
    let session: &'static mut Terminal48 = Box::leak(Box::new(Session::new()));
    let halves = session.split::<CriticalSectionRawMutex, _, _>(terminal, Bypass, ())?;
    let (mut capture, mut playback) = (halves.capture, halves.playback);
    let mut track = Box::leak(Box::new(halves.tracks)).open()?;
    let config = AlsaConfig { playback_periods: args.periods, ..AlsaConfig::default() };
    let (mut io, board): (AlsaIo<'_, CAP, 1>, _) = handsfree_alsa::open(config)?;
    board.spawn(Box::new(move || {
        // What was heard is pushed before the next frame is mixed. A track that is full has a second in it: then the clocks
        // differ, and the latency that is measured says so.
        capture.poll(&clock::now, &mut |frame: &Frame<CAP>| _ = track.push(frame.samples()));
        playback.poll();
    }))?;
    let end = |device| DirectionRequest {
        device: Some(device),
        rate,
        device_channels: 1,
        map: None,
        period_sample_frames: args.period,
        worker_slack_sample_frames: 0,
        gain: Gain::UNITY,
    };
    let request = StreamRequest { capture: Some(end(&args.input)), playback: Some(end(&args.output)) };
    let stream_halves = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
    io.start(&request, stream_halves).map_err(|refused| refused.error)?;
    loop {
        if let Some(event) = io.poll_event() {
            return Err(format!("{event:?}").into());
        }
        std::thread::sleep(Span::from_millis(20));
    }
}
