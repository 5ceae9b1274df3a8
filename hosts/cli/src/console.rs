//! Control side: everything that the command prints on stdout and stderr.
//!
//! Output that cannot be written is an error of the command: a full disk, a reader that has closed its end. `println!`
//! panics in these cases, so nothing else in this crate prints.

use std::io::{self, ErrorKind, Write};

use handsfree::failure::Failure;

/// Prints a text on stdout, with everything that was printed before.
///
/// # Errors
/// Returns the system's error if the text cannot be written.
pub fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Prints the result of a command on stdout.
///
/// # Errors
/// Returns an error that names stdout and the reason.
pub fn print_result(text: &str) -> Result<(), Failure> {
    print(text).map_err(|error| stdout_failure(&error))
}

/// Finds a stdout that accepts nothing before the work is done, as far as the system says so: `/dev/full` does, a full
/// disk does not.
///
/// # Errors
/// Returns an error that names stdout and the reason.
pub fn check_stdout() -> Result<(), Failure> {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        let stdout = io::stdout().as_fd().try_clone_to_owned();
        let written = stdout.and_then(|stdout| std::fs::File::from(stdout).write(&[]));
        written.map(|_| ()).map_err(|error| stdout_failure(&error))
    }
    #[cfg(not(unix))]
    {
        Ok(())
    }
}

/// Returns the failure for an error of stdout.
#[must_use]
pub fn stdout_failure(error: &io::Error) -> Failure {
    let reason = match error.kind() {
        ErrorKind::BrokenPipe => "its reader has closed it".to_owned(),
        _ => error.to_string(),
    };
    Failure::run(format!("stdout cannot be written: {reason}"))
}

/// Prints a message for the user on stderr, after the command's name. A stderr that cannot be written is ignored, because
/// there is no other place for the message.
pub fn message(text: &str) {
    _ = writeln!(io::stderr().lock(), "handsfree: {text}");
}

/// Prints messages about the input, one per line.
pub fn notices(notices: &[String]) {
    notices.iter().for_each(|notice| message(&format!("note: {notice}")));
}
