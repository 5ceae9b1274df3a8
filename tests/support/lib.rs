//! What the tests share: seeds that replay, memory for large sessions, signals that name their own position, and a
//! voice processor that remembers what it heard.
#![forbid(unsafe_code)]

pub mod capture_rig;
pub mod desk;

use std::ops::RangeInclusive;
use std::thread;

use handsfree_core::capture::{IntakeConfig, ProcessError, VoiceProcessor, VoiceStats};
use handsfree_core::playback::OutletConfig;
use handsfree_core::{
    ChannelMap, DeviceSample, Duration, Gain, I24, Instant, PcmMut, PcmRef, PeriodTime, SampleRate,
};
use handsfree_sim::acoustics::Acoustics;
use handsfree_sim::board::BoardConfig;
use handsfree_sim::noise::Rng;
use handsfree_sim::scenario::Scenario;
use handsfree_sim::side::SideConfig;
use handsfree_sim::wav::Clip;

/// Rates at which everything must hold, in hertz.
pub const RATES_HZ: [u32; 7] = [8_000, 16_000, 24_000, 32_000, 44_100, 48_000, 96_000];

/// Period lengths that devices deliver and that have broken audio code before.
pub const PERIODS: [usize; 18] =
    [0, 1, 2, 3, 7, 24, 31, 80, 127, 441, 479, 480, 481, 512, 997, 1_024, 4_093, 8_192];

/// The longest of [`PERIODS`].
pub const LONGEST_PERIOD: u32 = 8_192;

/// A replay instruction that is printed when a property fails.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("replay this case alone with HANDSFREE_SEED={}", self.0);
        }
    }
}

/// Runs a property for the seeds 1 to `cases`, with room on the stack for whole sessions.
///
/// `HANDSFREE_SEED=n` runs seed n alone, `HANDSFREE_CASES=n` that many times as many seeds.
pub fn for_seeds(cases: u64, property: impl Fn(&mut Rng) + Sync) {
    with_room(|| {
        for seed in seeds(cases) {
            let _replay = Replay(seed);
            property(&mut Rng::for_stream(seed, "test"));
        }
    });
}

fn seeds(cases: u64) -> RangeInclusive<u64> {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: expected a whole number")))
    };
    match number("HANDSFREE_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=cases * number("HANDSFREE_CASES").unwrap_or(1),
    }
}

/// Runs `work` with a stack on which a session of some megabytes can be made before it is boxed.
pub fn with_room<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let worker = thread::Builder::new().stack_size(256 << 20).spawn_scoped(scope, work);
        match worker.expect("a thread with 256 MiB of stack").join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// One of `choices`.
pub fn pick<T: Copy>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.range(0, choices.len() as u64) as usize]
}

/// True in one of `n` cases.
pub fn one_in(rng: &mut Rng, n: u64) -> bool {
    rng.range(0, n) == 0
}

/// A period length: most often one of the nasty ones, else any from 0 to 8192.
pub fn any_period(rng: &mut Rng) -> usize {
    if one_in(rng, 3) { rng.range(0, 8_193) as usize } else { pick(rng, &PERIODS) }
}

/// The sample that belongs to a position and a channel, never 0, so that it cannot be taken for silence, and unlike
/// its neighbours, so that no other sample can be taken for it.
#[must_use]
pub fn sample_at(position: u64, channel: usize) -> i16 {
    let mut mixed = position.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ ((channel as u64) << 56);
    mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    match (mixed >> 44) as i16 {
        0 => 1,
        sample => sample,
    }
}

/// The time of a period on an ideal device that started at the clock's origin and delivers when a period is over.
#[must_use]
pub fn captured_at(position: u64, sample_frames: usize, rate: SampleRate, first_position: u64) -> PeriodTime {
    let at = |n: u64| Instant::ORIGIN + Duration::of_sample_frames(n, rate);
    PeriodTime {
        position: first_position.wrapping_add(position),
        converter: at(position),
        called: at(position + sample_frames as u64),
    }
}

/// The time of a period on an ideal device that plays as soon as it is told.
#[must_use]
pub fn played_at(position: u64, rate: SampleRate, first_position: u64) -> PeriodTime {
    let at = Instant::ORIGIN + Duration::of_sample_frames(position, rate);
    PeriodTime { position: first_position.wrapping_add(position), converter: at, called: at }
}

/// An intake at unity gain for a device on the one clock that the tests' two directions share.
#[must_use]
pub fn intake_config(rate: SampleRate, map: ChannelMap, max_period_sample_frames: u32) -> IntakeConfig {
    IntakeConfig { rate, map, gain: Gain::UNITY, max_period_sample_frames, clock_domain: 1 }
}

/// An outlet for a worker that is never late, on the clock of [`intake_config`].
#[must_use]
pub fn outlet_config(rate: SampleRate, map: ChannelMap, max_period_sample_frames: u32) -> OutletConfig {
    OutletConfig {
        rate,
        map,
        max_period_sample_frames,
        worker_slack_sample_frames: 0,
        latency: handsfree_core::Duration::ZERO,
        clock_domain: 1,
    }
}

/// A device format as a test sees it.
pub trait TestSample: DeviceSample + PartialEq + std::fmt::Debug {
    /// Its name in failures.
    const NAME: &'static str;
    /// The 16-bit sample that this is the exact form of.
    fn to_i16(self) -> i16;
}

impl TestSample for i16 {
    const NAME: &'static str = "i16";
    fn to_i16(self) -> i16 {
        self
    }
}

impl TestSample for i32 {
    const NAME: &'static str = "i32";
    fn to_i16(self) -> i16 {
        assert_eq!(self & 0xFFFF, 0, "{self:#x} is not a 16-bit sample in 32 bits");
        (self >> 16) as i16
    }
}

impl TestSample for I24 {
    const NAME: &'static str = "24 in 32";
    fn to_i16(self) -> i16 {
        assert_eq!(self.0 & 0xFF, 0, "{:#x} is not a 16-bit sample in 24 bits", self.0);
        (self.0 >> 8) as i16
    }
}

impl TestSample for f32 {
    const NAME: &'static str = "f32";
    fn to_i16(self) -> i16 {
        let scaled = self * 32_768.0;
        assert_eq!(scaled.fract(), 0.0, "{self} is not a 16-bit sample as a float");
        scaled as i16
    }
}

/// A channel map and what it does, written down a second time.
#[derive(Clone, Debug)]
pub struct KnownMap {
    /// The map.
    pub map: ChannelMap,
    /// For each receiving channel the channel it gets; `None` for silence.
    pub picks: Vec<Option<usize>>,
    /// All channels go to one, as their mean.
    pub mean: bool,
}

impl KnownMap {
    /// Any way of getting 1 to 8 channels from 1 to 8.
    pub fn any(rng: &mut Rng) -> Self {
        let from = rng.range(1, 9) as usize;
        let to = rng.range(1, 9) as usize;
        if one_in(rng, 2) {
            let picks: Vec<u8> = (0..to).map(|_| rng.range(0, from as u64) as u8).collect();
            let map = ChannelMap::select(from as u32, &picks).expect("picks that are there");
            return Self { map, picks: picks.iter().map(|&p| Some(usize::from(p))).collect(), mean: false };
        }
        let map = ChannelMap::natural(from as u32, to as u32).expect("1 to 8 channels");
        let picks = (0..to).map(|i| if from == 1 { Some(0) } else { (i < from).then_some(i) }).collect();
        Self { map, picks, mean: from > 1 && to == 1 }
    }

    /// What one sample frame becomes.
    #[must_use]
    pub fn apply(&self, from: &[i16]) -> Vec<i16> {
        if self.mean {
            let sum: f64 = from.iter().map(|&s| f64::from(s)).sum();
            return vec![(sum / from.len() as f64).round() as i16];
        }
        self.picks.iter().map(|pick| pick.map_or(0, |channel| from[channel])).collect()
    }
}

/// A voice processor that leaves the microphone alone and keeps what it was given.
#[derive(Debug, Default)]
pub struct Recorder {
    /// The reverse stream.
    pub reverse: Vec<i16>,
    /// Reverse and capture frames in the order of the calls: true for capture.
    pub calls: Vec<bool>,
    /// How often it was reset.
    pub resets: u32,
}

impl VoiceProcessor for Recorder {
    fn process_reverse(&mut self, far: PcmRef<'_>) -> Result<(), ProcessError> {
        self.reverse.extend_from_slice(far.samples);
        self.calls.push(false);
        Ok(())
    }

    fn process_capture(&mut self, _near: PcmMut<'_>, _delay: Duration) -> Result<(), ProcessError> {
        self.calls.push(true);
        Ok(())
    }

    fn stats(&self) -> VoiceStats {
        VoiceStats::default()
    }

    fn reset(&mut self) {
        self.resets += 1;
    }
}

/// An echo without a room: what is played comes back after `delay` sample frames, times `gain`, to a talker who may
/// say something. Costs nothing beside the voice processor.
#[derive(Debug)]
pub struct Echo {
    gain: f32,
    line: Vec<f32>,
    at: usize,
    talker: Vec<f32>,
}

impl Echo {
    /// `talker` is heard from position 0 on, with silence after its end.
    #[must_use]
    pub fn new(delay: usize, gain: f32, talker: Vec<f32>) -> Self {
        Self { gain, line: vec![0.0; delay.max(1)], at: 0, talker }
    }
}

impl Acoustics for Echo {
    fn carry(&mut self, loudspeaker: &[f32], microphone: &mut [f32], position: u64) {
        for (offset, (heard, &played)) in microphone.iter_mut().zip(loudspeaker).enumerate() {
            let spoken = self.talker.get(position as usize + offset).copied().unwrap_or(0.0);
            *heard = self.line[self.at] * self.gain + spoken;
            self.line[self.at] = played;
            self.at = (self.at + 1) % self.line.len();
        }
    }
}

/// 16-bit samples of a signal that is full scale at 1.0.
#[must_use]
pub fn to_pcm(signal: &[f32]) -> Vec<i16> {
    signal.iter().map(|&s| (s * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16).collect()
}

/// The first `seconds` of the shipped far end at a rate, once more from its start where it ends.
#[must_use]
pub fn far_speech(rate: SampleRate, seconds: f64) -> Vec<f32> {
    let count = (seconds * f64::from(rate.hz())) as usize;
    Clip::far().to_mono_at(rate.hz()).iter().copied().cycle().take(count).collect()
}

/// Mean power in dB of full scale, with a floor at the rounding to 16 bits.
#[must_use]
pub fn level_db(samples: &[i16]) -> f64 {
    let energy: f64 = samples.iter().map(|&s| (f64::from(s) / 32_768.0).powi(2)).sum();
    10.0 * (energy / samples.len().max(1) as f64 + 1.0 / (12.0 * 32_768.0 * 32_768.0)).log10()
}

/// A board of one clock whose interrupts have periods of 10 ms and no latency of their own.
#[must_use]
pub fn plain_board(rate: SampleRate, seed: u64) -> BoardConfig {
    let side = SideConfig::new(rate, rate.sample_frames() as u32);
    BoardConfig {
        capture: side.clone(),
        playback: side,
        worker_delay: Duration::from_micros(200),
        worker_spread: Duration::from_micros(800),
        seed,
    }
}

/// A run at the microphone's rate in which nothing happens but the far end, nothing recorded.
#[must_use]
pub fn uneventful(board: BoardConfig, seconds: f64, far: Vec<i16>) -> Scenario {
    Scenario {
        rate: board.capture.rate,
        seconds,
        board,
        far,
        latency_steps: Vec::new(),
        drift_steps: Vec::new(),
        acoustic_delay: false,
        record: false,
    }
}
