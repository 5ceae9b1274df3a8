//! WebRTC's audio processing as the voice processor of a handsfree terminal: echo cancellation, noise
//! suppression, a high-pass filter and gain control, each of which can be switched while frames flow.
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
//!     let mut recorded = vec![0; near.samples()];
//!     for _ in 0..50 {
//!         processor.process_reverse(PcmRef { format: far, samples: &played })?;
//!         let frame = PcmMut { format: near, samples: &mut recorded };
//!         processor.process_capture(frame, Duration::from_millis(5))?;
//! #       std::thread::sleep(std::time::Duration::from_millis(1));
//!     }
//!     Ok::<_, handsfree_core::capture::ProcessError>(processor.stats())
//! });
//! control.update(|config| config.gain_control = GainControl::Adaptive)?;
//! println!("{:?}, {} frames passed unprocessed", worker.join().unwrap()?, control.passed_frames());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`ApmConfig`] holds the settings. [`ApmProcessor`] belongs to the worker and processes frames. [`ApmControl`]
//! belongs to the application and changes the settings while frames flow. Processing a frame allocates nothing
//! and waits for no lock.
#![deny(missing_docs)]

mod config;
mod control;
mod convert;
mod engine;
mod error;
mod handover;
mod processor;

pub use config::{ApmConfig, EchoCancellation, GainControl, MAX_CHANNELS, NoiseSuppression, RATES_HZ};
pub use control::{ApmControl, SETTINGS_TIMEOUT};
pub use error::ApmError;
pub use processor::ApmProcessor;
