//! Control side: keeps ALSA's library from printing on stderr.
//!
//! The library complains about each name of its configuration that refers to nothing on this machine. The error
//! that cpal returns says which call failed and why.

/// Makes ALSA's library print nothing from this thread. Repeated calls drop the messages that it had meanwhile,
/// which keeps their memory bounded.
pub(crate) fn silence_alsa() {
    // Without memory for the handler, the library prints as it does without this program.
    #[cfg(target_os = "linux")]
    drop(alsa::Output::local_error_handler());
}
