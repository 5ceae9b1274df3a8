//! What a run found: `report.json` for programs and `report.html` for people.

mod html;
mod plots;
mod spectrogram;
mod text;
mod views;

use std::ops::Range;

use serde::{Deserialize, Serialize, Serializer};

pub use html::render_html;

use crate::measure::{self, Window};

/// Everything a report shows. Only [`Report::summary`] goes to `report.json`.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The figures.
    pub summary: Summary,
    /// One line under the title: what was run, in words.
    pub subtitle: String,
    /// The command that replays this run, seed included.
    pub command: String,
    /// Version and commit of the program, as `--version` prints them; empty leaves the line out.
    pub version: String,
    /// The run's settings, a name and a value with its unit, in the order to be shown.
    pub settings: Vec<(String, String)>,
    /// What the user should know: clips that were repeated or cut short, clipped samples, refused switches.
    pub notices: Vec<String>,
    /// The sound.
    pub signals: Signals,
    /// Echo reduction second by second, [`measure::erle_per_second`].
    pub erle_curve: Vec<Window>,
    /// The same for the canceller with a perfect reference; empty where it was not run.
    pub oracle_curve: Vec<Window>,
    /// Delay over time in ms, in the order of time; empty where it was not recorded.
    pub delay: Vec<Compared>,
    /// Drift over time in ppm, likewise.
    pub drift: Vec<Compared>,
    /// Ring fill over time, in the order of time; empty where it was not recorded.
    pub rings: Vec<RingPoint>,
}

/// The object of `report.json`, key by key. An absent value is `null` there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The seed that replays the run.
    pub seed: u64,
    /// Simulated length, in seconds.
    #[serde(serialize_with = "rounded")]
    pub seconds: f64,
    /// The terminal's rate.
    pub rate_hz: u32,
    /// Echo reduction in windows of 10 s.
    pub erle_db: Vec<ErleWindow>,
    /// Render plus capture latency at the end of the run, acoustics excluded, in ms.
    pub delay_ms: TrueAndEstimated,
    /// Clock of playback minus clock of capture, in parts per million.
    pub drift_ppm: TrueAndEstimated,
    /// How the talker came through.
    pub near_end: NearEndFigures,
    /// How much later than the microphone the cleaned signal leaves the terminal, in samples at `rate_hz`.
    pub processing_delay_samples: u64,
    /// Sample frames counted at the devices.
    pub frames: FrameCounts,
    /// Underruns and overruns, of all rings and devices.
    pub xruns: u64,
    /// Simulated time over the time it took.
    #[serde(serialize_with = "rounded")]
    pub realtime_factor: f64,
}

/// One window of echo reduction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ErleWindow {
    /// Start, in seconds.
    #[serde(serialize_with = "rounded")]
    pub from_s: f64,
    /// End, in seconds.
    #[serde(serialize_with = "rounded")]
    pub to_s: f64,
    /// Echo reduction in dB; `None` where the far end is never heard alone.
    #[serde(serialize_with = "rounded_option")]
    pub db: Option<f64>,
    /// The same canceller with a perfect reference; `None` where that was not run, or the far end is never alone.
    #[serde(serialize_with = "rounded_option")]
    pub oracle_db: Option<f64>,
}

/// A quantity that the simulator knows and the terminal estimates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrueAndEstimated {
    /// What it was; `None` for recordings, of which nobody knows.
    #[serde(rename = "true")]
    #[serde(serialize_with = "rounded_option")]
    pub truth: Option<f64>,
    /// What the terminal took it for; `None` before it had an estimate.
    #[serde(serialize_with = "rounded_option")]
    pub estimated: Option<f64>,
}

/// How the talker came through, see [`measure::near_end`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NearEndFigures {
    /// Scale-invariant signal to distortion ratio in dB; `None` where nobody spoke.
    #[serde(serialize_with = "rounded_option")]
    pub si_sdr_db: Option<f64>,
    /// Level change in dB; `None` where nobody spoke.
    #[serde(serialize_with = "rounded_option")]
    pub level_change_db: Option<f64>,
}

impl From<measure::NearEnd> for NearEndFigures {
    fn from(figures: measure::NearEnd) -> Self {
        Self { si_sdr_db: figures.si_sdr_db, level_change_db: figures.level_change_db }
    }
}

/// Sample frames at the devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameCounts {
    /// Delivered by the microphone.
    pub captured: u64,
    /// Taken by the loudspeaker.
    pub played: u64,
    /// Lost on either way.
    pub lost: u64,
}

/// The four signals of a run: mono, full scale ±1.0, aligned on the capture clock, at one rate.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    /// Their rate; 0 only where all are empty.
    pub rate_hz: u32,
    /// What the microphone gave.
    pub mic: Vec<f32>,
    /// What left the terminal, its delay taken out.
    pub clean: Vec<f32>,
    /// What the loudspeaker played.
    pub far: Vec<f32>,
    /// The talker as they reached the microphone; empty for none.
    pub near: Vec<f32>,
}

/// A quantity at one moment, as it was and as the terminal took it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Compared {
    /// When, in seconds.
    pub at_s: f64,
    /// What it was.
    pub truth: Option<f64>,
    /// What the terminal took it for.
    pub estimated: Option<f64>,
}

/// How much sound lay in each ring at one moment, in ms.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RingPoint {
    /// When, in seconds.
    pub at_s: f64,
    /// The capture ring.
    pub capture_ms: f64,
    /// The playback ring.
    pub playback_ms: f64,
    /// The reference ring.
    pub reference_ms: f64,
}

/// Who is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The loudspeaker: echo to be removed.
    FarEnd,
    /// Both at once: double talk.
    Both,
    /// The talker: nothing to be removed.
    NearEnd,
}

/// A stretch of time and who is heard in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Phase {
    /// Start, in seconds.
    pub from_s: f64,
    /// End, in seconds.
    pub to_s: f64,
    /// Who.
    pub heard: Heard,
}

impl Summary {
    /// The windows' lists joined: measured ones with those of a perfect reference, which may be absent.
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

    /// Median of the measured windows that begin at 10 s or later, and of the oracle's; of all windows where the run
    /// is too short for that. `None` where there is none.
    pub fn median_erle_db(&self) -> (Option<f64>, Option<f64>) {
        let from_s = self.settled_from_s();
        let settled = || self.erle_db.iter().filter(move |window| window.from_s >= from_s);
        (
            measure::median(settled().filter_map(|window| window.db)),
            measure::median(settled().filter_map(|window| window.oracle_db)),
        )
    }

    /// Where [`Self::median_erle_db`] begins: at 10 s if a window there was measured, else at the start.
    pub fn settled_from_s(&self) -> f64 {
        let settled = self.erle_db.iter().any(|window| window.from_s >= 10.0 && window.db.is_some());
        if settled { 10.0 } else { 0.0 }
    }

    /// `report.json`: one object, indented, with a line break at its end. Numbers have 4 decimals at most; one that is
    /// not finite is `null`.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a summary is always printable");
        text.push('\n');
        text
    }
}

/// Writes a number with 4 decimals at most: the rest is noise, and makes reports differ that do not.
fn rounded<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((value * 1e4).round() / 1e4)
}

fn rounded_option<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => rounded(value, serializer),
        None => serializer.serialize_none(),
    }
}

/// Who is heard when, as a listener would draw it: pauses within speech are bridged, and stretches below half a second
/// go to what surrounds them.
pub fn phases(far: &[f32], near: &[f32], rate_hz: u32) -> Vec<Phase> {
    const BRIDGE_S: f64 = 0.6;
    const SHORTEST_FRAMES: usize = 50;
    if rate_hz == 0 {
        return Vec::new();
    }
    let far = measure::active_frames(far, rate_hz, measure::FAR_ACTIVE_DBFS, 0.0, BRIDGE_S);
    let near = measure::active_frames(near, rate_hz, measure::NEAR_ACTIVE_DBFS, 0.0, BRIDGE_S);
    let heard_at = |frame: usize| {
        let at = |side: &[bool]| side.get(frame).copied().unwrap_or(false);
        match (at(&far), at(&near)) {
            (true, true) => Some(Heard::Both),
            (true, false) => Some(Heard::FarEnd),
            (false, true) => Some(Heard::NearEnd),
            (false, false) => None,
        }
    };
    let mut runs: Vec<(Range<usize>, Option<Heard>)> = Vec::new();
    for frame in 0..far.len().max(near.len()) {
        let heard = heard_at(frame);
        match runs.last_mut() {
            Some((range, last)) if *last == heard => range.end = frame + 1,
            Some((range, last)) if range.len() < SHORTEST_FRAMES => {
                range.end = frame + 1;
                *last = heard;
            }
            _ => runs.push((frame..frame + 1, heard)),
        }
    }
    let mut merged: Vec<Phase> = Vec::new();
    for (range, heard) in runs {
        let Some(heard) = heard else { continue };
        let (from_s, to_s) = (range.start as f64 / 100.0, range.end as f64 / 100.0);
        match merged.last_mut() {
            Some(last) if last.heard == heard && last.to_s == from_s => last.to_s = to_s,
            _ => merged.push(Phase { from_s, to_s, heard }),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::{Colour, Noise, Rng};

    #[test]
    fn json_has_the_keys_that_were_agreed_and_null_for_what_is_absent() {
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
    fn the_median_leaves_the_start_out_where_it_can() {
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
    fn phases_bridge_pauses() {
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
        let found = phases(&far, &near, 16_000);
        let expected = [(0.0, 4.0, Heard::FarEnd), (4.0, 6.6, Heard::Both), (6.6, 9.6, Heard::NearEnd)];
        let found: Vec<_> = found.iter().map(|phase| (phase.from_s, phase.to_s, phase.heard)).collect();
        assert_eq!(found, expected);
        assert!(phases(&[], &[], 0).is_empty());
    }
}
