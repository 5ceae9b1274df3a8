//! Files and output of the command: a recording is never harmed, and what cannot be written is an error.
#![cfg(unix)]
#![allow(missing_docs)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use handsfree_sim::wav;

/// Time in which each expected change must come. All take seconds on an idle machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Temporary folder of one test, removed when the test passes.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("files-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// Writes a second of a tone.
    fn tone(&self, name: &str) -> String {
        let samples: Vec<f32> = (0..16_000).map(|n| 0.2 * (n as f32 * 0.1).sin()).collect();
        wav::write_mono(self.file(name), 16_000, &samples).unwrap();
        self.file(name)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_handsfree"));
    command.args(words).stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn handsfree(words: &[&str]) -> Output {
    command(words).output().unwrap()
}

/// Runs a command that must fail with `code`, and returns its message of one line.
fn fails(words: &[&str], code: i32) -> String {
    let output = handsfree(words);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {message}");
    assert!(message.starts_with("handsfree: ") && message.lines().count() == 1, "{words:?}: {message}");
    message
}

/// Waits until `condition` holds.
fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Starts a run in the simulated room, for programs.
fn start(words: &[&str]) -> Child {
    let run = [&["run", "--io", "sim", "--json", "--near", "none"], words].concat();
    command(&run).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Returns the samples of a WAV file that must be valid: those that its header states.
fn samples(path: impl AsRef<Path>) -> Vec<i16> {
    let path = path.as_ref();
    let reader = hound::WavReader::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    reader.into_samples().map(|sample| sample.unwrap_or_else(|error| panic!("{error}"))).collect()
}

fn length(path: &str) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

#[test]
fn a_refused_start_leaves_every_file_as_it_was() {
    let folder = Folder::new("refused");
    let (keep, dump) = (folder.tone("keep.wav"), folder.file("dump"));
    let before = fs::read(&keep).unwrap();
    for _ in 0..2 {
        let words = ["run", "--io", "sim", "--input", "hw:9", "--record", &keep, "--dump", &dump];
        let message = fails(&words, 1);
        assert!(message.contains("hw:9"), "{message}");
        assert_eq!((fs::read(&keep).unwrap(), folder.names()), (before.clone(), vec!["keep.wav".into()]));
    }
    // The same for recordings that cannot be processed, and for a simulation.
    let text_file = folder.file("text.wav");
    fs::write(&text_file, "this is no sound, but text that is long enough").unwrap();
    fails(&["process", "--mic", &text_file, "--far", &keep, "--out", &folder.file("new.wav")], 1);
    fails(&["sim", "--far", &text_file, "--out", &folder.file("a/b/c")], 1);
    assert_eq!(folder.names(), ["keep.wav", "text.wav"]);
}

#[test]
fn a_recording_is_not_read_and_replaced_at_once() {
    let folder = Folder::new("same");
    let keep = folder.tone("keep.wav");
    let before = fs::read(&keep).unwrap();
    let (link, hard) = (folder.file("link.wav"), folder.file("hard.wav"));
    std::os::unix::fs::symlink(&keep, &link).unwrap();
    fs::hard_link(&keep, &hard).unwrap();
    let report = folder.file("report");
    fs::create_dir(&report).unwrap();
    fs::hard_link(&keep, Path::new(&report).join("far.wav")).unwrap();
    for other in [&keep, &link, &hard] {
        for words in [
            &["run", "--io", "sim", "--duration", "1", "--play", &keep, "--record", other][..],
            &["run", "--io", "sim", "--duration", "1", "--near", &keep, "--record", other],
            &["process", "--mic", &keep, "--far", &keep, "--out", other],
            &["sim", "--seconds", "1", "--far", other, "--out", &report],
        ] {
            let message = fails(words, 2);
            assert!(message.contains("expected another file than") && message.contains(other), "{message}");
        }
    }
    assert_eq!(fs::read(&keep).unwrap(), before);
}

#[test]
fn a_recording_takes_its_name_when_it_is_whole() {
    let folder = Folder::new("whole");
    let keep = folder.tone("keep.wav");
    let before = fs::read(&keep).unwrap();
    let part = folder.file("keep.wav.part");
    let mut child = start(&["--record", &keep]);
    wait("samples on the disk", || length(&part) > 20_000);
    assert_eq!(fs::read(&keep).unwrap(), before, "the old recording stays until the new one is whole");
    let message = fails(&["run", "--io", "sim", "--duration", "1", "--record", &keep], 1);
    assert!(message.contains("keep.wav: another process is writing it"), "{message}");
    // The refused second instance did no harm to the first.
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success() && child.wait().unwrap().success());
    assert!(samples(&keep).len() > 10_000 && fs::read(&keep).unwrap() != before);
    assert_eq!(folder.names(), ["keep.wav"]);
}

/// Kills runs at random moments, and compares what is on the disk with the dump of the same run, which is written at once.
fn kill_at_random_moments(name: &str, runs: u32) {
    let folder = Folder::new(name);
    let seed = 18;
    println!("seed {seed}");
    let mut random = handsfree_sim::noise::Rng::new(seed);
    let keep = folder.tone("keep.wav");
    let before = fs::read(&keep).unwrap();
    let part = folder.file("keep.wav.part");
    let rate = 16_000;
    for number in 1..=runs {
        let (dump, out) = (folder.file(&format!("dump-{number}")), folder.file("out"));
        let events = folder.file("events");
        let mut run = command(&["run", "--io", "sim", "--json", "--near", "none", "--rate", "16000"]);
        run.args(["--record", &keep, "--dump", &dump]).stdout(File::create(&events).unwrap());
        let mut child = run.spawn().unwrap();
        let journal = Path::new(&dump).join("worker.journal");
        wait("a dump", || length(journal.to_str().unwrap()) > 0);
        // Some runs are killed before their first sample is on the disk.
        let waiting_ms = random.range(0, 3_000);
        std::thread::sleep(Duration::from_millis(waiting_ms));
        let context = format!("seed {seed}, run {number}, killed after {waiting_ms} ms");
        if let Some(status) = child.try_wait().unwrap() {
            panic!("{context}: the run ended before, {status}: {}", fs::read_to_string(&events).unwrap());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(fs::read(&keep).unwrap() == before, "{context}: the old recording has changed");
        let recorded = if length(&part) == 0 { Vec::new() } else { samples(&part) };
        let replayed = handsfree(&["replay", &dump, "--out", &out]);
        assert!(replayed.status.success(), "{context}: {}", text(&replayed.stderr));
        let cleaned_path = Path::new(&out).join("cleaned.wav");
        let cleaned = if cleaned_path.exists() { samples(&cleaned_path) } else { Vec::new() };
        let common = recorded.len().min(cleaned.len());
        assert!(recorded[..common] == cleaned[..common], "{context}: the recording differs from the dump");
        let missing_s = (cleaned.len() as f64 - recorded.len() as f64) / f64::from(rate);
        assert!(missing_s <= 1.0, "{context}: {missing_s} s are missing of {}", cleaned.len());
        fs::remove_dir_all(&out).unwrap();
        fs::remove_dir_all(&dump).unwrap();
    }
    // The next run keeps what the last killed one left, and says so.
    let kept = samples(&part).len();
    let child = start(&["--rate", "16000", "--duration", "1", "--record", &keep]);
    assert!(child.wait_with_output().unwrap().status.success());
    let recovered = folder.names().into_iter().filter(|name| name.contains("recovered")).collect::<Vec<_>>();
    let last =
        recovered.iter().max_by_key(|name| fs::metadata(folder.file(name)).unwrap().modified().unwrap());
    if kept > 0 {
        assert_eq!(samples(folder.file(last.unwrap())).len(), kept, "{recovered:?}");
    }
    assert!(!Path::new(&part).exists() && samples(&keep).len() > 4_000);
}

#[test]
fn a_killed_run_leaves_all_but_the_last_second() {
    kill_at_random_moments("killed", 3);
}

#[test]
#[ignore = "minutes: kills 200 runs"]
fn two_hundred_killed_runs_leave_all_but_the_last_second() {
    kill_at_random_moments("killed-often", 200);
}

/// Returns a path of a file that a run must create, and a shell that limits the size of files to 512 KiB.
fn limited(words: &[&str]) -> Output {
    let script = "trap '' XFSZ; ulimit -f 256; exec \"$0\" \"$@\"";
    let mut shell = Command::new("bash");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_handsfree")]).args(words);
    shell.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn a_recording_that_cannot_grow_ends_with_an_error() {
    let folder = Folder::new("full");
    let keep = folder.tone("keep.wav");
    let before = fs::read(&keep).unwrap();
    // 2.7 s of 48 kHz; the simulation goes on for up to 60 s.
    let output = limited(&["run", "--io", "sim", "--json", "--duration", "60", "--record", &keep]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.contains("keep.wav: cannot be written") && message.contains("keep.wav.part"),
        "{message}"
    );
    assert!(text(&output.stdout).contains("\"reason\":\"recording_failed\""), "{}", text(&output.stdout));
    assert_eq!(fs::read(&keep).unwrap(), before);
    assert!(samples(folder.file("keep.wav.part")).len() > 48_000, "what fitted is kept");
    // A simulation's report is either whole or the old one.
    let report = folder.file("report");
    assert_eq!(limited(&["sim", "--seconds", "8", "--out", &report]).status.code(), Some(1));
    for name in fs::read_dir(&report).into_iter().flatten() {
        let name = name.unwrap().file_name().into_string().unwrap();
        assert!(!name.ends_with(".part"), "{name}");
    }
    let message = fails(&["run", "--io", "sim", "--duration", "1", "--record", "/dev/full"], 1);
    assert!(message.contains("/dev/full: cannot be written"), "{message}");
}

/// Commands that print, each with the files that it needs.
fn printing_commands(folder: &Folder) -> Vec<Vec<String>> {
    let (tone, out) = (folder.tone("tone.wav"), folder.file("out.wav"));
    let dump = folder.file("dump");
    let recorded = handsfree(&["run", "--io", "sim", "--json", "--duration", "0.3", "--dump", &dump]);
    assert!(recorded.status.success(), "{}", text(&recorded.stderr));
    [
        &["sim", "--seconds", "1", "--out", &folder.file("report")][..],
        &["sim", "--seconds", "1", "--json", "--out", &folder.file("report")],
        &["process", "--mic", &tone, "--far", &tone, "--out", &out],
        &["process", "--mic", &tone, "--far", &tone, "--out", &out, "--json"],
        &["run", "--io", "sim", "--json"],
        &["run", "--io", "sim", "--plain"],
        &["replay", &dump],
        &["replay", &dump, "--json"],
        &["replay", &dump, "--recompute"],
        &["devices", "--io", "sim"],
        &["devices", "--io", "sim", "--json"],
        &["completions", "bash"],
        &["--help"],
        &["run", "--help"],
        &["--version"],
    ]
    .iter()
    .map(|words| words.iter().map(|&word| word.to_owned()).collect())
    .collect()
}

#[test]
fn a_full_stdout_is_an_error_of_every_command() {
    let folder = Folder::new("stdout");
    for words in printing_commands(&folder) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = command(&words).stdout(full).output().unwrap();
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {message}");
        assert!(
            message.starts_with("handsfree: stdout cannot be written: No space left"),
            "{words:?}: {message}"
        );
        let closed = Command::new("bash")
            .args(["-c", "exec \"$0\" \"$@\" >&-", env!("CARGO_BIN_EXE_handsfree")])
            .args(&words)
            .output()
            .unwrap();
        let message = text(&closed.stderr);
        assert_eq!(closed.status.code(), Some(1), "{words:?}: {message}");
        assert!(message.starts_with("handsfree: stdout is closed"), "{words:?}: {message}");
        // Both are found before the work.
        assert!(!Path::new(&folder.file("out.wav")).exists() && !Path::new(&folder.file("report")).exists());
    }
    // A full stderr hides the message, not the result.
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let status = command(&["run", "--io", "sim", "--rate", "7000"]).stderr(full()).status().unwrap();
    assert_eq!(status.code(), Some(2));
}

#[test]
fn a_reader_that_leaves_is_an_error_of_every_command() {
    let folder = Folder::new("reader");
    for words in printing_commands(&folder) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        // The reader is gone before the command can write.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(&words).stdout(writer).output().unwrap();
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {message}");
        let expected = "handsfree: stdout cannot be written: its reader has closed it";
        assert!(message.lines().any(|line| line == expected), "{words:?}: {message}");
    }
    // The files of the run are whole all the same.
    let keep = folder.file("keep.wav");
    let mut child = command(&["run", "--io", "sim", "--json", "--record", &keep])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("started"));
    assert!(lines.next().unwrap().unwrap().contains("status"));
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(samples(&keep).len() > 10_000);
}

/// A service manager hears of the start, of the worker's progress and of the end.
#[cfg(target_os = "linux")]
#[test]
fn a_service_manager_is_told_of_progress() {
    let folder = Folder::new("notify");
    check_messages(&folder, "run", &["run", "--io", "sim", "--json"]);
    // A short path, because that of a socket has at most 107 bytes.
    let socket = std::env::temp_dir().join(format!("hf-notify-{}", std::process::id()));
    check_messages(&folder, "serve", &["serve", "--io", "sim", "--socket", socket.to_str().unwrap()]);
    // A variable that makes no sense is named.
    let output = command(&["run", "--io", "sim"]).env("NOTIFY_SOCKET", "nowhere").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("NOTIFY_SOCKET \"nowhere\""), "{}", text(&output.stderr));
}

/// Starts a command as a service manager does, and checks the messages that it sends.
#[cfg(target_os = "linux")]
fn check_messages(folder: &Folder, name: &str, words: &[&str]) {
    let path = folder.file(name);
    let manager = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(LIMIT)).unwrap();
    let mut child = command(words)
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "300000")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let receive = || {
        let mut bytes = [0; 256];
        let length = manager.recv(&mut bytes).expect("a message");
        text(&bytes[..length])
    };
    assert_eq!(receive(), "READY=1");
    for _ in 0..5 {
        assert_eq!(receive(), "WATCHDOG=1");
    }
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success() && child.wait().unwrap().success());
    let last = std::iter::repeat_with(receive).find(|message| message != "WATCHDOG=1");
    assert_eq!(last.as_deref(), Some("STOPPING=1"));
}

/// Creates a named pipe, which a writer never opens.
fn pipe(path: &str) -> String {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    path.to_owned()
}

/// Runs a command that must end soon with an error, and returns its message.
fn ends(words: &[&str]) -> (i32, String) {
    let child = command(words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let (id, ended) = (child.id(), std::sync::mpsc::channel());
    std::thread::spawn(move || ended.0.send(child.wait_with_output().unwrap()));
    let Ok(output) = ended.1.recv_timeout(LIMIT) else {
        _ = Command::new("kill").args(["-KILL", &id.to_string()]).status();
        panic!("{words:?}: not within {LIMIT:?}");
    };
    (output.status.code().unwrap_or(-1), text(&output.stderr))
}

#[test]
fn inputs_that_make_no_sense_are_refused_by_name() {
    let folder = Folder::new("inputs");
    let good = folder.tone("good.wav");
    let mut slow = fs::read(&good).unwrap();
    slow[24..28].copy_from_slice(&1_u32.to_le_bytes());
    // Ten megabytes at 1 Hz would be 960 GB at 48 kHz.
    slow[40..44].copy_from_slice(&10_000_000_u32.to_le_bytes());
    slow.resize(10_000_044, 1);
    let slow_path = folder.file("slow.wav");
    fs::write(&slow_path, slow).unwrap();
    let fifo = pipe(&folder.file("pipe"));
    let directory = folder.file("directory");
    fs::create_dir(&directory).unwrap();
    let out = folder.file("out.wav");
    let report = folder.file("report");
    let scenario = |name: &str, content: &str| {
        fs::write(folder.file(name), content).unwrap();
        folder.file(name)
    };
    let equals = scenario("equals.toml", "\"near=none --json\" = true");
    let nested = scenario("nested.toml", "scenario = \"other.toml\"");
    let upper = scenario("upper.toml", "Seconds = 3");
    let long = scenario("long.toml", &"# a comment that goes on\n".repeat(50_000));
    for (words, code, expected) in [
        (&["process", "--mic", &slow_path, "--far", &good, "--out", &out][..], 1, "slow.wav: has 1 Hz"),
        (&["process", "--mic", &good, "--far", &slow_path, "--out", &out], 1, "slow.wav: has 1 Hz"),
        (&["sim", "--seconds", "1", "--far", &slow_path, "--out", &report], 1, "slow.wav: has 1 Hz"),
        (&["sim", "--seconds", "1", "--rir", &slow_path, "--out", &report], 1, "slow.wav: has 1 Hz"),
        (&["run", "--io", "sim", "--near", &slow_path], 1, "slow.wav: has 1 Hz"),
        (&["process", "--mic", "/dev/zero", "--far", &good, "--out", &out], 1, "/dev/zero: is no audio file"),
        (&["process", "--mic", &directory, "--far", &good, "--out", &out], 1, "is a directory"),
        (&["run", "--io", "sim", "--play", "/dev/zero"], 1, "/dev/zero: is a pipe or a device"),
        (&["run", "--io", "sim", "--play", &fifo], 1, "pipe: is a pipe or a device"),
        (&["run", "--io", "sim", "--play", &directory], 1, "is a directory"),
        (&["sim", "--scenario", "/dev/zero", "--out", &report], 1, "/dev/zero: cannot be read"),
        (&["sim", "--scenario", &long, "--out", &report], 1, "more than 1048576 bytes"),
        (&["sim", "--scenario", &directory, "--out", &report], 1, "cannot be read"),
        (&["sim", "--scenario", &equals, "--out", &report], 2, "\"near=none --json\""),
        (&["sim", "--scenario", &nested, "--out", &report], 2, "\"scenario\""),
        (&["sim", "--scenario", &upper, "--out", &report], 2, "\"Seconds\""),
    ] {
        let (found, message) = ends(words);
        assert_eq!(found, code, "{words:?}: {message}");
        assert!(message.contains(expected) && message.lines().count() == 1, "{words:?}: {message}");
    }
    // A pipe with a writer is read to its end.
    let shell = "exec \"$0\" process --mic <(cat \"$1\") --far \"$1\" --out \"$2\"";
    let piped = Command::new("bash")
        .args(["-c", shell, env!("CARGO_BIN_EXE_handsfree"), &good, &out])
        .output()
        .unwrap();
    assert!(piped.status.success(), "{}", text(&piped.stderr));
    assert_eq!(samples(&out).len(), 16_000);
}
