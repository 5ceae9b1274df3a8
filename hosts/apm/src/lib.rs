//! WebRTC's audio processing as the voice processor of a handsfree terminal: echo cancellation, noise
//! suppression, high-pass and gain control, each switchable while frames flow.
//!
//! ```
//! use handsfree_apm::{ApmConfig, ApmProcessor, GainControl};
//! use handsfree_core::capture::VoiceProcessor;
//! use handsfree_core::{Duration, Format, PcmMut, PcmRef};
//!
//! let near = Format::new(48_000, 1)?;
//! let far = Format::new(48_000, 2)?;
//! let mut processor = ApmProcessor::new(near, far, ApmConfig::default())?;
//! let control = processor.control();
//!
//! let worker = std::thread::spawn(move || {
//!     let played = vec![0; far.samples()];
//!     let mut heard = vec![0; near.samples()];
//!     for _ in 0..50 {
//!         processor.process_reverse(PcmRef { format: far, samples: &played })?;
//!         let frame = PcmMut { format: near, samples: &mut heard };
//!         processor.process_capture(frame, Duration::from_millis(5))?;
//! #       std::thread::sleep(std::time::Duration::from_millis(1));
//!     }
//!     Ok::<_, handsfree_core::capture::ProcessError>(processor.stats())
//! });
//! control.update(|config| config.gain_control = GainControl::Adaptive)?;
//! println!("{:?}, {} frames passed meanwhile", worker.join().unwrap()?, control.passed_frames());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! From application to worker: [`ApmConfig`] says what to do, [`ApmControl`] changes it, [`ApmProcessor`]
//! does it. Inside, `engine` is the one file that calls C++, `handover` the one that shares memory.
#![deny(missing_docs)]

mod config;
mod control;
mod convert;
mod engine;
mod error;
mod handover;
mod processor;

pub use config::{ApmConfig, EchoCancellation, GainControl, MAX_CHANNELS, NoiseSuppression, RATES_HZ};
pub use control::{ApmControl, PATIENCE};
pub use error::{ApmError, Direction};
pub use processor::ApmProcessor;
