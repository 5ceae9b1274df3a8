//! The audio host of desktops, by cpal: PulseAudio, PipeWire and ALSA on Linux, Core Audio on macOS, WASAPI
//! on Windows.
//!
//! [`open`] makes a [`CpalIo`], the control plane that any host has, and a worker thread that runs the work
//! given. cpal's callbacks call the interrupt halves themselves, with no queue between, and wake the worker.
//!
//! ```no_run
//! use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
//! use handsfree_core::audio_io::{AudioIo, DirectionRequest, StreamHalves, StreamRequest};
//! use handsfree_core::capture::Bypass;
//! use handsfree_core::{Frame, Gain, SampleRate, Session, SessionFormat};
//! use handsfree_cpal::CpalConfig;
//! use handsfree_host::clock;
//!
//! let rate = SampleRate::new(48_000)?;
//! let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
//! let session: &'static mut Session<480, 4, 32, 32, 64, 32, 144_000> = Box::leak(Box::new(Session::new()));
//! let halves = session.split::<CriticalSectionRawMutex, _, _>(terminal, Bypass, ())?;
//! let (mut capture, mut playback) = (halves.capture, halves.playback);
//!
//! let mut io = handsfree_cpal::open(
//!     CpalConfig::default(),
//!     Box::new(move || {
//!         playback.poll();
//!         capture.poll(&clock::now, &mut |_: &Frame<480>| ());
//!     }),
//! )?;
//! let end = DirectionRequest {
//!     device: None, // the default one
//!     rate,
//!     device_channels: 1,
//!     map: None,
//!     period_sample_frames: 480,
//!     worker_slack_sample_frames: 480,
//!     gain: Gain::UNITY,
//! };
//! let request = StreamRequest { capture: Some(end), playback: Some(end) };
//! let halves = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
//! let granted = io.start(&request, halves).map_err(|refused| refused.error)?;
//! println!("{granted:?}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What may be relied upon
//!
//! - **Callbacks of any length.** What is longer than the period granted is handed over in pieces of that
//!   length, and counted ([`CallbackStats`]). The period granted is what the audio system says it will be,
//!   and a longer one ([`Opened::longest_sample_frames`]) where more may come at once.
//! - **Times are checked before they are believed.** Only the difference between callback and converter is
//!   taken from cpal; the callback's own time is read from the system's clock. Positions are counted.
//! - **The halves come back**, from a stream that runs, one whose server is gone and one whose server hangs:
//!   they are parked in a slot that callbacks borrow by one try. A callback after the stop plays silence.
//! - **A device that is gone** is told once; so is a stream that calls nobody for two seconds. The
//!   [`StreamSupervisor`](handsfree_host::supervisor::StreamSupervisor) starts it again.
//! - **Another default device** is told once, and a stream that was opened on the default is there: because its audio
//!   system has taken it along ([`Event::Moved`], so it is not opened again), or because the supervisor starts it there
//!   ([`Event::DefaultChanged`]). PulseAudio takes along all that plays on the old default, also what was opened on it by
//!   name; the supervisor takes that back. PipeWire leaves what cpal opens where it is. Whenever a start without a name
//!   lands on another device than the one before, after a loss too, that is an [`Event::Moved`].
//! - **No clock is claimed to be shared**: behind an audio system nobody says whose crystal is whose.
//!
//! # PulseAudio and PipeWire
//!
//! PipeWire is reached by its PulseAudio interface. Its own is the feature `pipewire`, which builds with Debian 12's
//! 0.3.65 (`libpipewire-0.3-dev`, `libclang-dev`) and carries sound, and is off: such a program does not start where
//! libpipewire is not, cpal opens the default devices with two channels only, which is no exact copy of a mono device, it
//! brings what the graph takes at a time (256 sample frames where 480 were asked for), and it says no latency of virtual
//! devices.
//!
//! On PulseAudio cpal 0.18 asks for a buffer of two periods and for requests of one, so nothing is left for the sink,
//! and the server runs it at the least latency that it has. That is sensible on sound cards. A null sink has 0.5 ms, and
//! its monitor then comes in 2,000 pieces a second, for each of which the client (`pulseaudio` 0.3) clears 2 MiB or
//! more: measured are 40 % of a core here and 30 % in the server. No setting of cpal's changes it. With early requests
//! in place of the adjusted latency, tried in a copy of cpal, it is a callback a period, 5 % and 2 %, and a period more
//! of latency.
//!
//! [`Event::Moved`]: handsfree_core::audio_io::Event::Moved
//! [`Event::DefaultChanged`]: handsfree_core::audio_io::Event::DefaultChanged

mod agree;
mod attendant;
mod callback;
mod config;
mod devices;
mod error;
mod format;
mod gauge;
mod hosts;
mod io;
mod lookout;
mod opening;
mod pulse;
mod side;
mod slot;
mod timing;

pub use agree::Abilities;
pub use config::{CpalConfig, Opened};
pub use cpal;
pub use devices::CpalDevice;
pub use error::CpalError;
pub use gauge::CallbackStats;
pub use hosts::{hosts, server};
pub use io::{CpalIo, open, open_on};
