//! The air between a loudspeaker and a microphone that have a clock each: carries what one cable plays into another.
//!
//! It runs in the guest, between two loopback cards. Cards with different clocks would force any process between them to
//! drop or invent samples; this one knows both clocks (they are set by the cards' rate shifts) and reads what the
//! loudspeaker plays between its samples, so that what sounds on one cable at a moment is heard on the other a constant
//! time later, for as long as it runs. Positions are counted in whole numbers and nothing ever slips: when the room is
//! late, what is late is not heard, and what follows is at its place.

use std::collections::VecDeque;
use std::ffi::CString;
use std::process::ExitCode;

use alsa::pcm::{Access, Format, Frames, HwParams, PCM};
use alsa::{Direction, ValueOr};
use clap::Parser;
use handsfree_host::realtime;
use handsfree_sim::interpolate::{Interpolator, Tape};
use serde_json::{Value, json};

/// The echo path: sample frames after the sound, and how much of it. The parts' powers add up to [`echo_path_db`].
pub const ECHO_PATH: [(usize, f32); 6] =
    [(0, 0.4), (37, 0.15), (93, -0.12), (211, 0.1), (331, -0.06), (547, 0.03)];

/// A rate shift that leaves a card's clock as it is.
pub const UNSHIFTED: i64 = 100_000;

/// Sample frames carried at a time.
const PERIOD: Frames = 160;
/// Sample frames that both devices can hold: the room may stand still for so long and loses nothing of what is played.
const BUFFER: Frames = 160 * 100;
/// Above the terminal's audio thread: the air is never late because somebody computes.
const PRIORITY: u8 = 80;

/// How much of the sound comes back, in dB of its power, for sound without a pitch.
#[must_use]
pub fn echo_path_db() -> f64 {
    let power: f64 = ECHO_PATH.iter().map(|(_, gain)| f64::from(*gain).powi(2)).sum();
    10.0 * power.log10()
}

/// Carries sound from one loopback cable to another, whatever their clocks.
#[derive(Parser, Debug)]
#[command(name = "room")]
struct Args {
    /// Where the loudspeaker's sound arrives: the capture end of its cable
    #[arg(long)]
    from: String,
    /// Where the microphone listens: the playback end of its cable
    #[arg(long)]
    to: String,
    /// The rate of both in hertz
    #[arg(long, default_value_t = 16_000)]
    rate: u32,
    /// The loudspeaker card's `PCM Rate Shift 100000`
    #[arg(long, default_value_t = UNSHIFTED)]
    from_shift: i64,
    /// The microphone card's
    #[arg(long, default_value_t = UNSHIFTED)]
    to_shift: i64,
    /// From loudspeaker to microphone, in sample frames of the microphone
    #[arg(long, default_value_t = 1_280)]
    delay: u32,
    /// How long, in seconds of the loudspeaker
    #[arg(long)]
    seconds: u32,
}

/// The guest program, with the words of its command line: says as one line of JSON what came of it.
#[must_use]
pub fn main_with(words: impl IntoIterator<Item = String>) -> ExitCode {
    let args = match Args::try_parse_from(words) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    match run(&args) {
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

fn run(args: &Args) -> Result<Value, Box<dyn std::error::Error>> {
    let from = open(&args.from, Direction::Capture, args.rate)?;
    let to = open(&args.to, Direction::Playback, args.rate)?;
    realtime::lock_memory()?;
    realtime::schedule_fifo(PRIORITY)?;
    let (ears, mouth) = (from.io_i16()?, to.io_i16()?);
    let mut air = Air::new(args.from_shift, args.to_shift);
    mouth.writei(&vec![0; args.delay as usize])?;
    from.start()?;
    to.start()?;
    let mut block = vec![0; PERIOD as usize];
    let (mut heard, mut least_queued, mut late) = (0_u64, i64::from(args.delay), 0_u64);
    while heard < u64::from(args.seconds) * u64::from(args.rate) {
        let count = ears.readi(&mut block)?;
        heard += count as u64;
        let carried = air.carry(&block[..count]);
        // How far the card is from the end of what it was given. It does not stop there: see `open`.
        #[allow(clippy::useless_conversion, reason = "a long has 32 bits on some targets")]
        let queued: i64 = to.delay()?.into();
        least_queued = least_queued.min(queued);
        late += if queued < 0 { carried.len() as u64 } else { 0 };
        let mut written = 0;
        while written < carried.len() {
            written += mouth.writei(&carried[written..])?;
        }
    }
    Ok(json!({
        "heard": heard,
        "carried": air.carried,
        "least_queued_sample_frames": least_queued,
        "late_sample_frames": late,
        "heard_end": from.status()?.get_avail(),
    }))
}

fn open(name: &str, direction: Direction, rate: u32) -> Result<PCM, Box<dyn std::error::Error>> {
    let pcm = PCM::open(&CString::new(name)?, direction, false)?;
    {
        let params = HwParams::any(&pcm)?;
        params.set_access(Access::RWInterleaved)?;
        params.set_format(Format::s16())?;
        params.set_channels(1)?;
        params.set_rate(rate, ValueOr::Nearest)?;
        params.set_period_size(PERIOD, ValueOr::Nearest)?;
        params.set_buffer_size(BUFFER)?;
        pcm.hw_params(&params)?;
        let software = pcm.sw_params_current()?;
        let never = software.get_boundary()?;
        software.set_start_threshold(never)?;
        if direction == Direction::Playback {
            // Late samples are written to their places and nobody hears them; a card that stopped would lose its time.
            software.set_stop_threshold(never)?;
        }
        software.set_avail_min(PERIOD)?;
        pcm.sw_params(&software)?;
    }
    pcm.prepare()?;
    Ok(pcm)
}

/// What the loudspeaker plays, as the microphone's clock sees it.
struct Air {
    /// The last sounds, for the echo path.
    recent: VecDeque<f32>,
    tape: Tape,
    interpolator: Interpolator,
    /// Sample frames of the loudspeaker during `step.1` of the microphone.
    step: (u64, u64),
    /// Sample frames given to the microphone.
    carried: u64,
}

impl Air {
    /// A rate shift is a length of time: 100000 over it is how fast the card runs.
    fn new(from_shift: i64, to_shift: i64) -> Self {
        let step = (to_shift.unsigned_abs(), from_shift.unsigned_abs().max(1));
        let longest = ECHO_PATH.iter().map(|(delay, _)| *delay).max().unwrap_or(0);
        Self {
            recent: std::iter::repeat_n(0.0, longest + 1).collect(),
            tape: Tape::starting_at(0),
            interpolator: Interpolator::new(step.0 as f64 / step.1 as f64),
            step,
            carried: 0,
        }
    }

    /// Takes what was just played and gives what can be heard of it by now.
    fn carry(&mut self, played: &[i16]) -> Vec<i16> {
        let sounds: Vec<f32> = played.iter().map(|sample| self.echo(f32::from(*sample))).collect();
        self.tape.push(&sounds);
        let mut heard = Vec::with_capacity(played.len() + 1);
        loop {
            let (whole, rest) = self.place(self.carried);
            if whole + self.interpolator.reach() as u64 >= self.tape.end() {
                break;
            }
            let mut sample = [0.0];
            let at = (whole as i64, rest as f64 / self.step.1 as f64);
            self.tape.read_run(&self.interpolator, at, self.interpolator.step(), &mut sample);
            heard.push(sample[0].round().clamp(f32::from(i16::MIN), f32::from(i16::MAX)) as i16);
            self.carried += 1;
        }
        let (oldest, _) = self.place(self.carried);
        self.tape.forget_before(oldest.saturating_sub(self.interpolator.reach() as u64));
        heard
    }

    /// Where the microphone's sample is among the loudspeaker's: a whole number of them, and a rest in 1/`step.1`.
    fn place(&self, sample: u64) -> (u64, u64) {
        let place = sample * self.step.0;
        (place / self.step.1, place % self.step.1)
    }

    fn echo(&mut self, sound: f32) -> f32 {
        self.recent.pop_back();
        self.recent.push_front(sound);
        ECHO_PATH.iter().map(|(delay, gain)| self.recent.get(*delay).map_or(0.0, |sound| sound * gain)).sum()
    }
}
