//! A real sound server that belongs to one test, PulseAudio or PipeWire, with its own directory and socket. Its
//! devices are null sinks, the monitors of which serve as microphones.

mod pipewire;
mod pulseaudio;

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration as Span, Instant as Moment};

/// Environment variable that holds the directory of the server in the child process that runs a test.
const DIRECTORY_VARIABLE: &str = "HANDSFREE_DESKTOP";

/// Maximum time for any operation of a server, on a machine that is busy with other tests.
const SERVER_TIMEOUT: Span = Span::from_secs(20);

/// Interval at which the result of an operation is checked.
const POLL_INTERVAL: Span = Span::from_millis(10);

/// Real-time priority of the servers' threads, below the one that our streams request.
pub(crate) const SERVER_PRIORITY: &str = "10";

/// Names of the null sinks, and their rates in hertz.
const SINKS: [(&str, u32); 4] = [("speaker", 48_000), ("other", 48_000), ("cd", 44_100), ("phone", 16_000)];

/// Kind of sound server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerKind {
    PulseAudio,
    /// PipeWire, used through its PulseAudio interface.
    PipeWire,
}

/// Runs a test in a child process with a PulseAudio server of its own, which the environment of the process
/// names.
pub(crate) fn with_server(test: &str, inside: impl FnOnce(SoundServer)) {
    with(ServerKind::PulseAudio, test, inside);
}

/// Lets one test run at a time: a server and its clients need most of two cores, and what waits for another test's
/// processor loses sound.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a test in a child process with a server of the given kind, one test at a time.
pub(crate) fn with(kind: ServerKind, test: &str, inside: impl FnOnce(SoundServer)) {
    if let Some(directory) = std::env::var_os(DIRECTORY_VARIABLE) {
        let mut server = SoundServer { kind, directory: PathBuf::from(directory), children: Vec::new() };
        server.start();
        inside(server);
        return;
    }
    let _alone = alone();
    // The path of a socket has at most 107 bytes, which a path in the target directory would exceed.
    let directory = std::env::temp_dir().join(format!("hf-{}-{:x}", std::process::id(), fnv(test)));
    fs::create_dir_all(directory.join("pulse")).unwrap();
    // The server accepts only a cookie of this length; cpal's client sends the content of this file.
    fs::write(directory.join("cookie"), [7; 256]).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--include-ignored"])
        .env_remove("PULSE_RUNTIME_PATH")
        .env("PULSE_SERVER", format!("unix:{}", directory.join("pulse/native").display()))
        .env("PULSE_COOKIE", directory.join("cookie"))
        .env(DIRECTORY_VARIABLE, &directory)
        .output()
        .unwrap();
    let printed =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !(output.status.success() && printed.contains("1 passed")) {
        // The output is printed first, because reading the log may fail.
        println!("{printed}");
        let log = read_log(&directory);
        let first = log.lines().count().saturating_sub(40);
        let tail: Vec<&str> = log.lines().skip(first).collect();
        panic!("'{test}' failed, see the output above; the end of the server's log:\n{}", tail.join("\n"));
    }
    fs::remove_dir_all(&directory).unwrap();
    // Shows the measurements when the tests run with --nocapture.
    print!("{printed}");
}

/// Returns the options of a null sink with one channel of 16 bits. Rewinding is off: then the sink takes 50 ms
/// at a time by default instead of two seconds, for which each start would wait, and its monitor repeats no
/// sample.
pub(crate) fn null_sink(name: &str, rate_hz: u32) -> String {
    format!("sink_name={name} rate={rate_hz} channels=1 format=s16le norewinds=1")
}

/// Reads the server's log. Panics if it cannot be read, because a missing log would look like one without
/// underruns.
fn read_log(directory: &Path) -> String {
    let path = directory.join("log");
    let log = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    String::from_utf8_lossy(&log).into_owned()
}

fn fnv(text: &str) -> u32 {
    text.bytes().fold(0x811C_9DC5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Returns a command with this directory as its home and with its error output appended to the log there.
fn command(program: &str, directory: &Path) -> Command {
    let log = fs::OpenOptions::new().create(true).append(true).open(directory.join("log")).unwrap();
    let mut command = Command::new(program);
    for name in ["HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"] {
        command.env(name, directory);
    }
    for name in ["PULSE_SERVER", "DISPLAY", "DBUS_SESSION_BUS_ADDRESS"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command
}

fn await_socket(socket: &Path, directory: &Path) {
    let began = Moment::now();
    while UnixStream::connect(socket).is_err() {
        assert!(
            began.elapsed() < SERVER_TIMEOUT,
            "no server listens at {}:\n{}",
            socket.display(),
            read_log(directory)
        );
        std::thread::sleep(POLL_INTERVAL);
    }
}

fn try_pactl(directory: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("pactl")
        .args(arguments)
        .env("PULSE_SERVER", format!("unix:{}", directory.join("pulse/native").display()))
        .output()
        .expect("pactl: `apt install pulseaudio-utils`, or `make setup`");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8(output.stdout).unwrap())
}

pub(crate) struct SoundServer {
    kind: ServerKind,
    directory: PathBuf,
    /// Processes of the server in the order of their start.
    children: Vec<Child>,
}

impl SoundServer {
    /// Starts the server, for the first time or after `kill`, and waits until it answers.
    pub(crate) fn start(&mut self) {
        let socket = self.directory.join("pulse/native");
        let _ = fs::remove_file(&socket);
        self.children = match self.kind {
            ServerKind::PulseAudio => pulseaudio::start(&self.directory),
            ServerKind::PipeWire => pipewire::start(&self.directory),
        };
        await_socket(&socket, &self.directory);
        self.request_realtime();
    }

    /// Kills the server, which looks like a crash.
    pub(crate) fn kill(&mut self) {
        assert!(!self.children.is_empty(), "the server runs");
        for mut child in self.children.drain(..).rev() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Sends a signal to the server: `STOP` makes it hang and `CONT` resumes it.
    pub(crate) fn signal(&self, name: &str) {
        for child in &self.children {
            let id = child.id().to_string();
            assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
        }
    }

    /// Gives the server's threads a real-time priority where the system permits it, so that other programs cannot delay
    /// them: not only those that move sound, which have one already, but also the one that talks to its clients.
    fn request_realtime(&self) {
        for child in &self.children {
            let id = child.id().to_string();
            let _ = Command::new("chrt")
                .args(["--all-tasks", "--fifo", "--pid", SERVER_PRIORITY, &id])
                .stderr(Stdio::null())
                .status();
        }
    }

    pub(crate) fn pactl(&self, arguments: &[&str]) -> String {
        try_pactl(&self.directory, arguments).unwrap_or_else(|error| panic!("pactl {arguments:?}: {error}"))
    }

    /// Returns the sinks of all playback streams and the sources of all capture streams.
    pub(crate) fn stream_devices(&self) -> [Vec<String>; 2] {
        [("sinks", "sink-inputs"), ("sources", "source-outputs")].map(|(devices, streams)| {
            let devices = self.pactl(&["list", "short", devices]);
            let name = |index: &str| {
                let fields = |line: &str| line.split('\t').take(2).map(str::to_owned).collect::<Vec<_>>();
                devices.lines().map(fields).find(|fields| fields[0] == index).map(|fields| fields[1].clone())
            };
            let streams = self.pactl(&["list", "short", streams]);
            streams.lines().filter_map(|line| line.split('\t').nth(1).and_then(name)).collect()
        })
    }

    /// Returns the directory that holds the server's sockets.
    #[allow(dead_code, reason = "shared with tests that do not use it")]
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn log(&self) -> String {
        read_log(&self.directory)
    }

    /// Returns the number of underruns that the server logged after the first `from` bytes of its log.
    pub(crate) fn underruns(&self, from: usize) -> usize {
        let log = self.log();
        let recent = log.get(from..).unwrap_or_default();
        recent.lines().filter(|line| line.to_ascii_lowercase().contains("underrun")).count()
    }
}

impl Drop for SoundServer {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
