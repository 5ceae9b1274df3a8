//! Any side: records the inputs and outputs of a session so that it can be replayed exactly.
//!
//! The intake, the outlet and the capture worker each have a journal of their own. Together the journals hold
//! raw device periods with their times, mixed frames, what the worker found in its rings and read from its
//! clock, and the cleaned frames that it made.
//!
//! Each writes into a ring of its own, wait-free, and another thread copies the ring into a file. Interrupts
//! and worker may run at the same time, and the order among them is not recorded: the worker's journal says
//! how many frames it found in each ring, and frames in rings are all that they share. What was pushed into
//! tracks is not recorded, only the frames that the mixer made of it.
//!
//! To replay a session, make a new one, give its parts rings of your own
//! ([`Intake::replay_into`](crate::capture::Intake::replay_into),
//! [`Outlet::replay_between`](crate::playback::Outlet::replay_between),
//! [`Pipeline::replay_from`](crate::capture::Pipeline::replay_from)) and repeat what each [`Record`] says.
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
mod session;

pub(crate) use bytes::RecordPayload;
pub use lines::{Journal, JournalReader, JournalWriter, LINE_BYTES, Line};
pub(crate) use record::MAX_CLOCK_READS;
pub use record::{Malformed, RawSamples, Record, digest};

pub use crate::sample::SampleKind;
