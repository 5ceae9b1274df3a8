//! The QEMU process: its command line, sockets, logs and termination.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::{MachineFailure, Options, Result};

/// Maximum time until QEMU connects to its sockets.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum time until QEMU has ended after each request to end.
const QUIT_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum lifetime of a machine, in seconds, after which it ends even if the test has not ended it.
const LIFETIME_SECONDS: &str = "1800";
/// Number of console lines in a failure; enough for a panic with its call trace.
const CONSOLE_LINES: usize = 100;
/// Memory of the guest, in MiB.
const MEMORY: &str = "512";
/// Kernel parameters: end at a panic instead of halting; do not wait for a serial line at 9600 baud; take the time from the
/// emulated TSC without verifying it against the emulated HPET.
const KERNEL_PARAMETERS: &str =
    "console=ttyS0 loglevel=4 panic=-1 oops=panic mitigations=off nokaslr tsc=reliable";

static MACHINES: AtomicU64 = AtomicU64::new(0);

/// A QEMU process during its start, before its sockets are connected. Dropping it ends the process.
pub(crate) struct Starting(pub(crate) Option<Child>);

impl Starting {
    /// Waits until QEMU connects to a socket.
    pub(crate) fn accept(&mut self, listener: &UnixListener) -> Result<UnixStream> {
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        listener.set_nonblocking(true).map_err(MachineFailure::of("a socket"))?;
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).map_err(MachineFailure::of("a socket"))?;
                    return Ok(stream);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(MachineFailure::of("a socket")(error)),
            }
            let ended = self.0.as_mut().and_then(|qemu| qemu.try_wait().ok().flatten());
            if let Some(status) = ended {
                return Err(MachineFailure::new(format!("QEMU did not start ({status})")));
            }
            if Instant::now() > deadline {
                return Err(MachineFailure::new("QEMU did not connect to its sockets in time"));
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

/// Waits for QEMU to end, then terminates it. The child is `timeout`, which passes the signal on.
pub(crate) fn end(child: &mut Child) {
    for signal in ["", "-TERM", "-KILL"] {
        if !signal.is_empty() {
            let _ = Command::new("kill").args([signal, &child.id().to_string()]).status();
        }
        let deadline = Instant::now() + QUIT_TIMEOUT;
        while Instant::now() < deadline {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

pub(crate) fn spawn(options: &Options, directory: &Directory, kernel: &Path) -> Result<Child> {
    let path = |name: &str| directory.path(name);
    let log = File::options().append(true).open(path("qemu")).map_err(MachineFailure::of("QEMU's log"))?;
    // KVM is used only on request, because a /dev/kvm that can be opened may still be unable to run a guest.
    let with_kvm = std::env::var_os("HANDSFREE_KVM").is_some();
    // AVX is disabled because WebRTC and libc would use it, and QEMU emulates it six times slower than SSE.
    let emulated = "max,la57=off,avx=off,avx2=off,fma=off";
    let mut qemu = Command::new("timeout");
    qemu.args(["--kill-after=5", LIFETIME_SECONDS, "qemu-system-x86_64"])
        .args(["-machine", "q35", "-m", MEMORY, "-nodefaults", "-display", "none", "-no-reboot"])
        .args(if with_kvm { ["-accel", "kvm", "-cpu", "host"] } else { ["-accel", "tcg", "-cpu", emulated] })
        .args(if options.own_time && !with_kvm { &["-icount", "shift=0,sleep=off"][..] } else { &[] })
        .args(["-smp", &options.processors.unwrap_or(1).to_string()])
        .arg("-kernel")
        .arg(kernel)
        .args(["-initrd", &path("initramfs")])
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
    qemu.spawn().map_err(MachineFailure::of("cannot run timeout (of coreutils), which starts QEMU"))
}

/// The folder with QEMU's sockets and logs. It is removed as soon as the machine has booted, so that nothing remains however
/// the test ends. Its path must be short enough for a socket's address.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Result<Self> {
        let number = MACHINES.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("handsfree-kernel-{}-{number}", std::process::id()));
        fs::create_dir(&path).map_err(MachineFailure::of(path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The logs of QEMU and of the guest's console.
pub(crate) struct Logs {
    qemu: File,
    console: File,
}

impl Logs {
    pub(crate) fn new(directory: &Directory) -> Result<Self> {
        let new = |name| {
            let path = directory.path(name);
            let options = File::options().read(true).write(true).create_new(true).open(&path);
            options.map_err(MachineFailure::of(path))
        };
        Ok(Self { qemu: new("qemu")?, console: new("console")? })
    }

    pub(crate) fn try_clone(&self) -> Result<Self> {
        let clone = |file: &File| file.try_clone().map_err(MachineFailure::of("a log"));
        Ok(Self { qemu: clone(&self.qemu)?, console: clone(&self.console)? })
    }

    /// Returns the last lines of both logs.
    pub(crate) fn tails(&self) -> String {
        let mut text = String::new();
        for (title, file) in [("QEMU", &self.qemu), ("the console's end", &self.console)] {
            let contents = contents_of(file).unwrap_or_else(|error| format!("cannot be read: {error}"));
            let lines: Vec<&str> = contents.lines().filter(|line| !line.trim().is_empty()).collect();
            if !lines.is_empty() {
                let tail = &lines[lines.len().saturating_sub(CONSOLE_LINES)..];
                text.push_str(&format!("\n--- {title}:\n{}", tail.join("\n")));
            }
        }
        text
    }
}

/// Reads a file from its beginning, independently of the position at which it is being written.
fn contents_of(file: &File) -> io::Result<String> {
    let mut contents = vec![0; file.metadata()?.len() as usize];
    file.read_exact_at(&mut contents, 0)?;
    Ok(String::from_utf8_lossy(&contents).into_owned())
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub(crate) fn kernel() -> Result<PathBuf> {
    let kernel = repository().join("target/tools/kernel/vmlinux");
    if kernel.exists() {
        return Ok(kernel);
    }
    Err(MachineFailure::new("the kernel machine is not set up: run tools/setup-kernel.sh"))
}

pub(crate) fn base_image() -> Result<PathBuf> {
    let script = repository().join("tools/kernel/image.sh");
    let output = Command::new(&script).output().map_err(MachineFailure::of(script.display()))?;
    if !output.status.success() {
        return Err(MachineFailure::new(String::from_utf8_lossy(&output.stderr)));
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end()))
}
