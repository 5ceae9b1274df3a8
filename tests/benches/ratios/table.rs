//! The table of ratios, printed and in docs/benchmarks.md.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::measure::{Comparison, Measured};

pub(crate) const HEADING: &str =
    "| part | peer | ours, us | peer, us | ratio | limit | committed |\n|---|---|---|---|---|---|---|";
/// First line of the committed table.
const COMMITTED_HEADING: &str = "| part | compared with | ratio | limit |";
/// A ratio that grew by more than this factor fails.
const TOLERANCE: f64 = 1.1;

pub(crate) struct Row {
    pub(crate) name: String,
    peer: &'static str,
    limit: Option<f64>,
    /// The measurement that counts, which is the best one while the row is compared with the committed one.
    measured: Measured,
    all: Vec<Measured>,
}

impl Row {
    pub(crate) fn new(comparison: &Comparison, measured: Measured) -> Self {
        let Comparison { name, peer, limit, .. } = comparison;
        Self { name: name.clone(), peer, limit: *limit, measured, all: vec![measured] }
    }

    fn ratio(&self) -> f64 {
        self.measured.ratio
    }

    pub(crate) fn add(&mut self, measured: Measured) {
        self.all.push(measured);
        self.all.sort_by(|a, b| a.ratio.total_cmp(&b.ratio));
        self.measured = self.all[0];
    }

    fn choose_median(&mut self) {
        self.measured = self.all[self.all.len() / 2];
    }

    /// Returns the ratio with three digits that count.
    fn ratio_text(&self) -> String {
        let before_point = self.ratio().log10().floor() as i32 + 1;
        format!("{:.digits$}", self.ratio(), digits = (3 - before_point).max(0) as usize)
    }

    fn limit(&self) -> String {
        match self.limit {
            Some(limit) if self.ratio() > limit => format!("{limit}, missed"),
            Some(limit) => limit.to_string(),
            None => "none".into(),
        }
    }

    pub(crate) fn is_worse_than(&self, committed: Option<&f64>) -> bool {
        committed.is_some_and(|committed| self.ratio() > committed * TOLERANCE)
    }

    pub(crate) fn printed(&self, committed: Option<&f64>) -> String {
        let Measured { ours_ns, theirs_ns, .. } = self.measured;
        let before = committed.map_or("none".into(), |ratio| ratio.to_string());
        let worse = if self.is_worse_than(committed) { ", worse" } else { "" };
        format!(
            "| {} | {} | {:.2} | {:.2} | {} | {} | {before}{worse} |",
            self.name,
            self.peer,
            ours_ns / 1e3,
            theirs_ns / 1e3,
            self.ratio_text(),
            self.limit()
        )
    }
}

fn page() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks.md")
}

fn read() -> Result<String, String> {
    fs::read_to_string(page()).map_err(|error| format!("{}: {error}", page().display()))
}

/// Returns the lines of the committed table, without its heading.
fn committed_lines(text: &str) -> Result<Vec<&str>, String> {
    let (_, rest) = text
        .split_once(COMMITTED_HEADING)
        .ok_or_else(|| format!("docs/benchmarks.md has no table that begins with: {COMMITTED_HEADING}"))?;
    Ok(rest.lines().skip(2).take_while(|line| line.starts_with('|')).collect())
}

/// Returns the committed ratio of each part.
pub(crate) fn committed() -> Result<BTreeMap<String, f64>, String> {
    let text = read()?;
    committed_lines(&text)?
        .into_iter()
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let ratio = cells.get(3).and_then(|cell| cell.parse().ok());
            match (cells.get(1), ratio) {
                (Some(name), Some(ratio)) => Ok((name.to_string(), ratio)),
                _ => Err(format!(
                    "docs/benchmarks.md: expected a part, a peer, a ratio and a limit, found: {line}"
                )),
            }
        })
        .collect()
}

/// Replaces the rows of the committed table by the medians of these; rows that were not measured stay.
pub(crate) fn commit(rows: &mut [Row]) -> Result<(), String> {
    rows.iter_mut().for_each(Row::choose_median);
    let text = read()?;
    let old = committed_lines(&text)?;
    let name_of = |line: &str| line.split('|').nth(1).unwrap_or("").trim().to_string();
    let line_of =
        |row: &Row| format!("| {} | {} | {} | {} |", row.name, row.peer, row.ratio_text(), row.limit());
    let mut lines: Vec<String> = old
        .iter()
        .map(|line| rows.iter().find(|row| row.name == name_of(line)).map_or((*line).to_string(), line_of))
        .collect();
    let is_new = |row: &&Row| !old.iter().any(|line| name_of(line) == row.name);
    lines.extend(rows.iter().filter(is_new).map(line_of));
    let begin = text.find(COMMITTED_HEADING).unwrap_or(0);
    let rest: Vec<&str> = text[begin..].lines().skip(2 + old.len()).collect();
    let table =
        format!("{COMMITTED_HEADING}\n|---|---|---|---|\n{}\n{}\n", lines.join("\n"), rest.join("\n"));
    fs::write(page(), text[..begin].to_string() + &table)
        .map_err(|error| format!("{}: {error}", page().display()))
}
