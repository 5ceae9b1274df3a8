//! The machine: QEMU, the guest's agent and the console.

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

use crate::answers::{Answers, Silence};
use crate::archive::Archive;
use crate::qemu::{self, Directory, Logs, Starting, base_image, kernel};
use crate::qmp::Qmp;
use crate::{Failure, Job, Options, Output, Result};

/// From QEMU's start to the agent's greeting: 3 s on a machine that does nothing else.
const BOOT: Duration = Duration::from_secs(180);
/// Loading a module, moving a file: things that take no time in a machine that is well.
const PROMPT: Duration = Duration::from_secs(30);

/// A running machine. It ends when it is dropped, and by itself when the process that booted it is gone.
pub struct Machine {
    qemu: Child,
    logs: Logs,
    agent: Mutex<UnixStream>,
    files: Mutex<UnixStream>,
    qmp: Mutex<Qmp>,
    answers: Answers,
    next_id: AtomicU64,
    /// From QEMU's start to the agent's greeting.
    boot_time: Duration,
    release: String,
}

impl Machine {
    /// Boots a machine and loads its modules.
    ///
    /// # Errors
    /// When something is not installed, with what installs it; when the guest does not come up in time or a module does
    /// not load, with the end of the console.
    pub fn boot(options: &Options) -> Result<Self> {
        let directory = Directory::new()?;
        let logs = Logs::new(&directory)?;
        let started = Instant::now();
        let mut machine = Self::start(options, &directory, &logs)
            .map_err(|failure| Failure::new(format!("{failure}{}", logs.tails())))?;
        let greeting = machine.answers.ready(started + BOOT).map_err(|silence| match silence {
            Silence::Ended => machine.failure("the machine ended while it booted"),
            Silence::Late => machine.failure(&format!("the machine did not boot within {BOOT:?}")),
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
        fs::copy(base_image()?, &initramfs).map_err(Failure::of(&initramfs))?;
        let mut archive = Archive::default();
        for program in &options.programs {
            archive.program(program)?;
        }
        for (path, guest_path) in &options.files {
            archive.file(path, guest_path)?;
        }
        let added = File::options().append(true).open(&initramfs);
        added.and_then(|mut file| file.write_all(&archive.finish())).map_err(Failure::of(&initramfs))?;

        let listeners = ["agent", "files", "qmp"].map(|name| UnixListener::bind(directory.path(name)));
        let [agent, files, qmp] = listeners.map(|made| made.map_err(Failure::of("a socket for QEMU")));
        let (agent, files, qmp) = (agent?, files?, qmp?);
        let mut starting = Starting(Some(qemu::spawn(options, directory, &kernel)?));
        let agent = starting.accept(&agent)?;
        let files = starting.accept(&files)?;
        let qmp = Qmp::new(starting.accept(&qmp)?)?;
        let answers = Answers::from(agent.try_clone().map_err(Failure::of("the agent's port"))?);
        Ok(Self {
            qemu: starting.0.take().ok_or_else(|| Failure::new("QEMU is gone"))?,
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

    /// How long it took to boot, without the modules.
    #[must_use]
    pub const fn boot_time(&self) -> Duration {
        self.boot_time
    }

    /// The kernel's release, as `uname -r` says it.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.release
    }

    /// Starts a script in the guest's shell, beside whatever runs there.
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn spawn(&self, script: &str) -> Result<Job<'_>> {
        let id = self.next_id();
        self.ask(&format!("run {id} {}", BASE64.encode(script)))?;
        Ok(Job::new(self, id))
    }

    /// Runs a script to its end.
    ///
    /// # Errors
    /// When it did not end in time, or the machine is gone. An exit code is no failure.
    pub fn run(&self, script: &str, within: Duration) -> Result<Output> {
        self.spawn(script)?.wait(within)
    }

    /// Runs a short script that has to succeed; what it wrote.
    ///
    /// # Errors
    /// Anything but exit code 0 within half a minute.
    pub fn shell(&self, script: &str) -> Result<String> {
        self.run(script, PROMPT)?
            .success()
            .map_err(|failure| self.failure(&format!("in the guest: {script}: {failure}")))
    }

    /// Waits until a condition of the guest's shell holds.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn until(&self, condition: &str, within: Duration) -> Result<()> {
        let script = format!("until {condition}; do usleep 20000; done");
        self.run(&script, within)
            .and_then(|output| output.success())
            .map_err(|failure| Failure::new(format!("waiting for `{condition}`: {failure}")))?;
        Ok(())
    }

    /// Copies a file out of the guest.
    ///
    /// # Errors
    /// When there is no such file, or the machine is gone.
    pub fn get(&self, path: &str) -> Result<Vec<u8>> {
        let mut files = lock(&self.files);
        let id = self.next_id();
        self.ask(&format!("get {id} {path}"))?;
        let length = self.transfer(id, path)?;
        let length = usize::try_from(length).map_err(|_| Failure::new(format!("the guest has no {path}")))?;
        let mut contents = vec![0; length];
        files.set_read_timeout(Some(PROMPT)).map_err(Failure::of(path))?;
        files.read_exact(&mut contents).map_err(|error| self.failure(&format!("reading {path}: {error}")))?;
        Ok(contents)
    }

    /// Copies a file into the guest, making its folders.
    ///
    /// # Errors
    /// When it cannot be written there, or the machine is gone.
    pub fn put(&self, path: &str, contents: &[u8]) -> Result<()> {
        let mut files = lock(&self.files);
        let id = self.next_id();
        self.ask(&format!("put {id} {} {path}", contents.len()))?;
        files.set_write_timeout(Some(PROMPT)).map_err(Failure::of(path))?;
        files.write_all(contents).map_err(|error| self.failure(&format!("writing {path}: {error}")))?;
        match self.transfer(id, path)? {
            0 => Ok(()),
            code => Err(self.failure(&format!("writing {path}: exit code {code}"))),
        }
    }

    /// Executes a command of QEMU's control protocol: `device_add`, `device_del`, `system_wakeup`.
    ///
    /// # Errors
    /// When QEMU refuses it or does not answer.
    pub fn qmp(&self, command: &str, arguments: &Value) -> Result<Value> {
        lock(&self.qmp).execute(command, arguments)
    }

    /// Waits for an event of QEMU: `DEVICE_DELETED`, `SUSPEND`, `WAKEUP`.
    ///
    /// # Errors
    /// When it does not come in time.
    pub fn qmp_event(&self, name: &str, within: Duration) -> Result<Value> {
        lock(&self.qmp)
            .event(name, Instant::now() + within)
            .map_err(|failure| self.failure(&format!("waiting for {name}: {failure}")))
    }

    /// A failure with the end of the console.
    #[must_use]
    pub fn failure(&self, what: &str) -> Failure {
        Failure::new(format!("{what}{}", self.logs.tails()))
    }

    pub(crate) const fn answers(&self) -> &Answers {
        &self.answers
    }

    pub(crate) fn ask(&self, line: &str) -> Result<()> {
        lock(&self.agent)
            .write_all(format!("{line}\n").as_bytes())
            .map_err(|error| self.failure(&format!("the machine is gone ({error})")))
    }

    fn transfer(&self, id: u64, path: &str) -> Result<i64> {
        self.answers.transfer(id, Instant::now() + PROMPT).map_err(|silence| match silence {
            Silence::Ended => self.failure(&format!("the machine ended before it moved {path}")),
            Silence::Late => self.failure(&format!("the machine hangs: no answer to the move of {path}")),
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
