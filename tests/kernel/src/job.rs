//! A script that runs in the guest, and what came of it.

use std::time::{Duration, Instant};

use crate::answers::Silence;
use crate::{Failure, Machine, Result};

/// A script that was killed has to end within this.
const KILLED: Duration = Duration::from_secs(10);

/// What a script left behind.
#[derive(Clone, Debug)]
pub struct Output {
    /// The exit code; 128 and the signal's number when a signal ended it.
    pub code: i32,
    /// What it wrote to its standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to its standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// The standard output as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The standard error as text.
    #[must_use]
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The standard output of a script that succeeded.
    ///
    /// # Errors
    /// Any other exit code than 0, with all that the script wrote.
    pub fn success(&self) -> Result<String> {
        if self.code == 0 {
            return Ok(self.text());
        }
        Err(Failure::new(format!("exit code {}\n{}{}", self.code, self.text(), self.errors())))
    }
}

/// A script that runs, with all that it started. Dropped, it is killed.
pub struct Job<'m> {
    machine: &'m Machine,
    id: u64,
    ended: bool,
}

impl<'m> Job<'m> {
    pub(crate) const fn new(machine: &'m Machine, id: u64) -> Self {
        Self { machine, id, ended: false }
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// When it did not end in time, with what it wrote until then; it is killed. When the machine is gone.
    pub fn wait(mut self, within: Duration) -> Result<Output> {
        match self.machine.answers().done(self.id, Instant::now() + within) {
            Ok(done) => {
                self.ended = true;
                let stdout = self.read("out", done.stdout_bytes)?;
                let stderr = self.read("err", done.stderr_bytes)?;
                Ok(Output { code: done.code, stdout, stderr })
            }
            Err(Silence::Ended) => Err(self.machine.failure("the machine ended while a script ran")),
            Err(Silence::Late) => {
                let written = self.written();
                self.signal("KILL")?;
                let killed = self.machine.answers().done(self.id, Instant::now() + KILLED);
                self.ended = killed.is_ok();
                let what = if self.ended { "it was killed" } else { "it cannot be killed" };
                let text = format!("a script did not end within {within:?}, {what}; until then it wrote");
                Err(self.machine.failure(&format!("{text}:\n{}", written?)))
            }
        }
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.machine.answers().done(self.id, Instant::now()).is_ok()
    }

    /// Sends a signal to the script and all that it started: `STOP`, `CONT`, `INT`.
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn signal(&self, name: &str) -> Result<()> {
        self.machine.ask(&format!("kill {} {name}", self.id))
    }

    /// What it wrote until now, standard output first.
    ///
    /// # Errors
    /// When the machine is gone.
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
            // A machine that is gone has said so before, or will.
            let _ = self.signal("KILL");
        }
    }
}
