//! The machine: QEMU, the guest's agent and the console.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::answers::{Answers, Silence};
use crate::archive::Archive;
use crate::qmp::Qmp;
use crate::{Failure, Job, Options, Output, Result};

/// From QEMU's start to the agent's greeting: ten times what it takes.
const BOOT: Duration = Duration::from_secs(60);
/// Loading a module, moving a file: things that take no time in a machine that is well.
const PROMPT: Duration = Duration::from_secs(30);
/// QEMU's end, once asked.
const QUIT: Duration = Duration::from_secs(5);
/// After this a forgotten machine ends, whatever became of the test.
const LIFETIME_SECONDS: &str = "1800";
/// How much of the console a failure shows.
const CONSOLE_LINES: usize = 40;
const MEMORY: &str = "512";
/// Ends at a panic instead of standing still; does not wait for a serial line at 9600 baud; takes time from the emulated
/// TSC, which does not need to be proven right by the emulated HPET.
const KERNEL_PARAMETERS: &str =
    "console=ttyS0 loglevel=4 panic=-1 oops=panic mitigations=off nokaslr tsc=reliable";

static MACHINES: AtomicU64 = AtomicU64::new(0);

/// A running machine. It ends when it is dropped, and by itself when the process that booted it is gone.
pub struct Machine {
    qemu: Child,
    directory: PathBuf,
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
        let directory = new_directory()?;
        let mut machine = match Self::start(options, &directory) {
            Ok(machine) => machine,
            Err(failure) => {
                let text = format!("{failure}{}", tails(&directory));
                let _ = fs::remove_dir_all(&directory);
                return Err(Failure::new(text));
            }
        };
        let started = Instant::now();
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

    fn start(options: &Options, directory: &Path) -> Result<Self> {
        let (kernel, initramfs) = (kernel()?, directory.join("initramfs"));
        fs::copy(base_image()?, &initramfs).map_err(Failure::of(initramfs.display()))?;
        let mut archive = Archive::default();
        for program in &options.programs {
            archive.program(program)?;
        }
        for (path, guest_path) in &options.files {
            archive.file(path, guest_path)?;
        }
        let added = fs::OpenOptions::new().append(true).open(&initramfs);
        added.and_then(|mut file| file.write_all(&archive.finish())).map_err(Failure::of("initramfs"))?;

        let listeners = ["agent", "files", "qmp"].map(|name| UnixListener::bind(directory.join(name)));
        let [agent, files, qmp] = listeners.map(|made| made.map_err(Failure::of("a socket for QEMU")));
        let qemu = spawn_qemu(options, directory, &kernel, &initramfs)?;
        // From here on it is the machine that ends QEMU, whatever fails.
        let mut starting = Starting(Some(qemu));
        let agent = starting.accept(&agent?)?;
        let files = starting.accept(&files?)?;
        let qmp = Qmp::new(starting.accept(&qmp?)?)?;
        let answers = Answers::from(agent.try_clone().map_err(Failure::of("the agent's port"))?);
        Ok(Self {
            qemu: starting.0.take().ok_or_else(|| Failure::new("QEMU is gone"))?,
            directory: directory.to_owned(),
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
        Failure::new(format!("{what}{}", tails(&self.directory)))
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
        end(&mut self.qemu);
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// QEMU until its sockets are connected.
struct Starting(Option<Child>);

impl Starting {
    /// QEMU connects at once or never.
    fn accept(&mut self, listener: &UnixListener) -> Result<UnixStream> {
        let deadline = Instant::now() + PROMPT;
        listener.set_nonblocking(true).map_err(Failure::of("a socket"))?;
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).map_err(Failure::of("a socket"))?;
                    return Ok(stream);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(Failure::of("a socket")(error)),
            }
            let ended = self.0.as_mut().and_then(|qemu| qemu.try_wait().ok().flatten());
            if let Some(status) = ended {
                return Err(Failure::new(format!("QEMU did not start ({status})")));
            }
            if Instant::now() > deadline {
                return Err(Failure::new("QEMU did not connect"));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(qemu) = &mut self.0 {
            end(qemu);
        }
    }
}

/// Waits for QEMU to end, then ends it: `timeout`, which is the child, passes the signal on.
fn end(child: &mut Child) {
    for signal in ["", "-TERM", "-KILL"] {
        if !signal.is_empty() {
            let _ = Command::new("kill").args([signal, &child.id().to_string()]).status();
        }
        let deadline = Instant::now() + QUIT;
        while Instant::now() < deadline {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn spawn_qemu(options: &Options, directory: &Path, kernel: &Path, initramfs: &Path) -> Result<Child> {
    let path = |name: &str| directory.join(name).display().to_string();
    let log = fs::File::create(path("qemu")).map_err(Failure::of("QEMU's log"))?;
    // A /dev/kvm that opens may still not run a guest, so it is asked for and not guessed.
    let with_kvm = std::env::var_os("HANDSFREE_KVM").is_some();
    let mut qemu = Command::new("timeout");
    qemu.args(["--kill-after=5", LIFETIME_SECONDS, "qemu-system-x86_64"])
        .args(["-machine", "q35", "-m", MEMORY, "-nodefaults", "-display", "none", "-no-reboot"])
        .args(if with_kvm {
            ["-accel", "kvm", "-cpu", "host"]
        } else {
            ["-accel", "tcg", "-cpu", "max,la57=off"]
        })
        .args(["-smp", &options.processors.unwrap_or(1).to_string()])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", &format!("{KERNEL_PARAMETERS} {}", options.kernel.join(" "))])
        .args(["-serial", &format!("file:{}", path("console"))])
        .args(["-device", "virtio-serial-pci"])
        .args(["-chardev", &format!("socket,id=agent,path={}", path("agent"))])
        .args(["-device", "virtserialport,chardev=agent,nr=1"])
        .args(["-chardev", &format!("socket,id=files,path={}", path("files"))])
        .args(["-device", "virtserialport,chardev=files,nr=2"])
        .args(["-chardev", &format!("socket,id=qmp,path={}", path("qmp"))])
        .args(["-mon", "chardev=qmp,mode=control"])
        .args(&options.qemu)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    qemu.spawn().map_err(Failure::of("timeout (of coreutils), which starts QEMU"))
}

/// The folder of sockets and logs; its path has to fit into a socket's address.
fn new_directory() -> Result<PathBuf> {
    let number = MACHINES.fetch_add(1, Ordering::Relaxed);
    let directory = std::env::temp_dir().join(format!("handsfree-kernel-{}-{number}", std::process::id()));
    fs::create_dir(&directory).map_err(Failure::of(directory.display()))?;
    Ok(directory)
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn kernel() -> Result<PathBuf> {
    let kernel = repository().join("target/tools/kernel/vmlinux");
    if kernel.exists() {
        return Ok(kernel);
    }
    Err(Failure::new("the kernel machine is not set up: run tools/setup-kernel.sh"))
}

fn base_image() -> Result<PathBuf> {
    let script = repository().join("tools/kernel/image.sh");
    let output = Command::new(&script).output().map_err(Failure::of(script.display()))?;
    if !output.status.success() {
        return Err(Failure::new(String::from_utf8_lossy(&output.stderr)));
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end()))
}

/// What QEMU said, and the end of the console.
fn tails(directory: &Path) -> String {
    let mut text = String::new();
    for (title, file) in [("QEMU", "qemu"), ("the console's end", "console")] {
        let contents = fs::read(directory.join(file)).unwrap_or_default();
        let contents = String::from_utf8_lossy(&contents);
        let lines: Vec<&str> = contents.lines().filter(|line| !line.trim().is_empty()).collect();
        if !lines.is_empty() {
            let tail = &lines[lines.len().saturating_sub(CONSOLE_LINES)..];
            text.push_str(&format!("\n--- {title}:\n{}", tail.join("\n")));
        }
    }
    text
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
