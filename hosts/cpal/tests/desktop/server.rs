//! A real sound server of the test's own, PulseAudio or PipeWire: its folder, its socket, null sinks whose monitors are
//! microphones.

mod pipewire;
mod pulseaudio;

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration as Span, Instant as Moment};

/// Set in the process that runs a test: the folder of its server.
const INSIDE: &str = "HANDSFREE_DESKTOP";

/// How long anything may take that a server does.
const PATIENCE: Span = Span::from_secs(20);

/// How often it is looked whether something was done.
const LOOK_INTERVAL: Span = Span::from_millis(10);

/// The null sinks: name, and rate in hertz.
const SINKS: [(&str, u32); 4] = [("speaker", 48_000), ("other", 48_000), ("cd", 44_100), ("phone", 16_000)];

/// Whose server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    PulseAudio,
    /// By its PulseAudio interface.
    PipeWire,
}

/// Runs a test in a process of its own, whose environment names a PulseAudio that only it may start.
pub(crate) fn with_server(test: &str, inside: impl FnOnce(Server)) {
    with(System::PulseAudio, test, inside);
}

/// As [`with_server`], with the server of either system.
pub(crate) fn with(system: System, test: &str, inside: impl FnOnce(Server)) {
    if let Some(folder) = std::env::var_os(INSIDE) {
        let mut server = Server { system, folder: PathBuf::from(folder), children: Vec::new() };
        server.start_again();
        inside(server);
        return;
    }
    // A socket's name has 107 bytes at most, so not in the target folder.
    let folder = std::env::temp_dir().join(format!("hf-{}-{:x}", std::process::id(), fnv(test)));
    fs::create_dir_all(folder.join("pulse")).unwrap();
    // cpal's client sends what is in this file, and the server refuses any other length.
    fs::write(folder.join("cookie"), [7; 256]).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--include-ignored"])
        .env_remove("PULSE_RUNTIME_PATH")
        .env("PULSE_SERVER", format!("unix:{}", folder.join("pulse/native").display()))
        .env("PULSE_COOKIE", folder.join("cookie"))
        .env(INSIDE, &folder)
        .output()
        .unwrap();
    let told =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !(output.status.success() && told.contains("1 passed")) {
        // First what is known: there may be no log to read.
        println!("{told}");
        let log = read_log(&folder);
        let first = log.lines().count().saturating_sub(40);
        let tail: Vec<&str> = log.lines().skip(first).collect();
        panic!("'{test}' failed, as said above; the server's last words:\n{}", tail.join("\n"));
    }
    fs::remove_dir_all(&folder).unwrap();
    // What was measured, for whoever asks with --nocapture.
    print!("{told}");
}

/// What makes a null sink: mono, in 16 bits. Without rewinding it takes 50 ms at a time where nobody asks for less,
/// instead of two seconds, which each start would wait for; and its monitor hears no sample twice.
pub(crate) fn null_sink(name: &str, rate_hz: u32) -> String {
    format!("sink_name={name} rate={rate_hz} channels=1 format=s16le norewinds=1")
}

/// What a server said; one that cannot be read would look like one that never complained.
fn read_log(folder: &Path) -> String {
    let path = folder.join("log");
    let log = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    String::from_utf8_lossy(&log).into_owned()
}

fn fnv(text: &str) -> u32 {
    text.bytes().fold(0x811C_9DC5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// A program whose home is this folder, and which writes to the log there.
fn command(program: &str, folder: &Path) -> Command {
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
    let mut command = Command::new(program);
    for name in ["HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"] {
        command.env(name, folder);
    }
    for name in ["PULSE_SERVER", "DISPLAY", "DBUS_SESSION_BUS_ADDRESS"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command
}

fn await_socket(socket: &Path, folder: &Path) {
    let began = Moment::now();
    while UnixStream::connect(socket).is_err() {
        assert!(began.elapsed() < PATIENCE, "nobody listens at {}:\n{}", socket.display(), read_log(folder));
        std::thread::sleep(LOOK_INTERVAL);
    }
}

fn try_pactl(folder: &Path, words: &[&str]) -> Result<String, String> {
    let output = Command::new("pactl")
        .args(words)
        .env("PULSE_SERVER", format!("unix:{}", folder.join("pulse/native").display()))
        .output()
        .expect("pactl: `apt install pulseaudio-utils`, or `make setup`");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8(output.stdout).unwrap())
}

pub(crate) struct Server {
    system: System,
    folder: PathBuf,
    /// Its processes, in the order of their start.
    children: Vec<Child>,
}

impl Server {
    /// Starts it, after `kill` as well, and waits until it answers.
    pub(crate) fn start_again(&mut self) {
        let socket = self.folder.join("pulse/native");
        let _ = fs::remove_file(&socket);
        self.children = match self.system {
            System::PulseAudio => pulseaudio::start(&self.folder),
            System::PipeWire => pipewire::start(&self.folder),
        };
        await_socket(&socket, &self.folder);
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) {
        assert!(!self.children.is_empty(), "it runs");
        for mut child in self.children.drain(..).rev() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Lets it hang (`STOP`), and go on (`CONT`).
    pub(crate) fn signal(&self, name: &str) {
        for child in &self.children {
            let id = child.id().to_string();
            assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
        }
    }

    pub(crate) fn pactl(&self, words: &[&str]) -> String {
        try_pactl(&self.folder, words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// The sinks that somebody plays on and the sources that somebody listens to, one for each stream.
    pub(crate) fn places(&self) -> [Vec<String>; 2] {
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

    pub(crate) fn log(&self) -> String {
        read_log(&self.folder)
    }

    /// How often the server said since `from` (a length of its log) that sound was missing.
    pub(crate) fn complaints(&self, from: usize) -> usize {
        let log = self.log();
        let said = log.get(from..).unwrap_or_default();
        said.lines().filter(|line| line.to_ascii_lowercase().contains("underrun")).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
