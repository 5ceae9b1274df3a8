//! WebRTC's audio processing as the voice processor of a handsfree terminal: echo cancellation, noise
//! suppression, a high-pass filter and gain control, each of which can be switched while frames flow.
//!
#![cfg_attr(feature = "webrtc", doc = "```")]
#![cfg_attr(not(feature = "webrtc"), doc = "```ignore")]
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
//!
//! Without the default feature `webrtc`, nothing of the C++ library is built or linked: the settings' types remain, so
//! that a program can name them, and [`ApmProcessor::new`] returns [`ApmError::NotLinked`].
#![deny(missing_docs)]

mod config;
#[cfg(feature = "webrtc")]
mod control;
#[cfg(feature = "webrtc")]
mod convert;
#[cfg(feature = "webrtc")]
mod engine;
mod error;
#[cfg(feature = "webrtc")]
mod flush_to_zero;
#[cfg(feature = "webrtc")]
mod gentle;
#[cfg(feature = "webrtc")]
mod handover;
#[cfg(not(feature = "webrtc"))]
mod not_linked;
#[cfg(feature = "webrtc")]
mod processor;

pub use config::{ApmConfig, EchoCancellation, GainControl, MAX_CHANNELS, NoiseSuppression, RATES_HZ};
#[cfg(feature = "webrtc")]
pub use control::{ApmControl, SETTINGS_TIMEOUT};
pub use error::ApmError;
#[cfg(not(feature = "webrtc"))]
pub use not_linked::ApmProcessor;
#[cfg(feature = "webrtc")]
pub use processor::ApmProcessor;

/// Whether this build links WebRTC's audio processing: the feature `webrtc`.
pub const IS_LINKED: bool = cfg!(feature = "webrtc");
