//! Control side: records a run in a folder, and replays it from there.
//!
//! `handsfree run --dump DIR` records the terminal's inputs and outputs with their times. `handsfree replay
//! DIR` feeds the inputs to the production code (intake, outlet, capture worker and voice processor), faster
//! than real time, and compares the outputs sample by sample. The recording contains the mixed signal, not the
//! separate tracks. `handsfree replay --recompute DIR` measures the outputs instead: the same periods and times
//! with the code of today.
//!
//! | file | content |
//! |---|---|
//! | `run.json` | the terminal's settings: [`RunInfo`] |
//! | `microphone.journal` | each period of the capture device |
//! | `loudspeaker.journal` | each mixed frame, and each period of the playback device |
//! | `worker.journal` | number of frames in the worker's rings, readings of its clock, the cleaned frames |
//!
//! [`handsfree_core::journal`] describes the format of the journals.

mod compare;
mod halves;
mod info;
mod read;
mod recompute;
mod replay;
mod spool;
mod write;

pub use self::compare::{Compared, Difference};
pub use self::info::RunInfo;
pub use self::recompute::{Recomputed, RecomputedWindow};
pub use self::replay::{Replayed, recompute, replay, summary};
pub use self::write::{DumpWriter, Dumped};

const INFO_FILE: &str = "run.json";
const MICROPHONE_FILE: &str = "microphone.journal";
const LOUDSPEAKER_FILE: &str = "loudspeaker.journal";
const WORKER_FILE: &str = "worker.journal";
