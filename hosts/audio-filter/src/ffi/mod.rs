//! Control and worker side: the only code that opens libraries and calls into them.
//!
//! Guarantees to a filter, to which the SAFETY comments refer:
//!
//! 1. Functions are called only while their library is open: every holder of a function also holds the library.
//! 2. A session is destroyed once, by the drop of its [`FilterSession`], and never used afterwards.
//! 3. Calls on one session never overlap: each call needs `&mut FilterSession`.
//! 4. Pointers are valid for the lengths that are passed with them, and strings end in NUL.
//!
//! In return a filter is assumed to export functions of the interface's types under the interface's names, and to accept
//! calls on different sessions from different threads, which LiveKit's own host also makes.

mod functions;
mod libraries;
mod plugin;
mod session;

pub(crate) use functions::FilterSample;
pub(crate) use plugin::Plugin;
pub(crate) use session::FilterSession;
