//! What a terminal took and gave, written down as it ran, so that the run can be had again: raw periods
//! with their times, mixed frames, what the worker found in its rings and read from its clock, and the
//! cleaned frames that came of it.
//!
//! There is a journal for each of the three that run: intake, outlet and capture worker. Each writes
//! into a ring of its own, wait-free, and somebody else empties that into a file. An interrupt and a
//! worker that run at the same time need no common order: a worker's journal says how many frames it
//! found, which is all that the two share. What tracks held is not written down, only what the mixer
//! made of them.
//!
//! To have a run again, give the halves of a new session the rings of a replay
//! ([`Intake::replay_into`](crate::capture::Intake::replay_into),
//! [`Outlet::replay_between`](crate::playback::Outlet::replay_between),
//! [`Pipeline::replay_from`](crate::capture::Pipeline::replay_from)) and do what the [`Record`]s say.
//!
//! ```
//! use handsfree_core::journal::{Journal, Record};
//! # use embassy_sync::blocking_mutex::raw::NoopRawMutex;
//! # use handsfree_core::capture::{Bypass, IntakeConfig};
//! # use handsfree_core::time::{Instant, PeriodTime};
//! # use handsfree_core::{ChannelMap, Gain, SampleRate, Session, SessionFormat};
//! # let rate = SampleRate::new(16_000)?;
//! # let mut session = Box::new(Session::<160, 2, 4, 4, 8, 16, 16_000>::new());
//! # let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
//! # let mut halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ())?;
//! # let config = IntakeConfig {
//! #     rate, map: ChannelMap::natural(1, 1)?, gain: Gain::UNITY, max_period_sample_frames: 160, clock_domain: 0,
//! # };
//! # let time = PeriodTime { position: 0, converter: Instant::ORIGIN, called: Instant::ORIGIN };
//! let mut journal = Box::new(Journal::<256>::new());
//! let (writer, mut reader) = journal.split();
//! halves.intake.write_journal(writer);
//! halves.intake.configure(config)?;
//! halves.intake.on_period(&[7i16; 160], time);
//!
//! let mut file = Vec::new();
//! while let Some(line) = reader.pop() {
//!     file.extend_from_slice(&line);
//! }
//! let (configured, rest) = Record::read(&file)?.expect("a record");
//! assert!(matches!(configured, Record::CaptureConfigured { .. }));
//! let (period, _) = Record::read(rest)?.expect("another");
//! assert!(matches!(period, Record::CapturePeriod { accepted: 1, .. }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bytes;
mod lines;
mod record;
pub(crate) mod scribe;

pub use lines::{Journal, JournalReader, JournalWriter, LINE_BYTES, Line};
pub use record::{Malformed, RawSamples, Record, digest};

pub use crate::sample::SampleKind;
