//! Control side: the page of `make quality`: the table, and for each scene the spectrograms side by side with players.

use std::fmt::Write;

use handsfree_tests::echo_rooms::RATE_HZ;

use crate::figures::Figures;
use crate::scenes::{NamedScene, SCENES};
use crate::{CHAINS, SIGNALS};

const STYLE: &str = "
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif }
body { max-width: 90rem; margin: 0 auto; padding: 1.5rem }
table { border-collapse: collapse; margin: 1rem 0 }
th, td { padding: .2rem .7rem; text-align: left; border-bottom: 1px solid #8884 }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
.best { font-weight: 700 }
.signals { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: 1rem }
figure { margin: 0 } figure img { width: 100%; height: 9rem; display: block } audio { width: 100% }
figcaption { font-weight: 600 } .worse { color: #c22 }
";

/// Returns the page; `worse` has the rows that became worse.
pub(crate) fn page(figures: &Figures, worse: &[String], seeds: &[u64]) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>handsfree: quality</title>\
         <style>{STYLE}</style></head><body>\n<h1>Echo cancellers in rooms</h1>\n\
         <p>Mean of seeds {seeds:?}, in dB, {RATE_HZ} Hz. Each canceller is called directly, without noise suppression or gain \
         control. The best figure of a row is bold; \u{201c}off\u{201d} is the microphone.</p>\n"
    );
    if worse.is_empty() {
        page += "<p>No row is worse than when the figures were last accepted.</p>\n";
    } else {
        page += "<p class=\"worse\">Worse than the accepted figures:</p><ul class=\"worse\">";
        for row in worse {
            let _ = write!(page, "<li>{row}</li>");
        }
        page += "</ul>\n";
    }
    page += "<table><thead><tr><th>Scene</th><th>Figure</th>";
    for chain in CHAINS {
        let _ = write!(page, "<th class=\"n\">{}</th>", chain.name());
    }
    page += "</tr></thead><tbody>\n";
    for scene in &SCENES {
        rows(&mut page, scene, figures);
    }
    let _ = write!(
        page,
        "</tbody></table>\n<h2>Look and listen</h2>\n<p>Seed {}. Time to the right (12 s), frequency upwards on a mel scale to \
         8 kHz, -100 to 0 dBFS from dark to bright.</p>\n",
        seeds[0]
    );
    for scene in &SCENES {
        let _ = write!(page, "<h3>{}</h3>\n<div class=\"signals\">", scene.name);
        for signal in SIGNALS {
            if signal == "talker" && scene.config.talker_db.is_none() {
                continue;
            }
            let file = format!("{}-{signal}", scene.file_stem());
            let _ = write!(
                page,
                "<figure><figcaption>{signal}</figcaption><img loading=\"lazy\" alt=\"Spectrogram: {signal}\" src=\"{file}.png\">\
                 <audio controls preload=\"none\" src=\"{file}.wav\"></audio></figure>"
            );
        }
        page += "</div>\n";
    }
    page + "</body></html>\n"
}

fn rows(page: &mut String, scene: &NamedScene, figures: &Figures) {
    for (at, name) in scene.figure_names().iter().enumerate() {
        let _ = write!(page, "<tr><th>{}</th><td>{name}</td>", scene.name);
        let value = |chain: &str| figures.get(scene, at, chain);
        // The microphone itself keeps the talker perfectly, which is no merit.
        let best = CHAINS
            .iter()
            .filter(|chain| chain.name() != "off")
            .filter_map(|chain| value(chain.name()))
            .reduce(|best, db| if scene.loss_db(at, best, db) < 0.0 { db } else { best });
        for chain in CHAINS {
            let found = value(chain.name());
            let class = if chain.name() != "off" && found == best { "n best" } else { "n" };
            let text = found.map_or("-".into(), |db| format!("{db:.1}"));
            let _ = write!(page, "<td class=\"{class}\">{text}</td>");
        }
        page.push_str("</tr>\n");
    }
}
