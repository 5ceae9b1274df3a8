//! A script that runs in the guest, and its output.

use std::time::{Duration, Instant};

use crate::answers::NoAnswer;
use crate::{Machine, MachineFailure, Result};

/// Maximum time until a killed script has ended.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// Exit code and output of a script.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit code; 128 plus the signal's number if a signal ended the script.
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Returns the standard output as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Returns the standard error as text.
    #[must_use]
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Returns the standard output if the script succeeded.
    ///
    /// # Errors
    /// An exit code other than 0; the message contains all output.
    pub fn success(&self) -> Result<String> {
        if self.code == 0 {
            return Ok(self.text());
        }
        Err(MachineFailure::new(format!("exit code {}\n{}{}", self.code, self.text(), self.errors())))
    }
}

/// A running script with all processes that it started. Dropping the job kills them.
pub struct Job<'m> {
    machine: &'m Machine,
    id: u64,
    ended: bool,
}

impl<'m> Job<'m> {
    pub(crate) const fn new(machine: &'m Machine, id: u64) -> Self {
        Self { machine, id, ended: false }
    }

    /// Waits until the script has ended.
    ///
    /// # Errors
    /// If the script did not end in time; it is killed, and the message contains its output. If the machine has ended.
    pub fn wait(mut self, within: Duration) -> Result<Output> {
        match self.machine.answers().done(self.id, Instant::now() + within) {
            Ok(done) => {
                self.ended = true;
                let stdout = self.read("out", done.stdout_bytes)?;
                let stderr = self.read("err", done.stderr_bytes)?;
                Ok(Output { code: done.code, stdout, stderr })
            }
            Err(NoAnswer::Ended) => Err(self.machine.failure("the machine ended while a script ran")),
            Err(NoAnswer::TimedOut) => {
                let written = self.written();
                self.signal("KILL")?;
                let killed = self.machine.answers().done(self.id, Instant::now() + KILL_TIMEOUT);
                self.ended = killed.is_ok();
                let what = if self.ended { "it was killed" } else { "it cannot be killed" };
                let text = format!("a script did not end within {within:?}, {what}; its output until then");
                Err(self.machine.failure(&format!("{text}:\n{}", written?)))
            }
        }
    }

    /// Returns true if the script has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.machine.answers().done(self.id, Instant::now()).is_ok()
    }

    /// Sends a signal, such as `STOP`, `CONT` or `INT`, to the script and all processes that it started.
    ///
    /// # Errors
    /// If the machine has ended.
    pub fn signal(&self, name: &str) -> Result<()> {
        self.machine.ask(&format!("kill {} {name}", self.id))
    }

    /// Returns the output so far, standard output first.
    ///
    /// # Errors
    /// If the machine has ended.
    pub fn written(&self) -> Result<String> {
        let mut text = String::new();
        for stream in ["out", "err"] {
            text.push_str(&String::from_utf8_lossy(&self.machine.get(&self.path(stream))?));
        }
        Ok(text)
    }

    fn read(&self, stream: &str, bytes: usize) -> Result<Vec<u8>> {
        if bytes == 0 { Ok(Vec::new()) } else { self.machine.get(&self.path(stream)) }
    }

    fn path(&self, stream: &str) -> String {
        format!("/run/jobs/{}/{stream}", self.id)
    }
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        if !self.ended && !self.has_ended() {
            // Waiting ensures that the job's devices are closed. Errors of an ended machine are reported elsewhere.
            let _ = self.signal("KILL");
            let _ = self.machine.answers().done(self.id, Instant::now() + KILL_TIMEOUT);
        }
    }
}
