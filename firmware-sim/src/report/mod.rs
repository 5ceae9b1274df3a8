//! Results of a run: `report.json` for programs and `report.html` for readers.

mod comparison;
mod html;
mod plots;
mod spectrogram;
mod text;
mod views;

use std::ops::Range;

use serde::{Deserialize, Serialize, Serializer};

pub use comparison::{ComparedCanceller, comparison_table};
pub use html::render_html;
pub use spectrogram::spectrogram_png;

use crate::measure::{self, Window};

/// Contents of a report. `report.html` shows all of it, `report.json` holds only [`SimulationReport::summary`].
#[derive(Clone, Debug, Default)]
pub struct SimulationReport {
    /// Figures of the run.
    pub summary: Summary,
    /// Description of the run in one line, shown under the title.
    pub subtitle: String,
    /// Command that repeats the run, seed included.
    pub command: String,
    /// Version and commit of the program, as `--version` prints them. The page omits an empty string.
    pub version: String,
    /// Settings of the run in display order: each a name and a value with its unit.
    pub settings: Vec<(String, String)>,
    /// Messages for the reader, such as repeated or truncated clips, clipped samples and ignored switches.
    pub notices: Vec<String>,
    /// Audio signals of the run.
    pub signals: Signals,
    /// Echo reduction per second, from [`measure::erle_per_second`].
    pub erle_curve: Vec<Window>,
    /// Echo reduction per second of the same canceller with a perfect reference; empty if it was not measured.
    pub oracle_curve: Vec<Window>,
    /// Delay in milliseconds, in order of time; empty if it was not recorded.
    pub delay: Vec<EstimatePoint>,
    /// Drift in parts per million, in order of time; empty if it was not recorded.
    pub drift: Vec<EstimatePoint>,
    /// Fill of the rings, in order of time; empty if it was not recorded.
    pub rings: Vec<RingPoint>,
}

/// Figures of a run. `report.json` is this object with the fields' names as keys; an absent value is `null`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Seed that repeats the run.
    pub seed: u64,
    /// Simulated time, in seconds.
    #[serde(serialize_with = "rounded")]
    pub seconds: f64,
    /// Sample rate of the terminal, in hertz.
    pub rate_hz: u32,
    /// Echo reduction in windows of 10 s.
    pub erle_db: Vec<ErleWindow>,
    /// Render plus capture latency at the end of the run, in milliseconds. The acoustic path is not included.
    pub delay_ms: TrueAndEstimated,
    /// Drift: clock error of playback minus that of capture, in parts per million.
    pub drift_ppm: TrueAndEstimated,
    /// Quality of the near end in the cleaned signal.
    pub near_end: NearEndFigures,
    /// Delay of the cleaned signal relative to the microphone signal, in samples at `rate_hz`.
    pub processing_delay_samples: u64,
    /// Numbers of sample frames at the devices.
    pub frames: FrameCounts,
    /// Number of underruns and overruns of all rings and devices.
    pub xruns: u64,
    /// Speed of the simulation: simulated time divided by the time it took.
    #[serde(serialize_with = "rounded")]
    pub realtime_factor: f64,
    /// The same run with each echo canceller; empty and absent from `report.json` unless it was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub comparison: Vec<ComparedCanceller>,
}

/// Echo reduction in one time window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ErleWindow {
    /// Start of the window, in seconds.
    #[serde(serialize_with = "rounded")]
    pub from_s: f64,
    /// End of the window, in seconds.
    #[serde(serialize_with = "rounded")]
    pub to_s: f64,
    /// Echo reduction in dB; `None` if the far end is never active alone.
    #[serde(serialize_with = "rounded_option")]
    pub db: Option<f64>,
    /// Echo reduction in dB of the same canceller with a perfect reference; `None` if it was not measured or
    /// the far end is never active alone.
    #[serde(serialize_with = "rounded_option")]
    pub oracle_db: Option<f64>,
}

/// Quantity that the simulator knows and the terminal estimates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrueAndEstimated {
    /// True value; `None` for recordings, where it is unknown.
    #[serde(rename = "true")]
    #[serde(serialize_with = "rounded_option")]
    pub truth: Option<f64>,
    /// Value that the terminal estimates; `None` before its first estimate.
    #[serde(serialize_with = "rounded_option")]
    pub estimated: Option<f64>,
}

/// Quality of the near end in the cleaned signal, see [`measure::near_end`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NearEndFigures {
    /// Scale-invariant signal-to-distortion ratio in dB; `None` without near-end speech.
    #[serde(serialize_with = "rounded_option")]
    pub si_sdr_db: Option<f64>,
    /// Level change in dB; `None` without near-end speech.
    #[serde(serialize_with = "rounded_option")]
    pub level_change_db: Option<f64>,
}

impl From<measure::NearEnd> for NearEndFigures {
    fn from(figures: measure::NearEnd) -> Self {
        Self { si_sdr_db: figures.si_sdr_db, level_change_db: figures.level_change_db }
    }
}

/// Numbers of sample frames at the devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameCounts {
    /// Sample frames that the microphone delivered.
    pub captured: u64,
    /// Sample frames that the loudspeaker took.
    pub played: u64,
    /// Sample frames that were lost in either direction.
    pub lost: u64,
}

/// The four signals of a run. All are mono with full scale at ±1.0 and one rate, aligned on the capture clock.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    /// Sample rate of all four signals, in hertz; 0 only if all are empty.
    pub rate_hz: u32,
    /// Microphone signal.
    pub mic: Vec<f32>,
    /// Output of the terminal with its delay removed.
    pub clean: Vec<f32>,
    /// Signal that the loudspeaker played.
    pub far: Vec<f32>,
    /// Talker's own signal at the microphone; empty without a talker.
    pub near: Vec<f32>,
}

/// True and estimated value of a quantity at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EstimatePoint {
    /// Time, in seconds.
    pub at_s: f64,
    /// True value, if known.
    pub truth: Option<f64>,
    /// Value that the terminal estimates, once it has an estimate.
    pub estimated: Option<f64>,
}

/// Duration of the audio in each ring at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RingPoint {
    /// Time, in seconds.
    pub at_s: f64,
    /// Fill of the capture ring, in milliseconds.
    pub capture_ms: f64,
    /// Fill of the playback ring, in milliseconds.
    pub playback_ms: f64,
    /// Fill of the reference ring, in milliseconds.
    pub reference_ms: f64,
}

/// Ends of the conversation that are active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActiveEnds {
    /// Only the far end: the microphone captures echo, which is to be removed.
    FarEnd,
    /// Both ends at once: double talk.
    Both,
    /// Only the near end: there is no echo to remove.
    NearEnd,
}

/// Time span during which the same ends are active.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TalkPhase {
    /// Start of the span, in seconds.
    pub from_s: f64,
    /// End of the span, in seconds.
    pub to_s: f64,
    /// Ends that are active.
    pub active: ActiveEnds,
}

impl Summary {
    /// Combines the measured windows with those of a perfect reference. `oracle` may be shorter or empty.
    pub fn erle_windows(measured: &[Window], oracle: &[Window]) -> Vec<ErleWindow> {
        measured
            .iter()
            .enumerate()
            .map(|(index, window)| ErleWindow {
                from_s: window.from_s,
                to_s: window.to_s,
                db: window.db,
                oracle_db: oracle.get(index).and_then(|oracle| oracle.db),
            })
            .collect()
    }

    /// Returns the median echo reduction of this run and of the perfect reference, over the windows that
    /// begin at 10 s or later. A run too short for that uses all its windows. `None` stands for a median
    /// without values.
    pub fn median_erle_db(&self) -> (Option<f64>, Option<f64>) {
        let from_s = self.settled_from_s();
        let settled = || self.erle_db.iter().filter(move |window| window.from_s >= from_s);
        (
            measure::median(settled().filter_map(|window| window.db)),
            measure::median(settled().filter_map(|window| window.oracle_db)),
        )
    }

    /// Returns the start of the windows that [`Self::median_erle_db`] uses: 10 s if a window from there on
    /// was measured, otherwise 0 s.
    pub fn settled_from_s(&self) -> f64 {
        let settled = self.erle_db.iter().any(|window| window.from_s >= 10.0 && window.db.is_some());
        if settled { 10.0 } else { 0.0 }
    }

    /// Returns the content of `report.json`: one indented object with a line break at its end. Numbers have
    /// at most 4 decimals, and numbers that are not finite are `null`.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a summary can always be written as JSON");
        text.push('\n');
        text
    }
}

/// Writes a number with at most 4 decimals. Further decimals are noise and would make equal runs look
/// different.
fn rounded<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((value * 1e4).round() / 1e4)
}

fn rounded_option<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => rounded(value, serializer),
        None => serializer.serialize_none(),
    }
}

/// Returns the time spans of far end, double talk and near end. Pauses within speech are bridged, and spans
/// shorter than half a second are merged with their neighbours.
pub fn talk_phases(far: &[f32], near: &[f32], rate_hz: u32) -> Vec<TalkPhase> {
    const BRIDGE_S: f64 = 0.6;
    const SHORTEST_FRAMES: usize = 50;
    if rate_hz == 0 {
        return Vec::new();
    }
    let far = measure::active_frames(far, rate_hz, measure::FAR_ACTIVE_DBFS, 0.0, BRIDGE_S);
    let near = measure::active_frames(near, rate_hz, measure::NEAR_ACTIVE_DBFS, 0.0, BRIDGE_S);
    let active_at = |frame: usize| {
        let at = |end: &[bool]| end.get(frame).copied().unwrap_or(false);
        match (at(&far), at(&near)) {
            (true, true) => Some(ActiveEnds::Both),
            (true, false) => Some(ActiveEnds::FarEnd),
            (false, true) => Some(ActiveEnds::NearEnd),
            (false, false) => None,
        }
    };
    let mut runs: Vec<(Range<usize>, Option<ActiveEnds>)> = Vec::new();
    for frame in 0..far.len().max(near.len()) {
        let active = active_at(frame);
        match runs.last_mut() {
            Some((range, last)) if *last == active => range.end = frame + 1,
            Some((range, last)) if range.len() < SHORTEST_FRAMES => {
                range.end = frame + 1;
                *last = active;
            }
            _ => runs.push((frame..frame + 1, active)),
        }
    }
    let mut merged: Vec<TalkPhase> = Vec::new();
    for (range, active) in runs {
        let Some(active) = active else { continue };
        let (from_s, to_s) = (range.start as f64 / 100.0, range.end as f64 / 100.0);
        match merged.last_mut() {
            Some(last) if last.active == active && last.to_s == from_s => last.to_s = to_s,
            _ => merged.push(TalkPhase { from_s, to_s, active }),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::{Colour, Noise, Rng};

    #[test]
    fn json_has_the_documented_keys_and_null_for_absence() {
        let summary = Summary {
            seed: u64::MAX,
            erle_db: vec![ErleWindow { from_s: 0.0, to_s: 10.0, db: Some(1.0 / 3.0), oracle_db: None }],
            realtime_factor: f64::INFINITY,
            ..Summary::default()
        };
        let value: serde_json::Value = serde_json::from_str(&summary.to_json()).unwrap();
        let keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = [
            "seed",
            "seconds",
            "rate_hz",
            "erle_db",
            "delay_ms",
            "drift_ppm",
            "near_end",
            "processing_delay_samples",
            "frames",
            "xruns",
            "realtime_factor",
        ];
        expected.sort_unstable();
        let mut keys_sorted = keys.clone();
        keys_sorted.sort_unstable();
        assert_eq!(keys_sorted, expected);
        assert_eq!(value["seed"], u64::MAX);
        assert_eq!(value["erle_db"][0]["db"], 0.3333);
        assert!(value["erle_db"][0]["oracle_db"].is_null() && value["delay_ms"]["true"].is_null());
        assert!(value["near_end"]["si_sdr_db"].is_null() && value["realtime_factor"].is_null());
    }

    #[test]
    fn the_median_excludes_the_start_of_a_long_run() {
        let window = |from_s: f64, db| ErleWindow {
            from_s,
            to_s: from_s + 10.0,
            db,
            oracle_db: db.map(|db: f64| db + 1.0),
        };
        let mut summary = Summary {
            erle_db: vec![
                window(0.0, Some(20.0)),
                window(10.0, Some(50.0)),
                window(20.0, None),
                window(30.0, Some(52.0)),
            ],
            ..Summary::default()
        };
        assert_eq!(summary.median_erle_db(), (Some(51.0), Some(52.0)));
        summary.erle_db.truncate(1);
        assert_eq!(summary.median_erle_db(), (Some(20.0), Some(21.0)));
        summary.erle_db.clear();
        assert_eq!(summary.median_erle_db(), (None, None));
    }

    #[test]
    fn talk_phases_bridge_pauses_in_speech() {
        let mut noise = Noise::new(Rng::new(1), Colour::White, -20.0);
        let mut sound = |spans: &[(usize, usize)]| {
            let mut signal = vec![0.0_f32; 160_000];
            for &(from, to) in spans {
                noise.add_to(&mut signal[from * 160..to * 160]);
            }
            signal
        };
        let far = sound(&[(0, 200), (230, 600)]);
        let near = sound(&[(400, 440), (470, 900)]);
        let found = talk_phases(&far, &near, 16_000);
        let expected =
            [(0.0, 4.0, ActiveEnds::FarEnd), (4.0, 6.6, ActiveEnds::Both), (6.6, 9.6, ActiveEnds::NearEnd)];
        let found: Vec<_> = found.iter().map(|phase| (phase.from_s, phase.to_s, phase.active)).collect();
        assert_eq!(found, expected);
        assert!(talk_phases(&[], &[], 0).is_empty());
    }
}
