//! Control side: events of a running terminal, as JSON objects or as lines of text.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use handsfree_core::audio_io::Direction;
use serde::Serialize;

use crate::status::{Flow, Level, Status};
use crate::view::View;

/// Event to print. With `--json` each is one object a line, with its kind in `event`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Report {
    /// Audio flows.
    Started(Started),
    /// State of the terminal, once a second.
    Status(Status),
    /// A device was unplugged.
    DeviceLost {
        /// Time in seconds since the start.
        at_s: f64,
        /// Direction: "capture" or "playback".
        direction: &'static str,
    },
    /// A device runs again.
    DeviceReturned {
        /// Time in seconds since the start.
        at_s: f64,
        /// Direction: "capture" or "playback".
        direction: &'static str,
        /// Length of the absence, in seconds.
        away_s: f64,
        /// Rate of the device, in hertz.
        rate_hz: u32,
        /// Number of channels.
        channels: u32,
    },
    /// Samples were lost, or silence was played because none came in time.
    Xrun {
        /// Time in seconds since the start.
        at_s: f64,
        /// Direction: "capture" or "playback".
        direction: &'static str,
        /// Number of xruns since the last such event.
        count: u32,
        /// Number of sample frames of the device.
        sample_frames: u32,
    },
    /// All of a source has left the loudspeaker.
    Played {
        /// Time in seconds since the start.
        at_s: f64,
        /// Name of the source.
        name: String,
    },
    /// A sentence that a user should read.
    Note {
        /// Time in seconds since the start.
        at_s: f64,
        /// Text of the sentence.
        message: String,
    },
    /// The terminal ended, with a summary.
    Ended(Ended),
}

/// Description of a started terminal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Started {
    /// Name of the host.
    pub io: &'static str,
    /// Rate of the terminal, in hertz.
    pub rate_hz: u32,
    /// Active parts of the voice processing.
    pub processing: String,
    /// The microphone's device; `None` when it is not used.
    pub input: Option<Opened>,
    /// The loudspeaker's device; `None` when it is not used.
    pub output: Option<Opened>,
    /// Names of the sources that are played.
    pub playing: Vec<String>,
}

/// Granted stream of one direction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Opened {
    /// Name of the device.
    pub name: String,
    /// Rate of the device, in hertz.
    pub rate_hz: u32,
    /// Number of channels.
    pub channels: u32,
    /// Longest period, in sample frames.
    pub period_sample_frames: u32,
    /// Latency of the device as known before it runs, in milliseconds.
    pub latency_ms: f64,
}

/// Reason for the end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The time given by `--duration` is over.
    Duration,
    /// All sources were heard to their ends.
    Played,
    /// Ctrl-C was pressed, or a signal asked the process to end.
    Signal,
    /// Writing the recording failed.
    RecordingFailed,
    /// Writing the dump failed.
    DumpFailed,
}

/// Summary of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ended {
    /// Reason for the end.
    pub reason: Reason,
    /// Length of the run, in seconds.
    pub seconds: f64,
    /// Number of sample frames that left the terminal, at its rate.
    pub captured_sample_frames: u64,
    /// Number of sample frames mixed for the loudspeaker, at the terminal's rate.
    pub played_sample_frames: u64,
    /// Number of sample frames lost at the microphone.
    pub lost_sample_frames: u64,
    /// Number of overruns, underruns and gaps.
    pub xruns: u32,
    /// Number of times that a device went away.
    pub device_losses: u32,
    /// Number of cleaned frames that were dropped because the queue was full.
    pub dropped_frames: u32,
    /// Number of frames that passed unprocessed.
    pub unprocessed_frames: u32,
    /// Median of the echo reductions of all seconds with echo, in dB.
    pub median_erle_db: Option<f32>,
    /// Last estimate of render plus capture latency, in milliseconds.
    pub delay_ms: f64,
    /// Last estimate of the loudspeaker's clock minus the microphone's, in ppm.
    pub drift_ppm: Option<f32>,
    /// Number of jumps of the echo reference, the first alignment included.
    pub reference_jumps: u32,
    /// Processor time over the run's time, in percent of one core.
    pub cpu_percent: Option<f64>,
    /// Length of the recording, in seconds.
    pub recorded_s: Option<f64>,
    /// Silence in the recording in place of lost samples, in seconds.
    pub recorded_silence_s: Option<f64>,
}

/// Returns a direction's name for programs.
#[must_use]
pub const fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Capture => "capture",
        Direction::Playback => "playback",
    }
}

/// Output of the events.
#[derive(Debug)]
pub enum EventOutput {
    /// One JSON object a line.
    Json,
    /// One sentence a line.
    Lines,
    /// Live view with sentences below it.
    Live(View),
}

/// Returns whether the terminal can move its cursor. On Unix `TERM` says so; without `TERM` it cannot.
fn can_move_cursor() -> bool {
    std::env::var_os("TERM").map_or(cfg!(windows), |name| !name.is_empty() && name != "dumb")
}

impl EventOutput {
    /// Returns the live view if there is a terminal to show it on.
    #[must_use]
    pub fn new(json: bool, plain: bool) -> Self {
        if json {
            Self::Json
        } else if plain || !io::stdout().is_terminal() || !can_move_cursor() {
            Self::Lines
        } else {
            Self::Live(View::new())
        }
    }

    /// Returns the interval between two status events, in milliseconds.
    #[must_use]
    pub const fn interval_ms(&self) -> i64 {
        match self {
            Self::Json | Self::Lines => 1_000,
            Self::Live(_) => 100,
        }
    }

    /// Prints one event.
    ///
    /// # Errors
    /// Returns an error when the reader has closed the output.
    pub fn write(&mut self, report: &Report) -> io::Result<()> {
        match self {
            Self::Json => {
                let mut line = serde_json::to_string(report)?;
                line.push('\n');
                print_at_once(&line)
            }
            Self::Lines => print_at_once(&sentence(report)),
            Self::Live(view) => match report {
                Report::Status(status) => view.show(status),
                Report::Started(started) => {
                    view.begin(started);
                    Ok(())
                }
                Report::Ended(_) => {
                    view.end()?;
                    print_at_once(&sentence(report))
                }
                other => view.note(sentence(other).trim_end()),
            },
        }
    }
}

fn print_at_once(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Returns an event in words, with a line break.
#[must_use]
pub fn sentence(report: &Report) -> String {
    let mut text = match report {
        Report::Started(started) => {
            let side = |side: &Option<Opened>| {
                side.as_ref().map_or_else(
                    || "none".to_owned(),
                    |side| format!("{} ({} Hz, {} channels)", side.name, side.rate_hz, side.channels),
                )
            };
            format!(
                "terminal at {} Hz over {}: {}\n  microphone   {}\n  loudspeaker  {}\n  playing      {}",
                started.rate_hz,
                started.io,
                started.processing,
                side(&started.input),
                side(&started.output),
                if started.playing.is_empty() { "nothing".into() } else { started.playing.join(", ") },
            )
        }
        Report::Status(status) => line(status),
        Report::DeviceLost { at_s, direction } => {
            format!("{at_s:7.1} s  the {direction} device went away; waiting for it")
        }
        Report::DeviceReturned { at_s, direction, away_s, rate_hz, .. } => {
            format!("{at_s:7.1} s  the {direction} device is back after {away_s:.1} s, at {rate_hz} Hz")
        }
        Report::Xrun { at_s, direction, count, sample_frames } => {
            format!("{at_s:7.1} s  {count} {direction} xruns, {sample_frames} sample frames")
        }
        Report::Played { at_s, name } => format!("{at_s:7.1} s  {name} was heard to its end"),
        Report::Note { at_s, message } => format!("{at_s:7.1} s  {message}"),
        Report::Ended(ended) => summary(ended),
    };
    text.push('\n');
    text
}

fn line(status: &Status) -> String {
    let flow = |flow: Flow, level: &Level| match flow {
        Flow::Running => format!("{:6.1}", level.rms_dbfs),
        Flow::Waiting => "  away".into(),
        Flow::Closed => "   off".into(),
    };
    format!(
        "{:7.1} s  mic {} clean {} spk {} dBFS  ERLE {}  delay {:.1} ms  drift {}  xruns {}  CPU {}",
        status.at_s,
        flow(status.capture, &status.microphone),
        flow(status.capture, &status.cleaned),
        flow(status.playback, &status.loudspeaker),
        or_dash(status.erle_db.map(|db| format!("{db:.1} dB"))),
        status.delay_ms,
        or_dash(status.drift_ppm.map(|ppm| format!("{ppm:+.1} ppm"))),
        status.xruns,
        or_dash(status.cpu_percent.map(|percent| format!("{percent:.1} %"))),
    )
}

/// Returns the text of a value that may be unknown.
#[must_use]
pub fn or_dash(value: Option<String>) -> String {
    value.unwrap_or_else(|| "-".into())
}

fn summary(ended: &Ended) -> String {
    let mut text = format!(
        "ended after {:.1} s ({})\n",
        ended.seconds,
        match ended.reason {
            Reason::Duration => "the duration is over",
            Reason::Played => "all was heard",
            Reason::Signal => "interrupted",
            Reason::RecordingFailed => "the recording failed",
            Reason::DumpFailed => "the dump failed",
        }
    );
    let mut row = |name: &str, value: String| {
        // Writing to a String cannot fail.
        _ = writeln!(text, "  {name:<16}{value}");
    };
    row("echo reduction", or_dash(ended.median_erle_db.map(|db| format!("{db:.1} dB, the median second"))));
    row("delay", format!("{:.1} ms", ended.delay_ms));
    row("drift", or_dash(ended.drift_ppm.map(|ppm| format!("{ppm:+.1} ppm"))));
    row("reference", format!("{} jumps, the first time included", ended.reference_jumps));
    row(
        "sample frames",
        format!(
            "{} captured, {} played, {} lost",
            ended.captured_sample_frames, ended.played_sample_frames, ended.lost_sample_frames
        ),
    );
    row("xruns", ended.xruns.to_string());
    row("devices lost", ended.device_losses.to_string());
    row(
        "frames",
        format!("{} unprocessed, {} not taken in time", ended.unprocessed_frames, ended.dropped_frames),
    );
    row("CPU", or_dash(ended.cpu_percent.map(|percent| format!("{percent:.1} % of a core"))));
    if let (Some(recorded_s), Some(silence_s)) = (ended.recorded_s, ended.recorded_silence_s) {
        row("recorded", format!("{recorded_s:.1} s, {silence_s:.2} s of it silence for what was lost"));
    }
    text.trim_end().to_owned()
}
