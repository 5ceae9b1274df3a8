//! A running machine: QEMU, the guest's agent and the console.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Child;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::answers::{Answers, NoAnswer};
use crate::archive::Archive;
use crate::qemu::{self, Directory, Logs, Starting, base_image, kernel};
use crate::qmp::Qmp;
use crate::{Job, MachineFailure, Options, Output, Result};

/// Maximum time from QEMU's start to the agent's greeting, which takes 3 s on an idle computer.
const BOOT_TIMEOUT: Duration = Duration::from_secs(180);
/// Maximum time of short operations, such as loading a module or moving a file.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(30);

/// A running machine. It ends when it is dropped, or by itself when the process that booted it has ended.
pub struct Machine {
    qemu: Child,
    logs: Logs,
    agent: Mutex<UnixStream>,
    files: Mutex<UnixStream>,
    qmp: Mutex<Qmp>,
    answers: Answers,
    next_id: AtomicU64,
    /// Time from QEMU's start to the agent's greeting.
    boot_time: Duration,
    release: String,
}

impl Machine {
    /// Boots a machine and loads its modules.
    ///
    /// # Errors
    /// If something is not installed; the message names the command that installs it. If the guest does not boot in time or
    /// a module does not load; the message contains the end of the console.
    pub fn boot(options: &Options) -> Result<Self> {
        let directory = Directory::new()?;
        let logs = Logs::new(&directory)?;
        let started = Instant::now();
        let mut machine = Self::start(options, &directory, &logs)
            .map_err(|failure| MachineFailure::new(format!("{failure}{}", logs.tails())))?;
        let greeting =
            machine.answers.ready(started + BOOT_TIMEOUT).map_err(|no_answer| match no_answer {
                NoAnswer::Ended => machine.failure("the machine ended while it booted"),
                NoAnswer::TimedOut => {
                    machine.failure(&format!("the machine did not boot within {BOOT_TIMEOUT:?}"))
                }
            })?;
        machine.boot_time = started.elapsed();
        machine.release = greeting.rsplit(' ').next().unwrap_or_default().to_owned();
        for module in &options.modules {
            machine.shell(&format!("modprobe {module}"))?;
        }
        Ok(machine)
    }

    fn start(options: &Options, directory: &Directory, logs: &Logs) -> Result<Self> {
        let (kernel, initramfs) = (kernel()?, directory.path("initramfs"));
        fs::copy(base_image()?, &initramfs).map_err(MachineFailure::of(&initramfs))?;
        let mut archive = Archive::default();
        for program in &options.programs {
            archive.program(program)?;
        }
        for (path, guest_path) in &options.files {
            archive.file(path, guest_path)?;
        }
        let added = File::options().append(true).open(&initramfs);
        added
            .and_then(|mut file| file.write_all(&archive.finish()))
            .map_err(MachineFailure::of(&initramfs))?;

        let listeners = ["agent", "files", "qmp"].map(|name| UnixListener::bind(directory.path(name)));
        let [agent, files, qmp] = listeners.map(|made| made.map_err(MachineFailure::of("a socket for QEMU")));
        let (agent, files, qmp) = (agent?, files?, qmp?);
        let mut starting = Starting(Some(qemu::spawn(options, directory, &kernel)?));
        let agent = starting.accept(&agent)?;
        let files = starting.accept(&files)?;
        let qmp = Qmp::new(starting.accept(&qmp)?)?;
        let answers = Answers::from(agent.try_clone().map_err(MachineFailure::of("the agent's port"))?);
        Ok(Self {
            qemu: starting.0.take().ok_or_else(|| MachineFailure::new("QEMU has ended"))?,
            logs: logs.try_clone()?,
            agent: Mutex::new(agent),
            files: Mutex::new(files),
            qmp: Mutex::new(qmp),
            answers,
            next_id: AtomicU64::new(1),
            boot_time: Duration::ZERO,
            release: String::new(),
        })
    }

    /// Returns the boot time, without the loading of modules.
    #[must_use]
    pub const fn boot_time(&self) -> Duration {
        self.boot_time
    }

    /// Returns the kernel's release, as `uname -r` prints it.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.release
    }

    /// Starts a script in the guest's shell, concurrently with running scripts.
    ///
    /// # Errors
    /// If the machine has ended.
    pub fn spawn(&self, script: &str) -> Result<Job<'_>> {
        let id = self.next_id();
        self.ask(&format!("run {id} {}", BASE64.encode(script)))?;
        Ok(Job::new(self, id))
    }

    /// Runs a script to its end.
    ///
    /// # Errors
    /// If the script did not end in time, or the machine has ended. A non-zero exit code is not an error.
    pub fn run(&self, script: &str, within: Duration) -> Result<Output> {
        self.spawn(script)?.wait(within)
    }

    /// Runs a short script that must succeed, and returns its output.
    ///
    /// # Errors
    /// If the script does not end with exit code 0 within half a minute.
    pub fn shell(&self, script: &str) -> Result<String> {
        self.run(script, OPERATION_TIMEOUT)?
            .success()
            .map_err(|failure| self.failure(&format!("in the guest: {script}: {failure}")))
    }

    /// Waits until a condition of the guest's shell holds.
    ///
    /// # Errors
    /// If the condition does not hold in time.
    pub fn until(&self, condition: &str, within: Duration) -> Result<()> {
        let script = format!("until {condition}; do usleep 20000; done");
        self.run(&script, within)
            .and_then(|output| output.success())
            .map_err(|failure| MachineFailure::new(format!("waiting for `{condition}`: {failure}")))?;
        Ok(())
    }

    /// Copies a file out of the guest.
    ///
    /// # Errors
    /// If there is no such file, or the machine has ended.
    pub fn get(&self, path: &str) -> Result<Vec<u8>> {
        let mut files = lock(&self.files);
        let id = self.next_id();
        self.ask(&format!("get {id} {path}"))?;
        let length = self.transfer(id, path)?;
        let length = usize::try_from(length)
            .map_err(|_| MachineFailure::new(format!("there is no file {path} in the guest")))?;
        let mut contents = vec![0; length];
        files.set_read_timeout(Some(OPERATION_TIMEOUT)).map_err(MachineFailure::of(path))?;
        files.read_exact(&mut contents).map_err(|error| self.failure(&format!("reading {path}: {error}")))?;
        Ok(contents)
    }

    /// Copies a file into the guest and creates its folders.
    ///
    /// # Errors
    /// If the file cannot be written there, or the machine has ended.
    pub fn put(&self, path: &str, contents: &[u8]) -> Result<()> {
        let mut files = lock(&self.files);
        let id = self.next_id();
        self.ask(&format!("put {id} {} {path}", contents.len()))?;
        files.set_write_timeout(Some(OPERATION_TIMEOUT)).map_err(MachineFailure::of(path))?;
        files.write_all(contents).map_err(|error| self.failure(&format!("writing {path}: {error}")))?;
        match self.transfer(id, path)? {
            0 => Ok(()),
            code => Err(self.failure(&format!("writing {path}: exit code {code}"))),
        }
    }

    /// Executes a command of QEMU's control protocol, such as `device_add`, `device_del` or `system_wakeup`.
    ///
    /// # Errors
    /// If QEMU refuses the command or does not answer.
    pub fn qmp(&self, command: &str, arguments: &Value) -> Result<Value> {
        lock(&self.qmp).execute(command, arguments)
    }

    /// Waits for an event of QEMU, such as `DEVICE_DELETED`, `SUSPEND` or `WAKEUP`.
    ///
    /// # Errors
    /// If the event does not occur in time.
    pub fn qmp_event(&self, name: &str, within: Duration) -> Result<Value> {
        lock(&self.qmp)
            .event(name, Instant::now() + within)
            .map_err(|failure| self.failure(&format!("waiting for {name}: {failure}")))
    }

    /// Returns a failure with a message and the end of the console.
    #[must_use]
    pub fn failure(&self, what: &str) -> MachineFailure {
        MachineFailure::new(format!("{what}{}", self.logs.tails()))
    }

    pub(crate) const fn answers(&self) -> &Answers {
        &self.answers
    }

    pub(crate) fn ask(&self, line: &str) -> Result<()> {
        lock(&self.agent)
            .write_all(format!("{line}\n").as_bytes())
            .map_err(|error| self.failure(&format!("the machine has ended ({error})")))
    }

    fn transfer(&self, id: u64, path: &str) -> Result<i64> {
        self.answers.transfer(id, Instant::now() + OPERATION_TIMEOUT).map_err(|no_answer| match no_answer {
            NoAnswer::Ended => self.failure(&format!("the machine ended before it copied {path}")),
            NoAnswer::TimedOut => {
                self.failure(&format!("the machine hangs: no answer to the copy of {path}"))
            }
        })
    }

    fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if !self.answers.ended() {
            let _ = self.qmp("quit", &json!({}));
        }
        qemu::end(&mut self.qemu);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
