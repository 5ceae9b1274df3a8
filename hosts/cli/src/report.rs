//! Control side: what a running terminal tells, as objects for programs and as lines for people.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use handsfree_core::audio_io::Direction;
use serde::Serialize;

use crate::status::{Flow, Level, Status};
use crate::view::View;

/// Something to tell. With `--json` each is one object a line, its kind in `event`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Report {
    /// Audio flows from now on.
    Started(Started),
    /// How it is, each second.
    Status(Status),
    /// A device was unplugged; it is waited for.
    DeviceLost {
        /// Seconds since the start.
        at_s: f64,
        /// "capture" or "playback".
        direction: &'static str,
    },
    /// It runs again.
    DeviceReturned {
        /// Seconds since the start.
        at_s: f64,
        /// "capture" or "playback".
        direction: &'static str,
        /// How long it was away.
        away_s: f64,
        /// The device's rate.
        rate_hz: u32,
        /// Its channels.
        channels: u32,
    },
    /// Samples were lost, or played as silence because none came in time.
    Xrun {
        /// Seconds since the start.
        at_s: f64,
        /// "capture" or "playback".
        direction: &'static str,
        /// How often since the last such report.
        count: u32,
        /// Sample frames of the device.
        sample_frames: u32,
    },
    /// All of a source has left the loudspeaker.
    Played {
        /// Seconds since the start.
        at_s: f64,
        /// Which.
        name: String,
    },
    /// A sentence that a user should read.
    Note {
        /// Seconds since the start.
        at_s: f64,
        /// The sentence.
        message: String,
    },
    /// The end, with what came of it.
    Ended(Ended),
}

/// What runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Started {
    /// Which host.
    pub io: &'static str,
    /// The terminal's rate.
    pub rate_hz: u32,
    /// What the voice processor does.
    pub processing: String,
    /// The microphone's device; none when it is not used.
    pub input: Option<Opened>,
    /// The loudspeaker's device; none when it is not used.
    pub output: Option<Opened>,
    /// What is played.
    pub playing: Vec<String>,
}

/// One direction as granted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Opened {
    /// The device's name.
    pub name: String,
    /// Its rate.
    pub rate_hz: u32,
    /// Its channels.
    pub channels: u32,
    /// Its longest period.
    pub period_sample_frames: u32,
    /// Its latency as far as it is known before it runs.
    pub latency_ms: f64,
}

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// `--duration` is over.
    Duration,
    /// All that was to be played was heard.
    Played,
    /// Ctrl-C, or a signal that says the same.
    Signal,
    /// The recording could not be written any more.
    RecordingFailed,
    /// Nothing more could be written into the dump.
    DumpFailed,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ended {
    /// Why.
    pub reason: Reason,
    /// How long it ran.
    pub seconds: f64,
    /// Sample frames that left the terminal, at its rate.
    pub captured_sample_frames: u64,
    /// Sample frames mixed for the loudspeaker, at the terminal's rate.
    pub played_sample_frames: u64,
    /// Sample frames that the microphone's side lost.
    pub lost_sample_frames: u64,
    /// Overruns, underruns and gaps.
    pub xruns: u32,
    /// How often a device went away.
    pub device_losses: u32,
    /// Cleaned frames that nobody took in time.
    pub dropped_frames: u32,
    /// Frames that passed unprocessed.
    pub unprocessed_frames: u32,
    /// The middle one of the echo reductions of each second with echo.
    pub median_erle_db: Option<f32>,
    /// The last estimate.
    pub delay_ms: f64,
    /// The last estimate.
    pub drift_ppm: Option<f32>,
    /// How often the echo reference had to jump to another place, the first time included.
    pub reference_jumps: u32,
    /// Processor time over time, 100 for one core.
    pub cpu_percent: Option<f64>,
    /// How long the recording is.
    pub recorded_s: Option<f64>,
    /// How much of it is silence in place of what was lost.
    pub recorded_silence_s: Option<f64>,
}

/// A direction for programs.
#[must_use]
pub const fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Capture => "capture",
        Direction::Playback => "playback",
    }
}

/// Where reports go.
#[derive(Debug)]
pub enum EventOutput {
    /// One object a line.
    Json,
    /// A sentence a line.
    Lines,
    /// A live view, with sentences below.
    Live(View),
}

/// Whether the terminal is more than one that prints: on Unix it says so, and one that says nothing is not.
fn can_move_cursor() -> bool {
    std::env::var_os("TERM").map_or(cfg!(windows), |name| !name.is_empty() && name != "dumb")
}

impl EventOutput {
    /// The live view where there is a terminal to show it on.
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

    /// How often a status is wanted, in ms.
    #[must_use]
    pub const fn interval_ms(&self) -> i64 {
        match self {
            Self::Json | Self::Lines => 1_000,
            Self::Live(_) => 100,
        }
    }

    /// Tells one report.
    ///
    /// # Errors
    /// When nobody reads any more.
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

/// A report in words, with a line's end.
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

/// A value that may not be known.
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
