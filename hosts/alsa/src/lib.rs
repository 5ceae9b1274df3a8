//! Audio host for Linux boards without a sound server: accesses ALSA directly.
//!
//! [`open`] returns a pair: an [`AlsaIo`], the control plane, which implements the core's host trait, and a
//! [`Board`], the only thread that moves samples and calls the worker.
//!
//! ```no_run
//! use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
//! use handsfree_alsa::AlsaConfig;
//! use handsfree_core::audio_io::{AudioIo, DirectionRequest, StreamHalves, StreamRequest};
//! use handsfree_core::capture::Bypass;
//! use handsfree_core::{Frame, Gain, SampleRate, Session, SessionFormat};
//! use handsfree_host::clock;
//!
//! let rate = SampleRate::new(48_000)?;
//! let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
//! let session: &'static mut Session<480, 4, 32, 8, 64, 32, 144_000> = Box::leak(Box::new(Session::new()));
//! let halves = session.split::<CriticalSectionRawMutex, _, _>(terminal, Bypass, ())?;
//! let (mut capture, mut playback) = (halves.capture, halves.playback);
//!
//! let (mut io, board) = handsfree_alsa::open(AlsaConfig::default())?;
//! board.spawn(Box::new(move || {
//!     playback.poll();
//!     capture.poll(&clock::now, &mut |_: &Frame<480>| ());
//! }))?;
//! let direction = DirectionRequest {
//!     device: Some("hw:CARD=Device,DEV=0"),
//!     rate,
//!     device_channels: 1,
//!     map: None,
//!     period_sample_frames: 480,
//!     worker_slack_sample_frames: 0,
//!     gain: Gain::UNITY,
//! };
//! let request = StreamRequest { capture: Some(direction), playback: Some(direction) };
//! let halves = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
//! let granted = io.start(&request, halves).map_err(|refused| refused.error)?;
//! println!("{granted:?}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Latency
//!
//! The latency from microphone to loudspeaker, in sample frames, of a session that plays each captured frame. P is the
//! period of both devices, F a frame of 10 ms, n [`AlsaConfig::playback_periods`], and S the worker's slack in the
//! request:
//!
//! ```text
//! F                      until the frame that begins with the sample is complete
//! 0 to max(F, P)         until the playback ring has space: the rest of the frame that is being played
//! ceil((P + S) / F) * F  in the ring, which is kept at its target fill
//! (n - 1) * P            in the device, ahead of the period that contains the sample
//! ```
//!
//! Up to P is added when F is not a multiple of P or P not a multiple of F. The hardware and the voice processing add
//! their own delays. At 48 kHz with n = 2 this gives 1440 to 1920 with periods of 10 ms, 1200 to 1680 with 5 ms, and
//! 1080 to 1560 with 2.5 ms. The value within these bounds is determined when the stream starts and stays constant. The
//! kernel tests (`tests/kernel/tests/kernel/alsa_host_latency.rs`) measure 1440, 1440 or 1680, and 1200 respectively.
//! `alsaloop`, which has neither frames nor a worker, needs n * P with the same periods before the loudspeaker. Frames
//! cause the difference, so periods shorter than 5 ms reduce latency only slightly.
#![cfg(target_os = "linux")]

mod board;
mod config;
mod device_stream;
mod devices;
mod error;
mod exchange;
mod format;
mod halves;
mod io;
mod messages;
mod names;
mod opening;
mod params;
mod pcm;
mod timing;

pub use board::Board;
pub use config::{AlsaConfig, DriverTimingStats, OpenedPcm, RealTimeConfig};
pub use devices::{AlsaDevice, devices};
pub use error::AlsaError;
pub use format::{SampleFormat, UnknownFormat};
pub use io::{AlsaIo, open};
pub use params::PcmCapabilities;
