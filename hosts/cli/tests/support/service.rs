//! Test support: a running `handsfree serve` with a socket of its own, and its clients.
#![allow(dead_code, reason = "each test program uses a part")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::samples::{bytes_of, samples_of};

/// A microphone that records the loudspeaker's samples bit for bit, without any processing.
pub(crate) const WIRE: &str =
    "serve --io sim --wire --no-aec --no-ns --no-agc --no-hpf --no-echo-search --json";

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits for a service's first line on stderr, which must contain `expected`.
pub(crate) fn await_start(child: &mut Child, expected: &str) {
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains(expected), "{line}");
}

/// Running service with a socket of its own.
pub(crate) struct Service {
    pub(crate) child: Child,
    pub(crate) folder: PathBuf,
    pub(crate) socket: PathBuf,
}

impl Service {
    /// Starts a service on the wire, at 16 kHz unless `words` name a rate.
    pub(crate) fn start(name: &str, words: &str) -> Self {
        let rate = if words.contains("--rate") { "" } else { "--rate 16000" };
        Self::start_with(name, &format!("{WIRE} {words} {rate}"))
    }

    /// Starts a service with exactly these words.
    pub(crate) fn start_with(name: &str, words: &str) -> Self {
        // Short, because the path of a socket has at most 107 bytes.
        let folder = std::env::temp_dir().join(format!("hf-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let socket = folder.join("s");
        let mut child = Command::new(env!("CARGO_BIN_EXE_handsfree"))
            .args(words.split_whitespace())
            .args(["--socket", socket.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        await_start(&mut child, "serving on");
        Self { child, folder, socket }
    }

    pub(crate) fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_handsfree"));
        command.args(words.split_whitespace()).env("HANDSFREE_SOCKET", &self.socket).stderr(Stdio::piped());
        command
    }

    pub(crate) fn mic(&self, words: &str) -> Mic {
        let mut child = self.command(&format!("mic -t raw {words}")).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        Mic { child, stdout }
    }

    pub(crate) fn speak(&self, words: &str, samples: &[i16]) -> Child {
        let mut child = self
            .command(&format!("speak --json -t raw {words}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut stdin, bytes) = (child.stdin.take().unwrap(), bytes_of(samples));
        // An interrupted client closes its input.
        std::thread::spawn(move || _ = stdin.write_all(&bytes));
        child
    }

    pub(crate) fn connect(&self, hello: &Value) -> Peer {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut peer = Peer { reader: BufReader::new(stream.try_clone().unwrap()), stream };
        // A client that is refused may find the connection closed.
        _ = peer.stream.write_all(format!("{hello}\n").as_bytes());
        peer
    }

    pub(crate) fn ctl(&self, words: &str) -> Output {
        self.command(&format!("ctl {words}")).stdout(Stdio::piped()).output().unwrap()
    }

    /// Returns the clients of a kind.
    pub(crate) fn clients(&self, kind: &str) -> Vec<Value> {
        let output = self.ctl("clients");
        let list: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {} {}", text(&output.stdout), text(&output.stderr)));
        list["clients"].as_array().unwrap().iter().filter(|client| client["kind"] == kind).cloned().collect()
    }

    pub(crate) fn wait_for_clients(&self, kind: &str, count: usize) -> Vec<Value> {
        let begun = Instant::now();
        loop {
            let clients = self.clients(kind);
            if clients.len() == count {
                return clients;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "expected {count} of {kind}: {clients:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn status(&self) -> Value {
        serde_json::from_slice(&self.ctl("status").stdout).unwrap()
    }

    /// Ends the service, which must do so in order.
    pub(crate) fn stop(mut self) {
        signal(&self.child, "TERM");
        assert!(self.child.wait().unwrap().success());
        assert!(!self.socket.exists(), "the socket's file is removed");
        fs::remove_dir_all(&self.folder).unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Client that listens.
pub(crate) struct Mic {
    pub(crate) child: Child,
    pub(crate) stdout: ChildStdout,
}

impl Mic {
    pub(crate) fn read(&mut self, samples: usize) -> Vec<i16> {
        let mut bytes = vec![0; 2 * samples];
        self.stdout.read_exact(&mut bytes).unwrap();
        samples_of(&bytes)
    }

    /// Ends the client, and returns what it has not given yet and its messages.
    pub(crate) fn end(mut self) -> (Vec<i16>, String) {
        signal(&self.child, "INT");
        let (mut bytes, mut messages) = (Vec::new(), String::new());
        self.stdout.read_to_end(&mut bytes).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut messages).unwrap();
        assert!(self.child.wait().unwrap().success(), "{messages}");
        (samples_of(&bytes), messages)
    }
}

/// Connection that a test writes and reads itself.
pub(crate) struct Peer {
    pub(crate) stream: UnixStream,
    pub(crate) reader: BufReader<UnixStream>,
}

impl Peer {
    pub(crate) fn send(&mut self, message: &Value) {
        self.stream.write_all(format!("{message}\n").as_bytes()).unwrap();
    }

    pub(crate) fn say(&mut self, samples: &[i16]) {
        for piece in samples.chunks(4_000) {
            self.send(&json!({ "type": "audio", "bytes": 2 * piece.len() }));
            self.stream.write_all(&bytes_of(piece)).unwrap();
        }
    }

    /// Returns the next message and its samples; `None` at the end.
    pub(crate) fn receive(&mut self) -> Option<(Value, Vec<i16>)> {
        let mut line = String::new();
        if self.reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let message: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let mut payload = vec![0; message["bytes"].as_u64().unwrap_or(0) as usize];
        self.reader.read_exact(&mut payload).ok()?;
        Some((message, samples_of(&payload)))
    }

    /// Returns the next message of this type.
    pub(crate) fn wait_for(&mut self, kind: &str) -> Value {
        loop {
            let (message, _) = self.receive().unwrap_or_else(|| panic!("no {kind} came"));
            if message["type"] == kind {
                return message;
            }
            assert_ne!(message["type"], "error", "{message}");
        }
    }
}

pub(crate) fn signal(child: &Child, name: &str) {
    assert!(
        Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap().success()
    );
}

/// Returns where `part` is in `all` without a hole.
pub(crate) fn find(all: &[i16], part: &[i16]) -> Option<usize> {
    let head = &part[..32.min(part.len())];
    (0..all.len()).find(|&at| all[at..].starts_with(head) && all[at..].starts_with(part))
}

pub(crate) fn played(child: Child) -> Value {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output.stdout)))
}
