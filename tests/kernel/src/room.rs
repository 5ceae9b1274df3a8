//! Room acoustics between a loudspeaker and a microphone on different clocks: carries the sound of one loopback cable to
//! another.
//!
//! The program runs in the guest, between two loopback cards. Since it knows both clocks, which the cards' rate shifts set,
//! it can interpolate between the loudspeaker's samples instead of dropping or repeating any: sound on one cable is heard on
//! the other a constant time later. Positions are integers and never slip: if the program is late, the late samples are not
//! heard, and the following ones are at their correct positions.
//!
//! A card's speed is that of its rate shift only nearly: the kernel's loopback driver rounds the positions of both ends of a
//! cable, and where they round differently it plays up to 60 ppm faster (Linux, `sound/drivers/aloop.c`,
//! `loopback_jiffies_timer_pos_update`), while the program carries the sound at the speed that is set: the echo would move
//! against times that are true, as with no device. Both ends round alike if they are started in the same tick of the kernel's
//! timer. So the program starts its end when the loudspeaker's is running, and counts how fast the card really was.

use std::collections::VecDeque;
use std::ffi::CString;
use std::process::ExitCode;

use alsa::pcm::{Access, Format, Frames, HwParams, PCM};
use alsa::{Direction, ValueOr};
use clap::Parser;
use handsfree_host::realtime;
use handsfree_sim::interpolate::{Interpolator, PlayedSignal};
use serde_json::{Value, json};

/// Echo path: delay in sample frames and gain of each reflection. The sum of their powers is [`echo_path_db`].
pub const ECHO_PATH: [(usize, f32); 6] =
    [(0, 0.4), (37, 0.15), (93, -0.12), (211, 0.1), (331, -0.06), (547, 0.03)];

/// Rate shift of a card with an unchanged clock.
pub const UNSHIFTED: i64 = 100_000;

/// Period of both devices, in sample frames.
const PERIOD: Frames = 160;
/// Buffer of both devices, in sample frames. The program may stall for this time without losing played samples.
const BUFFER: Frames = 160 * 100;
/// Part of the run over which the cards' speeds are compared: when both play, and before the terminal may end.
const COMPARED: std::ops::Range<f64> = 0.3..0.9;
/// Interval at which the state of the loudspeaker is read: far shorter than a tick of the kernel's timer, 4 ms.
const STATE_INTERVAL: std::time::Duration = std::time::Duration::from_micros(200);
/// Real-time priority, above that of the terminal's audio thread, so that its computing never delays the acoustics.
const PRIORITY: u8 = 80;

/// Returns the power of the echo relative to the sound, in dB, for sound without a pitch.
#[must_use]
pub fn echo_path_db() -> f64 {
    let power: f64 = ECHO_PATH.iter().map(|(_, gain)| f64::from(*gain).powi(2)).sum();
    10.0 * power.log10()
}

/// Carries sound from one loopback cable to another with a different clock
#[derive(Parser, Debug)]
#[command(name = "room")]
struct RoomArgs {
    /// Capture device of the loudspeaker's cable
    #[arg(long)]
    from: String,
    /// File with the state of the loudspeaker, for which the program waits to be RUNNING
    #[arg(long)]
    after: std::path::PathBuf,
    /// Playback device of the microphone's cable
    #[arg(long)]
    to: String,
    /// Sample rate of both devices, in hertz
    #[arg(long, default_value_t = 16_000)]
    rate: u32,
    /// Value of the control `PCM Rate Shift 100000` of the loudspeaker's card
    #[arg(long, default_value_t = UNSHIFTED)]
    from_shift: i64,
    /// Value of the control `PCM Rate Shift 100000` of the microphone's card
    #[arg(long, default_value_t = UNSHIFTED)]
    to_shift: i64,
    /// Delay from loudspeaker to microphone, in sample frames of the microphone
    #[arg(long, default_value_t = 1_280)]
    delay: u32,
    /// Length of the run, in seconds of the loudspeaker
    #[arg(long)]
    seconds: u32,
}

/// Runs the guest program with the words of its command line, and prints the result as one line of JSON.
#[must_use]
pub fn main_with(words: impl IntoIterator<Item = String>) -> ExitCode {
    let args = match RoomArgs::try_parse_from(words) {
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

fn run(args: &RoomArgs) -> Result<Value, Box<dyn std::error::Error>> {
    let from = open(&args.from, Direction::Capture, args.rate)?;
    let to = open(&args.to, Direction::Playback, args.rate)?;
    realtime::lock_memory()?;
    realtime::schedule_fifo(PRIORITY)?;
    let (input, output) = (from.io_i16()?, to.io_i16()?);
    let mut air = EchoPath::new(args.from_shift, args.to_shift);
    output.writei(&vec![0; args.delay as usize])?;
    while !std::fs::read_to_string(&args.after)?.contains("RUNNING") {
        std::thread::sleep(STATE_INTERVAL);
    }
    from.start()?;
    to.start()?;
    let mut block = vec![0; PERIOD as usize];
    let (mut heard, mut least_queued, mut late) = (0_u64, i64::from(args.delay), 0_u64);
    let mut written_to = u64::from(args.delay);
    let length = u64::from(args.seconds) * u64::from(args.rate);
    let [begin, end] = [COMPARED.start, COMPARED.end].map(|part| (length as f64 * part) as u64);
    let (mut begun, mut ended) = (None, None);
    while heard < length {
        let count = input.readi(&mut block)?;
        heard += count as u64;
        let carried = air.carry(&block[..count]);
        // Sample frames until the card reaches the end of its data. It does not stop there, see `open`.
        #[allow(clippy::useless_conversion, reason = "a long has 32 bits on some targets")]
        let queued: i64 = to.delay()?.into();
        least_queued = least_queued.min(queued);
        late += if queued < 0 { carried.len() as u64 } else { 0 };
        let mut written = 0;
        while written < carried.len() {
            written += output.writei(&carried[written..])?;
        }
        written_to += written as u64;
        if heard >= begin && begun.is_none() {
            begun = Some(positions(&from, heard, &to, written_to)?);
        } else if heard >= end && ended.is_none() {
            ended = Some(positions(&from, heard, &to, written_to)?);
        }
    }
    let from_ppm =
        begun.zip(ended).map(|(begun, ended)| (ended.0 - begun.0) / (ended.1 - begun.1) * 1e6 - 1e6);
    Ok(json!({
        "heard": heard,
        "from_ppm": from_ppm,
        "carried": air.carried,
        "least_queued_sample_frames": least_queued,
        "late_sample_frames": late,
        "heard_end": from.status()?.get_avail(),
    }))
}

/// Returns the positions of both cards at one moment. A card counts on when the kernel's timer ticks, so both are read
/// between two ticks.
fn positions(
    from: &PCM,
    heard: u64,
    to: &PCM,
    written: u64,
) -> Result<(f64, f64), Box<dyn std::error::Error>> {
    let from_now = || -> Result<f64, alsa::Error> { Ok(heard as f64 + from.status()?.get_avail() as f64) };
    loop {
        let before = from_now()?;
        #[allow(clippy::useless_conversion, reason = "a long has 32 bits on some targets")]
        let queued: i64 = to.delay()?.into();
        if from_now()? == before {
            return Ok((before, written as f64 - queued as f64));
        }
    }
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
            // Late samples are written to their positions without being heard; a card that stopped would lose its timing.
            software.set_stop_threshold(never)?;
        }
        software.set_avail_min(PERIOD)?;
        pcm.sw_params(&software)?;
    }
    pcm.prepare()?;
    Ok(pcm)
}

/// The loudspeaker's sound on the microphone's clock.
struct EchoPath {
    /// Most recent loudspeaker samples, for the reflections.
    recent: VecDeque<f32>,
    tape: PlayedSignal,
    interpolator: Interpolator,
    /// Ratio of the clocks: `step.0` sample frames of the loudspeaker per `step.1` of the microphone.
    step: (u64, u64),
    /// Number of sample frames delivered to the microphone.
    carried: u64,
}

impl EchoPath {
    /// Creates the path. A card's speed is 100000 divided by its rate shift.
    fn new(from_shift: i64, to_shift: i64) -> Self {
        let step = (to_shift.unsigned_abs(), from_shift.unsigned_abs().max(1));
        let longest = ECHO_PATH.iter().map(|(delay, _)| *delay).max().unwrap_or(0);
        Self {
            recent: std::iter::repeat_n(0.0, longest + 1).collect(),
            tape: PlayedSignal::starting_at(0),
            interpolator: Interpolator::new(step.0 as f64 / step.1 as f64),
            step,
            carried: 0,
        }
    }

    /// Takes newly played samples and returns the microphone samples that are complete.
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
        self.tape.drop_before(oldest.saturating_sub(self.interpolator.reach() as u64));
        heard
    }

    /// Returns the position of a microphone sample in loudspeaker samples: a whole number, and a fraction in units of
    /// 1/`step.1`.
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
