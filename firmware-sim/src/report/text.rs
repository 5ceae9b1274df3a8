//! Formatting of numbers and texts as HTML.

use super::plots::number;

pub(super) fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut safe, c| {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            _ => safe.push(c),
        }
        safe
    })
}

/// Formats a number with its unit in small type; a dash without a number.
pub(super) fn big(value: Option<f64>, decimals: usize, unit: &str) -> String {
    match value.filter(|value| value.is_finite()) {
        Some(value) => format!("{}<small>{unit}</small>", number(value, decimals)),
        None => "<span class=\"absent\">\u{2013}</span>".into(),
    }
}

pub(super) fn cell(value: Option<f64>, decimals: usize) -> String {
    value
        .filter(|value| value.is_finite())
        .map_or("<span class=\"absent\">\u{2013}</span>".into(), |value| number(value, decimals))
}

/// Formats a count with thin spaces between thousands.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

pub(super) fn signed(value: f64, decimals: usize) -> String {
    let text = number(value, decimals);
    if value > 0.0 && text.chars().any(|c| ('1'..='9').contains(&c)) { format!("+{text}") } else { text }
}

/// Formats a command so that the browser breaks its line only in front of a switch.
pub(super) fn command(text: &str) -> String {
    let words = escaped(text).replace(" --", "</span> <span>--");
    format!("<span>{words}</span>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_separators_and_numbers_signs() {
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(count(999), "999");
        assert_eq!(
            (signed(0.04, 1), signed(1.0, 1), signed(-1.0, 1)),
            ("0.0".into(), "+1.0".into(), "\u{2212}1.0".into())
        );
    }
}
