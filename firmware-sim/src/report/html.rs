//! `report.html`: a self-contained page.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::comparison::comparison;
use super::plots::number;
use super::text::{big, command, count, escaped, signed};
use super::views::{NO_ERLE, echo_reduction, signal_views, timing};
use super::{SimulationReport, TalkPhase, talk_phases};
use crate::interpolate::resample_to;
use crate::wav::mono_bytes;

/// Longest excerpt that a player holds, in seconds. Four excerpts are 5 MB in base64, which mail and browsers
/// accept.
const LISTEN_S: f64 = 30.0;
/// Sample rate of the excerpts, in hertz: enough for speech, and the band that the echo canceller models.
const LISTEN_HZ: u32 = 16_000;

/// Returns the page. It loads nothing from the network, follows the reader's light or dark scheme, and fits
/// screens from 360 px on.
///
/// Texts of the report are escaped. An absent value is shown as a dash with the reason. The page stays below
/// 8 MB for a run of any length.
pub fn render_html(report: &SimulationReport) -> String {
    let summary = &report.summary;
    let signals = &report.signals;
    let seconds = shown_seconds(report);
    let talk_phases = talk_phases(&signals.far, &signals.near, signals.rate_hz);
    let mut page = String::with_capacity(1 << 20);
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>handsfree: report of the run with seed {}</title>\n<link rel=\"icon\" href=\"data:,\">\n\
         <style>\n{}</style>\n</head>\n<body>\n<a class=\"skip\" href=\"#signals\">Skip to the signals</a>\n",
        summary.seed,
        include_str!("style.css"),
    );
    header(&mut page, report);
    page.push_str("<main>\n");
    listen(&mut page, report, &talk_phases);
    signal_views(&mut page, report, &talk_phases, seconds);
    echo_reduction(&mut page, report, &talk_phases, seconds);
    comparison(&mut page, &summary.comparison);
    timing(&mut page, report, seconds);
    run(&mut page, report);
    page.push_str("</main>\n");
    let _ = write!(
        page,
        "<footer>Written by handsfree{}. The figures are in report.json and the four signals in WAV files, next to this page.</footer>\n</body>\n</html>\n",
        if report.version.is_empty() { String::new() } else { format!(" {}", escaped(&report.version)) },
    );
    page
}

fn shown_seconds(report: &SimulationReport) -> f64 {
    let rate = f64::from(report.signals.rate_hz.max(1));
    let sound = report.signals.mic.len().max(report.signals.clean.len()) as f64 / rate;
    let seconds = if report.summary.seconds > 0.0 { report.summary.seconds } else { sound };
    seconds.max(0.01)
}

fn header(page: &mut String, report: &SimulationReport) {
    let summary = &report.summary;
    let (erle_db, oracle_db) = summary.median_erle_db();
    let title = match erle_db {
        Some(db) if db >= 1.0 => {
            format!("The echo was reduced by {} dB", number(db, if db < 20.0 { 1 } else { 0 }))
        }
        Some(_) => "The echo was not reduced".into(),
        None => "This run has no echo to measure".into(),
    };
    let _ = write!(
        page,
        "<header>\n<p class=\"mark\">handsfree</p>\n<h1>{title}</h1>\n<p class=\"lead\">{}</p>\n",
        escaped(&report.subtitle)
    );
    let span = if summary.settled_from_s() > 0.0 { "after the first 10 s" } else { "over the whole run" };
    let erle_note = match (erle_db, oracle_db) {
        (None, _) => NO_ERLE.into(),
        (Some(_), Some(oracle)) => {
            format!("median {span}; a perfect echo reference gives {} dB", number(oracle, 1))
        }
        (Some(_), None) => format!("median {span}; not compared with a perfect echo reference"),
    };
    let near_note = match summary.near_end {
        super::NearEndFigures { si_sdr_db: None, .. } => "no speech at the near end".into(),
        super::NearEndFigures { level_change_db: Some(change), .. } => {
            format!(
                "signal-to-distortion ratio (SI-SDR) of the near-end speech; level change {} dB",
                signed(change, 1)
            )
        }
        _ => "signal-to-distortion ratio (SI-SDR) of the near-end speech".into(),
    };
    let delay_note = match (summary.delay_ms.truth, summary.delay_ms.estimated) {
        (Some(truth), Some(_)) => {
            format!("estimated render plus capture latency; true: {} ms", number(truth, 2))
        }
        (None, Some(_)) => {
            "estimated render plus capture latency; the true one is unknown for recordings".into()
        }
        (Some(truth), None) => {
            format!("render plus capture latency; no estimate yet; true: {} ms", number(truth, 2))
        }
        (None, None) => "render plus capture latency; no estimate yet".into(),
    };
    let frames = summary.frames;
    let lost = if frames.lost == 0 {
        format!(
            "underruns and overruns; none of {} sample frames lost",
            count(frames.captured + frames.played)
        )
    } else {
        format!(
            "underruns and overruns; {} of {} sample frames lost",
            count(frames.lost),
            count(frames.captured + frames.played)
        )
    };
    let speed = match summary.realtime_factor {
        factor if factor >= 1000.0 && factor.is_finite() => {
            format!("{}<small>\u{00d7}</small>", count(factor as u64))
        }
        factor => big(Some(factor), 0, "\u{00d7}"),
    };
    let figures = [
        ("main", "Echo reduction", big(erle_db, 1, "dB"), erle_note),
        ("", "Near-end speech", big(summary.near_end.si_sdr_db, 1, "dB"), near_note),
        ("", "Delay", big(summary.delay_ms.estimated, 2, "ms"), delay_note),
        ("", "Xruns", count(summary.xruns), lost),
        ("", "Speed", speed, format!("times real time; {} s simulated", number(summary.seconds, 0))),
    ];
    page.push_str("<dl class=\"figures\">\n");
    for (class, name, value, note) in figures {
        let _ = writeln!(
            page,
            "<div class=\"{class}\"><dt>{name}</dt><dd class=\"big\">{value}</dd><dd class=\"note\">{note}</dd></div>"
        );
    }
    page.push_str("</dl>\n");
    if !report.notices.is_empty() {
        page.push_str("<div class=\"notices\" role=\"note\"><b>Notes</b><ul>");
        for notice in &report.notices {
            let _ = write!(page, "<li>{}</li>", escaped(notice));
        }
        page.push_str("</ul></div>\n");
    }
    page.push_str("</header>\n");
}

/// Returns the start of the excerpts in seconds: the first double talk with some time before it, or the start
/// of the run.
fn excerpt_from_s(talk_phases: &[TalkPhase], seconds: f64) -> f64 {
    if seconds <= LISTEN_S {
        return 0.0;
    }
    let both = talk_phases.iter().find(|phase| phase.active == super::ActiveEnds::Both);
    both.map_or(0.0, |phase| (phase.from_s - LISTEN_S / 3.0).floor().clamp(0.0, seconds - LISTEN_S))
}

fn listen(page: &mut String, report: &SimulationReport, talk_phases: &[TalkPhase]) {
    let signals = &report.signals;
    let rate = f64::from(signals.rate_hz.max(1));
    let longest = signals.mic.len().max(signals.clean.len()) as f64 / rate;
    let from_s = excerpt_from_s(talk_phases, longest);
    let to_s = (from_s + LISTEN_S).min(longest);
    let _ = write!(
        page,
        "<section id=\"listen\" aria-labelledby=\"listen-title\">\n<h2 id=\"listen-title\">Listen</h2>\n\
         <p>The same excerpt of all four signals, from {} to {} s, at 16 kHz. The far end can be loud.</p>\n<div class=\"players\">\n",
        number(from_s, 0),
        number(to_s, 0),
    );
    let players = [
        ("Microphone", "near-end speech, echo and noise", &signals.mic),
        ("Cleaned", "output of the terminal, with the echo removed", &signals.clean),
        ("Near end", "the talker's own signal at the microphone", &signals.near),
        ("Far end", "the signal that the loudspeaker played", &signals.far),
    ];
    for (name, what, signal) in players {
        let _ = write!(page, "<div class=\"card\"><h3>{name}</h3><p>{what}</p>");
        let from = ((from_s * rate) as usize).min(signal.len());
        let to = ((to_s * rate) as usize).min(signal.len());
        let part = &signal[from..to];
        if part.iter().all(|&sample| sample == 0.0) {
            page.push_str("<p class=\"empty\">\u{2013} silent in this run</p></div>\n");
            continue;
        }
        let (wav, _) = mono_bytes(LISTEN_HZ, &resample_to(part, signals.rate_hz, LISTEN_HZ));
        let _ = writeln!(
            page,
            "<audio controls preload=\"metadata\" aria-label=\"{name}\" src=\"data:audio/wav;base64,{}\"></audio></div>",
            STANDARD.encode(wav)
        );
    }
    page.push_str("</div>\n</section>\n");
}

fn run(page: &mut String, report: &SimulationReport) {
    let summary = &report.summary;
    page.push_str(
        "<section id=\"run\" aria-labelledby=\"run-title\">\n<h2 id=\"run-title\">The run</h2>\n\
         <p>This command repeats the run: the same seed gives the same samples.</p>\n",
    );
    let _ = write!(
        page,
        "<pre tabindex=\"0\" aria-label=\"Command that repeats this run\">{}</pre>\n<div class=\"two\" style=\"margin-top:1.25rem\">\n",
        command(&report.command)
    );
    page.push_str("<div class=\"card\"><table><caption>Settings</caption><tbody>\n");
    for (name, value) in &report.settings {
        let _ = writeln!(
            page,
            "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td></tr>",
            escaped(name),
            escaped(value)
        );
    }
    page.push_str("</tbody></table></div>\n<div class=\"card\"><table><caption>Results</caption><tbody>\n");
    let with_unit =
        |value: Option<f64>, decimals, unit: &str, reason: &str| match value.filter(|x| x.is_finite()) {
            Some(value) => format!("{} {unit}", number(value, decimals)),
            None => format!("<span class=\"absent\">\u{2013} {reason}</span>"),
        };
    let recording = "unknown for recordings";
    let silent = "no near-end speech";
    let rows = [
        ("Seed", summary.seed.to_string()),
        ("Length", format!("{} s at {} Hz", number(summary.seconds, 1), count(u64::from(summary.rate_hz)))),
        ("Render plus capture latency, true", with_unit(summary.delay_ms.truth, 3, "ms", recording)),
        (
            "Render plus capture latency, estimated",
            with_unit(summary.delay_ms.estimated, 3, "ms", "no estimate yet"),
        ),
        ("Clock drift, true", with_unit(summary.drift_ppm.truth, 2, "ppm", recording)),
        ("Clock drift, estimated", with_unit(summary.drift_ppm.estimated, 2, "ppm", "no estimate yet")),
        ("Near-end speech, SI-SDR", with_unit(summary.near_end.si_sdr_db, 2, "dB", silent)),
        ("Near-end speech, level change", with_unit(summary.near_end.level_change_db, 2, "dB", silent)),
        ("Delay of the cleaned signal", format!("{} samples", count(summary.processing_delay_samples))),
        ("Captured", format!("{} sample frames", count(summary.frames.captured))),
        ("Played", format!("{} sample frames", count(summary.frames.played))),
        ("Lost", format!("{} sample frames", count(summary.frames.lost))),
        ("Xruns (underruns and overruns)", count(summary.xruns)),
        ("Speed", with_unit(Some(summary.realtime_factor), 1, "times real time", "not measured")),
    ];
    for (name, value) in rows {
        let _ = writeln!(page, "<tr><th scope=\"row\">{name}</th><td class=\"n\">{value}</td></tr>");
    }
    page.push_str("</tbody></table></div>\n</div>\n</section>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{EstimatePoint, Signals, Summary, TrueAndEstimated};

    #[test]
    fn an_empty_report_gives_a_page_with_reasons() {
        let page = render_html(&SimulationReport::default());
        assert!(
            page.contains(NO_ERLE) && page.contains("no near-end speech") && page.contains("not recorded")
        );
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }

    #[test]
    fn texts_are_escaped_and_the_page_loads_nothing() {
        let report = SimulationReport {
            subtitle: "<script>alert(1)</script>".into(),
            command: "handsfree sim --far \"a&b.wav\"".into(),
            notices: vec!["</ul><img src=x>".into()],
            settings: vec![("<b>".into(), "\"".into())],
            ..SimulationReport::default()
        };
        let page = render_html(&report);
        assert!(
            page.contains("&lt;script&gt;") && page.contains("a&amp;b.wav") && !page.contains("<img src=x>")
        );
        assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("<script"));
    }

    #[test]
    fn the_page_of_a_long_run_stays_small() {
        let rate_hz = 48_000;
        let sound: Vec<f32> =
            (0..rate_hz as usize * 90).map(|n| ((n * n) % 65_521) as f32 / 65_521.0 - 0.5).collect();
        let report = SimulationReport {
            summary: Summary {
                seconds: 90.0,
                rate_hz,
                drift_ppm: TrueAndEstimated { truth: Some(-200.0), estimated: None },
                ..Summary::default()
            },
            signals: Signals {
                rate_hz,
                mic: sound.clone(),
                clean: sound.clone(),
                far: sound.clone(),
                near: sound,
            },
            delay: (0..900_000)
                .map(|n| EstimatePoint { at_s: f64::from(n) * 1e-4, truth: Some(10.0), estimated: None })
                .collect(),
            ..SimulationReport::default()
        };
        let page = render_html(&report);
        assert!(page.len() < 8_000_000, "{} bytes", page.len());
        assert!(page.contains("\u{2212}200.00 ppm"));
    }
}
