//! Control and worker side: the only code that opens libraries and calls into them.
//!
//! What is promised to a filter, and what its calls' SAFETY comments refer to:
//!
//! 1. Functions are called while their library is open: whoever holds a function holds the library.
//! 2. A session is destroyed once, by the drop of its [`Session`], and never touched afterwards.
//! 3. Calls on one session never overlap: they need `&mut Session`.
//! 4. Pointers are valid for the lengths given with them, strings end in NUL.
//!
//! In return a filter is believed to have functions of the interface's types under the interface's names, and to
//! accept calls on different sessions from different threads, as LiveKit's own host makes them.

mod functions;
mod libraries;
mod plugin;
mod session;

pub(crate) use plugin::Plugin;
pub(crate) use session::{Sample, Session};
