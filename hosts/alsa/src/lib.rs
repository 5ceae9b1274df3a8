//! The audio host of Linux boards without a sound server: direct ALSA.
//!
//! [`open`] makes a pair: an [`AlsaIo`], which is the control plane that any host has, and a [`Board`], the
//! one thread that moves samples and calls the worker.
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
//! let end = DirectionRequest {
//!     device: Some("hw:CARD=Device,DEV=0"),
//!     rate,
//!     device_channels: 1,
//!     map: None,
//!     period_sample_frames: 480,
//!     worker_slack_sample_frames: 0,
//!     gain: Gain::UNITY,
//! };
//! let request = StreamRequest { capture: Some(end), playback: Some(end) };
//! let halves = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
//! let granted = io.start(&request, halves).map_err(|refused| refused.error)?;
//! println!("{granted:?}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Latency
//!
//! From microphone to loudspeaker, in sample frames, of a session that plays what it hears frame by frame; P is
//! the period of both devices, F a frame of 10 ms, n [`AlsaConfig::playback_periods`], S the worker's slack that
//! the request asks for:
//!
//! ```text
//! F                      until the frame that a sample begins is complete
//! 0 to max(F, P)         until the playback ring has room for it: what is left of the frame that is being played
//! ceil((P + S) / F) * F  in the ring, which is kept at its target
//! (n - 1) * P            in the device, before the period that it is written with
//! ```
//!
//! Up to P comes on top where F is no multiple of P, or P none of F; beside it what the hardware itself delays,
//! and what voice processing does. So at 48 kHz with n = 2: 1440 to 1920 at periods of 10 ms, 1200 to 1680 at 5 ms,
//! 1080 to 1560 at 2.5 ms. Which it is within these bounds is decided at the start and stays. In the kernel machine
//! (`tests/kernel/tests/kernel/alsa_host_latency.rs`) it is 1440, 1440 or 1680, and 1200; `alsaloop`, which has no frames and no
//! worker, needs n * P for the same periods before the loudspeaker. Frames make the difference, so periods shorter
//! than 5 ms gain little.
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
