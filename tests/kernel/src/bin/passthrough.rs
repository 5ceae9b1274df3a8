//! Guest program: a session that plays each captured frame until it is killed. Its latency is that of both halves, both
//! workers and a track, and nothing else.

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
type PassthroughSession = Session<CAP, 1, 64, 32, 128, 64, 144_000>;

/// Plays the captured sound
#[derive(Parser, Debug)]
struct PassthroughArgs {
    /// Capture device
    #[arg(long)]
    input: String,
    /// Playback device
    #[arg(long)]
    output: String,
    /// Sample rate of both devices, in hertz
    #[arg(long, default_value_t = 48_000)]
    rate: u32,
    /// Period of both devices, in sample frames
    #[arg(long)]
    period: u32,
    /// Number of periods that are kept queued for the loudspeaker
    #[arg(long)]
    periods: u32,
}

fn main() -> ExitCode {
    if let Err(error) = run(&PassthroughArgs::parse()) {
        eprintln!("passthrough: {error}");
    }
    ExitCode::FAILURE
}

/// Runs until the process is killed. Any device event is an error, since none is expected here.
fn run(args: &PassthroughArgs) -> Result<(), Box<dyn Error>> {
    let rate = SampleRate::new(args.rate)?;
    let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
    let session: &'static mut PassthroughSession = Box::leak(Box::new(Session::new()));
    let halves = session.split::<CriticalSectionRawMutex, _, _>(terminal, Bypass, ())?;
    let (mut capture, mut playback) = (halves.capture, halves.playback);
    let mut track = Box::leak(Box::new(halves.tracks)).open()?;
    let config = AlsaConfig { playback_periods: args.periods, ..AlsaConfig::default() };
    let (mut io, board): (AlsaIo<'_, CAP, 1>, _) = handsfree_alsa::open(config)?;
    board.spawn(Box::new(move || {
        // Captured frames are pushed before the next frame is mixed. A full track, which holds a second, means that the
        // clocks differ; the measured latency reveals that.
        capture.poll(&clock::now, &mut |frame: &Frame<CAP>| _ = track.push(frame.samples()));
        playback.poll();
    }))?;
    let direction = |device| DirectionRequest {
        device: Some(device),
        rate,
        device_channels: 1,
        map: None,
        period_sample_frames: args.period,
        worker_slack_sample_frames: 0,
        gain: Gain::UNITY,
    };
    let request =
        StreamRequest { capture: Some(direction(&args.input)), playback: Some(direction(&args.output)) };
    let stream_halves = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
    io.start(&request, stream_halves).map_err(|refused| refused.error)?;
    loop {
        if let Some(event) = io.poll_event() {
            return Err(format!("{event:?}").into());
        }
        std::thread::sleep(Span::from_millis(20));
    }
}
