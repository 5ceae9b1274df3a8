//! Audio filters in shared libraries, by LiveKit's C interface, as steps of a handsfree terminal's capture chain.
//!
//! A filter that LiveKit's own host loads is loaded here too. It is built apart from the program, for instance
//! `examples/gain.c` of this package (`examples/audio_filter.h` is the interface):
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
//! // Once for the process, on a thread that may wait. `file` is the path of gain.so.
//! let credentials = Credentials { url: "wss://conference.example", token: "" };
//! let filter = AudioFilter::load("gain", &file, &[], &credentials)?;
//!
//! // Once a stream: one session of the filter for each channel.
//! let format = Format::new(48_000, 2)?;
//! let stream = StreamIdentity { room_name: "kitchen", track_id: "microphone", ..StreamIdentity::default() };
//! let config = SessionConfig { options: "gain=0.5", stream, ..SessionConfig::default() };
//! # // A busy test machine is no slow filter.
//! # let config = SessionConfig { limit: std::time::Duration::from_secs(60), ..config };
//! let mut step = filter.session(format, &config)?;
//!
//! // Each 10 ms, in the worker. `step` is a FrameProcessor: it goes into a `Chain`, which does this.
//! let mut samples = [1_000; 960];
//! step.process(PcmMut { format, samples: &mut samples })?;
//! assert_eq!(samples, [500; 960]);
//!
//! // From any thread that may wait, meanwhile.
//! let control = step.control();
//! control.update_stream_info(&StreamIdentity { room_name: "hall", ..stream })?;
//! assert_eq!((control.state(), control.stats().filtered_frames), (FilterState::Active, 1));
//!
//! // What is wrong has a name.
//! let missing = AudioFilter::load("other", Path::new("other.so"), &[], &credentials);
//! assert_eq!(missing.unwrap_err().to_string(), "other.so: there is no such file");
//! # std::fs::remove_dir_all(&directory)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Who may call what
//!
//! | side | calls | the filter's functions |
//! |---|---|---|
//! | control, may wait and allocate | [`AudioFilter`], [`FilterControl`], making, closing and dropping a processor | `on_load`, `create`, `update_stream_info`, `update_token`, `destroy` |
//! | worker, neither waits nor allocates | [`FilterProcessor`]'s `process`, `enabled`, `set_enabled`, `reset`; [`FilterConverter::convert`] | `process_int16`, `process_float` |
//!
//! The interface promises nothing about threads, so calls on one session never overlap, calls in the first row never
//! overlap within one filter, and `update_token`, which concerns the filter as a whole, waits until none of its sessions
//! is in a frame. Different sessions are processed on different threads at once, as LiveKit's host does, also while
//! another session is created or destroyed.
//!
//! # What a filter is given
//!
//! - Every 10 ms one call a channel, with the samples of that channel only. LiveKit's host gives one session all
//!   channels interleaved and does not say how many there are, which only a filter without memory survives.
//! - Integers by default, as LiveKit's host does; or floats ([`SampleType::Float`]), full scale at 1.0. The interface
//!   does not say what a float's full scale is, and LiveKit's host (rust-sdks, `livekit/src/plugin.rs`, at 0b5462a9)
//!   wraps the float functions but calls them nowhere.
//! - Version 2 where it is there as a whole: `audio_filter_create_v2` and the `process` function for the samples in
//!   use. Else version 1, from `create` to `process`. Two different rates ([`AudioFilter::converter`]) need version 2.
//! - Room behind its samples, for a filter that takes them for more channels or another rate than they are.
//!
//! # What is not believed
//!
//! A filter's functions return nothing, so what it wrote is checked ([`Fault`]): NaN and infinities, ends that were not
//! written, writing beyond the end, and the time it took. A frame that fails passes on as it came, on all channels, and
//! the filter rests for a second; the fourth fault is the last (see [`FilterState`]; ten good minutes forgive).
//! Finite samples beyond full scale are cut and counted. [`FilterStats`] says what happened how often.
//!
//! A filter that is too slow costs one late frame an attempt, since that is known only afterwards. One that never
//! returns, crashes or throws takes the worker or the process with it: nothing within a process can help that. It can
//! be seen from outside by [`FilterStats::filtered_frames`] and `passed_frames` standing still.
//!
//! From application to worker: [`SessionConfig`] and [`AudioFilter`], [`FilterControl`], [`FilterProcessor`] and
//! [`FilterConverter`]. Inside, `ffi` is the one folder that calls foreign code, `lanes` checks what comes back,
//! `shared` is what both sides touch.
#![deny(missing_docs, unsafe_code)]

mod config;
mod control;
mod converter;
mod engine;
mod error;
mod fault;
#[allow(unsafe_code, reason = "the one place that opens libraries and calls into them")]
mod ffi;
mod file;
mod filter;
mod lanes;
mod processor;
mod shared;
mod text;

pub use config::{SampleType, SessionConfig};
pub use control::FilterControl;
pub use converter::FilterConverter;
pub use error::FilterError;
pub use fault::{Fault, FilterState};
pub use filter::AudioFilter;
pub use processor::FilterProcessor;
pub use shared::{FilterStats, PATIENCE};
