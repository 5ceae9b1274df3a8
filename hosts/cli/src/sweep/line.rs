//! Control side: the result of one conversation, as one line of JSON in the file of its shard.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use handsfree::failure::Failure;
use serde::{Deserialize, Serialize};

use crate::sim::SimulatedRun;
use crate::sweep::shard::Shard;

/// Echo reduction above which differences do not count, in dB. With 40 dB, the echo of speech at -20 dBFS is at -60 dBFS, as
/// quiet as the noise of a quiet room.
const INAUDIBLE_DB: f64 = 40.0;

/// Result of one conversation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunLine {
    /// Number of the conversation, counted from 0.
    pub run: u64,
    /// Number of conversations of the campaign.
    pub of: u64,
    /// Digest of the sweep file and the version.
    pub campaign: String,
    /// Value of each axis.
    pub values: BTreeMap<String, String>,
    /// Command that repeats the conversation; empty if its switches are invalid.
    pub command: String,
    /// What went wrong; null if the conversation was measured.
    pub error: Option<String>,
    /// Figures; null after an error.
    pub figures: Option<RunFigures>,
}

/// Figures of one conversation. "Reference" is the same voice processor, called directly with the true signals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunFigures {
    /// Simulated time, in seconds.
    pub seconds: f64,
    /// Time that the simulation took, in seconds.
    pub took_s: f64,
    /// Median echo reduction after 10 s, in dB; null if the far end is never active alone.
    pub erle_db: Option<f64>,
    /// Median echo reduction of the reference after 10 s, in dB.
    pub reference_erle_db: Option<f64>,
    /// Lowest echo reduction of the windows of 10 s after the first, in dB.
    pub worst_erle_db: Option<f64>,
    /// Scale-invariant signal-to-distortion ratio of the talker, in dB; null without a talker.
    pub si_sdr_db: Option<f64>,
    /// Scale-invariant signal-to-distortion ratio of the talker for the reference, in dB.
    pub reference_si_sdr_db: Option<f64>,
    /// Largest amount by which a window's echo reduction or the talker's ratio is below the reference's, in dB. Echo
    /// reduction above 40 dB counts as 40 dB.
    pub shortfall_db: f64,
    /// Estimated minus true latency at the end, in milliseconds.
    pub delay_error_ms: Option<f64>,
    /// Estimated minus true drift at the end, in ppm.
    pub drift_error_ppm: Option<f64>,
    /// Number of sample frames that were lost in either direction.
    pub lost_sample_frames: u64,
    /// Number of underruns and overruns.
    pub xruns: u64,
    /// Number of jumps of the echo reference, the first alignment included.
    pub reference_jumps: u32,
}

impl RunFigures {
    /// Returns the figures of a simulation that took `took_s` seconds.
    #[must_use]
    pub fn of(run: &SimulatedRun, took_s: f64) -> Self {
        let summary = &run.report.summary;
        let (erle_db, reference_erle_db) = summary.median_erle_db();
        let from_s = summary.settled_from_s();
        let settled = || summary.erle_db.iter().filter(move |window| window.from_s >= from_s);
        let (si_sdr_db, reference_si_sdr_db) = (summary.near_end.si_sdr_db, run.oracle_near_end.si_sdr_db);
        let echo = settled()
            .filter_map(|window| Some(window.oracle_db?.min(INAUDIBLE_DB) - window.db?.min(INAUDIBLE_DB)));
        let talker = si_sdr_db.zip(reference_si_sdr_db).map(|(ours, reference)| reference - ours);
        let error = |estimated: Option<f64>, truth: Option<f64>| {
            estimated.zip(truth).map(|(estimated, truth)| rounded(estimated - truth))
        };
        Self {
            seconds: summary.seconds,
            took_s: rounded(took_s),
            erle_db: erle_db.map(rounded),
            reference_erle_db: reference_erle_db.map(rounded),
            worst_erle_db: settled().filter_map(|window| window.db).min_by(f64::total_cmp).map(rounded),
            si_sdr_db: si_sdr_db.map(rounded),
            reference_si_sdr_db: reference_si_sdr_db.map(rounded),
            shortfall_db: rounded(echo.chain(talker).fold(0.0, f64::max)),
            delay_error_ms: error(summary.delay_ms.estimated, summary.delay_ms.truth),
            drift_error_ppm: error(summary.drift_ppm.estimated, summary.drift_ppm.truth),
            lost_sample_frames: summary.frames.lost,
            xruns: summary.xruns,
            reference_jumps: run.reference_jumps,
        }
    }
}

/// Rounds to three decimals; further ones are noise.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// Lines of one file. An incomplete last line is left out, because its process was killed while it wrote.
#[derive(Debug)]
pub struct ShardLines {
    /// Complete lines.
    pub lines: Vec<RunLine>,
    /// Length of the complete lines, in bytes.
    pub length: u64,
}

/// Reads the lines of one file.
///
/// # Errors
/// Returns an error that names the file and the number of a line that is no result.
pub fn read(path: &Path) -> Result<ShardLines, Failure> {
    let bytes = fs::read(path).map_err(|error| cannot(path, "read", &error))?;
    complete_lines(path, &bytes)
}

fn complete_lines(path: &Path, bytes: &[u8]) -> Result<ShardLines, Failure> {
    let length = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let lines = bytes[..length].split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    let line = |(at, text): (usize, &[u8])| {
        serde_json::from_slice(text).map_err(|error| {
            Failure::run(format!(
                "{}:{}: {error}: expected a line of 'handsfree sweep'",
                path.display(),
                at + 1
            ))
        })
    };
    Ok(ShardLines { lines: lines.map(line).collect::<Result<_, _>>()?, length: length as u64 })
}

/// Returns the files with lines in a folder, in the order of their names.
///
/// # Errors
/// Returns an error that names the folder and the reason.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = fs::read_dir(folder).map_err(|error| cannot(folder, "read", &error))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| cannot(folder, "read", &error))?.path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// File of one shard, which one process at a time may extend.
#[derive(Debug)]
pub struct ShardFile {
    path: PathBuf,
    file: File,
}

impl ShardFile {
    /// Opens or makes the file of a shard, removes an incomplete last line, and returns its lines as well.
    ///
    /// # Errors
    /// Returns an error that names the file: it cannot be written, or another process runs the same shard.
    pub fn open(folder: &Path, shard: Shard) -> Result<(Self, Vec<RunLine>), Failure> {
        fs::create_dir_all(folder).map_err(|error| cannot(folder, "written", &error))?;
        let path = folder.join(shard.file_name());
        let options = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = options.map_err(|error| cannot(&path, "written", &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::run(format!("{}: another process runs shard {shard}", path.display())));
            }
            Err(TryLockError::Error(error)) => return Err(cannot(&path, "locked", &error)),
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| cannot(&path, "read", &error))?;
        let ShardLines { lines, length } = complete_lines(&path, &bytes)?;
        let cut = file.set_len(length).and_then(|()| file.seek(SeekFrom::Start(length)));
        cut.map_err(|error| cannot(&path, "written", &error))?;
        Ok((Self { path, file }, lines))
    }

    /// Appends one line; it is on the disk when this returns.
    ///
    /// # Errors
    /// Returns an error that names the file and the reason.
    pub fn append(&mut self, line: &RunLine) -> Result<(), Failure> {
        let mut text = serde_json::to_string(line)
            .map_err(|error| Failure::run(format!("the result cannot be written as JSON: {error}")))?;
        text.push('\n');
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|error| cannot(&self.path, "written", &error))
    }
}

fn cannot(path: &Path, done: &str, error: &std::io::Error) -> Failure {
    Failure::run(format!("{}: cannot be {done}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_written_line_is_removed() {
        let folder = std::env::temp_dir().join(format!("handsfree-sweep-line-{}", std::process::id()));
        let shard: Shard = "2/3".parse().unwrap();
        let line = |run| RunLine { run, of: 9, command: "handsfree sim".into(), ..RunLine::default() };
        let (mut file, lines) = ShardFile::open(&folder, shard).unwrap();
        assert!(lines.is_empty());
        file.append(&line(1)).unwrap();
        let whole = fs::read(folder.join(shard.file_name())).unwrap();
        file.append(&line(4)).unwrap();
        assert!(
            ShardFile::open(&folder, shard)
                .unwrap_err()
                .to_string()
                .contains("another process runs shard 2/3")
        );
        drop(file);
        let bytes = fs::read(folder.join(shard.file_name())).unwrap();
        // Killed after any byte of the second line, but not after its last.
        for kept in whole.len()..bytes.len() {
            fs::write(folder.join(shard.file_name()), &bytes[..kept]).unwrap();
            let (mut file, lines) = ShardFile::open(&folder, shard).unwrap();
            assert_eq!(lines, [line(1)], "{kept} bytes");
            file.append(&line(4)).unwrap();
            assert_eq!(fs::read(folder.join(shard.file_name())).unwrap(), bytes, "{kept} bytes");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
