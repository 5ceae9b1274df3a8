//! Guest program: plays clicks into one cable and detects them on another, by the cards' own positions. Prints the latency
//! of each click in sample frames as one line of JSON.

use std::collections::VecDeque;
use std::error::Error;
use std::ffi::CString;
use std::process::ExitCode;

use alsa::pcm::{Access, Format, Frames, HwParams, PCM};
use alsa::{Direction, ValueOr};
use clap::Parser;
use serde_json::{Value, json};

/// Distance between two clicks in sample frames, which exceeds every measured latency.
const SPACING: u64 = 24_000;
/// Amplitude of a click.
const CLICK: i16 = 20_000;
/// Threshold for the detection of a click; there is no other sound.
const HEARD: i16 = 5_000;
/// Number of periods that are kept queued for the playing card.
const FILL: Frames = 8;
/// Buffer of both cards, in periods.
const PERIODS: Frames = 32;

/// Measures the latency between two cables that share a clock
#[derive(Parser, Debug)]
struct MeterArgs {
    /// Device on which clicks are played
    #[arg(long)]
    output: String,
    /// Device on which they are recorded
    #[arg(long)]
    input: String,
    /// Sample rate of both devices, in hertz
    #[arg(long, default_value_t = 48_000)]
    rate: u32,
    /// Period of both devices, in sample frames
    #[arg(long, default_value_t = 120)]
    period: Frames,
    /// Number of clicks
    #[arg(long, default_value_t = 8)]
    clicks: u64,
}

fn main() -> ExitCode {
    match run(&MeterArgs::parse()) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("latency_meter: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &MeterArgs) -> Result<Value, Box<dyn Error>> {
    let (playing, recording) = (open(args, Direction::Playback)?, open(args, Direction::Capture)?);
    let (out, input) = (playing.io_i16()?, recording.io_i16()?);
    let mut written = (args.period * FILL) as u64;
    out.writei(&vec![0; written as usize])?;
    recording.start()?;
    playing.start()?;

    let buffer = args.period * PERIODS;
    let (mut heard, mut played, mut latencies) = (0_u64, VecDeque::new(), Vec::new());
    let mut ahead = None;
    let mut block = vec![0; args.period as usize];
    while heard < SPACING * (args.clicks + 1) {
        let count = input.readi(&mut block)?;
        // Difference of the cards' positions at a moment at which neither changes.
        let at =
            |written: u64| Ok::<_, alsa::Error>(written as i64 - (buffer - playing.status()?.get_avail()));
        let before = at(written)?;
        let recorded = (heard + count as u64) as i64 + recording.status()?.get_avail();
        if before == at(written)? {
            let now = recorded - before;
            if *ahead.get_or_insert(now) != now {
                return Err(format!(
                    "the cards do not share a clock: their positions differ by {ahead:?} and by {now}"
                )
                .into());
            }
        }
        for (at, _) in block[..count].iter().enumerate().filter(|(_, sample)| **sample > HEARD) {
            if let (Some(click), Some(ahead)) = (played.pop_front(), ahead) {
                latencies.push((heard + at as u64) as i64 - click as i64 - ahead);
            }
        }
        heard += count as u64;
        for (at, sample) in block.iter_mut().enumerate() {
            let position = written + at as u64;
            // Each click is at another place of its period.
            let is_click = position % SPACING == (position / SPACING) * 37 && position > SPACING;
            *sample = if is_click { CLICK } else { 0 };
            if is_click {
                played.push_back(position);
            }
        }
        written += out.writei(&block[..count])? as u64;
    }
    Ok(json!({ "latencies": latencies, "ahead": ahead, "unheard": played.len() }))
}

fn open(args: &MeterArgs, direction: Direction) -> Result<PCM, Box<dyn Error>> {
    let name = if direction == Direction::Playback { &args.output } else { &args.input };
    let pcm = PCM::open(&CString::new(name.as_str())?, direction, false)?;
    {
        let params = HwParams::any(&pcm)?;
        params.set_access(Access::RWInterleaved)?;
        params.set_format(Format::s16())?;
        params.set_channels(1)?;
        params.set_rate(args.rate, ValueOr::Nearest)?;
        params.set_period_size(args.period, ValueOr::Nearest)?;
        params.set_buffer_size(args.period * PERIODS)?;
        pcm.hw_params(&params)?;
        let software = pcm.sw_params_current()?;
        software.set_start_threshold(software.get_boundary()?)?;
        pcm.sw_params(&software)?;
    }
    pcm.prepare()?;
    Ok(pcm)
}
