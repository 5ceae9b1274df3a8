//! Control side: a run in a folder, and the run had again from it.
//!
//! `handsfree run --dump DIR` writes what the terminal took and gave, with its times, while it runs;
//! `handsfree replay DIR` puts the same into the production halves, intake, outlet, capture worker and
//! voice processor, faster than real time, and compares what comes out sample by sample. What tracks held
//! is not in it: their mixture is.
//!
//! | file | what |
//! |---|---|
//! | `run.json` | what the terminal was made as: [`RunInfo`] |
//! | `microphone.journal` | each period that the capture device gave |
//! | `loudspeaker.journal` | each mixed frame, and what periods it was asked for |
//! | `worker.journal` | what the worker found in its rings, its clock's readings, the cleaned frames |
//!
//! The journals' form is [`handsfree_core::journal`]'s.

mod compare;
mod halves;
mod info;
mod read;
mod replay;
mod spool;
mod write;

pub use self::compare::{Compared, Difference};
pub use self::info::RunInfo;
pub use self::replay::{Replayed, replay, summary};
pub use self::write::{DumpWriter, Dumped};

const INFO_FILE: &str = "run.json";
const MICROPHONE_FILE: &str = "microphone.journal";
const LOUDSPEAKER_FILE: &str = "loudspeaker.journal";
const WORKER_FILE: &str = "worker.journal";
