//! Control side: figures of a running terminal.

use handsfree_core::audio_io::Direction;
use handsfree_core::{Duration, Instant, Stats};
use handsfree_host::supervisor::DirectionState;
use handsfree_host::usage;
use serde::Serialize;

use handsfree::terminal::Terminal;

/// Levels of one signal, in dBFS.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Level {
    /// Root mean square over 125 ms.
    pub rms_dbfs: f32,
    /// Recent peak, which falls slowly.
    pub peak_dbfs: f32,
}

/// State of a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Flow {
    /// Audio flows.
    Running,
    /// The device is away.
    Waiting,
    /// The direction is not used.
    Closed,
}

impl From<DirectionState> for Flow {
    fn from(state: DirectionState) -> Self {
        match state {
            DirectionState::Running(_) => Self::Running,
            DirectionState::Waiting => Self::Waiting,
            DirectionState::Closed => Self::Closed,
        }
    }
}

/// Audio that waits in the rings, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Rings {
    /// Captured audio that is not yet processed.
    pub capture: u32,
    /// Mixed audio that is not yet played.
    pub playback: u32,
    /// Played audio that has not yet reached the echo reference.
    pub reference: u32,
}

/// Figures at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// Time in seconds since the start.
    pub at_s: f64,
    /// Level of the microphone.
    pub microphone: Level,
    /// Level of the cleaned microphone.
    pub cleaned: Level,
    /// Level of the loudspeaker's signal, at the time when the microphone records it.
    pub loudspeaker: Level,
    /// By how many dB the voice processor makes the microphone quieter while the loudspeaker sounds.
    pub erle_db: Option<f32>,
    /// Latency from the playback interrupt to the capture interrupt through both devices, in milliseconds.
    pub delay_ms: f64,
    /// The loudspeaker's clock minus the microphone's, in ppm.
    pub drift_ppm: Option<f32>,
    /// Number of jumps of the echo reference so far, the first alignment included.
    pub reference_jumps: u32,
    /// Audio that waits in the rings.
    pub ring_ms: Rings,
    /// Number of overruns, underruns and gaps so far.
    pub xruns: u32,
    /// Number of cleaned frames dropped so far because the queue was full.
    pub dropped_frames: u32,
    /// Number of frames so far that passed unprocessed because the voice processor failed, was slow or was bypassed.
    pub unprocessed_frames: u32,
    /// Processor time of all threads since the last status, 100 for one core.
    pub cpu_percent: Option<f64>,
    /// Names of the sources that are playing.
    pub playing: usize,
    /// State of the microphone's device.
    pub capture: Flow,
    /// State of the loudspeaker's device.
    pub playback: Flow,
}

/// Observer that reads a terminal's figures repeatedly.
#[derive(Debug)]
pub struct Observer {
    begun: Instant,
    begun_used: Option<Duration>,
    last: (Instant, Option<Duration>),
    erle_db: Vec<f32>,
}

impl Observer {
    /// Begins at `now`, a time of the wall clock.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let used = usage::process_time();
        Self { begun: now, begun_used: used, last: (now, used), erle_db: Vec::new() }
    }

    /// Returns the figures at `now`.
    pub fn look(
        &mut self,
        terminal: &Terminal,
        state: impl Fn(Direction) -> DirectionState,
        playing: usize,
        now: Instant,
    ) -> Status {
        let (meters, stats) = (terminal.meters(), terminal.stats());
        let level = |levels: &handsfree_core::capture::Levels| {
            let read = levels.read();
            Level { rms_dbfs: tenths(read.rms_dbfs), peak_dbfs: tenths(read.peak_dbfs) }
        };
        let used = usage::process_time();
        let cpu_percent = percent(self.last, (now, used));
        self.last = (now, used);
        Status {
            at_s: (now - self.begun).as_millis_f64().round() / 1e3,
            microphone: level(&meters.microphone),
            cleaned: level(&meters.cleaned),
            loudspeaker: level(&meters.loudspeaker),
            erle_db: meters.erle_db().map(tenths),
            delay_ms: (f64::from(stats.capture.delay_us) / 100.0).round() / 10.0,
            drift_ppm: meters.drift_ppm().map(tenths),
            reference_jumps: meters.reference_jumps(),
            ring_ms: Rings {
                capture: stats.capture.ring_fill * 10,
                playback: stats.playback.ring_fill * 10,
                reference: stats.capture.reference_fill * 10,
            },
            xruns: stats.xruns(),
            dropped_frames: terminal.dropped_frames(),
            unprocessed_frames: unprocessed(&stats),
            cpu_percent,
            playing,
            capture: state(Direction::Capture).into(),
            playback: state(Direction::Playback).into(),
        }
    }

    /// Stores a figure for the median.
    pub fn remember(&mut self, status: &Status) {
        self.erle_db.extend(status.erle_db);
    }

    /// Returns the median of the stored echo reductions.
    #[must_use]
    pub fn median_erle_db(&self) -> Option<f32> {
        let mut sorted = self.erle_db.clone();
        sorted.sort_by(f32::total_cmp);
        sorted.get(sorted.len() / 2).copied()
    }

    /// Returns the processor time since the start over the elapsed time, in percent of one core.
    #[must_use]
    pub fn cpu_percent(&self, now: Instant) -> Option<f64> {
        percent((self.begun, self.begun_used), (now, usage::process_time()))
    }
}

/// Returns the number of frames that passed unprocessed.
#[must_use]
pub fn unprocessed(stats: &Stats) -> u32 {
    let capture = &stats.capture;
    capture.voice_errors.wrapping_add(capture.voice_slow_frames).wrapping_add(capture.voice_bypassed_frames)
}

fn percent(from: (Instant, Option<Duration>), to: (Instant, Option<Duration>)) -> Option<f64> {
    let (used, wall) = (to.1?.as_nanos() - from.1?.as_nanos(), (to.0 - from.0).as_nanos());
    (wall > 0).then(|| (used as f64 / wall as f64 * 1_000.0).round() / 10.0)
}

fn tenths(value: f32) -> f32 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_is_half_busy_is_50_percent() {
        let at = |ms: i64| Instant::from_nanos(ms * 1_000_000);
        let used = |ms: i64| Some(Duration::from_millis(ms));
        assert_eq!(percent((at(100), used(30)), (at(1_100), used(530))), Some(50.0));
        assert_eq!(percent((at(100), used(30)), (at(100), used(30))), None, "no time has passed");
        assert_eq!(percent((at(100), None), (at(200), used(30))), None);
    }

    #[test]
    fn the_median_is_of_what_was_known() {
        let mut observer = Observer::new(Instant::ORIGIN);
        assert_eq!(observer.median_erle_db(), None);
        observer.erle_db = vec![50.0, 10.0, 40.0];
        assert_eq!(observer.median_erle_db(), Some(40.0));
    }
}
