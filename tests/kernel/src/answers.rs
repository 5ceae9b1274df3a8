//! The answers of the guest's agent, read by a separate thread. `guest/agent` describes the lines.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

/// Exit code and output sizes of a script that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScriptEnd {
    pub(crate) code: i32,
    pub(crate) stdout_bytes: usize,
    pub(crate) stderr_bytes: usize,
}

/// Reason for a missing answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// The machine has ended.
    Ended,
    /// No answer arrived before the deadline.
    TimedOut,
}

#[derive(Default)]
struct AnswerState {
    ready: Option<String>,
    done: HashMap<u64, ScriptEnd>,
    /// By request: the length of a file, -1 if there is none, or the exit code of a `put`.
    transfers: HashMap<u64, i64>,
    ended: bool,
}

/// The answers so far, shared with the thread that reads them.
#[derive(Clone, Default)]
pub(crate) struct Answers(Arc<(Mutex<AnswerState>, Condvar)>);

impl Answers {
    /// Starts a thread that reads answers from the stream.
    pub(crate) fn from(stream: UnixStream) -> Self {
        let answers = Self::default();
        let reader = answers.clone();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(std::io::Result::ok) {
                reader.take(&line);
            }
            reader.lock().ended = true;
            reader.0.1.notify_all();
        });
        answers
    }

    /// Waits until the agent has started, and returns its greeting.
    pub(crate) fn ready(&self, deadline: Instant) -> Result<String, NoAnswer> {
        self.wait(deadline, |state| state.ready.clone())
    }

    /// Waits for a script to end.
    pub(crate) fn done(&self, id: u64, deadline: Instant) -> Result<ScriptEnd, NoAnswer> {
        self.wait(deadline, |state| state.done.get(&id).copied())
    }

    /// Waits for the answer to a `get` or a `put`.
    pub(crate) fn transfer(&self, id: u64, deadline: Instant) -> Result<i64, NoAnswer> {
        self.wait(deadline, |state| state.transfers.remove(&id))
    }

    /// Returns true once the machine has ended.
    pub(crate) fn ended(&self) -> bool {
        self.lock().ended
    }

    fn take(&self, line: &str) {
        let mut words = line.split(' ');
        let verb = words.next().unwrap_or_default();
        let numbers: Vec<i64> = words.map_while(|word| word.parse().ok()).collect();
        let mut state = self.lock();
        match (verb, numbers.as_slice()) {
            ("ready", _) => state.ready = Some(line.to_owned()),
            ("done", &[id, code, stdout, stderr]) => {
                let done = ScriptEnd {
                    code: code as i32,
                    stdout_bytes: stdout as usize,
                    stderr_bytes: stderr as usize,
                };
                state.done.insert(id as u64, done);
            }
            ("file" | "put", &[id, number]) => {
                state.transfers.insert(id as u64, number);
            }
            _ => eprintln!("kernel machine: unknown answer from the agent: {line}"),
        }
        drop(state);
        self.0.1.notify_all();
    }

    fn wait<T>(
        &self,
        deadline: Instant,
        mut wanted: impl FnMut(&mut AnswerState) -> Option<T>,
    ) -> Result<T, NoAnswer> {
        let mut state = self.lock();
        loop {
            if let Some(found) = wanted(&mut state) {
                return Ok(found);
            }
            if state.ended {
                return Err(NoAnswer::Ended);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(NoAnswer::TimedOut);
            }
            state = self.0.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, AnswerState> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
