//! Control side: the events of a running terminal, printed as JSON objects or as lines of text.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};

use handsfree_core::SessionEvent;
use handsfree_core::audio_io::Direction;
use serde::Serialize;

use crate::console;
use crate::pcm::endpoint::ByteSink;
use crate::status::{FlowState, Level, Status};
use crate::view::View;

/// Event to print. With `--json` each event is one object on its own line; the field `event` names its kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Report {
    /// The terminal has started.
    Started(Started),
    /// Status of the terminal, once a second.
    Status(Status),
    /// A device was unplugged or failed.
    DeviceLost {
        /// Time since the start of the run, in seconds.
        at_s: f64,
        /// Direction: "capture" or "playback".
        direction: &'static str,
    },
    /// A lost device is running again.
    DeviceReturned {
        /// Time since the start of the run, in seconds.
        at_s: f64,
        /// Direction: "capture" or "playback".
        direction: &'static str,
        /// Time for which the device was lost, in seconds.
        away_s: f64,
        /// Sample rate of the device, in hertz.
        rate_hz: u32,
        /// Number of open channels of the device.
        channels: u32,
    },
    /// Recorded samples were lost, or silence was played because samples came too late.
    Xrun {
        /// Time since the start of the run, in seconds.
        at_s: f64,
        /// Direction: "capture" or "playback".
        direction: &'static str,
        /// Number of xruns since the last event for this direction.
        count: u32,
        /// Number of affected sample frames, at the device's rate.
        sample_frames: u32,
    },
    /// A person has started to speak at the microphone, or makes a sound like speech.
    SpeechStarted {
        /// Time since the start of the run at which the sound was at the microphone, in seconds.
        at_s: f64,
        /// Sample frame at which the sound starts, at the terminal's rate, counted from the start of the microphone.
        position: u64,
    },
    /// The sound that has started is too long for a cough: a person speaks.
    SpeechConfirmed {
        /// Time since the start of the run at which the speech started, in seconds.
        at_s: f64,
        /// Sample frame at which the speech starts.
        position: u64,
    },
    /// The sound has ended.
    SpeechEnded {
        /// Time since the start of the run at which the sound ended, in seconds.
        at_s: f64,
        /// First sample frame behind the sound.
        position: u64,
    },
    /// The last sample of a source has left the loudspeaker.
    Played {
        /// Time since the start of the run, in seconds.
        at_s: f64,
        /// Display name of the source.
        name: String,
    },
    /// A message for the user.
    Note {
        /// Time since the start of the run, in seconds.
        at_s: f64,
        /// Text of the message.
        message: String,
    },
    /// The terminal has ended.
    Ended(Ended),
}

/// Description of a started terminal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Started {
    /// Name of the host.
    pub io: &'static str,
    /// Sample rate of the terminal, in hertz.
    pub rate_hz: u32,
    /// Names of the enabled voice-processing stages.
    pub processing: String,
    /// Opened microphone; `None` when it is not used.
    pub input: Option<OpenedDevice>,
    /// Opened loudspeaker; `None` when it is not used.
    pub output: Option<OpenedDevice>,
    /// Display names of the sources that are played.
    pub playing: Vec<String>,
}

/// Opened device with the format that it granted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OpenedDevice {
    /// Display name of the device.
    pub name: String,
    /// Sample rate of the device, in hertz.
    pub rate_hz: u32,
    /// Number of open channels of the device.
    pub channels: u32,
    /// Longest period of the device, in sample frames.
    pub period_sample_frames: u32,
    /// Latency that the device reported when it was opened, in milliseconds.
    pub latency_ms: f64,
}

/// Reason why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunEndReason {
    /// The time set with `--duration` has passed.
    Duration,
    /// All sources were played to their ends.
    Played,
    /// Ctrl-C was pressed, or the process received SIGTERM.
    Signal,
    /// Stdout cannot be written: its disk is full or its reader has closed it.
    OutputFailed,
    /// Writing the recording failed.
    RecordingFailed,
    /// Writing the dump failed.
    DumpFailed,
    /// Writing plain samples failed.
    PcmFailed,
}

/// Summary of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ended {
    /// Reason why the run ended.
    pub reason: RunEndReason,
    /// Length of the run, in seconds.
    pub seconds: f64,
    /// Number of sample frames that the terminal captured and processed, at its rate.
    pub captured_sample_frames: u64,
    /// Number of sample frames mixed for the loudspeaker, at the terminal's rate.
    pub played_sample_frames: u64,
    /// Number of sample frames lost at the microphone, at the device's rate.
    pub lost_sample_frames: u64,
    /// Number of overruns, underruns and gaps.
    pub xruns: u32,
    /// Number of times that a device was lost.
    pub device_losses: u32,
    /// Number of cleaned frames that were dropped because the queue was full.
    pub dropped_frames: u32,
    /// Number of frames that passed without voice processing.
    pub unprocessed_frames: u32,
    /// Median over all seconds with echo of the echo reduction, in dB; `None` without any.
    pub median_erle_db: Option<f32>,
    /// Last estimate of render plus capture latency, in milliseconds.
    pub delay_ms: f64,
    /// Last estimate of the rate of the loudspeaker's clock relative to the microphone's, in ppm; `None` if not known.
    pub drift_ppm: Option<f32>,
    /// Number of jumps of the echo reference, including the first alignment.
    pub reference_jumps: u32,
    /// Processor time of all threads during the run, in percent of one core; `None` if the system does not report it.
    pub cpu_percent: Option<f64>,
    /// Length of the recording, in seconds; `None` without a recording.
    pub recorded_s: Option<f64>,
    /// Length of the silence that replaces lost samples in the recording, in seconds; `None` without a recording.
    pub recorded_silence_s: Option<f64>,
    /// Number of sample frames taken from `--pcm-in`, at its rate; `None` without it.
    pub pcm_in_sample_frames: Option<u64>,
    /// Number of sample frames written to `--pcm-out`, at its rate; `None` without it.
    pub pcm_out_sample_frames: Option<u64>,
    /// Number of sample frames, at the terminal's rate, that the reader of `--pcm-out` missed; `None` without it.
    pub pcm_out_dropped_sample_frames: Option<u64>,
}

/// Returns the name of a direction in messages and JSON.
#[must_use]
pub const fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Capture => "capture",
        Direction::Playback => "playback",
    }
}

/// Returns the message of an event of the session, or `None` for an event that is reported in another way: tracks by their
/// users, stalls from the counters.
#[must_use]
pub fn session_note(event: SessionEvent) -> Option<String> {
    Some(match event {
        SessionEvent::DeviceChanged { direction } => {
            format!(
                "the {} device has a new format; the echo canceller adapts again",
                direction_name(direction)
            )
        }
        SessionEvent::EchoLost => "the echo was lost: it is no longer removed, and is searched".to_owned(),
        SessionEvent::EchoFound { lag_ms } => {
            format!("the echo was found {lag_ms} ms later than the devices' times say")
        }
        SessionEvent::RateUntrue { direction, rate_hz } => {
            let direction = direction_name(direction);
            format!("the {direction} device runs at {rate_hz} Hz, more than 2 % from its stated rate")
        }
        SessionEvent::PlaybackFillChanged { frames, most_frames } if frames < most_frames => format!(
            "sound is played {} ms earlier from now on, because the worker was punctual",
            10 * (most_frames - frames)
        ),
        SessionEvent::PlaybackFillChanged { .. } => {
            "sound is played as late as at the start again, because of an underrun".to_owned()
        }
        SessionEvent::VoiceTripped { fault } => {
            format!("the voice processor failed or was too slow (fault {fault}) and is bypassed")
        }
        SessionEvent::VoiceDisabled => "the voice processor failed too often and is now disabled".to_owned(),
        _ => return None,
    })
}

/// Output that prints the events, on stdout or elsewhere.
pub struct EventOutput {
    form: EventForm,
    /// Place of the events; `None` for stdout.
    sink: Option<ByteSink>,
}

impl std::fmt::Debug for EventOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventOutput").field("form", &self.form).finish_non_exhaustive()
    }
}

/// Form of the printed events.
#[derive(Debug)]
enum EventForm {
    /// One JSON object per line.
    Json,
    /// One sentence per line.
    Lines,
    /// Live view with messages below it.
    Live(View),
}

/// Returns whether the terminal can move its cursor, which the variable `TERM` tells on Unix.
fn can_move_cursor() -> bool {
    std::env::var_os("TERM").map_or(cfg!(windows), |name| !name.is_empty() && name != "dumb")
}

impl EventOutput {
    /// Returns JSON output if `json` is set, lines if `plain` is set or the place cannot show a live view, else the live
    /// view. The place is stdout unless `sink` is given.
    #[must_use]
    pub fn new(json: bool, plain: bool, sink: Option<ByteSink>) -> Self {
        let form = if json {
            EventForm::Json
        } else if plain || sink.is_some() || !io::stdout().is_terminal() || !can_move_cursor() {
            EventForm::Lines
        } else {
            EventForm::Live(View::new())
        };
        Self { form, sink }
    }

    /// Returns the interval between two status events, in milliseconds.
    #[must_use]
    pub const fn interval_ms(&self) -> i64 {
        match self.form {
            EventForm::Json | EventForm::Lines => 1_000,
            EventForm::Live(_) => 100,
        }
    }

    /// Prints one event.
    ///
    /// # Errors
    /// Returns an error when the output cannot be written, such as after its reader has closed it.
    pub fn write(&mut self, report: &Report) -> io::Result<()> {
        match &mut self.form {
            EventForm::Json => {
                let mut line = serde_json::to_string(report)?;
                line.push('\n');
                self.print(&line)
            }
            EventForm::Lines => self.print(&sentence(report)),
            EventForm::Live(view) => match report {
                Report::Status(status) => view.show(status),
                Report::Started(started) => {
                    view.begin(started);
                    Ok(())
                }
                Report::Ended(_) => {
                    view.end()?;
                    console::print(&sentence(report))
                }
                other => {
                    view.add_note(sentence(other).trim_end());
                    Ok(())
                }
            },
        }
    }
}

impl EventOutput {
    fn print(&mut self, text: &str) -> io::Result<()> {
        match &mut self.sink {
            None => console::print(text),
            Some(sink) => {
                sink.write_all(text.as_bytes())?;
                sink.flush()
            }
        }
    }
}

/// Returns an event as text for people, with a line break at the end.
#[must_use]
pub fn sentence(report: &Report) -> String {
    let mut text = match report {
        Report::Started(started) => {
            let description = |device: &Option<OpenedDevice>| {
                device.as_ref().map_or_else(
                    || "none".to_owned(),
                    |device| format!("{} ({} Hz, {} channels)", device.name, device.rate_hz, device.channels),
                )
            };
            format!(
                "terminal at {} Hz on host {}: {}\n  microphone   {}\n  loudspeaker  {}\n  playing      {}",
                started.rate_hz,
                started.io,
                started.processing,
                description(&started.input),
                description(&started.output),
                if started.playing.is_empty() { "nothing".into() } else { started.playing.join(", ") },
            )
        }
        Report::Status(status) => status_line(status),
        Report::DeviceLost { at_s, direction } => {
            format!("{at_s:7.1} s  the {direction} device was lost; waiting for its return")
        }
        Report::DeviceReturned { at_s, direction, away_s, rate_hz, .. } => {
            format!("{at_s:7.1} s  the {direction} device returned after {away_s:.1} s, at {rate_hz} Hz")
        }
        Report::Xrun { at_s, direction, count, sample_frames } => {
            format!("{at_s:7.1} s  {count} {direction} xruns affected {sample_frames} sample frames")
        }
        Report::SpeechStarted { at_s, .. } => format!("{at_s:7.1} s  a person may have started to speak"),
        Report::SpeechConfirmed { at_s, .. } => format!("{at_s:7.1} s  a person has started to speak"),
        Report::SpeechEnded { at_s, .. } => format!("{at_s:7.1} s  the sound at the microphone has ended"),
        Report::Played { at_s, name } => format!("{at_s:7.1} s  {name} has been played"),
        Report::Note { at_s, message } => format!("{at_s:7.1} s  {message}"),
        Report::Ended(ended) => summary(ended),
    };
    text.push('\n');
    text
}

fn status_line(status: &Status) -> String {
    let level_text = |flow: FlowState, level: &Level| match flow {
        FlowState::Running => format!("{:6.1}", level.rms_dbfs),
        FlowState::Waiting => "  lost".into(),
        FlowState::Closed => "   off".into(),
    };
    format!(
        "{:7.1} s  mic {} clean {} spk {} dBFS  ERLE {}  delay {:.1} ms  drift {}  xruns {}  CPU {}",
        status.at_s,
        level_text(status.capture, &status.microphone),
        level_text(status.capture, &status.cleaned),
        level_text(status.playback, &status.loudspeaker),
        or_dash(status.erle_db.map(|db| format!("{db:.1} dB"))),
        status.delay_ms,
        or_dash(status.drift_ppm.map(|ppm| format!("{ppm:+.1} ppm"))),
        status.xruns,
        or_dash(status.cpu_percent.map(|percent| format!("{percent:.1} %"))),
    )
}

/// Returns the text of a value, or a dash if the value is unknown.
#[must_use]
pub fn or_dash(value: Option<String>) -> String {
    value.unwrap_or_else(|| "-".into())
}

fn summary(ended: &Ended) -> String {
    let mut text = format!(
        "ended after {:.1} s ({})\n",
        ended.seconds,
        match ended.reason {
            RunEndReason::Duration => "the duration has passed",
            RunEndReason::Played => "all sources were played",
            RunEndReason::Signal => "interrupted",
            RunEndReason::OutputFailed => "stdout cannot be written",
            RunEndReason::RecordingFailed => "the recording failed",
            RunEndReason::DumpFailed => "the dump failed",
            RunEndReason::PcmFailed => "the plain samples could not be written",
        }
    );
    let mut row = |name: &str, value: String| {
        // Writing to a String cannot fail.
        _ = writeln!(text, "  {name:<16}{value}");
    };
    row("echo reduction", or_dash(ended.median_erle_db.map(|db| format!("{db:.1} dB (median)"))));
    row("delay", format!("{:.1} ms", ended.delay_ms));
    row("drift", or_dash(ended.drift_ppm.map(|ppm| format!("{ppm:+.1} ppm"))));
    row("reference", format!("{} jumps, including the first alignment", ended.reference_jumps));
    row(
        "sample frames",
        format!(
            "{} captured, {} played, {} lost",
            ended.captured_sample_frames, ended.played_sample_frames, ended.lost_sample_frames
        ),
    );
    row("xruns", ended.xruns.to_string());
    row("devices lost", ended.device_losses.to_string());
    row("frames", format!("{} unprocessed, {} dropped", ended.unprocessed_frames, ended.dropped_frames));
    row("CPU", or_dash(ended.cpu_percent.map(|percent| format!("{percent:.1} % of one core"))));
    if let (Some(recorded_s), Some(silence_s)) = (ended.recorded_s, ended.recorded_silence_s) {
        row("recorded", format!("{recorded_s:.1} s, of which {silence_s:.2} s are silence for lost samples"));
    }
    if let Some(sample_frames) = ended.pcm_in_sample_frames {
        row("pcm in", format!("{sample_frames} sample frames"));
    }
    if let (Some(written), Some(dropped)) = (ended.pcm_out_sample_frames, ended.pcm_out_dropped_sample_frames)
    {
        row("pcm out", format!("{written} sample frames, {dropped} dropped because the reader was slow"));
    }
    text.trim_end().to_owned()
}
