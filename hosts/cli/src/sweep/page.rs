//! Control side: the page of a campaign.

use std::fmt::Write as _;

use crate::sweep::summary::{COLUMNS, Campaign};

/// Number of conversations on the page; the shards' files have all.
const SHOWN: usize = 200;

const HEAD: &str = "<!doctype html>
<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">
<title>handsfree sweep</title>
<style>
  body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #222; background: #fff }
  table { border-collapse: collapse; margin: 1rem 0 2rem }
  th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: right; vertical-align: top }
  th { font-weight: 600; max-width: 9rem } td.text, th.text { text-align: left }
  code { font-size: 12px; user-select: all; overflow-wrap: anywhere } .error { color: #b00 }
  @media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818 } th, td { border-color: #444 } .error { color: #f77 } }
</style>
";

/// Returns the page: the statistics, then the worst conversations, each with the command that repeats it.
pub(super) fn page(campaign: &Campaign) -> String {
    let mut page = HEAD.to_owned();
    // Writing to a String cannot fail.
    _ = writeln!(page, "<h1>Simulated conversations</h1>\n<p>{}</p>\n<table>", escaped(&campaign.headline()));
    row(&mut page, "th", &COLUMNS.map(str::to_owned));
    for group in campaign.groups() {
        row(&mut page, "td", &group.cells());
    }
    _ = writeln!(
        page,
        "</table>\n<h2>The worst first</h2>\n<p>\"Below the reference\" is the largest amount by which the echo reduction in 10 s (at most \
         40 dB) or the talker's SI-SDR is lower than with the same voice processor and the true signals. The first {SHOWN} \
         conversations at most are shown.</p>\n<table>"
    );
    let head = [
        "conversation",
        "below the reference, dB",
        "echo reduction, dB",
        "lowest in 10 s, dB",
        "of the reference, dB",
        "SI-SDR, dB",
        "of the reference, dB",
        "delay wrong by, ms",
        "drift wrong by, ppm",
        "lost sample frames",
        "jumps",
        "values and command",
    ];
    row(&mut page, "th", &head.map(str::to_owned));
    for line in campaign.lines.iter().take(SHOWN) {
        let pairs: Vec<String> = line.values.iter().map(|(axis, value)| format!("{axis} {value}")).collect();
        let what = format!("{}<br><code>{}</code>", escaped(&pairs.join(", ")), escaped(&line.command));
        _ = write!(page, "<tr><td>{}</td>", line.run);
        match (line.figures, &line.error) {
            (Some(figures), _) => {
                let or_dash =
                    |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value:.1}"));
                for cell in [
                    format!("{:.1}", figures.shortfall_db),
                    or_dash(figures.erle_db),
                    or_dash(figures.worst_erle_db),
                    or_dash(figures.reference_erle_db),
                    or_dash(figures.si_sdr_db),
                    or_dash(figures.reference_si_sdr_db),
                    or_dash(figures.delay_error_ms),
                    or_dash(figures.drift_error_ppm),
                    figures.lost_sample_frames.to_string(),
                    figures.reference_jumps.to_string(),
                ] {
                    _ = write!(page, "<td>{cell}</td>");
                }
            }
            (None, error) => {
                let error = error.as_deref().unwrap_or("no figures");
                _ = write!(page, "<td class=\"text error\" colspan=\"10\">{}</td>", escaped(error));
            }
        }
        _ = writeln!(page, "<td class=\"text\">{what}</td></tr>");
    }
    page + "</table>\n</html>\n"
}

fn row(page: &mut String, tag: &str, cells: &[String]) {
    page.push_str("<tr>");
    for (at, cell) in cells.iter().enumerate() {
        let class = if at == 0 { " class=\"text\"" } else { "" };
        _ = write!(page, "<{tag}{class}>{}</{tag}>", escaped(cell));
    }
    page.push_str("</tr>\n");
}

/// Returns the text with the characters replaced that HTML would read as marks.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::line::RunLine;

    #[test]
    fn names_and_errors_are_text_and_no_marks() {
        let line = RunLine {
            command: "handsfree sim --far '<b>.wav'".into(),
            error: Some("<script>\"&\"".into()),
            ..RunLine::default()
        };
        let page = page(&Campaign { lines: vec![line], of: 1, repeated: 0 });
        assert!(!page.contains("<script>") && !page.contains("<b>"), "{page}");
        assert!(page.contains("&lt;script&gt;&quot;&amp;&quot;"), "{page}");
    }
}
