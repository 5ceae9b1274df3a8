//! A hands-free voice terminal: it removes the loudspeaker's echo from the microphone, and plays several tracks.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use handsfree::{HostChoice, InputOptions, MediaDevices, OutputOptions, TrackOptions};
//!
//! let devices = MediaDevices::builder().rate_hz(16_000).host(HostChoice::Auto).open()?;
//! let mut player = devices.open_output(OutputOptions::default());
//! let mut track = player.add_track(TrackOptions { rate_hz: 16_000, channels: 1 })?;
//! player.start()?;
//! let mut microphone = devices.open_input(InputOptions::default())?;
//! loop {
//!     // Everything pushed is played, and its echo is removed from the microphone. This example pushes silence.
//!     track.push(&[0; 8_000])?;
//!     let Some(frame) = microphone.next_frame(Duration::from_secs(5)) else { break };
//!     println!("{} samples without echo", frame.samples().len());
//! }
//! # Ok::<(), handsfree::MediaError>(())
//! ```
//!
//! [`media_devices`] describes microphones, players and tracks. [`terminal`] is the layer below it, for
//! programs that run the worker and the control loop themselves.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `cpal` | yes | the desktop's audio system: PulseAudio, PipeWire, Core Audio, WASAPI |
//! | `alsa` | yes | Linux sound cards without a sound server; no effect on other systems |
//! | `apm` | yes | WebRTC's audio processing, for which building needs a C++ compiler; see below |
//! | `sim` | no | `sim`: a simulated room with devices on a virtual clock |
//! | `dump` | no | `dump`: records a session's inputs and outputs, and replays them |
//! | `serde` | no | `serde::Serialize` for listed devices and reported figures |
//!
//! Without `apm`, nothing of C++ is built or linked. The project's own canceller, high-pass, noise reduction and gain do
//! everything at 8, 16, 32 and 48 kHz; what only WebRTC's audio processing does (other rates,
//! [`CancellerChoice::Webrtc`](terminal::CancellerChoice::Webrtc), `EchoCancellation::Mobile`) is refused with an error.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod background;
pub mod catch_panic;
pub mod device;
#[cfg(feature = "dump")]
pub mod dump;
pub mod failure;
pub mod host;
pub mod media_devices;
pub mod pcm;
pub mod recording;
pub mod shared_step;
#[cfg(feature = "sim")]
pub mod sim;
pub mod speech;
pub mod terminal;
mod try_only;

pub use self::host::HostChoice;
pub use self::media_devices::{
    InputCapture, InputOptions, MediaDevices, MediaError, MediaEvent, OutputOptions, OutputPlayer,
    OutputTrack, Polling, Speech, TrackOptions,
};
