//! Control side: the live view in a terminal.

use std::collections::VecDeque;
use std::io;

use console::{Style, Term, measure_text_width, truncate_str};

use crate::report::{OpenedDevice, Started, or_dash};
use crate::status::{FlowState, Level, Status};

/// Level at the left end of a meter, in dBFS.
const FLOOR_DBFS: f32 = -60.0;
/// Smallest and largest width of a meter, in columns.
const METER_WIDTH: std::ops::RangeInclusive<usize> = 10..=60;
/// Number of message lines shown below the figures; older lines are dropped.
const MAX_NOTES: usize = 4;

/// Live view that redraws itself in place, about ten times a second.
#[derive(Debug)]
pub struct View {
    term: Term,
    heading: String,
    names: [String; 2],
    notes: VecDeque<String>,
    /// Number of lines on the screen that the next drawing replaces.
    drawn_lines: usize,
}

impl Default for View {
    fn default() -> Self {
        Self::new()
    }
}

impl View {
    /// Creates a view on stdout.
    #[must_use]
    pub fn new() -> Self {
        Self {
            term: Term::buffered_stdout(),
            heading: String::new(),
            names: [const { String::new() }; 2],
            notes: VecDeque::new(),
            drawn_lines: 0,
        }
    }

    /// Sets the heading and the device names.
    pub fn begin(&mut self, started: &Started) {
        self.heading =
            format!("handsfree on host {}, {} Hz: {}", started.io, started.rate_hz, started.processing);
        let name = |device: &Option<OpenedDevice>| {
            device.as_ref().map_or_else(|| "not used".to_owned(), |device| device.name.clone())
        };
        self.names = [name(&started.input), name(&started.output)];
        if !started.playing.is_empty() {
            self.add_note(&format!("playing {}", started.playing.join(", ")));
        }
    }

    /// Draws the heading, the status and the latest messages.
    ///
    /// # Errors
    /// Returns an error when the terminal has been closed.
    pub fn show(&mut self, status: &Status) -> io::Result<()> {
        let width = usize::from(self.term.size().1).max(20);
        let lines = self.lines(status, width);
        self.term.hide_cursor()?;
        self.draw(&lines, width)
    }

    /// Leaves the last drawing on the screen and shows the cursor again.
    ///
    /// # Errors
    /// Returns an error when the terminal has been closed.
    pub fn end(&mut self) -> io::Result<()> {
        // The terminal prints "^C" when Ctrl-C is pressed.
        self.term.clear_line()?;
        self.term.show_cursor()?;
        self.term.flush()
    }

    /// Adds a message, which the next [`show`](Self::show) draws below the figures.
    pub fn add_note(&mut self, sentence: &str) {
        self.notes.extend(sentence.lines().map(|line| line.trim().to_owned()));
        while self.notes.len() > MAX_NOTES {
            self.notes.pop_front();
        }
    }

    fn draw(&mut self, lines: &[String], width: usize) -> io::Result<()> {
        self.term.move_cursor_up(self.drawn_lines)?;
        self.term.clear_to_end_of_screen()?;
        for line in lines {
            self.term.write_line(&truncate_str(line, width.saturating_sub(1), "…"))?;
        }
        self.drawn_lines = lines.len();
        self.term.flush()
    }

    fn lines(&self, status: &Status, width: usize) -> Vec<String> {
        let dim = Style::new().dim();
        let time = format!("{:02}:{:04.1}", (status.at_s / 60.0) as u64, status.at_s % 60.0);
        let heading_width = width.saturating_sub(time.len() + 2);
        let heading = truncate_str(&self.heading, heading_width, "…").into_owned();
        let gap = heading_width.saturating_sub(measure_text_width(&heading));
        let mut lines =
            vec![format!("{}{}{time}", Style::new().bold().apply_to(heading), " ".repeat(gap + 1))];
        for (label, level, flow, name) in [
            ("microphone", &status.microphone, status.capture, self.names[0].as_str()),
            ("cleaned", &status.cleaned, status.capture, ""),
            ("loudspeaker", &status.loudspeaker, status.playback, self.names[1].as_str()),
        ] {
            lines.push(meter_line(label, level, flow, name, width));
        }
        lines.push(format!(
            "{:<12} {:<10} {} {:<10} {} {:<10} {} {}",
            "ERLE",
            or_dash(status.erle_db.map(|db| format!("{db:.1} dB"))),
            dim.apply_to("delay"),
            format!("{:.1} ms", status.delay_ms),
            dim.apply_to("drift"),
            or_dash(status.drift_ppm.map(|ppm| format!("{ppm:+.1} ppm"))),
            dim.apply_to("CPU"),
            or_dash(status.cpu_percent.map(|percent| format!("{percent:.0} %"))),
        ));
        lines.push(format!(
            "{:<12} {} {} ms  {} {} ms  {} {} ms  {} {}  {} {}",
            "rings",
            dim.apply_to("capture"),
            status.ring_ms.capture,
            dim.apply_to("playback"),
            status.ring_ms.playback,
            dim.apply_to("reference"),
            status.ring_ms.reference,
            dim.apply_to("xruns"),
            status.xruns,
            dim.apply_to("dropped"),
            status.dropped_frames,
        ));
        lines.extend(self.notes.iter().map(|note| dim.apply_to(note).to_string()));
        lines
    }
}

fn meter_line(label: &str, level: &Level, flow: FlowState, name: &str, width: usize) -> String {
    let figure = match flow {
        FlowState::Running => format!("{:6.1} dBFS", level.rms_dbfs.max(-99.9)),
        FlowState::Waiting => "  lost     ".into(),
        FlowState::Closed => "  off      ".into(),
    };
    let name_width = if width >= 100 { 30 } else { 22 };
    let meter_width =
        width.saturating_sub(13 + 12 + 3 + name_width).clamp(*METER_WIDTH.start(), *METER_WIDTH.end());
    let bar = if flow == FlowState::Running { meter(level, meter_width) } else { " ".repeat(meter_width) };
    format!("{label:<12} {figure} {bar} {}", Style::new().dim().apply_to(name))
}

/// Returns a bar that ends at the RMS level, with a mark at the peak level.
fn meter(level: &Level, width: usize) -> String {
    let column = |dbfs: f32| {
        let share = (dbfs - FLOOR_DBFS) / -FLOOR_DBFS;
        (share.clamp(0.0, 1.0) * width as f32).round() as usize
    };
    let (filled, mark) = (column(level.rms_dbfs), column(level.peak_dbfs));
    (0..width)
        .map(|at| {
            let dbfs = FLOOR_DBFS * (1.0 - (at + 1) as f32 / width as f32);
            let colour = match dbfs {
                dbfs if dbfs > -3.0 => Style::new().red(),
                dbfs if dbfs > -12.0 => Style::new().yellow(),
                _ => Style::new().green(),
            };
            if at < filled {
                colour.apply_to('█').to_string()
            } else if at + 1 == mark {
                colour.apply_to('▏').to_string()
            } else {
                Style::new().dim().apply_to('·').to_string()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::RingFill;

    fn status() -> Status {
        let level = |rms_dbfs: f32| Level { rms_dbfs, peak_dbfs: rms_dbfs + 12.0 };
        Status {
            at_s: 61.5,
            microphone: level(-30.0),
            cleaned: level(-127.0),
            loudspeaker: level(0.0),
            erle_db: Some(41.26),
            delay_ms: 612.3,
            drift_ppm: Some(-199.9),
            reference_jumps: 1,
            ring_ms: RingFill { capture: 0, playback: 20, reference: 10 },
            xruns: 3,
            dropped_frames: 0,
            unprocessed_frames: 0,
            cpu_percent: None,
            playing: 1,
            capture: FlowState::Running,
            playback: FlowState::Waiting,
        }
    }

    #[test]
    fn lines_fit_the_terminal_and_contain_all_figures() {
        let mut view = View::new();
        view.heading = "h".repeat(300);
        view.names = ["A microphone".into(), "A loudspeaker with a long name from far away".into()];
        view.add_note("first\nsecond\nthird\nfourth\nfifth");
        for width in [80, 120, 200] {
            let lines = view.lines(&status(), width);
            assert_eq!(lines.len(), 1 + 3 + 2 + MAX_NOTES);
            for line in lines.iter().filter(|line| !line.contains("loudspeaker")) {
                assert!(measure_text_width(line) <= width, "{width}: {line}");
            }
            let text = lines.join("\n");
            for figure in ["41.3 dB", "612.3 ms", "-199.9 ppm", "xruns", "01:01.5", "lost", "fifth"] {
                assert!(text.contains(figure), "{figure} is missing in {text}");
            }
            assert!(!text.contains("first"), "the oldest note is dropped");
        }
    }

    #[test]
    fn meter_length_is_proportional_to_the_level() {
        let bar = |rms_dbfs: f32| {
            let text = meter(&Level { rms_dbfs, peak_dbfs: -200.0 }, 30);
            text.chars().filter(|&c| c == '█').count()
        };
        assert_eq!((bar(-60.0), bar(-30.0), bar(0.0), bar(20.0)), (0, 15, 30, 30));
    }
}
