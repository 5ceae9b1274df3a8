//! Audio filters in shared libraries with LiveKit's C interface, as steps of a handsfree terminal's capture chain.
//!
//! Filters for LiveKit's own host work here unchanged. A filter is built separately from the program, for instance
//! `examples/gain.c` of this package; `examples/audio_filter.h` defines the interface:
//!
//! ```ignore-windows
//! use std::path::Path;
//!
//! use handsfree_audio_filter::{AudioFilter, FilterError, FilterState, SessionConfig};
//! use handsfree_core::capture::{Credentials, FrameProcessor, StreamIdentity};
//! use handsfree_core::{Format, PcmMut};
//!
//! # let directory = std::env::temp_dir().join(format!("handsfree-gain-{}", std::process::id()));
//! # std::fs::create_dir_all(&directory)?;
//! # let file = directory.join("gain.so");
//! # let cc = std::process::Command::new("cc")
//! #     .args(["-std=c99", "-O2", "-shared", "-fPIC", "examples/gain.c", "-o"])
//! #     .arg(&file)
//! #     .status();
//! # assert!(cc.is_ok_and(|cc| cc.success()), "this needs a C compiler: `apt install gcc libc6-dev`, or `make setup`");
//! // Load the filter once for the process, on a thread that may wait. `file` is the path of gain.so.
//! let credentials = Credentials { url: "wss://conference.example", token: "" };
//! // SAFETY: gain.so is built from this package's source, which keeps to the interface.
//! let filter = unsafe { AudioFilter::load("gain", &file, &[], &credentials) }?;
//!
//! // Make a processor for each stream: it has one session of the filter for each channel.
//! let format = Format::new(48_000, 2)?;
//! let stream = StreamIdentity { room_name: "kitchen", track_id: "microphone", ..StreamIdentity::default() };
//! let config = SessionConfig { options: "gain=0.5", stream, ..SessionConfig::default() };
//! # // A long limit, because a busy test machine makes every filter slow.
//! # let config = SessionConfig { limit: std::time::Duration::from_secs(60), ..config };
//! let mut step = filter.session(format, &config)?;
//!
//! // The worker processes 10 ms at a time. `step` is a FrameProcessor, so a `Chain` can do this.
//! let mut samples = [1_000; 960];
//! step.process(PcmMut { format, samples: &mut samples })?;
//! assert_eq!(samples, [500; 960]);
//!
//! // Meanwhile any thread that may wait can update and observe the filter.
//! let control = step.control();
//! control.update_stream_info(&StreamIdentity { room_name: "hall", ..stream })?;
//! assert_eq!((control.state(), control.stats().filtered_frames), (FilterState::Active, 1));
//!
//! // Errors name the file and the problem.
//! // SAFETY: there is no such file, so nothing is loaded.
//! let missing = unsafe { AudioFilter::load("other", Path::new("other.so"), &[], &credentials) };
//! assert_eq!(missing.unwrap_err().to_string(), "other.so: there is no such file");
//! # std::fs::remove_dir_all(&directory)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Which side may call what
//!
//! | side | calls | functions of the filter |
//! |---|---|---|
//! | control: may wait and allocate | [`AudioFilter`], [`FilterControl`]; making, closing and dropping a processor | `on_load`, `create`, `update_stream_info`, `update_token`, `destroy` |
//! | worker: neither waits nor allocates | [`FilterProcessor`]'s `process`, `enabled`, `set_enabled`, `reset`; [`FilterConverter::convert`] | `process_int16`, `process_float` |
//!
//! The interface guarantees nothing about threads. Therefore calls on one session never overlap, and calls in the first
//! row never overlap within one filter. `update_token` concerns the filter as a whole, so it waits until none of the
//! filter's sessions processes a frame. Different sessions process frames on different threads at the same time, like in
//! LiveKit's host, even while another session is created or destroyed.
//!
//! # What is passed to a filter
//!
//! - One call for each channel every 10 ms, with the samples of that channel only. LiveKit's host passes all channels
//!   interleaved to one session without the number of channels, which works only for a filter without memory.
//! - Integers by default, like in LiveKit's host, or floats ([`SampleType::Float`]) with full scale at 1.0. The interface
//!   does not define the full scale of floats, and LiveKit's host (rust-sdks, `livekit/src/plugin.rs`, at 0b5462a9)
//!   wraps the float functions without ever calling them.
//! - Version 2 of the interface if the filter has all of it: `audio_filter_create_v2` and the `process` function of the
//!   sample type in use. Otherwise version 1, from `create` to `process`. Two different rates
//!   ([`AudioFilter::converter`]) need version 2.
//! - Buffers longer than a frame, for a filter that assumes more channels or a different rate than it was created for.
//!
//! # What is checked
//!
//! A filter's functions return nothing, so what the filter wrote is checked ([`FilterFault`]): NaN and infinities, an
//! unwritten end, samples written beyond the end, and the time that the filter took. A frame that fails passes
//! unfiltered on all channels, and the filter backs off for a second. The fourth fault disables the filter (see
//! [`FilterState`]); ten minutes without a fault reset the count. Finite samples beyond full scale are clipped and
//! counted. [`FilterStats`] counts all of these events.
//!
//! A slow filter causes one late frame for each attempt, because the delay is known only afterwards. A filter that never
//! returns blocks the worker, and a filter that crashes or throws ends the process; nothing within a process can prevent
//! that. A blocked worker is visible from outside, because [`FilterStats::filtered_frames`] and
//! [`passed_frames`](FilterStats::passed_frames) stop growing.
//!
//! # Modules
//!
//! Imports go in one direction, from the last of these to the first: `config`, `error` and `fault` define what the other
//! modules share; `ffi` is the only folder that calls foreign code; `sessions` checks what a filter wrote; `slot` passes
//! the sessions between worker and control; `module` makes sessions; `shared` is the state that both sides use;
//! `control`, `engine`, `processor` and `converter` are the two sides; `filter` loads filters.
#![deny(missing_docs, unsafe_code)]

mod config;
mod control;
mod converter;
mod engine;
mod error;
mod fault;
#[allow(unsafe_code, reason = "the only place that opens libraries and calls into them")]
mod ffi;
mod file;
mod filter;
mod module;
mod processor;
mod sessions;
mod shared;
mod slot;
mod stats;
mod text;

pub use config::{SampleType, SessionConfig};
pub use control::FilterControl;
pub use converter::FilterConverter;
pub use error::FilterError;
pub use fault::{FilterFault, FilterState};
pub use filter::AudioFilter;
pub use processor::FilterProcessor;
pub use slot::UPDATE_TIMEOUT;
pub use stats::FilterStats;
