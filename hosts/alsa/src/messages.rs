//! Control side: the messages that ALSA's library would print on stderr.
//!
//! The library's handler is set for each thread, because one for the whole process would have to be a function
//! with C's variable arguments.

use alsa::Output;

/// Runs an operation, and returns its result with the messages that ALSA's library had for it, one a line. From
/// then on the library prints nothing on stderr from this thread.
pub(crate) fn collect<T>(operation: impl FnOnce() -> T) -> (T, String) {
    // Without memory for the handler, the library prints as it does without this program.
    let Ok(output) = Output::local_error_handler() else { return (operation(), String::new()) };
    let result = operation();
    let messages = output.borrow().to_string();
    // A new handler has an empty buffer, so that messages between two operations do not add up for ever.
    _ = Output::local_error_handler();
    (result, messages)
}

/// Returns the last message as one line, which is the nearest to the failed call; `None` without a message.
pub(crate) fn last(messages: &str) -> Option<&str> {
    messages.lines().map(str::trim).rfind(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_opening_has_its_message_and_prints_nothing() {
        let open = || alsa::pcm::PCM::open(c"hw:CARD=nowhere", alsa::Direction::Playback, true).map(drop);
        let (outcome, messages) = collect(open);
        assert!(outcome.is_err() && messages.contains("nowhere"), "{messages}");
        assert!(last(&messages).is_some_and(|line| line.contains("nowhere")), "{messages}");
        assert_eq!(collect(|| ()).1, "", "each operation has its own messages");
        assert_eq!(last("one\ntwo\n\n"), Some("two"));
    }
}
