//! The same run with several echo cancellers, as a table in text and on the page.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::plots::number;
use super::text::{escaped, signed};
use super::{NearEndFigures, Summary, rounded_option};

/// Figures of one echo canceller on the run that is compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ComparedCanceller {
    /// Name of the canceller.
    pub canceller: String,
    /// Median echo reduction as in [`Summary::median_erle_db`], in dB; `None` if the far end is never active alone.
    #[serde(serialize_with = "rounded_option")]
    pub echo_reduction_db: Option<f64>,
    /// Quality of the near end; without values where the talker's own signal is unknown, as in recordings.
    pub near_end: NearEndFigures,
    /// Reason why the canceller could not process the run; `None` if it did.
    pub unavailable: Option<String>,
}

impl ComparedCanceller {
    /// Takes the figures from a run with the canceller.
    pub fn new(canceller: &str, summary: &Summary) -> Self {
        Self {
            canceller: canceller.into(),
            echo_reduction_db: summary.median_erle_db().0,
            near_end: summary.near_end,
            unavailable: None,
        }
    }

    /// Makes the row of a canceller that could not process the run.
    pub fn unavailable(canceller: &str, reason: String) -> Self {
        Self { canceller: canceller.into(), unavailable: Some(reason), ..Self::default() }
    }
}

fn or_dash(value: Option<f64>, text: impl Fn(f64) -> String) -> String {
    value.filter(|value| value.is_finite()).map_or_else(|| "-".into(), text)
}

/// Returns the comparison as lines of text under a line of headings.
pub fn comparison_table(rows: &[ComparedCanceller]) -> String {
    let mut text = format!(
        "  {:<16}{:>16}{:>18}{:>16}\n",
        "canceller", "echo reduction", "talker, SI-SDR", "talker, level"
    );
    for row in rows {
        // Writing to a String cannot fail.
        let _ = match &row.unavailable {
            Some(reason) => writeln!(text, "  {:<16}{reason}", row.canceller),
            None => writeln!(
                text,
                "  {:<16}{:>16}{:>18}{:>16}",
                row.canceller,
                or_dash(row.echo_reduction_db, |db| format!("{db:.1} dB")),
                or_dash(row.near_end.si_sdr_db, |db| format!("{db:.1} dB")),
                or_dash(row.near_end.level_change_db, |db| format!("{db:+.1} dB")),
            ),
        };
    }
    text
}

/// Writes the comparison as a section of the page; nothing without rows.
pub(super) fn comparison(page: &mut String, rows: &[ComparedCanceller]) {
    if rows.is_empty() {
        return;
    }
    page.push_str(
        "<section id=\"comparison\" aria-labelledby=\"comparison-title\">\n\
         <h2 id=\"comparison-title\">Other cancellers</h2>\n\
         <p>The same run, repeated with each echo canceller. Noise suppression, gain and high-pass are as chosen for this run.</p>\n\
         <div class=\"card\"><table><thead><tr><th scope=\"col\">Canceller</th><th scope=\"col\" class=\"n\">Echo reduction</th>\
         <th scope=\"col\" class=\"n\">Talker, SI-SDR</th><th scope=\"col\" class=\"n\">Talker, level</th></tr></thead><tbody>\n",
    );
    for row in rows {
        let name = escaped(&row.canceller);
        let _ = match &row.unavailable {
            Some(reason) => writeln!(
                page,
                "<tr><th scope=\"row\">{name}</th><td colspan=\"3\"><span class=\"absent\">{}</span></td></tr>",
                escaped(reason)
            ),
            None => writeln!(
                page,
                "<tr><th scope=\"row\">{name}</th><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
                or_dash(row.echo_reduction_db, |db| number(db, 1) + " dB"),
                or_dash(row.near_end.si_sdr_db, |db| number(db, 1) + " dB"),
                or_dash(row.near_end.level_change_db, |db| signed(db, 1) + " dB"),
            ),
        };
    }
    page.push_str("</tbody></table></div>\n</section>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_without_values_have_dashes_and_reasons() {
        let rows = [
            ComparedCanceller {
                canceller: "native".into(),
                echo_reduction_db: Some(51.26),
                ..ComparedCanceller::default()
            },
            ComparedCanceller::unavailable("<webrtc>", "a reason".into()),
        ];
        let table = comparison_table(&rows);
        let words: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[1], ["native", "51.3", "dB", "-", "-"]);
        assert_eq!(words[2], ["<webrtc>", "a", "reason"]);
        let mut page = String::new();
        comparison(&mut page, &rows);
        assert!(page.contains("51.3 dB") && page.contains("&lt;webrtc&gt;") && page.contains("a reason"));
        page.clear();
        comparison(&mut page, &[]);
        assert!(page.is_empty());
    }
}
