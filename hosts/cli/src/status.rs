//! Control side: status of a running terminal.

use handsfree_core::audio_io::Direction;
use handsfree_core::{Duration, Instant, Stats};
use handsfree_host::supervisor::DirectionState;
use handsfree_host::usage;
use serde::Serialize;

use handsfree::terminal::Meters;

/// Levels of one signal, in dBFS.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Level {
    /// Root mean square over 125 ms, in dBFS.
    pub rms_dbfs: f32,
    /// Peak with a slow decay, in dBFS.
    pub peak_dbfs: f32,
}

/// State of one direction's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowState {
    /// The stream is running.
    Running,
    /// The device is lost, and the terminal waits for its return.
    Waiting,
    /// The direction is not used.
    Closed,
}

impl From<DirectionState> for FlowState {
    fn from(state: DirectionState) -> Self {
        match state {
            DirectionState::Running(_) => Self::Running,
            DirectionState::Waiting => Self::Waiting,
            DirectionState::Closed => Self::Closed,
        }
    }
}

/// Fill of each ring, in milliseconds of audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RingFill {
    /// Captured audio that is not yet processed, in milliseconds.
    pub capture: u32,
    /// Mixed audio that is not yet played, in milliseconds.
    pub playback: u32,
    /// Played audio that has not yet reached the echo reference, in milliseconds.
    pub reference: u32,
}

/// Status of a terminal at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// Time since the start of the run, in seconds.
    pub at_s: f64,
    /// Level of the microphone.
    pub microphone: Level,
    /// Level of the cleaned microphone.
    pub cleaned: Level,
    /// Level of the loudspeaker's signal, at the time when the microphone records it.
    pub loudspeaker: Level,
    /// Echo reduction by the voice processor (ERLE), in dB; `None` without recent echo.
    pub erle_db: Option<f32>,
    /// Latency from the playback interrupt to the capture interrupt through both devices, in milliseconds.
    pub delay_ms: f64,
    /// Rate of the loudspeaker's clock relative to the microphone's, in ppm; `None` until it is known.
    pub drift_ppm: Option<f32>,
    /// Number of jumps of the echo reference so far, including the first alignment.
    pub reference_jumps: u32,
    /// Fill of each ring, in milliseconds of audio.
    pub ring_ms: RingFill,
    /// Number of overruns, underruns and gaps so far.
    pub xruns: u32,
    /// Number of cleaned frames dropped so far because the queue was full.
    pub dropped_frames: u32,
    /// Number of frames so far that passed unprocessed because the voice processor failed, was slow or was bypassed.
    pub unprocessed_frames: u32,
    /// Processor time of all threads since the last status, in percent of one core; `None` if the system does not report it.
    pub cpu_percent: Option<f64>,
    /// Number of sources that have not been played to their ends.
    pub playing: usize,
    /// State of the microphone's stream.
    pub capture: FlowState,
    /// State of the loudspeaker's stream.
    pub playback: FlowState,
}

/// What a status is made of.
#[derive(Clone, Copy, Debug)]
pub struct StatusSources<'a> {
    /// The terminal's meters.
    pub meters: &'a Meters,
    /// The terminal's counters.
    pub stats: &'a Stats,
    /// Number of cleaned frames that were dropped because the queue was full.
    pub dropped_frames: u32,
}

/// Observer that reads a terminal's status repeatedly and collects echo reductions for their median.
#[derive(Debug)]
pub struct StatusObserver {
    /// Time and used processor time at the start.
    started: (Instant, Option<Duration>),
    /// Time and used processor time at the last status.
    last: (Instant, Option<Duration>),
    erle_db: Vec<f32>,
}

impl StatusObserver {
    /// Creates an observer of a run that starts at `now`, a time of the host's clock.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let started = (now, usage::process_time());
        Self { started, last: started, erle_db: Vec::new() }
    }

    /// Returns the terminal's status at `now`. `state` returns the state of a direction's stream, and `playing` is the number
    /// of sources that are still playing.
    pub fn observe(
        &mut self,
        sources: &StatusSources<'_>,
        state: impl Fn(Direction) -> FlowState,
        playing: usize,
        now: Instant,
    ) -> Status {
        let StatusSources { meters, stats, dropped_frames } = *sources;
        let level = |levels: &handsfree_core::capture::Levels| {
            let read = levels.read();
            Level { rms_dbfs: tenths(read.rms_dbfs), peak_dbfs: tenths(read.peak_dbfs) }
        };
        let used = usage::process_time();
        let cpu_percent = percent(self.last, (now, used));
        self.last = (now, used);
        Status {
            at_s: (now - self.started.0).as_millis_f64().round() / 1e3,
            microphone: level(&meters.microphone),
            cleaned: level(&meters.cleaned),
            loudspeaker: level(&meters.loudspeaker),
            erle_db: meters.erle_db().map(tenths),
            delay_ms: (f64::from(stats.capture.delay_us) / 100.0).round() / 10.0,
            drift_ppm: meters.drift_ppm().map(tenths),
            reference_jumps: meters.reference_jumps(),
            ring_ms: RingFill {
                capture: stats.capture.ring_fill * 10,
                playback: stats.playback.ring_fill * 10,
                reference: stats.capture.reference_fill * 10,
            },
            xruns: stats.xruns(),
            dropped_frames,
            unprocessed_frames: unprocessed_frames(stats),
            cpu_percent,
            playing,
            capture: state(Direction::Capture),
            playback: state(Direction::Playback),
        }
    }

    /// Stores the echo reduction of `status`, if known, for the median.
    pub fn record_erle(&mut self, status: &Status) {
        self.erle_db.extend(status.erle_db);
    }

    /// Returns the median of the stored echo reductions, in dB; `None` if none is stored.
    #[must_use]
    pub fn median_erle_db(&self) -> Option<f32> {
        let mut sorted = self.erle_db.clone();
        sorted.sort_by(f32::total_cmp);
        sorted.get(sorted.len() / 2).copied()
    }

    /// Returns the processor time of all threads since the start, in percent of one core; `None` if the system does not
    /// report it.
    #[must_use]
    pub fn cpu_percent(&self, now: Instant) -> Option<f64> {
        percent(self.started, (now, usage::process_time()))
    }
}

/// Returns the number of frames that passed unprocessed.
#[must_use]
pub fn unprocessed_frames(stats: &Stats) -> u32 {
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
    fn a_half_busy_core_is_50_percent() {
        let at = |ms: i64| Instant::from_nanos(ms * 1_000_000);
        let used = |ms: i64| Some(Duration::from_millis(ms));
        assert_eq!(percent((at(100), used(30)), (at(1_100), used(530))), Some(50.0));
        assert_eq!(percent((at(100), used(30)), (at(100), used(30))), None, "no time has passed");
        assert_eq!(percent((at(100), None), (at(200), used(30))), None);
    }

    #[test]
    fn the_median_ignores_unknown_values() {
        let mut observer = StatusObserver::new(Instant::ORIGIN);
        assert_eq!(observer.median_erle_db(), None);
        observer.erle_db = vec![50.0, 10.0, 40.0];
        assert_eq!(observer.median_erle_db(), Some(40.0));
    }
}
