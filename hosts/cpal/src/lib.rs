//! Audio host for desktops: PulseAudio and PipeWire by their protocol, ALSA on Linux, Core Audio on macOS and WASAPI on
//! Windows by cpal.
//!
//! [`open`] returns a [`CpalIo`], which implements the control plane of all hosts, and spawns a worker thread
//! that runs the given work. The streams' callbacks call the intake and the outlet directly, without a queue in
//! between, and wake the worker.
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
//! let direction = DirectionRequest {
//!     device: None, // the default device
//!     rate,
//!     device_channels: 1,
//!     map: None,
//!     period_sample_frames: 480,
//!     worker_slack_sample_frames: 480,
//!     gain: Gain::UNITY,
//! };
//! let request = StreamRequest { capture: Some(direction), playback: Some(direction) };
//! let halves = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
//! let granted = io.start(&request, halves).map_err(|refused| refused.error)?;
//! println!("{granted:?}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Guarantees
//!
//! - **Callbacks may have any length.** A callback that is longer than the granted period is processed in
//!   pieces of that length and counted ([`CallbackStats`]). The granted period is the one that the audio system
//!   reports, or the longest expected callback ([`GrantedStream::longest_sample_frames`]) if that is longer.
//! - **Timestamps are checked before use.** Only the difference between callback and converter is taken from
//!   cpal. The callback's own time is read from the system's clock, and positions are counted.
//! - **Halves are always returned**, even when the server of a stream is gone or hangs: they are kept in a slot
//!   from which callbacks borrow them without waiting. A callback after the stop plays silence.
//! - **A lost device is reported once.** A stream without a callback for two seconds counts as lost. The
//!   [`StreamSupervisor`](handsfree_host::supervisor::StreamSupervisor) starts it again.
//! - **A change of the default device is reported once**, and a stream that was opened on the default device
//!   follows it. Either the audio system has moved the stream ([`Event::Moved`]; the stream stays open), or the
//!   supervisor restarts it on the new device ([`Event::DefaultChanged`]). PulseAudio moves all streams of the
//!   old default device, including streams that were opened on it by name; the supervisor moves those back.
//!   PipeWire does not move them. [`Event::Moved`] is also reported when a start without a device
//!   name, for example after a loss, opens another device than the previous start.
//! - **No two devices claim a common clock**, because an audio system does not report which devices share one.
//!
//! # PulseAudio and PipeWire
//!
//! On both, this crate opens the streams itself, with the protocol of the crate `pulseaudio`; cpal lists the devices. Each stream
//! has a connection and a thread, which allocates nothing once it runs. The loudspeaker has two periods in the server and one in
//! the sink; the microphone's samples arrive after a period, and the server keeps what is not taken in time. Times come from
//! the server's replies about its latency, one for each period. With periods of 10 ms on a null sink and its monitor,
//! 48 kHz, without voice processing, the command `handsfree run` needed 4.5 % of a core and the server as much. With
//! cpal 0.18's streams it was 50 % and 33 %: they leave no buffer for the sink, which then runs at its lowest latency,
//! 0.5 ms for a null sink.
//!
//! PipeWire's native interface is the feature `pipewire`, by cpal. It builds with PipeWire 0.3.65 of Debian 12
//! (`libpipewire-0.3-dev`, `libclang-dev`) and carries sound, but it is off by default for four reasons: the program does not
//! start on a machine without libpipewire; cpal opens the default devices with two channels only, which is not an exact
//! copy of a mono device; callbacks have the length of the graph's cycle (256 sample frames where 480 were requested); and
//! virtual devices report no latency.
//!
//! [`Event::Moved`]: handsfree_core::audio_io::Event::Moved
//! [`Event::DefaultChanged`]: handsfree_core::audio_io::Event::DefaultChanged

mod audio_system;
mod callback;
mod config;
mod device_monitor;
mod devices;
mod error;
mod format;
mod io;
mod negotiation;
mod pulse;
mod quiet;
mod signals;
mod slot;
mod stream;
mod stream_setup;
mod stream_thread;
mod timing;

pub use audio_system::{hosts, server};
pub use config::{CpalConfig, GrantedStream};
pub use cpal;
pub use devices::CpalDevice;
pub use error::CpalError;
pub use io::{CpalIo, open, open_on};
pub use negotiation::CpalCapabilities;
pub use signals::CallbackStats;
