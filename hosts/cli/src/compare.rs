//! Control side: `--compare`, which repeats a simulation or a recording with each echo canceller.

use handsfree::failure::Failure;
use handsfree_sim::report::{ComparedCanceller, Summary};

use crate::switches::{CancellerName, Switches};

/// The cancellers that are compared: name, value of `--canceller`, and whether `--gentle` is given.
const CANCELLERS: [(&str, CancellerName, bool); 4] = [
    ("native", CancellerName::Native, false),
    ("webrtc", CancellerName::Webrtc, false),
    ("webrtc, gentle", CancellerName::Webrtc, true),
    ("off", CancellerName::Off, false),
];

/// Measures each canceller. `measure` runs one, with the switches that it is given: those of `switches` with another
/// canceller. A canceller that cannot be used, such as the native one at 44.1 kHz, gets a row with the reason.
pub fn compare(
    switches: Switches,
    mut measure: impl FnMut(Switches) -> Result<Summary, Failure>,
) -> Vec<ComparedCanceller> {
    CANCELLERS
        .into_iter()
        .map(|(name, canceller, gentle)| {
            match measure(Switches { canceller, gentle, no_aec: false, ..switches }) {
                Ok(summary) => ComparedCanceller::new(name, &summary),
                Err(failure) => ComparedCanceller::unavailable(name, failure.to_string()),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_canceller_gets_a_row_and_keeps_other_switches() {
        let switches = Switches { no_aec: true, no_ns: true, ..Switches::DEFAULT };
        let rows = compare(switches, |switches| {
            assert!(switches.no_ns && !switches.no_aec);
            switches.check()?;
            match switches.canceller {
                CancellerName::Native => Err(Failure::usage("not at this rate".to_owned())),
                _ => Ok(Summary::default()),
            }
        });
        let names: Vec<&str> = rows.iter().map(|row| row.canceller.as_str()).collect();
        assert_eq!(names, ["native", "webrtc", "webrtc, gentle", "off"]);
        let reasons: Vec<bool> = rows.iter().map(|row| row.unavailable.is_some()).collect();
        assert_eq!(reasons, [true, false, false, false]);
    }
}
