//! Control side: writes the results of `handsfree sim`: recordings, reports and a table of the main figures.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use handsfree_sim::report::{SimulationReport, Summary, render_html};
use handsfree_sim::wav;

use crate::args::{NearArg, SimArgs};
use crate::sim::SimulatedRun;
use handsfree::failure::Failure;
use handsfree::recording::{OutputFile, is_same_file};

/// Folder for the results of a simulation, with the files that will take their names when the simulation has ended.
/// Dropping it without [`write`](Self::write) leaves the disk as it was.
#[derive(Debug)]
pub struct ReportFolder {
    path: PathBuf,
    /// Folders that were made, the outermost first.
    made: Vec<PathBuf>,
    files: Vec<OutputFile>,
}

/// Names of the files in the folder. The page is last, because it shows the others.
const NAMES: [&str; 6] = ["far.wav", "mic.wav", "near.wav", "clean.wav", "report.json", "report.html"];

impl ReportFolder {
    /// Makes the folder `args.out` unless it exists, and the files beside those that will be replaced.
    ///
    /// # Errors
    /// Returns an error that names the file or folder that cannot be written, or the recording that the simulation would
    /// read and then replace.
    pub fn create(args: &SimArgs) -> Result<Self, Failure> {
        let path = args.out.clone();
        let near = match &args.near {
            Some(NearArg::File(path)) => Some(path),
            _ => None,
        };
        for (switch, input) in [("--far", args.far.as_ref()), ("--near", near), ("--rir", args.rir.as_ref())]
        {
            for name in NAMES {
                check_not_read(switch, input.map(PathBuf::as_path), "--out", &path.join(name))?;
            }
        }
        let mut made: Vec<PathBuf> =
            path.ancestors().filter(|folder| !folder.as_os_str().is_empty()).map(Path::to_owned).collect();
        made.retain(|folder| !folder.exists());
        made.reverse();
        std::fs::create_dir_all(&path).map_err(|error| write_failure(&path, &error))?;
        let mut folder = Self { path, made, files: Vec::new() };
        for name in NAMES {
            folder.files.push(OutputFile::create(&folder.path.join(name))?);
        }
        Ok(folder)
    }

    /// Writes the recordings, `report.json` and `report.html`, and returns the path of `report.html`.
    ///
    /// # Errors
    /// Returns an error that names the file that could not be written.
    pub fn write(mut self, run: &SimulatedRun) -> Result<PathBuf, Failure> {
        let report = &run.report;
        let signals = &report.signals;
        let silence = vec![0.0; signals.mic.len()];
        let near = if signals.near.is_empty() { &silence } else { &signals.near };
        let wav = |signal: &[f32]| wav::mono_bytes(signals.rate_hz, signal).0;
        self.made.clear();
        for file in std::mem::take(&mut self.files) {
            let name = file.path().file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let content = match name {
                "far.wav" => wav(&signals.far),
                "mic.wav" => wav(&signals.mic),
                "near.wav" => wav(near),
                "clean.wav" => wav(&signals.clean),
                "report.json" => report.summary.to_json().into_bytes(),
                _ => render_html(report).into_bytes(),
            };
            file.write_and_commit(&content)?;
        }
        Ok(self.path.join("report.html"))
    }
}

impl Drop for ReportFolder {
    fn drop(&mut self) {
        self.files.clear();
        for folder in self.made.iter().rev() {
            // A folder that is not empty any more is not ours alone.
            _ = std::fs::remove_dir(folder);
        }
    }
}

/// Checks that a file that is read is not also the one that is written.
///
/// # Errors
/// Returns an error that names both switches and the file.
pub fn check_not_read(
    reading: &str,
    input: Option<&Path>,
    writing: &str,
    output: &Path,
) -> Result<(), Failure> {
    match input.filter(|input| is_same_file(input, output)) {
        Some(input) => Err(Failure::usage(format!(
            "{writing} {}: expected another file than {reading} {}",
            output.display(),
            input.display()
        ))),
        None => Ok(()),
    }
}

fn write_failure(path: &Path, error: &std::io::Error) -> Failure {
    Failure::run(format!("{}: cannot be written: {error}", path.display()))
}

/// Returns the main figures as text, one per line.
#[must_use]
pub fn table(run: &SimulatedRun) -> String {
    let SimulationReport { summary, subtitle, .. } = &run.report;
    let (erle, oracle) = summary.median_erle_db();
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name:<22}{value}");
    };
    line("run", subtitle.clone());
    line(
        "echo reduction",
        match (erle, oracle) {
            (Some(erle), Some(oracle)) => format!(
                "{erle:.1} dB median after {} s (perfect reference: {oracle:.1} dB)",
                summary.settled_from_s()
            ),
            _ => "-  (the far end never plays alone)".into(),
        },
    );
    line("near end", near_end(run));
    line("delay", format!("{} (estimated {})", ms(summary.delay_ms.truth), ms(summary.delay_ms.estimated)));
    line("processing delay", format!("{} samples", summary.processing_delay_samples));
    line("sample frames", frames(summary));
    line("speed", format!("{:.0} times real time", summary.realtime_factor));
    line("replay", run.report.command.clone());
    text
}

fn near_end(run: &SimulatedRun) -> String {
    let near = run.report.summary.near_end;
    match (near.si_sdr_db, run.oracle_near_end.si_sdr_db, near.level_change_db) {
        (Some(ours), Some(oracle), Some(level)) => {
            format!("SI-SDR {ours:.1} dB (perfect reference: {oracle:.1} dB), level {level:+.1} dB")
        }
        _ => "-  (no talker)".into(),
    }
}

fn ms(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |ms| format!("{ms:.1} ms"))
}

fn frames(summary: &Summary) -> String {
    let counts = summary.frames;
    format!(
        "{} captured, {} played, {} lost, {} xruns",
        counts.captured, counts.played, counts.lost, summary.xruns
    )
}
