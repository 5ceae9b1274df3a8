//! Runs in the guest: plays clicks into one cable and looks when they come out of another, by the cards' own positions. Says
//! as one line of JSON how many sample frames what lies between took for each.

use std::collections::VecDeque;
use std::error::Error;
use std::ffi::CString;
use std::process::ExitCode;

use alsa::pcm::{Access, Format, Frames, HwParams, PCM};
use alsa::{Direction, ValueOr};
use clap::Parser;
use serde_json::{Value, json};

/// Between two clicks: longer than anything that is measured.
const SPACING: u64 = 24_000;
const CLICK: i16 = 20_000;
/// A click that went through anything is at least so loud; there is no other sound.
const HEARD: i16 = 5_000;
/// Periods kept before the playing card, and those that both can hold.
const FILL: Frames = 8;
const PERIODS: Frames = 32;

/// Measures what lies between two cables that tick together.
#[derive(Parser, Debug)]
struct Args {
    /// Where clicks are played
    #[arg(long)]
    output: String,
    /// Where they come out
    #[arg(long)]
    input: String,
    /// The rate of both in hertz
    #[arg(long, default_value_t = 48_000)]
    rate: u32,
    /// Period of both in sample frames
    #[arg(long, default_value_t = 120)]
    period: Frames,
    /// How many clicks
    #[arg(long, default_value_t = 8)]
    clicks: u64,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("meter: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<Value, Box<dyn Error>> {
    let (mouth, ears) = (open(args, Direction::Playback)?, open(args, Direction::Capture)?);
    let (out, input) = (mouth.io_i16()?, ears.io_i16()?);
    let mut written = (args.period * FILL) as u64;
    out.writei(&vec![0; written as usize])?;
    ears.start()?;
    mouth.start()?;

    let buffer = args.period * PERIODS;
    let (mut heard, mut played, mut latencies) = (0_u64, VecDeque::new(), Vec::new());
    let mut ahead = None;
    let mut block = vec![0; args.period as usize];
    while heard < SPACING * (args.clicks + 1) {
        let count = input.readi(&mut block)?;
        // By how much the hearing card is ahead of the playing one, at a moment at which neither moves.
        let at = |written: u64| Ok::<_, alsa::Error>(written as i64 - (buffer - mouth.status()?.get_avail()));
        let before = at(written)?;
        let hears = (heard + count as u64) as i64 + ears.status()?.get_avail();
        if before == at(written)? {
            let now = hears - before;
            if *ahead.get_or_insert(now) != now {
                return Err(format!("the cards do not tick together: {ahead:?} and {now}").into());
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
            // Not always at the same place of a period.
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

fn open(args: &Args, direction: Direction) -> Result<PCM, Box<dyn Error>> {
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
