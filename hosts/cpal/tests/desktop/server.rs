//! A real PulseAudio of the test's own: its folder, its socket, null sinks whose monitors are microphones.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration as Span, Instant as Moment};

/// Set in the process that runs a test: the folder of its server.
const INSIDE: &str = "HANDSFREE_DESKTOP";

/// How long anything may take that a server does.
const PATIENCE: Span = Span::from_secs(20);

/// Runs a test in a process of its own, whose environment names a server that only it may start.
pub(crate) fn with_server(test: &str, inside: impl FnOnce(Server)) {
    if let Some(folder) = std::env::var_os(INSIDE) {
        inside(Server::start(PathBuf::from(folder)));
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

pub(crate) struct Server {
    folder: PathBuf,
    child: Option<Child>,
}

impl Server {
    fn start(folder: PathBuf) -> Self {
        let mut server = Self { folder, child: None };
        server.start_again();
        server
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Starts it, after `kill` as well, and waits until it answers.
    pub(crate) fn start_again(&mut self) {
        let sink =
            |name: &str, rate_hz: u32| format!("load-module module-null-sink {}\n", null_sink(name, rate_hz));
        let mut script = String::from(".fail\n");
        script += &sink("speaker", 48_000);
        script += &sink("other", 48_000);
        script += &sink("cd", 44_100);
        script += &sink("phone", 16_000);
        script += "set-default-sink speaker\nset-default-source speaker.monitor\n";
        script += &format!(
            "load-module module-native-protocol-unix auth-anonymous=1 socket={}\n",
            self.path("pulse/native").display()
        );
        fs::write(self.path("script.pa"), script).unwrap();
        let _ = fs::remove_file(self.path("pulse/native"));
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        let child = Command::new("pulseaudio")
            .args(["--daemonize=no", "-n", "--use-pid-file=no", "--disable-shm=yes", "--log-target=stderr"])
            // It leaves by itself where this process was killed, and takes priority where it is allowed to.
            .args(["--exit-idle-time=60", "--high-priority=yes", "--realtime=yes", "--log-level=debug"])
            .arg("-F")
            .arg(self.path("script.pa"))
            .env("HOME", &self.folder)
            .env("XDG_CONFIG_HOME", &self.folder)
            .env("XDG_RUNTIME_DIR", &self.folder)
            .env("PULSE_RUNTIME_PATH", self.path("pulse"))
            .env_remove("PULSE_SERVER")
            .env_remove("DISPLAY")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("pulseaudio: `apt install pulseaudio pulseaudio-utils`, or `make setup`");
        self.child = Some(child);
        let began = Moment::now();
        while UnixStream::connect(self.path("pulse/native")).is_err() {
            assert!(began.elapsed() < PATIENCE, "the server does not come up:\n{}", self.log());
            std::thread::sleep(Span::from_millis(10));
        }
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Lets it hang (`STOP`), and go on (`CONT`).
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    pub(crate) fn pactl(&self, words: &[&str]) -> String {
        let output = Command::new("pactl")
            .args(words)
            .env("PULSE_SERVER", format!("unix:{}", self.path("pulse/native").display()))
            .output()
            .expect("pactl: `apt install pulseaudio-utils`, or `make setup`");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
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
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
