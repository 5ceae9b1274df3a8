//! Control side: the table of `make quality`, and its comparison with the figures that were accepted last.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::CHAINS;
use crate::scenes::{NamedScene, SCENES};

/// Difference that is reported as worse, in dB. A run repeats exactly on one processor; vector instructions of another round
/// differently, which moves figures by some tenths.
pub(crate) const TOLERANCE_DB: f64 = 0.5;

/// Figures of all scenes: by scene, then by figure, then by chain; in dB, rounded to hundredths.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Figures(BTreeMap<String, BTreeMap<String, BTreeMap<String, f64>>>);

impl Figures {
    /// Adds a figure.
    pub(crate) fn insert(&mut self, scene: &NamedScene, at: usize, chain: &str, db: f64) {
        let figures = self.0.entry(scene.name.into()).or_default();
        let chains = figures.entry(scene.figure_names()[at].into()).or_default();
        chains.insert(chain.into(), (db * 100.0).round() / 100.0);
    }

    /// Returns a figure.
    pub(crate) fn get(&self, scene: &NamedScene, at: usize, chain: &str) -> Option<f64> {
        self.0.get(scene.name)?.get(scene.figure_names()[at])?.get(chain).copied()
    }

    /// Returns a table in Markdown.
    pub(crate) fn table(&self) -> String {
        let mut text = String::from("| scene | figure |");
        for chain in CHAINS {
            let _ = write!(text, " {} |", chain.name());
        }
        text += &format!("\n|---|---|{}\n", "---|".repeat(CHAINS.len()));
        for scene in &SCENES {
            for (at, name) in scene.figure_names().iter().enumerate() {
                let _ = write!(text, "| {} | {name} |", scene.name);
                for chain in CHAINS {
                    let figure = self.get(scene, at, chain.name());
                    let _ = write!(text, " {} |", figure.map_or("-".into(), |db| format!("{db:.1}")));
                }
                text.push('\n');
            }
        }
        text
    }

    /// Returns a line for each figure of this project's chains that is worse than `before` by more than the tolerance, or
    /// that is missing there. What other libraries do is shown, but is no reason to fail.
    pub(crate) fn worse_than(&self, before: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for scene in &SCENES {
            for (at, name) in scene.figure_names().iter().enumerate() {
                for chain in CHAINS.iter().filter(|chain| chain.is_checked()) {
                    let chain = chain.name();
                    let Some(now) = self.get(scene, at, chain) else { continue };
                    let row = format!("{}, {name}, {chain}", scene.name);
                    match before.get(scene, at, chain) {
                        None => lines.push(format!("{row}: {now:.1} dB, which was never accepted")),
                        Some(before) if scene.loss_db(at, before, now) > TOLERANCE_DB => lines.push(format!(
                            "{row}: {now:.1} dB, expected {before:.1} within {TOLERANCE_DB} dB"
                        )),
                        Some(_) => {}
                    }
                }
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_worse_figures_of_our_chains_are_reported() {
        let (echo, talker) = (&SCENES[0], &SCENES[11]);
        let filled = |native: f64, gain: f64, speex: f64| {
            let mut figures = Figures::default();
            figures.insert(echo, 1, "native", native);
            figures.insert(talker, 0, "webrtc", gain);
            figures.insert(echo, 1, "speex", speex);
            figures
        };
        let before = filled(50.0, -1.0, 30.0);
        assert!(filled(49.6, -1.4, 10.0).worse_than(&before).is_empty());
        assert!(filled(60.0, 0.0, 10.0).worse_than(&before).is_empty());
        assert_eq!(filled(49.4, -1.0, 30.0).worse_than(&before).len(), 1);
        assert_eq!(filled(50.0, 1.6, 30.0).worse_than(&before).len(), 1);
        assert_eq!(filled(50.0, -1.0, 30.0).worse_than(&Figures::default()).len(), 2);
        let text = serde_json::to_string(&before).unwrap();
        assert_eq!(serde_json::from_str::<Figures>(&text).unwrap(), before);
    }
}
