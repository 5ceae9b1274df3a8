//! A simulated board and room on a virtual clock, running handsfree's production code.
//!
//! [`board::Board`] is a host like any other: it implements `AudioIo` and calls the interrupt
//! halves. Only its time is virtual and its air computed, so a day passes in seconds and a run
//! replays from its seed.
//!
//! ```
//! use handsfree_core::SampleRate;
//! use handsfree_core::capture::Bypass;
//! use handsfree_core::time::Duration;
//! use handsfree_sim::acoustics::Wire;
//! use handsfree_sim::board::BoardConfig;
//! use handsfree_sim::scenario::{Scenario, run};
//! use handsfree_sim::side::SideConfig;
//!
//! let rate = SampleRate::new(16_000)?;
//! let scenario = Scenario {
//!     rate,
//!     seconds: 1.0,
//!     board: BoardConfig {
//!         capture: SideConfig::new(rate, 160),
//!         playback: SideConfig::new(rate, 160),
//!         worker_delay: Duration::from_micros(100),
//!         worker_spread: Duration::ZERO,
//!         seed: 1,
//!     },
//!     far: (0..16_000).map(|i| (i % 1_000) as i16).collect(),
//!     latency_steps: Vec::new(),
//!     drift_steps: Vec::new(),
//!     acoustic_delay: false,
//!     record: false,
//! };
//! let outcome = run(&scenario, Box::new(Wire), Bypass, &mut |_| {})?;
//! assert_eq!(outcome.clean, scenario.far, "what was played over a wire is what was heard");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod acoustics;
pub mod board;
pub mod convolver;
mod device;
pub mod interpolate;
pub mod measure;
pub mod noise;
pub mod report;
pub mod room;
pub mod scenario;
pub mod side;
pub mod wav;
