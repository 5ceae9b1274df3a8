//! Benchmark: time to mix 10 ms at 48 kHz mono, compared with LiveKit's AudioMixer on the same samples in the same run.
//!
//! Our time includes a push into each track, the playback worker, the loudspeaker's interrupt, and the capture worker that
//! takes the played frame. LiveKit's time includes reading prepared frames from asynchronous streams, mixing, and taking
//! the mixed frame. Both fill and empty their queues; neither includes start-up. Both times are the thread's processor
//! time, so that a busy machine affects them alike. The mixed samples of both are compared.
//!
//! The first run installs LiveKit from PyPI into a virtual environment under the target folder. `-- ours` leaves it out.
#![allow(missing_docs)]

mod livekit;

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::capture::Bypass;
use handsfree_core::{ChannelMap, Frame, SampleRate, Session, SessionFormat};
use handsfree_sim::noise::Rng;
use handsfree_tests::{captured_at, outlet_config, played_at, with_large_stack};

const RATE_HZ: u32 = 48_000;
const FRAME: usize = 480;
/// Number of frames of each source; longer runs repeat them.
const STRETCH: usize = 100;
/// Number of runs, of which the fastest counts, since other load on the machine only makes a run slower.
const OUR_RUNS: usize = 25;
const OUR_FRAMES: usize = 2_000;
const LIVEKIT_RUNS: usize = 7;
const LIVEKIT_FRAMES: usize = 500;
const SOURCES: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
const MAX_SOURCES: usize = 64;

/// Promised ratio to LiveKit's time, with 8 sources and with 64.
const PROMISED_RATIO: f64 = 20.0;
/// Promised upper bound for the growth of the time from 8 to 64 sources.
const PROMISED_GROWTH: f64 = 8.0 * 1.1;

/// Returns noise that is quiet enough for a few dozen sources to clip only occasionally.
fn samples() -> Vec<i16> {
    let mut rng = Rng::for_stream(1, "mixer bench");
    (0..MAX_SOURCES * STRETCH * FRAME).map(|_| (rng.next_u64() as i16) >> 2).collect()
}

/// Returns the best time per frame in nanoseconds, and the mix of the first round.
fn ours<const SLOTS: usize>(samples: &[i16], frames: usize) -> (f64, Vec<i16>) {
    let rate = SampleRate::new(RATE_HZ).expect("a valid rate");
    let sources: Vec<&[i16]> = samples.chunks(STRETCH * FRAME).take(SLOTS).collect();
    let (mut best_ns, mut mixed) = (f64::INFINITY, Vec::new());
    for _ in 0..OUR_RUNS {
        let mut session = Box::new(Session::<FRAME, SLOTS, 8, 8, 16, 8, 48_000>::new());
        let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
        let mut halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).expect("a valid terminal");
        let map = ChannelMap::natural(1, 1).expect("one channel");
        halves.outlet.configure(outlet_config(rate, map, FRAME as u32)).expect("a valid device");
        let mut tracks: Vec<_> = (0..SLOTS).map(|_| halves.tracks.open().expect("a slot each")).collect();
        let mut out = [0i16; FRAME];
        mixed.clear();
        let begun_ns = livekit::processor_time_ns();
        for k in 0..frames {
            let at = k % STRETCH * FRAME;
            for (track, source) in tracks.iter_mut().zip(&sources) {
                assert_eq!(track.push(&source[at..at + FRAME]), Ok(FRAME));
            }
            halves.playback.poll();
            let position = (k * FRAME) as u64;
            halves.outlet.on_period(&mut out, played_at(position, rate, 0));
            halves.capture.poll(&|| captured_at(position, 0, rate, 0).called, &mut |_: &Frame<FRAME>| {});
            if k < STRETCH {
                mixed.extend_from_slice(&out);
            }
        }
        best_ns = best_ns.min((livekit::processor_time_ns() - begun_ns) / frames as f64);
    }
    (best_ns, mixed)
}

/// Returns the best time per frame in nanoseconds for each of [`SOURCES`], and the mix of the largest number of sources.
fn all_of_ours(samples: &[i16], frames: usize) -> (Vec<f64>, Vec<i16>) {
    let (last, mixed) = ours::<MAX_SOURCES>(samples, frames);
    let first = [
        ours::<1>(samples, frames).0,
        ours::<2>(samples, frames).0,
        ours::<4>(samples, frames).0,
        ours::<8>(samples, frames).0,
        ours::<16>(samples, frames).0,
        ours::<32>(samples, frames).0,
    ];
    (first.into_iter().chain([last]).collect(), mixed)
}

struct LiveKitResult {
    /// Versions of LiveKit and Python.
    versions: String,
    /// Best time per frame in nanoseconds for each of [`SOURCES`].
    times_ns: Vec<f64>,
    /// Mix of the largest number of sources.
    mixed: Vec<i16>,
}

fn livekit_result(samples: &[i16]) -> Result<LiveKitResult, String> {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let python = livekit::python(&scratch.join("livekit"))?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/livekit/mixer.py");
    let (given, mixed) = (scratch.join("mixer-samples.raw"), scratch.join("mixer-mixed.raw"));
    let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_ne_bytes()).collect();
    fs::write(&given, bytes).map_err(|error| format!("{}: {error}", given.display()))?;
    let numbers = SOURCES.map(|n| n.to_string());
    let printed = livekit::output_of(
        Command::new(python)
            .arg(script)
            .args([&given, &mixed])
            .args([LIVEKIT_FRAMES.to_string(), LIVEKIT_RUNS.to_string()])
            .args(&numbers),
    )?;
    let mut versions = String::new();
    let mut times_ns = Vec::new();
    for line in printed.lines() {
        match line.split_once(' ') {
            Some(("version", rest)) => versions = rest.replace(' ', ", Python "),
            Some((_, time)) => times_ns.push(
                time.parse()
                    .map_err(|_| format!("expected a number of sources and a time, found: {line}"))?,
            ),
            None => return Err(format!("expected a number of sources and a time, found: {line}")),
        }
    }
    let bytes = fs::read(&mixed).map_err(|error| format!("{}: {error}", mixed.display()))?;
    let mixed = bytes.chunks_exact(2).map(|pair| i16::from_ne_bytes([pair[0], pair[1]])).collect();
    if times_ns.len() != SOURCES.len() {
        return Err(format!("{} times, expected {}:\n{printed}", times_ns.len(), SOURCES.len()));
    }
    Ok(LiveKitResult { versions, times_ns, mixed })
}

fn table(ours_ns: &[f64], theirs: Option<&LiveKitResult>) {
    println!(
        "{:<10}{:>12}{:>18}{:>14}{:>10}",
        "sources", "ours, us", "ours, ns/source", "LiveKit, us", "ratio"
    );
    for (k, sources) in SOURCES.into_iter().enumerate() {
        let ours = ours_ns[k];
        print!("{sources:<10}{:>12.2}{:>18.0}", ours / 1e3, ours / sources as f64);
        match theirs {
            Some(theirs) => println!("{:>14.1}{:>10.0}", theirs.times_ns[k] / 1e3, theirs.times_ns[k] / ours),
            None => println!("{:>14}{:>10}", "-", "-"),
        }
    }
}

/// Returns `holds`, and prints the bound if it is violated.
fn check_bound(holds: bool, promise: &str) -> bool {
    if !holds {
        println!("violated: {promise}");
    }
    holds
}

fn time_of(times_ns: &[f64], sources: usize) -> f64 {
    SOURCES.iter().zip(times_ns).find(|(n, _)| **n == sources).map_or(f64::NAN, |(_, time)| *time)
}

fn bench(with_livekit: bool) -> Result<bool, String> {
    let samples = samples();
    let (ours_ns, mixed) = all_of_ours(&samples, OUR_FRAMES);
    let growth = time_of(&ours_ns, 64) / time_of(&ours_ns, 8);
    let theirs = if with_livekit { livekit_result(&samples) } else { Err(String::new()) };
    println!("10 ms at {RATE_HZ} Hz mono, best of {OUR_RUNS} runs (ours) and {LIVEKIT_RUNS} runs (LiveKit)");
    table(&ours_ns, theirs.as_ref().ok());
    println!("from 8 sources to 64 the cost grows {growth:.1} times");
    let linear = check_bound(growth <= PROMISED_GROWTH, "cost linear in sources");
    if !with_livekit {
        return Ok(linear);
    }
    let theirs = theirs?;
    println!("LiveKit {}, blocks of 10 ms", theirs.versions);
    let same = check_bound(theirs.mixed == mixed, "both mix to the same samples");
    let faster = [8, 64].into_iter().all(|n| {
        let ratio = time_of(&theirs.times_ns, n) / time_of(&ours_ns, n);
        check_bound(
            ratio >= PROMISED_RATIO,
            &format!("{PROMISED_RATIO} times LiveKit's speed with {n} sources"),
        )
    });
    Ok(linear && same && faster)
}

fn main() -> ExitCode {
    let has = |word: &str| std::env::args().any(|arg| arg == word);
    with_large_stack(|| {
        // `cargo test --benches` only checks that it runs.
        if has("--test") {
            all_of_ours(&samples(), STRETCH);
            return ExitCode::SUCCESS;
        }
        match bench(!has("ours")) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("mixer: {error}");
                ExitCode::FAILURE
            }
        }
    })
}
