//! Building blocks shared by all audio hosts of handsfree: the system's clock, real-time scheduling, a worker thread
//! that an audio callback may wake, and a supervisor that restarts streams after a device was lost.
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicU32, Ordering};
//! use std::time::Duration;
//!
//! use handsfree_host::worker::Worker;
//!
//! let rounds = Arc::new(AtomicU32::new(0));
//! let counted = Arc::clone(&rounds);
//! let worker = Worker::spawn("example", Box::new(move || _ = counted.fetch_add(1, Ordering::Relaxed)))?;
//! let wake = worker.wake();
//! wake.wake(); // from an audio callback: one atomic operation, and a system call that cannot block
//! worker.stop();
//! assert!(rounds.load(Ordering::Relaxed) > 0);
//! # Ok::<(), std::io::Error>(())
//! ```

pub mod clock;
#[cfg(unix)]
pub mod inherited;
#[cfg(unix)]
pub mod peer;
#[cfg(target_os = "linux")]
pub mod pipe;
pub mod realtime;
pub mod request;
pub mod supervisor;
pub mod usage;
pub mod worker;
