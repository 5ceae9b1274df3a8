//! Replay of recorded schedules of periods and polls.
//!
//! A schedule is a text with one step per line: a time in nanoseconds, an action, and two numbers.

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::capture::{IntakeConfig, VoiceProcessor};
use handsfree_core::playback::{OutletConfig, Track};
use handsfree_core::{
    ChannelMap, ConfigError, DeviceSample, Duration, Frame, Gain, Halves, I24, Instant, PeriodTime,
    SampleRate, Session, SessionFormat, Stats,
};

use crate::hash::Fnv1a;
use crate::voice::{FullReferenceVoice, HashedLightVoice, QuickReferenceVoice, ReferenceHash};

const CAP: usize = 480;
const SLOTS: usize = 2;
/// Longest period of a schedule, in sample frames.
const PERIOD: usize = 320;

/// Session type of a replay.
pub type ReplaySession = Session<CAP, SLOTS, 5, 5, 5, 8, 16_000>;
type ReplayHalves<'a, V> = Halves<'a, NoopRawMutex, V, (), CAP, SLOTS>;

/// Names of the cases, by number.
pub const CASES: [&str; 6] = [
    "steady i16 quick",
    "steady f32 full",
    "ragged i32 full",
    "ragged i24 light",
    "stalls i16 light",
    "ragged f32 48 kHz",
];

const STEADY: &str = include_str!("../schedules/steady.txt");
const RAGGED: &str = include_str!("../schedules/ragged.txt");
const STALLS: &str = include_str!("../schedules/stalls.txt");

/// Result of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayOutcome {
    /// Number of delivered frames.
    pub frames: u32,
    /// FNV-1a hash of all delivered and played samples in order, followed by the hash of the echo reference.
    pub hash: u64,
    /// Counters of the session at the end.
    pub stats: Stats,
}

/// Replays a case; returns `None` for a case that does not exist.
///
/// # Errors
/// Returns the errors of the session's configuration; the existing cases have none.
pub fn replay(case: usize, session: &mut ReplaySession) -> Result<Option<ReplayOutcome>, ConfigError> {
    Ok(Some(match case {
        0 => run::<i16, QuickReferenceVoice>(STEADY, session, 16_000)?,
        1 => run::<f32, FullReferenceVoice>(STEADY, session, 16_000)?,
        2 => run::<i32, FullReferenceVoice>(RAGGED, session, 16_000)?,
        3 => run::<I24, HashedLightVoice>(RAGGED, session, 16_000)?,
        4 => run::<i16, HashedLightVoice>(STALLS, session, 16_000)?,
        // The terminal has another rate than its devices.
        5 => run::<f32, FullReferenceVoice>(RAGGED, session, 48_000)?,
        _ => return Ok(None),
    }))
}

/// White noise, the same on every processor.
struct Noise(u32);

impl Noise {
    fn sample(&mut self) -> i16 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((self.0 >> 16) as i32 - 32_768) as i16 / 3
    }
}

fn run<S: DeviceSample, V: VoiceProcessor + ReferenceHash + Default>(
    schedule: &str,
    session: &mut ReplaySession,
    terminal_hz: u32,
) -> Result<ReplayOutcome, ConfigError> {
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
    let (mut hash, mut frames) = (Fnv1a::new(), 0);
    let (mut played, mut captured) = (0u64, 0u64);
    let mut steps = 0;
    for line in schedule.lines() {
        let Some((now, action, first, second)) = parse(line) else { continue };
        let now = Instant::from_nanos(now);
        let span = Duration::of_sample_frames(first, device);
        match action {
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
                    apply_command(track, action, first, second, &mut speech);
                }
            }
        }
    }
    hash.take(capture.voice_mut().reference_hash());
    Ok(ReplayOutcome { frames, hash: hash.value(), stats: stats.read() })
}

fn apply_command(
    track: &mut Track<'_, '_, NoopRawMutex, CAP, SLOTS>,
    action: &str,
    first: u64,
    second: u64,
    speech: &mut Noise,
) {
    match action {
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
    let action = words.next()?;
    Some((now, action, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}
