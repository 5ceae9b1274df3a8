//! Control side: files that a run writes, of which none is harmed or left half-written.
//!
//! [`OutputFile`] writes to a file beside its target, with the name of the target and `.part` behind it, and gives it
//! the target's name when it is whole. [`WavRecording`] writes 16-bit samples in the WAV format, of any length. Both
//! together record like this:
//!
//! ```
//! use handsfree::recording::{OutputFile, WavRecording};
//!
//! # let folder = std::env::temp_dir().join(format!("handsfree-recording-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! # let path = folder.join("clean.wav");
//! let mut recording = WavRecording::new(OutputFile::create(&path)?, 48_000, 1)?;
//! recording.write(&[0; 480])?;
//! recording.flush()?; // The file beside `path` is a valid WAV file with 480 samples.
//! recording.finish()?.commit()?; // Now it is `path`.
//! # assert_eq!(std::fs::metadata(&path)?.len(), 80 + 960);
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a killed process leaves
//! The target is untouched. The file with `.part` behind its name is itself a valid WAV file, complete up to the last
//! [`flush`](WavRecording::flush). The next [`OutputFile::create`] with the same target renames it, so that it is kept:
//! `clean.wav.part` becomes `clean.recovered-1.wav`, or the next number that is free.

mod output_file;
mod wav_recording;

pub use self::output_file::{OutputFile, is_same_file};
pub use self::wav_recording::WavRecording;
