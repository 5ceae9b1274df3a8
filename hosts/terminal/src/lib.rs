//! A hands-free voice terminal: what the `handsfree` command is made of.
//!
//! ```
//! use handsfree::switches::Switches;
//! use handsfree_core::Format;
//!
//! // What the command line's `--no-ns --no-agc` mean to the voice processor.
//! let switches = Switches { no_ns: true, no_agc: true, ..Switches::default() };
//! let mono = Format::new(48_000, 1)?;
//! let mut voice = switches.voice(mono, mono)?;
//! assert_eq!(voice.name(), "echo cancellation, high-pass");
//! # let _ = voice.as_dyn();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

#[cfg(target_os = "linux")]
pub mod alsa_io;
mod background;
pub mod catch_panic;
pub mod cli;
pub mod cpal_io;
pub mod decode;
pub mod devices;
pub mod doctor;
pub mod dump;
pub mod evaluate;
pub mod failure;
pub mod io;
pub mod media_devices;
pub mod player;
pub mod process;
pub mod publish;
pub mod recorder;
pub mod report;
pub mod run;
pub mod scenario_file;
pub mod shared_step;
pub mod sim;
pub mod sim_io;
pub mod sim_room;
pub mod stage;
pub mod status;
pub mod switches;
pub mod terminal;
mod try_only;
pub mod view;
