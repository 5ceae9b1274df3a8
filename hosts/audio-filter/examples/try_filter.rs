//! Loads a filter and runs ten seconds of noise through it at several rates, to check that a terminal would keep it active:
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

    // SAFETY: the user of this program names the libraries, and vouches for them by running it.
    let filter = unsafe { AudioFilter::load("tried", &file, &dependencies, &Credentials::default()) }?;
    let mut stays_active = true;
    for samples in [SampleType::Int16, SampleType::Float] {
        let version = if filter.has_v2(samples) { 2 } else { 1 };
        for rate_hz in [16_000, 44_100, 48_000] {
            let format = Format::new(rate_hz, 1)?;
            let config = SessionConfig { samples, options: &options, ..SessionConfig::default() };
            let mut step = filter.session(format, &config)?;
            let control = step.control();
            let mut noise = 1u32;
            let mut frame = vec![0i16; format.samples()];
            let mut total_time = Duration::ZERO;
            for _ in 0..FRAMES {
                for sample in &mut frame {
                    noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    *sample = (noise >> 16) as i16 / 4;
                }
                let started = Instant::now();
                // The statistics below count failed frames.
                let _ = step.process(PcmMut { format, samples: &mut frame });
                total_time += started.elapsed();
            }
            let stats = control.stats();
            println!(
                "{samples:?} with version {version} at {rate_hz} Hz: {} of {FRAMES} frames filtered, {} samples clipped, \
                 {:?} per frame, slowest {:?}, {:?}",
                stats.filtered_frames,
                stats.clipped_samples,
                total_time / FRAMES,
                stats.slowest,
                control.state()
            );
            if let Some(fault) = control.last_fault() {
                println!("    {fault}");
            }
            stays_active &= control.state() == FilterState::Active && stats.passed_frames == 0;
        }
    }
    if stays_active {
        Ok(())
    } else {
        Err("the filter failed: expected it to stay active and to process every frame".into())
    }
}
