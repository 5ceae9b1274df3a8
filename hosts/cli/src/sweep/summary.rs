//! Control side: the merged lines of a campaign and their statistics.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use handsfree::failure::Failure;

use crate::sweep::line::{self, RunFigures, RunLine};

/// Largest number of values of an axis that the summary lists.
const MOST_VALUES: usize = 16;
/// Least number of conversations for each value of such an axis, on average. Seeds and random latencies have one.
const LEAST_OF_VALUE: usize = 3;
/// Number of conversations that the text lists as the worst.
const WORST: usize = 5;

/// Lines of all shards, each conversation once, the worst first.
#[derive(Clone, Debug, Default)]
pub struct Campaign {
    /// Results, the worst first.
    pub lines: Vec<RunLine>,
    /// Number of conversations of the campaign.
    pub of: u64,
    /// Number of lines that repeat a conversation of another file; they are not counted.
    pub repeated: u64,
}

/// Statistics of several conversations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupFigures {
    /// What the conversations have in common.
    pub name: String,
    /// Number of conversations that were measured.
    pub runs: usize,
    /// Median and 5th percentile of the median echo reduction, in dB.
    pub erle_db: Option<(f64, f64)>,
    /// Median of the reference's median echo reduction, in dB.
    pub reference_erle_db: Option<f64>,
    /// Median and 5th percentile of the talker's signal-to-distortion ratio, in dB.
    pub si_sdr_db: Option<(f64, f64)>,
    /// 95th percentile and largest shortfall, in dB.
    pub shortfall_db: (f64, f64),
    /// Largest error of the delay at the end, in milliseconds.
    pub delay_error_ms: f64,
    /// Number of lost sample frames.
    pub lost_sample_frames: u64,
}

impl Campaign {
    /// Reads the lines of all shards in a folder.
    ///
    /// # Errors
    /// Returns an error that names the folder or file: it cannot be read, has no lines, or lines of several campaigns.
    pub fn read(folder: &Path) -> Result<Self, Failure> {
        let mut all = Vec::new();
        for path in line::files(folder)? {
            all.append(&mut line::read(&path)?.lines);
        }
        Self::merged(all).map_err(|found| Failure::usage(format!("{}: {found}", folder.display())))
    }

    /// Merges lines; the error says what was found instead of the lines of one campaign.
    fn merged(all: Vec<RunLine>) -> Result<Self, String> {
        let Some(first) = all.first() else {
            return Err("no lines were found, expected files of 'handsfree sweep'".into());
        };
        let campaign = first.campaign.clone();
        let mut runs: BTreeMap<u64, RunLine> = BTreeMap::new();
        let (mut of, mut repeated) = (0, 0);
        for line in all {
            if line.campaign != campaign {
                return Err(format!("lines of campaigns {campaign} and {}, expected one", line.campaign));
            }
            of = of.max(line.of).max(line.run.saturating_add(1));
            repeated += u64::from(runs.contains_key(&line.run));
            runs.entry(line.run).or_insert(line);
        }
        let mut lines: Vec<RunLine> = runs.into_values().collect();
        let badness = |line: &RunLine| line.figures.map_or(f64::INFINITY, |figures| figures.shortfall_db);
        lines.sort_by(|a, b| badness(b).total_cmp(&badness(a)).then(a.run.cmp(&b.run)));
        Ok(Self { lines, of, repeated })
    }

    /// Returns the number of conversations without a line.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.of.saturating_sub(self.lines.len() as u64)
    }

    /// Returns the number of conversations that failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.lines.iter().filter(|line| line.error.is_some()).count()
    }

    /// Returns whether each conversation was measured.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.missing() == 0 && self.failed() == 0
    }

    /// Returns the statistics of all conversations, then those for each value of each axis.
    #[must_use]
    pub fn groups(&self) -> Vec<GroupFigures> {
        let all: Vec<RunFigures> = self.lines.iter().filter_map(|line| line.figures).collect();
        let mut groups = vec![GroupFigures::of("all", &all)];
        let is_listed = |values: usize| {
            (2..=MOST_VALUES).contains(&values) && values * LEAST_OF_VALUE <= self.lines.len()
        };
        let mut axes: BTreeMap<&str, BTreeMap<&str, Vec<RunFigures>>> = BTreeMap::new();
        for line in &self.lines {
            for (axis, value) in &line.values {
                let of_value = axes.entry(axis).or_default().entry(value).or_default();
                of_value.extend(line.figures);
            }
        }
        for (axis, values) in axes.iter().filter(|(_, values)| is_listed(values.len())) {
            let mut values: Vec<_> = values.iter().collect();
            // Numbers in their order, and names in theirs.
            values.sort_by(|(a, _), (b, _)| match (a.parse::<f64>(), b.parse::<f64>()) {
                (Ok(a), Ok(b)) => a.total_cmp(&b),
                _ => a.cmp(b),
            });
            for (value, figures) in values {
                groups.push(GroupFigures::of(&format!("{axis} {value}"), figures));
            }
        }
        groups
    }

    /// Returns one line about the whole campaign.
    #[must_use]
    pub fn headline(&self) -> String {
        let figures = || self.lines.iter().filter_map(|line| line.figures);
        let simulated_h = figures().map(|figures| figures.seconds).sum::<f64>() / 3_600.0;
        let took_h = figures().map(|figures| figures.took_s).sum::<f64>() / 3_600.0;
        format!(
            "{} of {} conversations, {} failed, {} missing, {} repeated; {simulated_h:.1} h simulated in {took_h:.2} h",
            self.lines.len(),
            self.of,
            self.failed(),
            self.missing(),
            self.repeated
        )
    }

    /// Returns the summary as Markdown.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.headline() + "\n\n";
        // Writing to a String cannot fail.
        _ = writeln!(text, "| {} |\n|{}|", COLUMNS.join(" | "), ["---"; COLUMNS.len()].join("|"));
        for group in self.groups() {
            _ = writeln!(text, "| {} |", group.cells().join(" | "));
        }
        text.push_str("\nworst conversations:\n");
        for line in self.lines.iter().take(WORST) {
            let what = match (&line.error, line.figures) {
                (Some(error), _) => error.clone(),
                (None, Some(figures)) => format!("{:.1} dB below the reference", figures.shortfall_db),
                (None, None) => "no figures".into(),
            };
            _ = writeln!(text, "  {what}\n    {}", line.command);
        }
        text
    }
}

/// Names of the columns of [`GroupFigures::cells`].
pub(crate) const COLUMNS: [&str; 8] = [
    "conversations",
    "number",
    "echo reduction, median (5th percentile), dB",
    "of the reference, median, dB",
    "talker's SI-SDR, median (5th percentile), dB",
    "below the reference, 95th percentile (largest), dB",
    "delay wrong by at most, ms",
    "lost sample frames",
];

impl GroupFigures {
    fn of(name: &str, figures: &[RunFigures]) -> Self {
        let sorted = |value: &dyn Fn(&RunFigures) -> Option<f64>| {
            let mut values: Vec<f64> = figures.iter().filter_map(value).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let median_and_low = |values: &[f64]| Some((quantile(values, 0.5)?, quantile(values, 0.05)?));
        let shortfall = sorted(&|figures| Some(figures.shortfall_db));
        Self {
            name: name.to_owned(),
            runs: figures.len(),
            erle_db: median_and_low(&sorted(&|figures| figures.erle_db)),
            reference_erle_db: quantile(&sorted(&|figures| figures.reference_erle_db), 0.5),
            si_sdr_db: median_and_low(&sorted(&|figures| figures.si_sdr_db)),
            shortfall_db: (
                quantile(&shortfall, 0.95).unwrap_or(0.0),
                quantile(&shortfall, 1.0).unwrap_or(0.0),
            ),
            delay_error_ms: quantile(&sorted(&|figures| figures.delay_error_ms.map(f64::abs)), 1.0)
                .unwrap_or(0.0),
            lost_sample_frames: figures.iter().map(|figures| figures.lost_sample_frames).sum(),
        }
    }

    /// Returns the cells of a table's row.
    #[must_use]
    pub fn cells(&self) -> [String; COLUMNS.len()] {
        let pair = |pair: Option<(f64, f64)>| {
            pair.map_or_else(|| "-".to_owned(), |(a, b)| format!("{a:.1} ({b:.1})"))
        };
        [
            self.name.clone(),
            self.runs.to_string(),
            pair(self.erle_db),
            self.reference_erle_db.map_or_else(|| "-".into(), |db| format!("{db:.1}")),
            pair(self.si_sdr_db),
            pair(Some(self.shortfall_db)),
            format!("{:.1}", self.delay_error_ms),
            self.lost_sample_frames.to_string(),
        ]
    }
}

/// Returns the value below which the given share of the sorted values lies, by the nearest rank.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(run: u64, shortfall_db: f64, room: &str) -> RunLine {
        RunLine {
            run,
            of: 5,
            campaign: "a".into(),
            values: BTreeMap::from([("room".into(), room.into()), ("seed".into(), run.to_string())]),
            command: format!("handsfree sim --seed {run}"),
            figures: Some(RunFigures { seconds: 60.0, shortfall_db, ..RunFigures::default() }),
            ..RunLine::default()
        }
    }

    #[test]
    fn each_conversation_counts_once_and_the_worst_is_first() {
        let failed = RunLine { figures: None, error: Some("panic: 1".into()), ..line(3, 0.0, "b") };
        let mut lines = vec![line(0, 1.0, "a"), line(1, 9.0, "b"), failed, line(0, 1.0, "a")];
        lines.extend((5..12).map(|run| line(run, 0.0, "b")));
        let campaign = Campaign::merged(lines).unwrap();
        assert_eq!(
            campaign.lines.iter().map(|line| line.run).collect::<Vec<_>>(),
            [3, 1, 0, 5, 6, 7, 8, 9, 10, 11]
        );
        // Numbers 2 and 4 have no line.
        assert_eq!((campaign.missing(), campaign.failed(), campaign.repeated), (2, 1, 1));
        assert!(!campaign.is_whole());
        let names: Vec<(String, usize)> =
            campaign.groups().iter().map(|group| (group.name.clone(), group.runs)).collect();
        // The seeds are not listed, because each has one conversation.
        let expected = [("all", 9), ("room a", 1), ("room b", 8)];
        assert_eq!(names, expected.map(|(name, runs)| (name.to_owned(), runs)));
        assert!(campaign.text().contains("handsfree sim --seed 1\n"), "{}", campaign.text());
    }

    #[test]
    fn lines_of_two_campaigns_are_not_merged() {
        let other = RunLine { campaign: "b".into(), ..line(1, 0.0, "a") };
        assert!(Campaign::merged(vec![line(0, 0.0, "a"), other]).unwrap_err().contains("campaigns a and b"));
        assert!(Campaign::merged(Vec::new()).unwrap_err().contains("no lines"));
    }

    #[test]
    fn a_quantile_is_a_value_of_the_list() {
        let values: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!(quantile(&values, 0.05), Some(1.0));
        assert_eq!(quantile(&values, 0.5), Some(10.0));
        assert_eq!(quantile(&values, 0.95), Some(19.0));
        assert_eq!(quantile(&values, 1.0), Some(20.0));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
