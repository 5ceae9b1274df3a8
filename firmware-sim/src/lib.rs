//! A simulated board and room on a virtual clock, running handsfree's production code.
//!
//! [`board::SimulatedBoard`] is a host like any other: it implements `AudioIo` and calls the interrupt
//! halves. Its time is virtual and its acoustic path is computed, so a day passes in seconds and the same
//! seed gives the same run. [`scenario::run`] drives a whole terminal on it, [`measure`] computes the
//! figures, and [`report`] writes them as `report.json` and `report.html`.
//!
//! ```
//! use handsfree_core::SampleRate;
//! use handsfree_core::capture::Bypass;
//! use handsfree_core::time::Duration;
//! use handsfree_sim::acoustics::Wire;
//! use handsfree_sim::board::BoardConfig;
//! use handsfree_sim::scenario::{Scenario, run};
//! use handsfree_sim::device::DeviceConfig;
//!
//! let rate = SampleRate::new(16_000)?;
//! let scenario = Scenario {
//!     rate,
//!     seconds: 1.0,
//!     board: BoardConfig {
//!         capture: DeviceConfig::new(rate, 160),
//!         playback: DeviceConfig::new(rate, 160),
//!         worker_delay: Duration::from_micros(100),
//!         worker_spread: Duration::ZERO,
//!         seed: 1,
//!     },
//!     far: (0..16_000).map(|i| (i % 1_000) as i16).collect(),
//!     latency_steps: Vec::new(),
//!     drift_steps: Vec::new(),
//!     time_jumps: Vec::new(),
//!     two_clocks: false,
//!     acoustic_delay: false,
//!     record: false,
//! };
//! let outcome = run(&scenario, Box::new(Wire), Bypass, &mut |_| {})?;
//! assert_eq!(outcome.clean, scenario.far, "a wire carries the played samples unchanged");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod acoustics;
pub mod board;
pub mod convolver;
pub mod device;
pub mod far_program;
pub mod fft;
pub mod interpolate;
pub mod measure;
pub mod noise;
pub mod report;
pub mod reverberation;
pub mod room;
pub mod scenario;
pub mod wav;
