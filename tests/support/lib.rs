//! Test support: reproducible random seeds, a large stack for sessions, signals in which each sample identifies its
//! position, and a voice processor that records its calls.
#![deny(unsafe_code)]

pub mod capture_rig;
pub mod echo_rooms;
pub mod echo_windows;
pub mod peers;
pub mod playback_rig;
// Calls a C library.
#[allow(unsafe_code)]
pub mod speex;

use std::ops::RangeInclusive;
use std::thread;

use handsfree_core::capture::{IntakeConfig, ProcessError, VoiceProcessor, VoiceStats};
use handsfree_core::playback::OutletConfig;
use handsfree_core::{
    ChannelMap, DeviceSample, Duration, Gain, I24, Instant, PcmMut, PcmRef, PeriodTime, SampleRate,
};
use handsfree_sim::acoustics::Acoustics;
use handsfree_sim::board::BoardConfig;
use handsfree_sim::device::DeviceConfig;
use handsfree_sim::noise::Rng;
use handsfree_sim::scenario::Scenario;
use handsfree_sim::wav::Clip;

/// Sample rates at which every property must hold, in hertz.
pub const RATES_HZ: [u32; 7] = [8_000, 16_000, 24_000, 32_000, 44_100, 48_000, 96_000];

/// Period lengths that devices deliver and that are known to expose errors in audio code, in sample frames.
pub const PERIODS: [usize; 18] =
    [0, 1, 2, 3, 7, 24, 31, 80, 127, 441, 479, 480, 481, 512, 997, 1_024, 4_093, 8_192];

/// Longest period in [`PERIODS`], in sample frames.
pub const LONGEST_PERIOD: u32 = 8_192;

/// Prints on a panic how to run the failed seed alone.
struct ReplayHint(u64);

impl Drop for ReplayHint {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("run this case alone with HANDSFREE_SEED={}", self.0);
        }
    }
}

/// Runs a property for the seeds 1 to `cases`, on a stack that is large enough for whole sessions.
///
/// The environment variable `HANDSFREE_SEED=n` selects seed n alone; `HANDSFREE_CASES=n` multiplies the number of
/// seeds by n.
pub fn for_seeds(cases: u64, property: impl Fn(&mut Rng) + Sync) {
    with_large_stack(|| {
        for seed in seeds(cases) {
            let _hint = ReplayHint(seed);
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

/// Runs `work` on a stack of 256 MiB, on which a session of several megabytes can be built before it is boxed.
pub fn with_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let worker = thread::Builder::new().stack_size(256 << 20).spawn_scoped(scope, work);
        match worker.expect("a thread with 256 MiB of stack").join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Returns one of `choices` at random.
pub fn pick<T: Copy>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.range(0, choices.len() as u64) as usize]
}

/// Returns true with a probability of one in `n`.
pub fn one_in(rng: &mut Rng, n: u64) -> bool {
    rng.range(0, n) == 0
}

/// Returns a random period length: one of [`PERIODS`] in two of three cases, otherwise any from 0 to 8192 sample frames.
pub fn any_period(rng: &mut Rng) -> usize {
    if one_in(rng, 3) { rng.range(0, 8_193) as usize } else { pick(rng, &PERIODS) }
}

/// Returns the test signal's sample at a position of a channel. It is never 0, so that it differs from silence, and
/// pseudorandom, so that it differs from its neighbours.
#[must_use]
pub fn sample_at(position: u64, channel: usize) -> i16 {
    let mut mixed = position.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ ((channel as u64) << 56);
    mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    match (mixed >> 44) as i16 {
        0 => 1,
        sample => sample,
    }
}

/// Returns the time of a capture period on an ideal device that started at the clock's origin and delivers each period
/// when it is complete.
#[must_use]
pub fn captured_at(position: u64, sample_frames: usize, rate: SampleRate, first_position: u64) -> PeriodTime {
    let at = |n: u64| Instant::ORIGIN + Duration::of_sample_frames(n, rate);
    PeriodTime {
        position: first_position.wrapping_add(position),
        converter: at(position),
        called: at(position + sample_frames as u64),
    }
}

/// Returns the time of a playback period on an ideal device without latency that started at the clock's origin.
#[must_use]
pub fn played_at(position: u64, rate: SampleRate, first_position: u64) -> PeriodTime {
    let at = Instant::ORIGIN + Duration::of_sample_frames(position, rate);
    PeriodTime { position: first_position.wrapping_add(position), converter: at, called: at }
}

/// Returns an intake configuration at unity gain, in the clock domain that both directions share in the tests.
#[must_use]
pub fn intake_config(rate: SampleRate, map: ChannelMap, max_period_sample_frames: u32) -> IntakeConfig {
    IntakeConfig { rate, map, gain: Gain::UNITY, max_period_sample_frames, clock_domain: 1 }
}

/// Returns an outlet configuration for a worker that is never late, in the clock domain of [`intake_config`].
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

/// A device sample format that tests can convert back to 16 bits.
pub trait TestSample: DeviceSample + PartialEq + std::fmt::Debug {
    /// Name of the format in failure messages.
    const NAME: &'static str;
    /// Returns the 16-bit sample of which this is the exact conversion; panics if there is none.
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

/// A channel map together with an independent description of what it does.
#[derive(Clone, Debug)]
pub struct KnownMap {
    /// Channel map under test.
    pub map: ChannelMap,
    /// Source channel of each output channel; `None` for silence.
    pub picks: Vec<Option<usize>>,
    /// True if the single output channel is the mean of all source channels.
    pub mean: bool,
}

impl KnownMap {
    /// Returns a random map from 1 to 8 channels to 1 to 8 channels.
    pub fn any(rng: &mut Rng) -> Self {
        let from = rng.range(1, 9) as usize;
        let to = rng.range(1, 9) as usize;
        if one_in(rng, 2) {
            let picks: Vec<u8> = (0..to).map(|_| rng.range(0, from as u64) as u8).collect();
            let map = ChannelMap::select(from as u32, &picks).expect("every pick is below the channel count");
            return Self { map, picks: picks.iter().map(|&p| Some(usize::from(p))).collect(), mean: false };
        }
        let map = ChannelMap::natural(from as u32, to as u32).expect("1 to 8 channels");
        let picks = (0..to).map(|i| if from == 1 { Some(0) } else { (i < from).then_some(i) }).collect();
        Self { map, picks, mean: from > 1 && to == 1 }
    }

    /// Returns the mapped form of one sample frame.
    #[must_use]
    pub fn apply(&self, from: &[i16]) -> Vec<i16> {
        if self.mean {
            let sum: f64 = from.iter().map(|&s| f64::from(s)).sum();
            return vec![(sum / from.len() as f64).round() as i16];
        }
        self.picks.iter().map(|pick| pick.map_or(0, |channel| from[channel])).collect()
    }
}

/// A voice processor that leaves the microphone signal unchanged and records its calls.
#[derive(Debug, Default)]
pub struct RecordingVoice {
    /// All samples of the reverse stream.
    pub reverse: Vec<i16>,
    /// Calls in order: true for a capture frame, false for a reverse frame.
    pub calls: Vec<bool>,
    /// Number of resets.
    pub resets: u32,
}

impl VoiceProcessor for RecordingVoice {
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

/// Acoustics with a single echo: the loudspeaker signal returns after `delay` sample frames, multiplied by `gain`, and
/// the talker's signal is added. Its processing time is negligible beside the voice processor's.
#[derive(Debug)]
pub struct DelayedEcho {
    gain: f32,
    line: Vec<f32>,
    at: usize,
    talker: Vec<f32>,
}

impl DelayedEcho {
    /// Creates an echo; `talker` starts at position 0 and is followed by silence.
    #[must_use]
    pub fn new(delay: usize, gain: f32, talker: Vec<f32>) -> Self {
        Self { gain, line: vec![0.0; delay.max(1)], at: 0, talker }
    }
}

impl Acoustics for DelayedEcho {
    fn carry(&mut self, loudspeaker: &[f32], microphone: &mut [f32], position: u64) {
        for (offset, (heard, &played)) in microphone.iter_mut().zip(loudspeaker).enumerate() {
            let spoken = self.talker.get(position as usize + offset).copied().unwrap_or(0.0);
            *heard = self.line[self.at] * self.gain + spoken;
            self.line[self.at] = played;
            self.at = (self.at + 1) % self.line.len();
        }
    }
}

/// Converts a signal with a full scale of 1.0 to 16-bit samples.
#[must_use]
pub fn to_pcm(signal: &[f32]) -> Vec<i16> {
    signal.iter().map(|&s| (s * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16).collect()
}

/// Returns the first `seconds` of the built-in far-end recording at a rate, repeated as often as needed.
#[must_use]
pub fn far_speech(rate: SampleRate, seconds: f64) -> Vec<f32> {
    let count = (seconds * f64::from(rate.hz())) as usize;
    Clip::far().to_mono_at(rate.hz()).iter().copied().cycle().take(count).collect()
}

/// Returns the mean power in dB of full scale, with a floor at the rounding noise of 16 bits.
#[must_use]
pub fn level_db(samples: &[i16]) -> f64 {
    let energy: f64 = samples.iter().map(|&s| (f64::from(s) / 32_768.0).powi(2)).sum();
    10.0 * (energy / samples.len().max(1) as f64 + 1.0 / (12.0 * 32_768.0 * 32_768.0)).log10()
}

/// Returns a board with one clock, periods of 10 ms and no device latency.
#[must_use]
pub fn plain_board(rate: SampleRate, seed: u64) -> BoardConfig {
    let side = DeviceConfig::new(rate, rate.sample_frames() as u32);
    BoardConfig {
        capture: side.clone(),
        playback: side,
        worker_delay: Duration::from_micros(200),
        worker_spread: Duration::from_micros(800),
        seed,
    }
}

/// Returns a scenario at the microphone's rate with far-end speech only, without faults and without recording.
#[must_use]
pub fn uneventful(board: BoardConfig, seconds: f64, far: Vec<i16>) -> Scenario {
    Scenario {
        rate: board.capture.rate,
        seconds,
        board,
        far,
        latency_steps: Vec::new(),
        drift_steps: Vec::new(),
        time_jumps: Vec::new(),
        two_clocks: false,
        acoustic_delay: false,
        record: false,
    }
}
