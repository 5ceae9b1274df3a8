//! The audio half of a hands-free voice device: microphone in, loudspeaker out, both at once, with
//! the loudspeaker's echo taken out of the microphone.
//!
//! `no_std`, no allocation, no lock and no `unsafe` of its own. The modules in the order a sample
//! meets them:
//!
//! | module | side | what it does |
//! |---|---|---|
//! | [`playback`] | application, worker, interrupt | tracks, mixer, ring, [`Outlet`](playback::Outlet) to the loudspeaker |
//! | [`capture`] | interrupt, worker | [`Intake`](capture::Intake) from the microphone, ring, processors, sink |
//! | [`tee`] | worker, application | the same audio to several sinks that come and go |
//! | [`timing`] | worker | what was played when it was heard |
//! | [`dsp`] | worker | rate conversion, a test tone |
//! | [`av_sync`] | application | video frames paced by the audio that is heard |
//! | `journal` | all | with the feature `journal`: a run written down, to have it again |
//! | [`audio_io`] | control | what a host implements |
//! | [`time`], [`limits`] | all | values and bounds |
//!
//! A whole terminal on one thread, with a wire from loudspeaker to microphone:
//!
//! ```
//! use embassy_sync::blocking_mutex::raw::NoopRawMutex;
//! use handsfree_core::capture::{Bypass, IntakeConfig};
//! use handsfree_core::playback::OutletConfig;
//! use handsfree_core::time::{Instant, PeriodTime};
//! use handsfree_core::{ChannelMap, Duration, Frame, Gain, SampleRate, Session, SessionFormat};
//!
//! let rate = SampleRate::new(16_000)?;
//! let mut session = Box::new(Session::<160, 2, 4, 4, 8, 16, 16_000>::new());
//! let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
//! let mut terminal = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ())?;
//!
//! let map = ChannelMap::natural(1, 1)?;
//! terminal.intake.configure(IntakeConfig {
//!     rate, map, gain: Gain::UNITY, max_period_sample_frames: 160, clock_domain: 1,
//! })?;
//! terminal.outlet.configure(OutletConfig {
//!     rate, map, max_period_sample_frames: 160, worker_slack_sample_frames: 0,
//!     latency: Duration::ZERO, clock_domain: 1,
//! })?;
//!
//! let mut track = terminal.tracks.open()?;
//! assert_eq!(track.push(&[1_234; 320])?, 320);
//!
//! let mut heard = Vec::new();
//! for tick in 0..2u64 {
//!     terminal.playback.poll();                                       // worker
//!     let at = Instant::from_nanos(tick as i64 * 10_000_000);
//!     let time = PeriodTime { position: tick * 160, converter: at, called: at };
//!     let mut wire = [0i16; 160];
//!     terminal.outlet.on_period(&mut wire, time);                     // playback interrupt
//!     terminal.intake.on_period(&wire, time);                         // capture interrupt
//!     terminal.capture.poll(&|| at, &mut |frame: &Frame<160>| {       // worker
//!         heard.extend_from_slice(frame.samples());
//!     });
//! }
//! assert_eq!(heard, [1_234; 320]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod audio_io;
pub mod av_sync;
pub mod capture;
mod combine;
#[cfg(feature = "defmt")]
mod defmt_handles;
pub mod dsp;
mod error;
mod event;
mod format;
mod frame;
#[cfg(feature = "journal")]
pub mod journal;
pub mod limits;
#[cfg(any(feature = "defmt", feature = "log"))]
mod logging;
#[cfg(not(feature = "journal"))]
mod no_journal;
pub mod playback;
mod position;
mod published;
mod queue;
mod ring;
mod sample;
mod session;
mod stats;
pub mod tee;
pub mod time;
pub mod timing;

#[cfg(feature = "journal")]
use journal::scribe;
#[cfg(not(feature = "journal"))]
use no_journal as scribe;

pub use combine::{CombineError, combine_frames};
pub use error::ConfigError;
pub use event::{Events, SessionEvent};
pub use format::{ChannelMap, Format, SampleRate};
pub use frame::{Frame, PcmMut, PcmRef, Stamp, TrackSpan};
pub use ring::{FrameConsumer, FrameProducer, FrameRing};
pub use sample::{DeviceSample, Gain, I24, PackedI24};
pub use session::{Halves, Session, SessionFormat};
pub use stats::{CaptureStats, IntakeStats, OutletStats, PlaybackStats, Stats, StatsReader};
pub use time::{Clock, Duration, Instant, PeriodTime};
