//! Control side: PulseAudio's command `pactl`.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use handsfree::failure::Failure;

/// Time within which the sound server must answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Interval at which the command is looked at.
const POLL: Duration = Duration::from_millis(5);

/// Runs `pactl` and returns what it prints.
///
/// # Errors
/// Returns an error if the command is not installed, if no sound server answers, and its message if it refuses.
pub(crate) fn pactl(words: &[&str]) -> Result<String, Failure> {
    let spawned = Command::new("pactl")
        .args(words)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.map_err(|error| {
        Failure::run(format!("pactl: {error}: expected the command of the package pulseaudio-utils"))
    })?;
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    // The output is read on another thread, because a long one fills its pipe before the command ends.
    let reading = std::thread::spawn(move || {
        let (mut text, mut message) = (String::new(), String::new());
        // What cannot be read is missing in the message only.
        _ = out.as_mut().map(|out| out.read_to_string(&mut text));
        _ = err.as_mut().map(|err| err.read_to_string(&mut message));
        (text, message)
    });
    let begun = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if begun.elapsed() < TIMEOUT => std::thread::sleep(POLL),
            Ok(None) | Err(_) => {
                _ = child.kill();
                _ = child.wait();
                break None;
            }
        }
    };
    let (text, message) = reading.join().unwrap_or_default();
    match status {
        Some(status) if status.success() => Ok(text),
        Some(_) => Err(Failure::run(format!("the sound server: {}", message.trim()))),
        None => Err(Failure::run(format!("the sound server does not answer within {} s", TIMEOUT.as_secs()))),
    }
}
