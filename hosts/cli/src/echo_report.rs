//! Control side: what `handsfree process` found out about the echo, for readers and programs.

use handsfree::failure::Failure;
use handsfree_sim::measure;
use handsfree_sim::report::Summary;
use serde::Serialize;

use crate::signal::{Signal, for_each_part};
use crate::start_search::{EchoLine, SearchResult};

/// Length of the pieces in which the levels of both recordings are compared, in seconds.
const PIECE_S: f64 = 0.1;
/// Level above which a piece of the far end is active, in dBFS.
const FAR_ACTIVE_DBFS: f64 = measure::FAR_ACTIVE_DBFS;
/// Time for which the far end must be active before a missing echo says anything, in seconds.
const MIN_ACTIVE_S: f64 = 5.0;
/// Time with an active far end for which a quiet microphone shows that it does not hear the loudspeaker, in seconds. Pauses of
/// speech are shorter.
const QUIET_S: f64 = 1.0;
/// Level below the microphone's loud pieces at which it is quiet, in dB: an echo that is this weak hides behind no talker.
const QUIET_DB: f64 = 25.0;
/// Conclusion about the echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EchoResult {
    /// The echo was found.
    Found,
    /// Several places explain the recordings about equally well, and the recordings were used as they are.
    Ambiguous,
    /// The far end is silent.
    FarEndSilent,
    /// The microphone stays quiet while the far end is active.
    MicrophoneQuiet,
    /// The far end is active for too short a time to tell.
    TooShort,
    /// The microphone records something else all the time that the far end is active.
    NotFound,
}

/// What was found out about the echo.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct EchoReport {
    /// Conclusion about the echo.
    pub result: EchoResult,
    /// Lag of the echo behind the far end at the start of the microphone recording, as recorded, in ms; negative if the echo comes
    /// first. `None` unless found.
    pub lag_ms: Option<f64>,
    /// By how much the far end was moved later at the start, in ms; negative for earlier.
    pub far_moved_ms: f64,
    /// Rate of the loudspeaker's clock relative to the microphone's, in ppm; `None` if not found.
    pub drift_ppm: Option<f64>,
    /// Standard error of the drift, in ppm; `None` if too few blocks show the echo.
    pub drift_error_ppm: Option<f64>,
    /// Correlation of far end and microphone at the echo, 0 to 1; `None` if not found.
    pub correlation: Option<f64>,
    /// Echo reduction in dB: median of all windows with echo.
    pub reduction_db: Option<f64>,
    /// Number of channels of the far end that the canceller received.
    pub far_channels: usize,
}

/// Results of `handsfree process` for programs: the summary's fields and `echo`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProcessReport<'a> {
    /// Measured figures.
    #[serde(flatten)]
    pub summary: &'a Summary,
    /// What was found out about the echo.
    pub echo: EchoReport,
}

impl ProcessReport<'_> {
    /// Returns the report as a JSON object with a line break at its end.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a report can always be written as JSON");
        text.push('\n');
        text
    }
}

impl EchoResult {
    /// Concludes from the search and the recordings' levels whether there is an echo. `far` and `mic` are as recorded.
    ///
    /// # Errors
    /// Returns the error of a signal that cannot be read.
    pub fn new(
        search: SearchResult,
        far: &dyn Signal,
        mic: &dyn Signal,
        rate_hz: u32,
    ) -> Result<Self, Failure> {
        Ok(match search {
            SearchResult::Found(_) => Self::Found,
            SearchResult::Ambiguous => Self::Ambiguous,
            SearchResult::NotFound => Self::without_echo(&levels(far, rate_hz)?, &levels(mic, rate_hz)?),
        })
    }

    /// Concludes from the levels of all pieces.
    fn without_echo(far: &[f64], mic: &[f64]) -> Self {
        let mut loudest = mic.to_vec();
        loudest.sort_by(f64::total_cmp);
        let quiet_below = loudest.get(loudest.len() * 9 / 10).map_or(0.0, |loud| loud - QUIET_DB);
        let active = |level: &f64| *level > FAR_ACTIVE_DBFS;
        let active_s = far.iter().zip(mic).filter(|(level, _)| active(level)).count() as f64 * PIECE_S;
        if !far.iter().any(active) {
            return Self::FarEndSilent;
        }
        if active_s < MIN_ACTIVE_S {
            return Self::TooShort;
        }
        // The longest time with a quiet microphone, in active pieces of the far end.
        let (mut run, mut longest) = (0, 0);
        for (far, mic) in far.iter().zip(mic) {
            if *mic > quiet_below {
                run = 0;
            } else if active(far) {
                run += 1;
            }
            longest = longest.max(run);
        }
        if f64::from(longest) * PIECE_S >= QUIET_S { Self::MicrophoneQuiet } else { Self::NotFound }
    }

    /// Returns the exit code of the command: 0 or 3. `required` is the switch `--require-echo`.
    #[must_use]
    pub const fn exit_code(self, required: bool, cancels: bool) -> u8 {
        match self {
            Self::Found => 0,
            Self::NotFound if cancels => 3,
            _ if required => 3,
            _ => 0,
        }
    }

    /// Returns the result as text for people.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Ambiguous => {
                "its place is ambiguous (a tone or a repeated sound): the recordings were used as they are"
            }
            Self::FarEndSilent => "none: the far end is silent",
            Self::MicrophoneQuiet => {
                "none found: the microphone is quiet while the far end is active, as with headphones"
            }
            Self::TooShort => {
                "none found: the far end is active for less than 5 s of the microphone recording"
            }
            Self::NotFound => {
                "none found: the microphone records other sound while the far end is active; do the recordings belong \
                 together?"
            }
        }
    }
}

/// Returns the level of each piece, in dBFS.
fn levels(signal: &dyn Signal, rate_hz: u32) -> Result<Vec<f64>, Failure> {
    let mut levels = Vec::new();
    for_each_part(signal, ((f64::from(rate_hz) * PIECE_S) as usize).max(1), |piece| {
        levels.push(measure::level_dbfs(piece));
        Ok(())
    })?;
    Ok(levels)
}

impl EchoReport {
    /// Makes the report. `moved_s` is by how much the far end was moved later at the start, in seconds.
    #[must_use]
    pub fn new(
        result: EchoResult,
        line: Option<&EchoLine>,
        moved_s: f64,
        reduction_db: Option<f64>,
        far_channels: usize,
    ) -> Self {
        let rounded = |value: f64| (value * 1e3).round() / 1e3;
        Self {
            result,
            lag_ms: line.map(|line| rounded(line.lag_s * 1e3)),
            far_moved_ms: rounded(moved_s * 1e3),
            drift_ppm: line.map(|line| rounded(0.0 - line.mic_ppm)),
            drift_error_ppm: line.map(|line| line.ppm_error).filter(|error| error.is_finite()).map(rounded),
            correlation: line.map(|line| rounded(line.correlation)),
            reduction_db: reduction_db.map(rounded),
            far_channels,
        }
    }

    /// Returns the report as indented lines for people.
    #[must_use]
    pub fn lines(&self) -> String {
        let mut lines = match self.lag_ms {
            Some(lag_ms) if lag_ms >= 0.0 => {
                format!("  echo            found {lag_ms:.1} ms after the far end")
            }
            Some(lag_ms) => format!("  echo            found {:.1} ms before the far end", -lag_ms),
            None => format!("  echo            {}", self.result.sentence()),
        };
        if self.far_moved_ms != 0.0 {
            let (by_ms, direction) =
                (self.far_moved_ms.abs(), if self.far_moved_ms > 0.0 { "later" } else { "earlier" });
            lines += &format!("; the far end was moved {by_ms:.1} ms {direction}");
        }
        if let Some(drift_ppm) = self.drift_ppm {
            let error = self
                .drift_error_ppm
                .map_or_else(String::new, |error| format!(" (standard error {error:.1})"));
            lines += &format!("\n  drift           {drift_ppm:+.1} ppm{error}");
        }
        let reduction = self.reduction_db.map_or_else(|| "-".to_owned(), |db| format!("{db:.1} dB (median)"));
        lines + &format!("\n  echo reduction  {reduction}")
    }
}
