//! Loads a filter and has it process ten seconds of noise at several rates, to see whether a terminal would keep it:
//!
//!     cargo run --release -p handsfree-audio-filter --example try_filter -- FILTER.so [OPTIONS [DEPENDENCY.so]...]
#![allow(missing_docs)]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use handsfree_audio_filter::{AudioFilter, FilterState, SampleType, SessionConfig};
use handsfree_core::capture::{Credentials, FrameProcessor};
use handsfree_core::{Format, PcmMut};

const FRAMES: u32 = 1_000;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let file = PathBuf::from(arguments.next().ok_or("expected the path of a filter")?);
    let options =
        arguments.next().unwrap_or_default().into_string().map_err(|_| "expected options in UTF-8")?;
    let dependencies: Vec<PathBuf> = arguments.map(PathBuf::from).collect();
    let dependencies: Vec<&Path> = dependencies.iter().map(PathBuf::as_path).collect();

    let filter = AudioFilter::load("tried", &file, &dependencies, &Credentials::default())?;
    let mut kept = true;
    for samples in [SampleType::Int16, SampleType::Float] {
        let version = if filter.has_v2(samples) { 2 } else { 1 };
        for rate_hz in [16_000, 44_100, 48_000] {
            let format = Format::new(rate_hz, 1)?;
            let config = SessionConfig { samples, options: &options, ..SessionConfig::default() };
            let mut step = filter.session(format, &config)?;
            let control = step.control();
            let mut noise = 1u32;
            let mut frame = vec![0i16; format.samples()];
            let mut spent = Duration::ZERO;
            for _ in 0..FRAMES {
                for sample in &mut frame {
                    noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    *sample = (noise >> 16) as i16 / 4;
                }
                let begun = Instant::now();
                // What fails is counted.
                let _ = step.process(PcmMut { format, samples: &mut frame });
                spent += begun.elapsed();
            }
            let stats = control.stats();
            println!(
                "{samples:?} by version {version} at {rate_hz} Hz: {} of {FRAMES} frames filtered, {} samples cut, \
                 {:?} a frame, the slowest {:?}, {:?}",
                stats.filtered_frames,
                stats.cut_samples,
                spent / FRAMES,
                stats.slowest,
                control.state()
            );
            if let Some(fault) = control.last_fault() {
                println!("    {fault}");
            }
            kept &= control.state() == FilterState::Active && stats.passed_frames == 0;
        }
    }
    if kept { Ok(()) } else { Err("a terminal would not keep this filter".into()) }
}
