//! Plots with curves in SVG and labels in HTML.
//!
//! Scaling a picture down to a phone would make its labels unreadable. Therefore the SVG holds shapes only
//! and stretches to its box with strokes of constant width, and every label is HTML positioned by percentage.

use std::fmt::Write;

use super::{ActiveEnds, TalkPhase};

/// Size of the SVG in its own coordinates.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 100.0;
/// Largest number of points drawn one by one, as many as a screen resolves. Longer curves are condensed into
/// groups.
const POINTS_MAX: usize = 1200;
const GROUPS: usize = 300;

/// Curve of a plot. A point without a value is a gap.
pub(super) struct Series {
    pub(super) name: &'static str,
    /// CSS class that sets the colour and, for some curves, the dash pattern.
    pub(super) class: &'static str,
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// Vertical axis of a plot.
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// Makes an axis from 0 to a round number not below `highest`.
    pub(super) fn from_zero(highest: f64) -> Self {
        Self::around(0.0, highest.max(1e-9))
    }

    /// Makes an axis from a round number not above `lowest` to one not below `highest`, with about four steps.
    pub(super) fn around(lowest: f64, highest: f64) -> Self {
        let step = nice_step((highest - lowest).max(1e-9) / 4.0);
        let (first, last) = ((lowest / step + 1e-9).floor(), (highest / step - 1e-9).ceil());
        let last = last.max(first + 1.0);
        let ticks = (0..=(last - first) as usize)
            .map(|n| {
                let value = (first + n as f64) * step;
                (value, number(value, decimals_of(step)))
            })
            .collect();
        Self { low: first * step, high: last * step, ticks }
    }

    /// Returns the vertical position of a value, from 0.0 at the top to 1.0 at the bottom.
    fn down(&self, value: f64) -> f64 {
        (1.0 - (value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// Returns the labels for the column left of the plot.
    pub(super) fn labels(&self) -> String {
        self.ticks.iter().fold(String::new(), |mut html, (value, label)| {
            let percent = 100.0 * self.down(*value);
            let _ = write!(html, "<span style=\"top:{percent:.2}%\">{label}</span>");
            html
        })
    }
}

/// Formats a number with a typographic minus sign.
pub(super) fn number(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let zero = text.trim_start_matches('-').chars().all(|c| c == '0' || c == '.');
    match text.strip_prefix('-') {
        Some(rest) if !zero => format!("\u{2212}{rest}"),
        Some(rest) => rest.into(),
        None => text,
    }
}

/// Returns 1, 2 or 5 times a power of ten, not below `least`.
fn nice_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|m| m * power)
        .find(|&step| step >= least * 0.999)
        .unwrap_or(power * 10.0)
}

fn decimals_of(step: f64) -> usize {
    (-step.log10() - 1e-9).ceil().max(0.0) as usize
}

fn time_ticks(seconds: f64) -> (f64, impl Iterator<Item = f64>) {
    let least = (seconds / 10.0).max(1e-3);
    // Steps above 10 s divide minutes or hours.
    let step = [15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0]
        .into_iter()
        .find(|&step| least > 10.0 && step >= least)
        .unwrap_or_else(|| nice_step(least));
    (step, (0..).map(move |n| f64::from(n) * step).take_while(move |&at| at <= seconds * 1.0001))
}

/// Returns the time axis for the row under a plot.
pub(super) fn time_axis(seconds: f64) -> String {
    let (step, ticks) = time_ticks(seconds);
    let mut html = String::from("<div class=\"xaxis\" aria-hidden=\"true\"><div class=\"xticks\">");
    for (index, at) in ticks.enumerate() {
        let percent = 100.0 * at / seconds.max(1e-9);
        let kind = if index % 2 == 1 { " class=\"minor\"" } else { "" };
        let label = number(at, decimals_of(step));
        let _ = write!(html, "<span{kind} style=\"left:{percent:.3}%\">{label}</span>");
    }
    html.push_str("</div><div class=\"xunit\">seconds</div></div>");
    html
}

fn class_and_name(active: ActiveEnds) -> (&'static str, &'static str) {
    match active {
        ActiveEnds::FarEnd => ("far", "far end alone"),
        ActiveEnds::Both => ("both", "double talk"),
        ActiveEnds::NearEnd => ("near", "near end alone"),
    }
}

/// Returns the strip above a plot that names far end, double talk and near end.
pub(super) fn phase_strip(talk_phases: &[TalkPhase], seconds: f64) -> String {
    let mut html = String::from("<div class=\"strip\">");
    for phase in talk_phases {
        let (class, name) = class_and_name(phase.active);
        let left = 100.0 * phase.from_s / seconds;
        let width = 100.0 * (phase.to_s.min(seconds) - phase.from_s) / seconds;
        // A truncated word would be harder to read than the colour and the legend.
        let short = if width < 9.0 { "" } else { name.trim_end_matches(" alone") };
        let _ = write!(
            html,
            "<span class=\"{class}\" style=\"left:{left:.3}%;width:{width:.3}%\" title=\"{name}, {} to {} s\">{short}</span>",
            number(phase.from_s, 1),
            number(phase.to_s, 1),
        );
    }
    html.push_str("</div>");
    html
}

fn open_svg(label: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{label}\">"
    )
}

fn bands(svg: &mut String, talk_phases: &[TalkPhase], seconds: f64) {
    for phase in talk_phases {
        let x = WIDTH * phase.from_s / seconds;
        let width = WIDTH * (phase.to_s.min(seconds) - phase.from_s) / seconds;
        let class = class_and_name(phase.active).0;
        let _ = write!(
            svg,
            "<rect class=\"band {class}\" x=\"{x:.2}\" y=\"0\" width=\"{width:.2}\" height=\"{HEIGHT}\"/>"
        );
    }
}

fn grid(svg: &mut String, axis: &Axis, seconds: f64) {
    let mut path = String::new();
    for (value, _) in &axis.ticks {
        let _ = write!(path, "M0 {:.2}H{WIDTH}", HEIGHT * axis.down(*value));
    }
    for at in time_ticks(seconds).1 {
        let _ = write!(path, "M{:.2} 0V{HEIGHT}", WIDTH * at / seconds);
    }
    let _ = write!(svg, "<path class=\"grid\" d=\"{path}\"/>");
}

/// Draws curves over time. `label` describes the plot for screen readers.
pub(super) fn lines(
    label: &str,
    series: &[Series],
    axis: &Axis,
    talk_phases: &[TalkPhase],
    seconds: f64,
) -> String {
    let mut svg = open_svg(label);
    bands(&mut svg, talk_phases, seconds);
    grid(&mut svg, axis, seconds);
    for curve in series {
        let points = if curve.points.len() > POINTS_MAX {
            let (middle, spread) = condensed(&curve.points);
            let _ = write!(
                svg,
                "<path class=\"spread {}\" d=\"{}\"/>",
                curve.class,
                outline(&spread, axis, seconds)
            );
            middle
        } else {
            curve.points.clone()
        };
        let _ =
            write!(svg, "<path class=\"line {}\" d=\"{}\"/>", curve.class, stroke(&points, axis, seconds));
    }
    svg.push_str("</svg>");
    svg
}

fn stroke(points: &[(f64, Option<f64>)], axis: &Axis, seconds: f64) -> String {
    let mut path = String::new();
    let mut is_drawing = false;
    for &(at, value) in points {
        let Some(value) = value.filter(|value| value.is_finite()) else {
            is_drawing = false;
            continue;
        };
        let (x, y) = (WIDTH * at / seconds, HEIGHT * axis.down(value));
        // A line of length 0 makes a point between two gaps visible as a dot.
        let _ = if is_drawing { write!(path, "L{x:.1} {y:.2}") } else { write!(path, "M{x:.1} {y:.2}h0") };
        is_drawing = true;
    }
    path
}

fn outline(spread: &[(f64, f64, f64)], axis: &Axis, seconds: f64) -> String {
    let over = spread.iter().map(|&(at, _, high)| (at, high));
    let under = spread.iter().rev().map(|&(at, low, _)| (at, low));
    over.chain(under).enumerate().fold(String::new(), |mut path, (index, (at, value))| {
        let command = if index == 0 { 'M' } else { 'L' };
        let _ = write!(path, "{command}{:.1} {:.2}", WIDTH * at / seconds, HEIGHT * axis.down(value));
        path
    })
}

/// Condensed curve: the mean of each group of points for the line, and the lowest and highest value of each
/// group for the area behind it. A peak of one point stays visible, and a sawtooth does not become a solid
/// bar.
type Condensed = (Vec<(f64, Option<f64>)>, Vec<(f64, f64, f64)>);

fn condensed(points: &[(f64, Option<f64>)]) -> Condensed {
    let (mut middle, mut spread) = (Vec::new(), Vec::new());
    for group in points.chunks(points.len().div_ceil(GROUPS)) {
        let at = (group[0].0 + group[group.len() - 1].0) / 2.0;
        let known: Vec<f64> =
            group.iter().filter_map(|point| point.1).filter(|value| value.is_finite()).collect();
        let mean = (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64);
        middle.push((at, mean));
        if mean.is_some() {
            let low = known.iter().copied().fold(f64::INFINITY, f64::min);
            let high = known.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            spread.push((at, low, high));
        }
    }
    (middle, spread)
}

/// Draws a waveform as the area between its lowest and highest samples.
pub(super) fn waveform(
    label: &str,
    class: &str,
    signal: &[f32],
    axis: &Axis,
    talk_phases: &[TalkPhase],
    seconds: f64,
) -> String {
    let mut svg = open_svg(label);
    bands(&mut svg, talk_phases, seconds);
    grid(&mut svg, axis, seconds);
    let columns = signal.len().min(POINTS_MAX);
    let (mut over, mut under) = (String::new(), Vec::new());
    for column in 0..columns {
        let from = column * signal.len() / columns;
        let to = (column + 1) * signal.len() / columns;
        let (low, high) = signal[from..to]
            .iter()
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &x| (low.min(x), high.max(x)));
        let x = WIDTH * (column as f64 + 0.5) / columns as f64;
        // Silence stays visible as a line.
        let top = HEIGHT * axis.down(f64::from(high)) - 0.25;
        let bottom = HEIGHT * axis.down(f64::from(low)) + 0.25;
        let _ = write!(over, "{}{x:.1} {top:.2}", if column == 0 { 'M' } else { 'L' });
        under.push((x, bottom));
    }
    for (x, bottom) in under.iter().rev() {
        let _ = write!(over, "L{x:.1} {bottom:.2}");
    }
    if columns > 0 {
        let _ = write!(svg, "<path class=\"area {class}\" d=\"{over}Z\"/>");
    }
    svg.push_str("</svg>");
    svg
}

/// Returns the legend that names the curves.
pub(super) fn legend(series: &[Series]) -> String {
    let mut html = String::from("<ul class=\"legend\">");
    for curve in series {
        let _ = write!(html, "<li><i class=\"key {}\"></i>{}</li>", curve.class, curve.name);
    }
    if series.iter().any(|curve| curve.points.len() > POINTS_MAX) {
        html.push_str("<li>shaded: lowest to highest value</li>");
    }
    html.push_str("</ul>");
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_contain_their_values_and_have_few_round_ticks() {
        for (low, high) in [(0.0, 53.2), (0.0, 0.31), (87.0, 112.0), (-60.0, 40.0), (5.0, 5.0), (0.0, 1e6)] {
            let axis = Axis::around(low, high);
            assert!(axis.low <= low && axis.high >= high && axis.high > axis.low, "{low} to {high}");
            assert!((2..=7).contains(&axis.ticks.len()), "{low} to {high}: {:?}", axis.ticks);
        }
        let labels: Vec<_> = Axis::from_zero(0.31).ticks.into_iter().map(|tick| tick.1).collect();
        assert_eq!(labels, ["0.0", "0.1", "0.2", "0.3", "0.4"]);
    }

    #[test]
    fn numbers_have_a_minus_sign_and_no_negative_zero() {
        assert_eq!(number(-1.25, 1), "\u{2212}1.2");
        assert_eq!(number(-0.001, 1), "0.0");
        assert_eq!(number(3.0, 0), "3");
    }

    #[test]
    fn condensing_keeps_the_extremes_and_the_gaps() {
        let mut points: Vec<_> = (0..100_000).map(|n| (f64::from(n), Some(f64::from(n % 2)))).collect();
        points[54_321].1 = Some(9.0);
        points[..1000].iter_mut().for_each(|point| point.1 = None);
        let (middle, spread) = condensed(&points);
        assert!(middle.len() <= GROUPS && middle[0].1.is_none());
        assert!(spread.iter().any(|&(_, _, high)| high == 9.0));
        assert!((middle[200].1.unwrap() - 0.5).abs() < 0.05);
        assert!(middle.is_sorted_by(|a, b| a.0 <= b.0));
    }

    #[test]
    fn gaps_interrupt_the_line() {
        let points =
            vec![(0.0, Some(1.0)), (1.0, None), (2.0, Some(f64::NAN)), (3.0, Some(2.0)), (4.0, Some(2.0))];
        let series = [Series { name: "a", class: "a", points }];
        let svg = lines("a", &series, &Axis::from_zero(4.0), &[], 4.0);
        assert!(svg.contains("d=\"M0.0 75.00h0M750.0 50.00h0L1000.0 50.00\""), "{svg}");
    }
}
