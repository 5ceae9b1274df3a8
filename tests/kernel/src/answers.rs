//! What the guest's agent has answered so far (`guest/agent` lists the lines), read by a thread of its own.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

/// How a script ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout_bytes: usize,
    pub(crate) stderr_bytes: usize,
}

/// Why an answer did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// The machine is gone.
    Ended,
    /// The time is up.
    Late,
}

#[derive(Default)]
struct Heard {
    ready: Option<String>,
    done: HashMap<u64, Done>,
    /// Length of a file, -1 where there is none; or the code of a `put`.
    transfers: HashMap<u64, i64>,
    ended: bool,
}

/// The answers, shared with the thread that reads them.
#[derive(Clone, Default)]
pub(crate) struct Answers(Arc<(Mutex<Heard>, Condvar)>);

impl Answers {
    /// Starts reading.
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

    /// Waits for the agent to be there; its greeting.
    pub(crate) fn ready(&self, deadline: Instant) -> Result<String, Silence> {
        self.wait(deadline, |heard| heard.ready.clone())
    }

    /// Waits for a script to end.
    pub(crate) fn done(&self, id: u64, deadline: Instant) -> Result<Done, Silence> {
        self.wait(deadline, |heard| heard.done.get(&id).copied())
    }

    /// Waits for the answer to a `get` or a `put`.
    pub(crate) fn transfer(&self, id: u64, deadline: Instant) -> Result<i64, Silence> {
        self.wait(deadline, |heard| heard.transfers.remove(&id))
    }

    /// Whether the machine is gone.
    pub(crate) fn ended(&self) -> bool {
        self.lock().ended
    }

    fn take(&self, line: &str) {
        let mut words = line.split(' ');
        let verb = words.next().unwrap_or_default();
        let numbers: Vec<i64> = words.map_while(|word| word.parse().ok()).collect();
        let mut heard = self.lock();
        match (verb, numbers.as_slice()) {
            ("ready", _) => heard.ready = Some(line.to_owned()),
            ("done", &[id, code, stdout, stderr]) => {
                let done =
                    Done { code: code as i32, stdout_bytes: stdout as usize, stderr_bytes: stderr as usize };
                heard.done.insert(id as u64, done);
            }
            ("file" | "put", &[id, number]) => {
                heard.transfers.insert(id as u64, number);
            }
            _ => eprintln!("kernel machine: the agent said: {line}"),
        }
        drop(heard);
        self.0.1.notify_all();
    }

    fn wait<T>(
        &self,
        deadline: Instant,
        mut wanted: impl FnMut(&mut Heard) -> Option<T>,
    ) -> Result<T, Silence> {
        let mut heard = self.lock();
        loop {
            if let Some(found) = wanted(&mut heard) {
                return Ok(found);
            }
            if heard.ended {
                return Err(Silence::Ended);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Silence::Late);
            }
            heard = self.0.1.wait_timeout(heard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
