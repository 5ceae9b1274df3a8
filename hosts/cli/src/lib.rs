//! Modules of the `handsfree` command.
//!
//! ```
//! use handsfree_cli::switches::Switches;
//! use handsfree_core::Format;
//!
//! // Voice processor for `--no-ns --no-agc`.
//! let switches = Switches { no_ns: true, no_agc: true, ..Switches::default() };
//! let mono = Format::new(48_000, 1)?;
//! let mut voice = switches.voice(mono, mono)?;
//! assert_eq!(voice.name(), "echo cancellation, high-pass");
//! # let _ = voice.as_dyn();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]
// Everything is printed by `console`, which returns the errors of stdout.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod args;
#[cfg(unix)]
pub mod client;
pub mod compare;
pub mod console;
pub mod decode;
pub mod devices;
pub mod doctor;
pub mod duplex;
pub mod echo_report;
pub mod evaluate;
pub mod far_alignment;
mod interrupts;
pub mod man;
pub mod pcm;
pub mod player;
pub mod process;
pub mod publish;
pub mod recorder;
pub mod recordings;
pub mod report;
pub mod run;
pub mod scenario_file;
pub mod scene;
#[cfg(unix)]
pub mod serve;
pub mod signal;
pub mod sim;
pub mod start_search;
pub mod status;
pub mod sweep;
pub mod switches;
pub mod view;
pub mod watchdog;
