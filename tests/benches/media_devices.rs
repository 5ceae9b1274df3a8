//! Benchmark: our terminal, as `MediaDevices` runs it, compared with LiveKit's Python MediaDevices helpers on the same
//! blocks in the same run: processor time per 10 ms of audio, capture and playback latency, losses, and echo reduction.
//!
//! Both run on a simulated device in virtual time, which `livekit/media_devices.py` describes: one clock, two echoes, and
//! live speech (each 10 ms of speech become available when they have been spoken). On our side, the worker runs after each
//! of the two interrupts. Processor time is that of this thread in the best second, with all processing on; all other
//! figures are measured with echo cancellation and high-pass only.
//!
//! The first run installs LiveKit from PyPI into a virtual environment under the target folder. `-- ours` leaves it out.
#![allow(missing_docs)]

mod livekit;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use handsfree::terminal::{Parts, TerminalConfig};
use handsfree_apm::{ApmConfig, ApmProcessor, EchoCancellation, GainControl, NoiseSuppression};
use handsfree_core::capture::VoiceProcessor;
use handsfree_core::dsp::FrameConverter;
use handsfree_core::playback::OutletConfig;
use handsfree_core::{ChannelMap, Duration, Format, Instant, PcmMut, PcmRef, PeriodTime, SampleRate};
use handsfree_sim::noise::Rng;
use handsfree_tests::{far_speech, intake_config, outlet_config, to_pcm};

/// Device rates in hertz and block lengths in sample frames; LiveKit's defaults are 48 kHz and 4800.
const CASES: [(u32, usize); 6] =
    [(48_000, 4_800), (48_000, 480), (48_000, 512), (44_100, 4_800), (44_100, 441), (44_100, 512)];
const TERMINAL_HZ: u32 = 48_000;
const FRAME: usize = 480;
const SECONDS: usize = 30;
/// Delay in seconds and gain of each echo; the same as in `livekit/media_devices.py`.
const ECHOES: [(f64, f64); 2] = [(0.005, 0.25), (0.013, 0.1)];
const NOISE: f64 = 3.0;

/// Figures of one side.
#[derive(Clone, Copy, Debug, Default)]
struct Measurement {
    /// Processor time of the callbacks or interrupts per 10 ms, in microseconds.
    callbacks_us: f64,
    /// Processor time of everything that runs per 10 ms, in microseconds.
    all_us: f64,
    /// Fraction of the captured audio that the application received.
    delivered: f64,
    /// Fraction of the played audio that the canceller received.
    reversed: f64,
    /// Age of a frame's first sample when the application receives it, in milliseconds.
    capture_ms: f64,
    /// Age of a sample when it is heard, in milliseconds.
    playback_ms: f64,
    /// Echo reduction in dB.
    echo_db: f64,
}

/// Returns the default processing of an application, or echo cancellation and high-pass only.
fn voice(is_all: bool) -> ApmConfig {
    ApmConfig {
        echo_cancellation: EchoCancellation::Full,
        high_pass: true,
        noise_suppression: if is_all { NoiseSuppression::Moderate } else { NoiseSuppression::Off },
        gain_control: if is_all { GainControl::Adaptive } else { GainControl::Off },
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Returns the shortest time of a second, without the first and an incomplete one, in microseconds per 10 ms.
fn best_us(times_ns: &[f64], rate_hz: u32, block: usize) -> f64 {
    let second = rate_hz as usize / block;
    let sums =
        times_ns[second.min(times_ns.len() - 1)..].chunks_exact(second).map(|times| times.iter().sum());
    sums.fold(f64::INFINITY, f64::min) / 1e3 * f64::from(rate_hz) / 100.0 / (second * block) as f64
}

fn mean_square(samples: &[i16]) -> f64 {
    samples.iter().map(|&sample| f64::from(sample).powi(2)).sum::<f64>() / samples.len().max(1) as f64
}

/// Fills `heard` with the microphone's signal for the sample frames from `from` on.
fn record_microphone(played: &[i16], from: usize, rate_hz: u32, rng: &mut Rng, heard: &mut [i16]) {
    for (at, heard) in (from..).zip(heard) {
        let echo = ECHOES.iter().map(|(delay_s, gain)| {
            let earlier = at.checked_sub((delay_s * f64::from(rate_hz)).round() as usize);
            earlier.map_or(0.0, |earlier| gain * f64::from(played[earlier]))
        });
        *heard = (echo.sum::<f64>() + NOISE * rng.gaussian()).round() as i16;
    }
}

/// Returns our figures and the played signal.
fn ours(rate_hz: u32, block: usize, seconds: usize, is_all: bool) -> Result<(Measurement, Vec<i16>), String> {
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    let rate = SampleRate::new(rate_hz).map_err(|error| failed(&error))?;
    let terminal_rate = SampleRate::new(TERMINAL_HZ).map_err(|error| failed(&error))?;
    let now_ns = Arc::new(AtomicI64::new(0));
    let clock_ns = Arc::clone(&now_ns);
    let clock = Arc::new(move || Instant::from_nanos(clock_ns.load(Ordering::Relaxed)));
    let config = TerminalConfig { voice: voice(is_all), ..TerminalConfig::new(terminal_rate) };
    let Parts { mut terminal, halves, mut work } = config.build(clock).map_err(|error| failed(&error))?;
    let (mut intake, mut outlet) = (halves.intake.ok_or("no intake")?, halves.outlet.ok_or("no outlet")?);
    let mono = ChannelMap::natural(1, 1).map_err(|error| failed(&error))?;
    intake.configure(intake_config(rate, mono, block as u32)).map_err(|error| failed(&error))?;
    let slack = rate.sample_frames() as u32;
    let device =
        OutletConfig { worker_slack_sample_frames: slack, ..outlet_config(rate, mono, block as u32) };
    outlet.configure(device).map_err(|error| failed(&error))?;
    let mut frames = terminal.take_cleaned().ok_or("the queue is taken")?;
    frames.listen(50);
    let mut track = terminal.tracks().open().map_err(|error| failed(&error))?;

    let speech = to_pcm(&far_speech(terminal_rate, 10.0));
    let mut rng = Rng::for_stream(1, "media devices bench");
    let blocks = seconds * rate_hz as usize / block;
    let mut played = vec![0; (blocks + 2) * block];
    let (mut callback_ns, mut all_ns) = (Vec::new(), Vec::new());
    let (mut capture_ages, mut playback_ages) = (Vec::new(), Vec::new());
    let (mut heard, mut pushed, mut lost) = (vec![0i16; block], 0, 0);
    let conversion_ms = FrameConverter::<FRAME>::latency(rate, terminal_rate).as_millis_f64();
    let (mut in_levels, mut out_levels) = (Vec::new(), Vec::new());
    for k in 1..=blocks {
        let now = k * block;
        let is_late = 3 * k > 2 * blocks;
        record_microphone(&played, now - block, rate_hz, &mut rng, &mut heard);
        let at =
            |sample_frames: usize| Instant::ORIGIN + Duration::of_sample_frames(sample_frames as u64, rate);
        let called = at(now);
        now_ns.store(called.as_nanos(), Ordering::Relaxed);
        let position = (now - block) as u64;
        let mut got = Vec::new();

        let begun = livekit::processor_time_ns();
        while (pushed + FRAME) * rate_hz as usize <= now * TERMINAL_HZ as usize {
            let from = pushed % speech.len();
            let taken = track.push(&speech[from..from + FRAME]).map_err(|error| failed(&error))?;
            pushed += taken;
        }
        work();
        let first = livekit::processor_time_ns();
        let next = &mut played[now + block..now + 2 * block];
        outlet.on_period(next, PeriodTime { position, converter: at(now + block), called });
        let second = livekit::processor_time_ns();
        work();
        let third = livekit::processor_time_ns();
        intake.on_period(&heard, PeriodTime { position, converter: at(now - block), called });
        let fourth = livekit::processor_time_ns();
        work();
        while let Some(frame) = frames.pop() {
            got.push(frame);
        }
        let ended = livekit::processor_time_ns();

        callback_ns.push(second - first + fourth - third);
        all_ns.push(ended - begun);
        lost += got.iter().map(|frame| frame.stamp.lost).sum::<u32>();
        if is_late {
            let now_ms = called.as_nanos() as f64 / 1e6;
            let age_ms = |position: u64| now_ms - position as f64 * 1e3 / f64::from(TERMINAL_HZ);
            capture_ages.extend(got.iter().map(|frame| age_ms(frame.stamp.position) + conversion_ms));
            playback_ages.push(age_ms(track.played_position(called)));
            in_levels.push(mean_square(&heard));
            out_levels.extend(got.iter().map(|frame| mean_square(frame.samples())));
        }
    }
    let stats = terminal.stats();
    let unheard = stats.capture.reference_lost_sample_frames;
    let level = |levels: &[f64]| levels.iter().sum::<f64>() / levels.len().max(1) as f64;
    let captured = (blocks * block) as f64 * f64::from(TERMINAL_HZ) / f64::from(rate_hz);
    let measurement = Measurement {
        callbacks_us: best_us(&callback_ns, rate_hz, block),
        all_us: best_us(&all_ns, rate_hz, block),
        delivered: 1.0 - f64::from(lost + terminal.dropped_frames() * FRAME as u32) / captured,
        reversed: 1.0 - f64::from(unheard) / captured,
        capture_ms: median(&mut capture_ages),
        playback_ms: median(&mut playback_ages),
        echo_db: 10.0 * (level(&in_levels) / level(&out_levels).max(1e-3)).log10(),
    };
    Ok((measurement, played))
}

/// Returns the echo reduction of the canceller when it is called directly with exactly the played signal, at 48 kHz. This
/// is the best that can be reached.
fn oracle_db(played: &[i16]) -> Result<f64, String> {
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    let format = Format::new(TERMINAL_HZ, 1).map_err(|error| failed(&error))?;
    let mut canceller = ApmProcessor::new(format, format, voice(false)).map_err(|error| failed(&error))?;
    let mut rng = Rng::for_stream(1, "media devices bench");
    let mut heard = [0; FRAME];
    let (mut in_level, mut out_level) = (0.0, 0.0);
    for (at, samples) in (0..).step_by(FRAME).zip(played.chunks_exact(FRAME)) {
        record_microphone(played, at, TERMINAL_HZ, &mut rng, &mut heard);
        let level = mean_square(&heard);
        canceller.process_reverse(PcmRef { format, samples }).map_err(|error| failed(&error))?;
        let near = PcmMut { format, samples: &mut heard };
        canceller.process_capture(near, Duration::ZERO).map_err(|error| failed(&error))?;
        if 3 * at > 2 * played.len() {
            in_level += level;
            out_level += mean_square(&heard);
        }
    }
    Ok(10.0 * (in_level / out_level).log10())
}

struct LiveKitRunner<'a> {
    python: &'a Path,
    speech: &'a Path,
    versions: String,
}

impl LiveKitRunner<'_> {
    /// Runs the script; returns the numbers of its two lines and stores the versions.
    fn run(&mut self, rate_hz: u32, block: usize, processing: &str) -> Result<(Vec<f64>, Vec<f64>), String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/livekit/media_devices.py");
        let numbers = [SECONDS.to_string(), rate_hz.to_string(), block.to_string(), processing.to_owned()];
        let mut command = Command::new(self.python);
        let printed = livekit::output_of(command.arg(script).arg(self.speech).args(numbers))?;
        let numbers = |line: Option<&str>, count: usize| {
            let words = line.unwrap_or_default().split_whitespace();
            let numbers: Option<Vec<f64>> = words.map(|word| word.parse().ok()).collect();
            numbers
                .filter(|numbers| numbers.len() == count)
                .ok_or(format!("expected {count} numbers:\n{printed}"))
        };
        let mut lines = printed.lines();
        self.versions = lines.next().unwrap_or_default().to_owned();
        Ok((numbers(lines.next(), 7)?, numbers(lines.next(), 3)?))
    }

    /// Returns LiveKit's figures, the processor time with one set of processing and the rest with another.
    fn measurement(
        &mut self,
        (rate_hz, block): (u32, usize),
        cost: &str,
        rest: &str,
    ) -> Result<Measurement, String> {
        let (costs, _) = self.run(rate_hz, block, cost)?;
        let (counts, quality) = self.run(rate_hz, block, rest)?;
        let [_, _, delivered, captured, reversed, played, _] = counts[..] else {
            return Err("expected 7 numbers".into());
        };
        Ok(Measurement {
            callbacks_us: costs[0] / 1e3,
            all_us: costs[1] / 1e3,
            delivered: delivered / captured,
            reversed: reversed / played,
            capture_ms: quality[0],
            playback_ms: quality[1],
            echo_db: quality[2],
        })
    }
}

fn row(side: &str, (rate_hz, block): (u32, usize), found: &Measurement) {
    let number = |value: f64, digits: usize| {
        if value.is_finite() { format!("{value:.digits$}") } else { "-".into() }
    };
    println!(
        "{rate_hz:>7}{block:>6}  {side:<22}{:>10}{:>10}{:>12}{:>12}{:>10}{:>10}{:>9}",
        number(found.callbacks_us, 1),
        number(found.all_us, 1),
        number(100.0 * found.delivered, 2),
        number(100.0 * found.reversed, 2),
        number(found.capture_ms, 1),
        number(found.playback_ms, 1),
        number(found.echo_db, 1),
    );
}

/// Returns `holds`, and prints the bound if it is violated.
fn check_bound(holds: bool, promise: &str) -> bool {
    if !holds {
        println!("violated: {promise}");
    }
    holds
}

fn both(case: (u32, usize), seconds: usize) -> Result<(Measurement, Vec<i16>), String> {
    let (cost, _) = ours(case.0, case.1, seconds, true)?;
    let (rest, played) = ours(case.0, case.1, seconds, false)?;
    Ok((Measurement { callbacks_us: cost.callbacks_us, all_us: cost.all_us, ..rest }, played))
}

fn bench(with_livekit: bool) -> Result<bool, String> {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let speech = scratch.join("media-devices-speech.raw");
    let rate = SampleRate::new(TERMINAL_HZ).map_err(|error| error.to_string())?;
    let bytes: Vec<u8> =
        to_pcm(&far_speech(rate, 10.0)).iter().flat_map(|sample| sample.to_ne_bytes()).collect();
    std::fs::write(&speech, bytes).map_err(|error| format!("{}: {error}", speech.display()))?;
    let python: PathBuf =
        if with_livekit { livekit::python(&scratch.join("livekit"))? } else { PathBuf::new() };
    let mut theirs = LiveKitRunner { python: &python, speech: &speech, versions: String::new() };
    println!("processor time per 10 ms of audio, losses, latency and echo reduction, {SECONDS} s each");
    println!(
        "   rate block  side                   calls, us   all, us  delivered, %  reverse, %  mic, ms  play, ms  echo, dB"
    );
    let mut all_hold = true;
    for case in CASES {
        let (found, played) = both(case, SECONDS)?;
        row("ours", case, &found);
        if case == (TERMINAL_HZ, FRAME) {
            let oracle_db = oracle_db(&played)?;
            println!("{:>7}{:>6}  our canceller with a perfect reference: {oracle_db:.1} dB", case.0, case.1);
            all_hold &= check_bound(
                (found.echo_db - oracle_db).abs() < 3.0,
                "echo reduction within 3 dB of that with a perfect reference",
            );
        }
        all_hold &= check_bound(
            found.delivered == 1.0 && found.reversed == 1.0,
            "no audio is lost at any block length",
        );
        if !with_livekit {
            continue;
        }
        let other = match theirs.measurement(case, "all", "echo") {
            Ok(other) => {
                row("LiveKit", case, &other);
                other
            }
            Err(error) => {
                let why = error.lines().find(|line| line.contains("must")).unwrap_or(&error).to_owned();
                println!("{:>7}{:>6}  LiveKit: the process is aborted: {why}", case.0, case.1);
                let other = theirs.measurement(case, "none", "none")?;
                row("LiveKit, unprocessed", case, &other);
                // Its time with processing is unknown.
                Measurement { echo_db: f64::NAN, all_us: f64::INFINITY, ..other }
            }
        };
        all_hold &= check_bound(
            found.all_us < other.all_us || other.delivered == 0.0,
            "less processor time than LiveKit's",
        );
        all_hold &= check_bound(found.echo_db > 30.0, "echo reduction above 30 dB at any block length");
    }
    if with_livekit {
        println!("{}", theirs.versions);
    }
    Ok(all_hold)
}

fn main() -> ExitCode {
    let has = |word: &str| std::env::args().any(|arg| arg == word);
    // `cargo test --benches` only checks that it runs.
    let outcome = if has("--test") { both(CASES[5], 3).map(|_| true) } else { bench(!has("ours")) };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("media_devices: {error}");
            ExitCode::FAILURE
        }
    }
}
