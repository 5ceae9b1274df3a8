//! Worker and application side: when a person speaks, the audio of what is said, and what an agent does when it
//! is interrupted.
//!
//! | part | what it does |
//! |---|---|
//! | [`near_end_speech`] | likelihood of speech in a cleaned frame, from the echo canceller's near-end likelihood |
//! | [`SpeechActivity`] | onset, hang-over and times: turns likelihoods into [`SpeechEvent`]s |
//! | [`SpeechFrames`] | keeps the last frames, and hands over the speech from 300 ms before its start |
//! | [`BargeIn`] | pauses or ducks an agent at once, and then resumes or interrupts it |
//!
//! A microcontroller uses all four; a host has a better likelihood from a speech detector, and uses the other
//! three. The sink of a capture pipeline is the place for the first three:
//!
//! ```
//! use handsfree_core::capture::FrameSink;
//! use handsfree_core::speech::{SpeechActivity, SpeechEvent, SpeechFrames, SpeechSettings, near_end_speech};
//! use handsfree_core::{Duration, Format, Frame, Instant};
//!
//! struct Listener {
//!     near_end: f32,
//!     activity: SpeechActivity,
//!     frames: SpeechFrames<160, 64>,
//!     events: Vec<SpeechEvent>,
//! }
//!
//! impl FrameSink<160> for Listener {
//!     fn on_near_end(&mut self, likelihood: f32) {
//!         self.near_end = likelihood;
//!     }
//!
//!     fn on_frame(&mut self, frame: &Frame<160>) {
//!         let likelihood = near_end_speech(self.near_end, frame.samples());
//!         let event = self.activity.observe(likelihood, &frame.stamp);
//!         self.frames.push(frame, event);
//!         self.events.extend(event);
//!     }
//! }
//!
//! let mut listener = Listener {
//!     near_end: 0.0,
//!     activity: SpeechActivity::new(SpeechSettings::NEAR_END),
//!     frames: SpeechFrames::new(),
//!     events: Vec::new(),
//! };
//! let mut frame = Frame::silence(Format::new(16_000, 1)?)?;
//! let mut heard = Vec::new();
//! for number in 0..200 {
//!     let speaks = number >= 100;
//!     frame.samples_mut().fill(if speaks { 2_000 } else { 1 });
//!     frame.stamp.time = Instant::ORIGIN + Duration::from_millis(10 * number);
//!     listener.on_near_end(if speaks { 1.0 } else { 0.0 });
//!     listener.on_frame(&frame);
//!     while let Some(frame) = listener.frames.pop() {
//!         heard.push(frame.samples()[0]);
//!     }
//! }
//! let Some(SpeechEvent::Started(start)) = listener.events.first() else { panic!("speech was missed") };
//! assert_eq!(start.at, Instant::ORIGIN + Duration::from_millis(1_000));
//! assert_eq!(heard, [[1; 30].as_slice(), &[2_000; 100]].concat());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod activity;
mod barge_in;
mod near_end;
mod pre_roll;

pub use activity::{SpeechActivity, SpeechEvent, SpeechPoint, SpeechSettings};
pub use barge_in::{BargeIn, BargeInAction};
pub use near_end::near_end_speech;
pub use pre_roll::SpeechFrames;
