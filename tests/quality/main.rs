//! Control side: `make quality`, which compares echo cancellers in generated rooms: ours, WebRTC's, SpeexDSP's and none.
//!
//! It writes figures (text and JSON) and a page with spectrograms and sound to `target/quality`, and fails with the rows that
//! became worse than the accepted figures in `docs/quality.json`. With `--write` it accepts the figures.
#![allow(missing_docs)]

mod figures;
mod page;
mod scenes;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use handsfree_sim::report::spectrogram_png;
use handsfree_sim::wav;
use handsfree_tests::echo_rooms::{EchoRoom, EchoScene, RATE_HZ};
use handsfree_tests::peers::Peer;
use handsfree_tests::speex;

use crate::figures::Figures;

use crate::scenes::{NamedScene, SCENES};

/// Seeds of the rooms. Three show more than chance and keep the run within minutes.
const SEEDS: [u64; 3] = [1, 2, 3];

/// What processes the microphone; `None` is the microphone itself.
#[derive(Clone, Copy, Debug)]
struct Chain(Option<Peer>);

const CHAINS: [Chain; 5] = [
    Chain(Some(Peer::Ours)),
    Chain(Some(Peer::Aec3)),
    Chain(Some(Peer::GentleAec3)),
    Chain(Some(Peer::Speex)),
    Chain(None),
];

/// Signals of a scene that have a picture and a player.
const SIGNALS: [&str; 7] = ["microphone", "talker", "native", "webrtc", "gentle", "speex", "far end"];

impl Chain {
    const fn name(self) -> &'static str {
        match self.0 {
            Some(Peer::Ours) => "native",
            Some(Peer::Aec3) => "webrtc",
            Some(Peer::GentleAec3) => "gentle",
            Some(Peer::Speex) => "speex",
            None => "off",
        }
    }

    /// Returns whether this repository decides what it does.
    const fn is_checked(self) -> bool {
        matches!(self.0, Some(Peer::Ours | Peer::Aec3 | Peer::GentleAec3))
    }

    fn output(self, scene: &EchoScene) -> Vec<f32> {
        self.0.map_or_else(|| scene.mic.clone(), |peer| peer.cancel(scene).full)
    }
}

/// Measures a scene in the room of a seed, and writes its pictures and sounds into `folder` if there is one.
fn measure(
    named: &NamedScene,
    room: &EchoRoom,
    folder: Option<&Path>,
) -> Result<[[f64; 2]; CHAINS.len()], Box<dyn Error + Send + Sync>> {
    let scene = EchoScene::new(room, named.config);
    let write = |signal: &str, samples: &[f32]| -> Result<(), Box<dyn Error + Send + Sync>> {
        let Some(folder) = folder else { return Ok(()) };
        let file = |ending: &str| folder.join(format!("{}-{signal}.{ending}", named.file_stem()));
        std::fs::write(file("wav"), wav::mono_bytes(RATE_HZ, samples).0)?;
        std::fs::write(file("png"), spectrogram_png(samples, RATE_HZ).ok_or("a signal without samples")?)?;
        Ok(())
    };
    write("microphone", &scene.mic)?;
    write("far end", &scene.far)?;
    if named.config.talker_db.is_some() {
        write("talker", &scene.talker)?;
    }
    let mut found = [[0.0; 2]; CHAINS.len()];
    for (figures, chain) in found.iter_mut().zip(CHAINS) {
        let output = chain.output(&scene);
        *figures = named.figures(&scene, &output);
        if chain.0.is_some() {
            write(chain.name(), &output)?;
        }
    }
    Ok(found)
}

/// Measures all scenes on all processors. The result does not depend on their number.
fn measure_all(folder: &Path) -> Result<Figures, Box<dyn Error + Send + Sync>> {
    let (next, sums) = (AtomicUsize::new(0), Mutex::new(vec![None; SCENES.len() * SEEDS.len()]));
    let work = || -> Result<(), Box<dyn Error + Send + Sync>> {
        loop {
            let job = next.fetch_add(1, Ordering::Relaxed);
            let (Some(named), seed) = (SCENES.get(job / SEEDS.len()), SEEDS[job % SEEDS.len()]) else {
                return Ok(());
            };
            let room = EchoRoom::new(seed, named.rt60_s);
            let found = measure(named, &room, (seed == SEEDS[0]).then_some(folder))?;
            sums.lock().map_err(|_| "another thread failed")?[job] = Some(found);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a thread panicked")?)
    })?;
    let sums = sums.into_inner().map_err(|_| "a thread failed")?;
    let mut figures = Figures::default();
    for (named, seeds) in SCENES.iter().zip(sums.chunks(SEEDS.len())) {
        for (at_chain, chain) in CHAINS.iter().enumerate() {
            for at in 0..2 {
                let sum: f64 = seeds.iter().flatten().map(|found| found[at_chain][at]).sum();
                figures.insert(named, at, chain.name(), sum / SEEDS.len() as f64);
            }
        }
    }
    Ok(figures)
}

fn run() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let writes = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--write"] => true,
        _ => return Err(format!("{arguments:?}: expected nothing or --write").into()),
    };
    speex::check()?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder: PathBuf = root.join("target/quality");
    std::fs::create_dir_all(&folder)?;
    let figures = measure_all(&folder)?;
    let json = serde_json::to_string_pretty(&figures)? + "\n";
    let table = figures.table();
    std::fs::write(folder.join("quality.json"), &json)?;
    std::fs::write(folder.join("quality.md"), &table)?;
    let accepted = root.join("docs/quality.json");
    if writes {
        std::fs::write(&accepted, &json)?;
    }
    let text = std::fs::read_to_string(&accepted)
        .map_err(|error| format!("docs/quality.json: {error}; `make quality ARGS=--write` writes it"))?;
    let before: Figures =
        serde_json::from_str(&text).map_err(|error| format!("docs/quality.json: {error}"))?;
    let worse = figures.worse_than(&before);
    let page = folder.join("index.html");
    std::fs::write(&page, page::page(&figures, &worse, &SEEDS))?;
    println!("{table}\npage: {}", page.canonicalize()?.display());
    if worse.is_empty() {
        Ok(())
    } else {
        Err(format!("worse than docs/quality.json:\n{}", worse.join("\n")).into())
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quality: {error}");
            ExitCode::FAILURE
        }
    }
}
