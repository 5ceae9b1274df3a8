//! Control side: writes the results of `handsfree sim`: recordings, reports and a table of the main figures.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use handsfree_sim::report::{SimulationReport, Summary, render_html};
use handsfree_sim::wav;

use crate::sim::SimulatedRun;
use handsfree::failure::Failure;

/// Writes the recordings, `report.json` and `report.html` to the folder `dir`, and returns the path of `report.html`.
///
/// # Errors
/// Returns an error that names the file or folder that could not be written.
pub fn write(run: &SimulatedRun, dir: &Path) -> Result<PathBuf, Failure> {
    let report = &run.report;
    std::fs::create_dir_all(dir).map_err(|error| write_failure(dir, &error))?;
    let signals = &report.signals;
    let silence = vec![0.0; signals.mic.len()];
    let near = if signals.near.is_empty() { &silence } else { &signals.near };
    for (name, signal) in
        [("far", &signals.far), ("mic", &signals.mic), ("near", near), ("clean", &signals.clean)]
    {
        wav::write_mono(dir.join(name).with_extension("wav"), signals.rate_hz, signal)?;
    }
    write_text(&dir.join("report.json"), &report.summary.to_json())?;
    let page = dir.join("report.html");
    write_text(&page, &render_html(report))?;
    Ok(page)
}

fn write_text(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| write_failure(path, &error))
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
