//! The page's plots: signals, echo reduction, delay, drift and ring fill over time.

use std::fmt::Write;

use super::plots::{self, Axis, Series, number};
use super::text::{cell, signed};
use super::{EstimatePoint, RingPoint, SimulationReport, Summary, TalkPhase, spectrogram};
use crate::measure::{Window, level_dbfs};

/// Reason shown on the page where there is no echo reduction to show.
pub(super) const NO_ERLE: &str = "the far end is never active alone";

fn row(labels: &str, class: &str, picture: &str) -> String {
    format!(
        "<div class=\"row\"><div class=\"ylab\" aria-hidden=\"true\">{labels}</div>\
         <div class=\"area-box {class}\">{}</div></div>\n",
        picture.replacen("<svg ", &format!("<svg class=\"{class}\" "), 1)
    )
}

fn row_under_plot(content: &str) -> String {
    format!("<div class=\"row\">{content}</div>\n")
}

pub(super) fn signal_views(
    page: &mut String,
    report: &SimulationReport,
    talk_phases: &[TalkPhase],
    seconds: f64,
) {
    let signals = &report.signals;
    page.push_str(
        "<section id=\"signals\" aria-labelledby=\"signals-title\">\n<h2 id=\"signals-title\">Microphone and cleaned signal</h2>\n\
         <p>Waveform and spectrogram of the microphone signal and of the cleaned signal, on the same time axis and scale. \
         Where only the far end is active, the microphone captures echo and the cleaned signal should be silent. \
         Where the near end speaks, its speech should look the same in both.</p>\n<div class=\"card\">\n",
    );
    page.push_str(&row_under_plot(&plots::phase_strip(talk_phases, seconds)));
    let peak = signals.mic.iter().chain(&signals.clean).fold(0.0_f32, |peak, x| peak.max(x.abs()));
    let axis = Axis::around(-f64::from(peak.max(1e-4)), f64::from(peak.max(1e-4)));
    for (name, class, signal) in [("Microphone", "mic", &signals.mic), ("Cleaned", "clean", &signals.clean)] {
        let level = level_dbfs(signal);
        let level =
            if level.is_finite() { format!("{} dBFS RMS", number(level, 1)) } else { "silent".into() };
        let _ = writeln!(
            page,
            "<div class=\"row\"><div class=\"name\"><b><i class=\"dot {class}\"></i>{name}</b><span>{level}</span></div></div>"
        );
        // A signal shorter than the run is padded, because the plot would stretch it.
        let signal_s = signal.len() as f64 / f64::from(signals.rate_hz.max(1));
        let padded;
        let whole: &[f32] = if signal_s + 0.02 < seconds && signals.rate_hz > 0 && seconds < 36_000.0 {
            let mut copy = signal.clone();
            copy.resize((seconds * f64::from(signals.rate_hz)) as usize, 0.0);
            padded = copy;
            &padded
        } else {
            signal
        };
        let label = format!("{name} waveform over time, {level}");
        page.push_str(&row(
            &axis.labels(),
            "wave",
            &plots::waveform(&label, class, whole, &axis, talk_phases, seconds),
        ));
        let Some(uri) = spectrogram::data_uri(whole, signals.rate_hz) else {
            page.push_str("<p class=\"empty\">\u{2013} no spectrogram, because the signal is empty</p>");
            continue;
        };
        let picture = format!(
            "<img class=\"spec\" alt=\"{name} spectrogram: time to the right, frequency upwards to {} kHz, level as colour\" src=\"{uri}\">",
            number(f64::from(signals.rate_hz) / 2000.0, 1)
        );
        page.push_str(&row(&frequency_labels(signals.rate_hz), "spec", &picture));
    }
    page.push_str(&row_under_plot(&plots::time_axis(seconds)));
    let colours: Vec<String> =
        spectrogram::COLOURS.iter().map(|[r, g, b]| format!("#{r:02x}{g:02x}{b:02x}")).collect();
    let _ = write!(
        page,
        "<div class=\"under\"><ul class=\"legend\"><li><i class=\"key far\"></i>far end alone</li>\
         <li><i class=\"key both\"></i>double talk</li><li><i class=\"key near\"></i>near end alone</li></ul>\
         <div class=\"ramp\"><span>{}</span><i style=\"background:linear-gradient(90deg,{})\"></i><span>0 dBFS</span></div></div>\n\
         </div>\n</section>\n",
        number(spectrogram::FLOOR_DBFS, 0),
        colours.join(","),
    );
}

fn frequency_labels(rate_hz: u32) -> String {
    [500, 1000, 2000, 4000, 8000, 16_000, 32_000]
        .into_iter()
        .filter(|&hz| f64::from(hz) < 0.49 * f64::from(rate_hz))
        .fold(String::new(), |mut html, hz| {
            let top = 100.0 * (1.0 - spectrogram::height(f64::from(hz), rate_hz));
            let label = if hz < 1000 { format!("{hz} Hz") } else { format!("{} kHz", hz / 1000) };
            let kind = if hz < 1000 { " class=\"minor\"" } else { "" };
            let _ = write!(html, "<span{kind} style=\"top:{top:.2}%\">{label}</span>");
            html
        })
}

/// Texts of a plot: its heading, its unit, and the reason to show if there is nothing to plot.
struct PlotText {
    heading: &'static str,
    unit: &'static str,
    absent: &'static str,
}

/// Adds a card with a plot: heading, legend, curves and time axis, or the reason why there is no plot.
fn plot_card(
    page: &mut String,
    text: &PlotText,
    series: &[Series],
    axis: Option<Axis>,
    talk_phases: &[TalkPhase],
    seconds: f64,
) {
    let PlotText { heading, unit, absent } = text;
    let _ = write!(page, "<div class=\"card\"><div class=\"head\"><h3>{heading} <small>{unit}</small></h3>");
    let Some(axis) = axis else {
        let _ = writeln!(page, "</div><p class=\"empty\">\u{2013} {absent}</p></div>");
        return;
    };
    let _ = write!(page, "{}</div>", plots::legend(series));
    let label =
        format!("{heading} over time, from {} to {} {unit}", number(axis.low, 1), number(axis.high, 1));
    page.push_str(&row(&axis.labels(), "plot", &plots::lines(&label, series, &axis, talk_phases, seconds)));
    page.push_str(&row_under_plot(&plots::time_axis(seconds)));
    page.push_str("</div>\n");
}

fn extremes<'a>(series: impl IntoIterator<Item = &'a Series>) -> Option<(f64, f64)> {
    series
        .into_iter()
        .flat_map(|curve| curve.points.iter().filter_map(|point| point.1))
        .filter(|value| value.is_finite())
        .fold(None, |range, value| {
            let (low, high) = range.unwrap_or((value, value));
            Some((low.min(value), high.max(value)))
        })
}

pub(super) fn echo_reduction(
    page: &mut String,
    report: &SimulationReport,
    talk_phases: &[TalkPhase],
    seconds: f64,
) {
    page.push_str(
        "<section id=\"erle\" aria-labelledby=\"erle-title\">\n<h2 id=\"erle-title\">Echo reduction</h2>\n\
         <p>Echo return loss enhancement (ERLE): energy of the microphone signal divided by energy of the cleaned signal, \
         over the 10 ms frames in which the far end is active and the near end is silent. Higher is better. The oracle is \
         the same echo canceller in the same room with a perfect echo reference.</p>\n",
    );
    let curve = |windows: &[Window]| {
        windows.iter().map(|window| ((window.from_s + window.to_s) / 2.0, window.db)).collect::<Vec<_>>()
    };
    let mut series = Vec::new();
    if !report.oracle_curve.is_empty() {
        series.push(Series { name: "oracle", class: "oracle", points: curve(&report.oracle_curve) });
    }
    series.push(Series { name: "this run", class: "clean", points: curve(&report.erle_curve) });
    let axis = extremes(&series).map(|(low, high)| Axis::around(low.min(0.0), high));
    let text = PlotText { heading: "Echo reduction per second", unit: "dB", absent: NO_ERLE };
    page.push_str("<div class=\"erle\">\n");
    plot_card(page, &text, &series, axis, talk_phases, seconds);
    windows_table(page, &report.summary);
    page.push_str("</div>\n</section>\n");
}

fn windows_table(page: &mut String, summary: &Summary) {
    if summary.erle_db.is_empty() {
        return;
    }
    page.push_str(
        "<div class=\"card\"><div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Echo reduction in windows\"><table><caption>Echo reduction in windows of 10 s <small>dB</small></caption><thead><tr>\
         <th scope=\"col\">Seconds</th><th scope=\"col\" class=\"n\">This run</th>\
         <th scope=\"col\" class=\"n\">Oracle</th><th scope=\"col\" class=\"n\">Difference</th></tr></thead><tbody>\n",
    );
    // A longer table is hard to read, and the curve shows all windows.
    const ROWS_MAX: usize = 360;
    for window in summary.erle_db.iter().take(ROWS_MAX) {
        let difference = window.db.zip(window.oracle_db).map(|(db, oracle)| db - oracle);
        let reason =
            if window.db.is_none() { "<span class=\"absent\">far end never active alone</span>" } else { "" };
        let _ = writeln!(
            page,
            "<tr><th scope=\"row\">{} to {}{reason}</th><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            number(window.from_s, 0),
            number(window.to_s, 0),
            cell(window.db, 1),
            cell(window.oracle_db, 1),
            difference.map_or_else(|| cell(None, 1), |db| signed(db, 1)),
        );
    }
    page.push_str("</tbody></table></div>");
    if summary.erle_db.len() > ROWS_MAX {
        let _ = write!(
            page,
            "<p class=\"empty\">{} more windows are in report.json</p>",
            summary.erle_db.len() - ROWS_MAX
        );
    }
    page.push_str("</div>\n");
}

pub(super) fn timing(page: &mut String, report: &SimulationReport, seconds: f64) {
    page.push_str(
        "<section id=\"timing\" aria-labelledby=\"timing-title\">\n<h2 id=\"timing-title\">Timing</h2>\n\
         <p>Latency and clock drift as the terminal estimates them, compared with the true values, and the fill of the \
         rings between the audio interrupts and the worker.</p>\n<div class=\"two\">\n",
    );
    let absent = "not recorded in this run";
    let text = PlotText { heading: "Render plus capture latency", unit: "ms", absent };
    estimate_card(page, &text, &report.delay, 10.0, seconds);
    let text = PlotText { heading: "Clock drift, playback relative to capture", unit: "ppm", absent };
    estimate_card(page, &text, &report.drift, 20.0, seconds);

    let ring = |value: fn(&RingPoint) -> f64| {
        report.rings.iter().map(|point| (point.at_s, Some(value(point)))).collect::<Vec<_>>()
    };
    let series = [
        Series { name: "capture", class: "mic", points: ring(|point| point.capture_ms) },
        Series { name: "playback", class: "clean", points: ring(|point| point.playback_ms) },
        Series { name: "reference", class: "second", points: ring(|point| point.reference_ms) },
    ];
    let axis = extremes(&series).map(|(_, high)| Axis::from_zero(high));
    plot_card(page, &PlotText { heading: "Ring fill", unit: "ms", absent }, &series, axis, &[], seconds);
    page.push_str("</div>\n</section>\n");
}

/// Adds a card with the true and the estimated value over time. The axis covers at least `least_span`, so
/// that tiny deviations do not fill the plot.
fn estimate_card(
    page: &mut String,
    text: &PlotText,
    points: &[EstimatePoint],
    least_span: f64,
    seconds: f64,
) {
    let curve = |value: fn(&EstimatePoint) -> Option<f64>| {
        points.iter().map(|point| (point.at_s, value(point))).collect::<Vec<_>>()
    };
    let mut series = vec![
        Series { name: "true", class: "oracle", points: curve(|point| point.truth) },
        Series { name: "estimated", class: "clean", points: curve(|point| point.estimated) },
    ];
    series.retain(|curve| curve.points.iter().any(|point| point.1.is_some()));
    let axis = extremes(&series).map(|(low, high)| {
        let margin = ((least_span - (high - low)) / 2.0).max((high - low) * 0.08);
        Axis::around(low - margin, high + margin)
    });
    plot_card(page, text, &series, axis, &[], seconds);
}
