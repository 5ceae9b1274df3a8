//! The audio core of a hands-free voice device: microphone and loudspeaker at the same time, with the
//! loudspeaker's echo removed from the microphone signal.
//!
//! `no_std`, without allocation, locks or `unsafe` of its own. The modules:
//!
//! | module | side | contents |
//! |---|---|---|
//! | [`playback`] | application, worker, interrupt | tracks, mixer, and the [`Outlet`](playback::Outlet) to the loudspeaker |
//! | [`capture`] | interrupt, worker | the [`Intake`](capture::Intake) from the microphone, processors, and sinks |
//! | [`canceller`] | worker | the [`EchoCanceller`](canceller::EchoCanceller) |
//! | [`speech`](mod@speech) | worker, application | speech events, the audio of speech, interrupting an agent |
//! | [`tee`] | worker, application | the same audio to several sinks that come and go |
//! | [`timing`] | worker | clocks, latency, and the echo reference: what was played at a given time |
//! | [`dsp`] | worker | rate conversion, a test tone |
//! | [`av_sync`] | application | video frames paced by the audio that is heard |
//! | `journal` | all | with the feature `journal`: records a session so that it can be replayed exactly |
//! | [`audio_io`] | control | the interface that a host implements |
//! | [`time`], [`limits`] | all | values and bounds |
//!
//! A complete session on one thread, with a wire from loudspeaker to microphone:
//!
//! ```
//! use embassy_sync::blocking_mutex::raw::NoopRawMutex;
//! use handsfree_core::capture::{Bypass, IntakeConfig};
//! use handsfree_core::playback::OutletConfig;
//! use handsfree_core::{Frame, Instant, PeriodTime};
//!
//! handsfree_core::session! { type Memory = Session { rate_hz: 16_000, tracks: 2 }; const FORMAT: SessionFormat; }
//!
//! let mut memory = Box::new(Memory::new());
//! let mut halves = memory.split::<NoopRawMutex, _, _>(FORMAT, Bypass, ())?;
//! halves.intake.configure(IntakeConfig { clock_domain: 1, ..IntakeConfig::new(FORMAT.rate) })?;
//! halves.outlet.configure(OutletConfig { clock_domain: 1, ..OutletConfig::new(FORMAT.rate) })?;
//! let mut track = halves.tracks.open()?;
//! track.push(&[1_234; 160])?;
//!
//! let mut wire = [0i16; 160];
//! let now = Instant::ORIGIN;
//! let time = PeriodTime { position: 0, converter: now, called: now };
//! halves.playback.poll(); // worker: mixes the track
//! halves.outlet.on_period(&mut wire, time); // playback interrupt
//! halves.intake.on_period(&wire, time); // capture interrupt
//! let mut sink = |frame: &Frame<160>| assert_eq!(frame.samples(), [1_234; 160]);
//! assert_eq!(halves.capture.poll(&|| now, &mut sink), 1); // worker: cleans one frame
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`session!`] derives the sizes of all rings and queues from milliseconds; [`Session`] itself takes them as
//! seven numbers. The clock domain 1 in both configurations states that one clock drives both devices, as a
//! codec does.
//!
//! # Features
//!
//! - `sound-server` (default): devices behind a sound server, which delivers late and stalls without saying so.
//!   Costs 3 KB of code; a device that is driven directly does not need it.
//! - `rate-conversion` (default): devices may have another rate than the session. Costs 12 KB of code and
//!   three frames of memory.
//! - `journal`: records a session so that it can be replayed exactly.
//! - `defmt`: every public type formats with defmt, and events and counters have a method `log`.
//! - `log`: events and counters have a method `log`.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod atomics;
pub mod audio_io;
pub mod av_sync;
pub mod canceller;
pub mod capture;
mod combine;
#[cfg(feature = "defmt")]
mod defmt_handles;
mod devices;
pub mod dsp;
mod error;
mod event;
mod format;
mod frame;
#[cfg(all(test, loom))]
mod interleavings;
#[cfg(feature = "journal")]
pub mod journal;
pub mod limits;
#[cfg(any(feature = "defmt", feature = "log"))]
mod logging;
pub mod playback;
mod position;
mod published;
mod queue;
mod recorder;
mod ring;
mod sample;
mod session;
pub mod speech;
#[cfg_attr(not(feature = "sound-server"), path = "no_stall.rs")]
mod stall;
mod stats;
pub mod tee;
pub mod time;
pub mod timing;

pub use combine::{CombineError, combine_frames};
pub use error::ConfigError;
pub use event::{Events, SessionEvent};
pub use format::{ChannelMap, Format, SampleRate};
pub use frame::{Frame, PcmMut, PcmRef, Stamp, TrackSpan};
pub use ring::{FrameConsumer, FrameProducer, FrameRing};
pub use sample::{DeviceSample, Gain, I24, PackedI24, SampleKind};
pub use session::{Halves, Session, SessionFormat, SessionSizing};
pub use stats::{CaptureStats, IntakeStats, OutletStats, PlaybackStats, Stats, StatsReader};
pub use time::{Clock, Duration, Instant, PeriodTime};
