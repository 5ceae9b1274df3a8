//! A recorded order of periods and polls, replayed: the frames that come out and all counters must be the
//! same to the last bit on every processor.
//!
//! An order is text, a step a line: a time in nanoseconds, what, and two numbers.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod voice;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::capture::{IntakeConfig, VoiceProcessor};
use handsfree_core::playback::{OutletConfig, Track};
use handsfree_core::{
    ChannelMap, ConfigError, DeviceSample, Duration, Frame, Gain, Halves, I24, Instant, PeriodTime,
    SampleRate, Session, Stats, SessionFormat,
};

use crate::voice::{Ears, Light, Precise, Quick};

const CAP: usize = 480;
const SLOTS: usize = 2;
/// The longest period of an order.
const PERIOD: usize = 320;

/// The session of a replay.
pub type ReplaySession = Session<CAP, SLOTS, 5, 5, 5, 8, 16_000>;
type ReplayHalves<'a, V> = Halves<'a, NoopRawMutex, V, (), CAP, SLOTS>;

/// The cases, by number.
pub const CASES: [&str; 6] = [
    "steady i16 quick",
    "steady f32 precise",
    "ragged i32 precise",
    "ragged i24 light",
    "stalls i16 light",
    "ragged f32 48 kHz",
];

const STEADY: &str = include_str!("../orders/steady.txt");
const RAGGED: &str = include_str!("../orders/ragged.txt");
const STALLS: &str = include_str!("../orders/stalls.txt");

/// What a replay came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Frames that were delivered.
    pub frames: u32,
    /// FNV-1a of every sample that was delivered, played, or heard as reference, in order.
    pub hash: u64,
    /// All counters.
    pub stats: Stats,
}

/// Replays a case.
///
/// # Errors
/// Those of the session, which has none for the cases there are.
pub fn replay(case: usize, session: &mut ReplaySession) -> Result<Option<Outcome>, ConfigError> {
    Ok(Some(match case {
        0 => run::<i16, Quick>(STEADY, session, 16_000)?,
        1 => run::<f32, Precise>(STEADY, session, 16_000)?,
        2 => run::<i32, Precise>(RAGGED, session, 16_000)?,
        3 => run::<I24, Light>(RAGGED, session, 16_000)?,
        4 => run::<i16, Light>(STALLS, session, 16_000)?,
        // The terminal at another rate than its devices.
        5 => run::<f32, Precise>(RAGGED, session, 48_000)?,
        _ => return Ok(None),
    }))
}

/// FNV-1a.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hash(u64);

impl Hash {
    pub(crate) const fn new() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }

    pub(crate) fn take(&mut self, samples: impl IntoIterator<Item = i16>) {
        for sample in samples {
            for byte in sample.to_le_bytes() {
                self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
            }
        }
    }
}

/// A sound, the same everywhere.
struct Noise(u32);

impl Noise {
    fn sample(&mut self) -> i16 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((self.0 >> 16) as i32 - 32_768) as i16 / 3
    }
}

fn run<S: DeviceSample, V: VoiceProcessor + Ears + Default>(
    order: &str,
    session: &mut ReplaySession,
    terminal_hz: u32,
) -> Result<Outcome, ConfigError> {
    let (device, terminal) = (SampleRate::new(16_000)?, SampleRate::new(terminal_hz)?);
    let terminal = SessionFormat { rate: terminal, near_channels: 1, far_channels: 1 };
    let mut halves: ReplayHalves<'_, V> = session.split(terminal, V::default(), ())?;
    let map = ChannelMap::natural(1, 1)?;
    let max_period_sample_frames = PERIOD as u32;
    let gain = Gain::linear(1.3)?;
    halves.intake.configure(IntakeConfig {
        rate: device,
        map,
        gain,
        max_period_sample_frames,
        clock_domain: 0,
    })?;
    halves.outlet.configure(OutletConfig {
        rate: device,
        map,
        max_period_sample_frames,
        worker_slack_sample_frames: 160,
        latency: Duration::from_millis(20),
        clock_domain: 0,
    })?;
    let ReplayHalves { mut intake, mut outlet, mut capture, mut playback, tracks, mut events, stats } =
        halves;
    let mut tracks = [tracks.open().ok(), tracks.open().ok()];
    let (mut speech, mut near) = (Noise(7), Noise(99));
    let (mut hash, mut frames) = (Hash::new(), 0);
    let (mut played, mut captured) = (0u64, 0u64);
    let mut steps = 0;
    for line in order.lines() {
        let Some((now, what, first, second)) = parse(line) else { continue };
        let now = Instant::from_nanos(now);
        let span = Duration::of_sample_frames(first, device);
        match what {
            "out" => {
                let mut period = [S::SILENCE; PERIOD];
                let period = period.get_mut(..first as usize).unwrap_or(&mut []);
                played += second;
                outlet.on_period(period, PeriodTime { position: played, converter: now + span, called: now });
                played += first;
                hash.take(period.iter().map(|sample| sample.to_pcm(Gain::UNITY).0));
            }
            "in" => {
                let mut period = [S::SILENCE; PERIOD];
                let period = period.get_mut(..first as usize).unwrap_or(&mut []);
                period.iter_mut().for_each(|sample| *sample = S::from_pcm(near.sample()));
                captured += second;
                intake
                    .on_period(period, PeriodTime { position: captured, converter: now - span, called: now });
                captured += first;
            }
            "poll" => {
                playback.poll();
                capture.poll(&|| now, &mut |frame: &Frame<CAP>| {
                    frames += 1;
                    hash.take(frame.samples().iter().copied());
                });
                while events.poll().is_some() {}
            }
            _ => {
                steps += 1;
                if let Some(Some(track)) = tracks.get_mut(steps % 2) {
                    command(track, what, first, second, &mut speech);
                }
            }
        }
    }
    hash.take(capture.voice_mut().heard());
    Ok(Outcome { frames, hash: hash.0, stats: stats.read() })
}

fn command(
    track: &mut Track<'_, '_, NoopRawMutex, CAP, SLOTS>,
    what: &str,
    first: u64,
    second: u64,
    speech: &mut Noise,
) {
    match what {
        "push" => {
            let mut samples = [0; 340];
            samples.iter_mut().for_each(|sample| *sample = speech.sample());
            let _ = track.push(samples.get(..first as usize).unwrap_or(&[]));
        }
        "gain" => {
            if let Ok(gain) = Gain::linear(first as f32 / 65_536.0) {
                let _ = track.set_gain(gain, Duration::from_millis(second as i64));
            }
        }
        "pause" => track.pause(),
        "resume" => track.resume(),
        "interrupt" => track.interrupt(),
        _ => {}
    }
}

fn parse(line: &str) -> Option<(i64, &str, u64, u64)> {
    let mut words = line.split_ascii_whitespace();
    let now = words.next()?.parse().ok()?;
    let what = words.next()?;
    Some((now, what, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}
