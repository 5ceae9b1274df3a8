//! `handsfree serve` and its clients, in real time on a simulated wire: the microphone records the loudspeaker's samples
//! bit for bit, so a client that listens receives exactly what the others say.
#![cfg(unix)]
#![allow(missing_docs)]

#[path = "support/samples.rs"]
mod samples;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use samples::{bytes_of, noise, samples_of};
use serde_json::{Value, json};

/// A microphone that records the loudspeaker's samples bit for bit, without any processing.
const WIRE: &str = "serve --io sim --wire --no-aec --no-ns --no-agc --no-hpf --no-echo-search --json";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Running service with a socket of its own.
struct Service {
    child: Child,
    folder: PathBuf,
    socket: PathBuf,
}

impl Service {
    fn start(name: &str, words: &str) -> Self {
        // Short, because the path of a socket has at most 107 bytes.
        let folder = std::env::temp_dir().join(format!("hf-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let socket = folder.join("s");
        let mut child = Command::new(env!("CARGO_BIN_EXE_handsfree"))
            .args(WIRE.split(' ').chain(words.split_whitespace()))
            .args(["--socket", socket.to_str().unwrap()])
            .args(if words.contains("--rate") { [""; 0].as_slice() } else { ["--rate", "16000"].as_slice() })
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("serving on"), "{line}");
        Self { child, folder, socket }
    }

    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_handsfree"));
        command.args(words.split_whitespace()).env("HANDSFREE_SOCKET", &self.socket).stderr(Stdio::piped());
        command
    }

    fn mic(&self, words: &str) -> Mic {
        let mut child = self.command(&format!("mic -t raw {words}")).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        Mic { child, stdout }
    }

    fn speak(&self, words: &str, samples: &[i16]) -> Child {
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

    fn connect(&self, hello: &Value) -> Peer {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut peer = Peer { reader: BufReader::new(stream.try_clone().unwrap()), stream };
        // A client that is refused may find the connection closed.
        _ = peer.stream.write_all(format!("{hello}\n").as_bytes());
        peer
    }

    fn ctl(&self, words: &str) -> Output {
        self.command(&format!("ctl {words}")).stdout(Stdio::piped()).output().unwrap()
    }

    /// Returns the clients of a kind.
    fn clients(&self, kind: &str) -> Vec<Value> {
        let output = self.ctl("clients");
        let list: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {} {}", text(&output.stdout), text(&output.stderr)));
        list["clients"].as_array().unwrap().iter().filter(|client| client["kind"] == kind).cloned().collect()
    }

    fn wait_for_clients(&self, kind: &str, count: usize) -> Vec<Value> {
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

    fn status(&self) -> Value {
        serde_json::from_slice(&self.ctl("status").stdout).unwrap()
    }

    /// Ends the service, which must do so in order.
    fn stop(mut self) {
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
struct Mic {
    child: Child,
    stdout: ChildStdout,
}

impl Mic {
    fn read(&mut self, samples: usize) -> Vec<i16> {
        let mut bytes = vec![0; 2 * samples];
        self.stdout.read_exact(&mut bytes).unwrap();
        samples_of(&bytes)
    }

    /// Ends the client, and returns what it has not given yet and its messages.
    fn end(mut self) -> (Vec<i16>, String) {
        signal(&self.child, "INT");
        let (mut bytes, mut messages) = (Vec::new(), String::new());
        self.stdout.read_to_end(&mut bytes).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut messages).unwrap();
        assert!(self.child.wait().unwrap().success(), "{messages}");
        (samples_of(&bytes), messages)
    }
}

/// Connection that a test writes and reads itself.
struct Peer {
    stream: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Peer {
    fn send(&mut self, message: &Value) {
        self.stream.write_all(format!("{message}\n").as_bytes()).unwrap();
    }

    fn say(&mut self, samples: &[i16]) {
        for piece in samples.chunks(4_000) {
            self.send(&json!({ "type": "audio", "bytes": 2 * piece.len() }));
            self.stream.write_all(&bytes_of(piece)).unwrap();
        }
    }

    /// Returns the next message and its samples; `None` at the end.
    fn receive(&mut self) -> Option<(Value, Vec<i16>)> {
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
    fn wait_for(&mut self, kind: &str) -> Value {
        loop {
            let (message, _) = self.receive().unwrap_or_else(|| panic!("no {kind} came"));
            if message["type"] == kind {
                return message;
            }
            assert_ne!(message["type"], "error", "{message}");
        }
    }
}

fn signal(child: &Child, name: &str) {
    assert!(
        Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap().success()
    );
}

/// Returns where `part` is in `all` without a hole.
fn find(all: &[i16], part: &[i16]) -> Option<usize> {
    let head = &part[..32.min(part.len())];
    (0..all.len()).find(|&at| all[at..].starts_with(head) && all[at..].starts_with(part))
}

fn played(child: Child) -> Value {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output.stdout)))
}

#[test]
fn every_sample_spoken_is_heard_by_every_reader() {
    let service = Service::start("whole", "");
    let mut readers = [service.mic(""), service.mic("--queue-ms 2000"), service.mic("-c 2")];
    service.wait_for_clients("mic", 3);
    let said = noise(40_000, 1);
    let outcome = played(service.speak("", &said));
    assert_eq!((&outcome["event"], &outcome["position"]), (&"played".into(), &40_000.into()));
    for (index, reader) in readers.iter_mut().enumerate() {
        let channels = 1 + index / 2;
        let heard: Vec<i16> = reader.read(channels * 48_000).into_iter().step_by(channels).collect();
        assert!(find(&heard, &said).is_some(), "reader {index}");
    }
    for client in service.clients("mic") {
        assert_eq!(client["dropped_sample_frames"], 0, "{client}");
    }
    for reader in readers {
        assert_eq!(reader.end().1, "", "nothing was lost");
    }
    service.stop();
}

#[test]
fn two_speakers_are_mixed_and_each_is_told_when_it_was_heard() {
    let service = Service::start("mix", "");
    let mut reader = service.mic("");
    service.wait_for_clients("mic", 1);
    let (first, second) = (noise(32_000, 1), noise(16_000, 2));
    let (one, other) = (service.speak("", &first), service.speak("--gain-db -6.0205999", &second));
    let heard = reader.read(64_000);
    assert_eq!(played(one)["position"], 32_000);
    assert_eq!(played(other)["position"], 16_000);
    // The part in which both sound is found by its correlation with the second.
    let from =
        find(&heard, &first[..40]).or_else(|| find(&heard, &first[31_000..]).map(|at| at - 31_000)).unwrap();
    let rest: Vec<i16> = heard[from..from + 32_000].iter().zip(&first).map(|(sum, one)| sum - one).collect();
    let begin = rest.iter().position(|&sample| sample != 0).unwrap();
    let half: Vec<i16> = second.iter().map(|sample| sample / 2).collect();
    let differ = rest[begin..]
        .iter()
        .zip(&half[..rest.len().min(begin + 16_000) - begin])
        .filter(|(a, b)| a.abs_diff(**b) > 1);
    assert_eq!(differ.count(), 0, "the second begins {begin} samples after the first");
    reader.end();
    service.stop();
}

#[test]
fn an_interruption_reports_the_sample_that_was_heard_last() {
    let service = Service::start("interrupt", "");
    let mut reader = service.mic("");
    service.wait_for_clients("mic", 1);
    let said = noise(160_000, 3);
    let speaker = service.speak("", &said);
    let mut heard = reader.read(16_000);
    let begun = Instant::now();
    signal(&speaker, "INT");
    let output = speaker.wait_with_output().unwrap();
    let took = begun.elapsed();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    let event: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(event["event"], "interrupted");
    heard.extend(reader.read(8_000));
    let from = find(&heard, &said[..40]).unwrap();
    let end = heard.iter().rposition(|&sample| sample != 0).unwrap() + 1;
    let position = event["position"].as_u64().unwrap() as usize;
    // The last samples fade to 0, and the smallest ones are rounded to it.
    assert!((end - from..end - from + 8).contains(&position), "{position} reported, {} heard", end - from);
    assert!(took < Duration::from_millis(700), "{took:?}");
    // Another client interrupts too, and what is still sent of that utterance is discarded.
    let speaker = service.speak("", &said);
    let id = service.wait_for_clients("speak", 1)[0]["id"].as_u64().unwrap();
    reader.read(8_000);
    assert!(service.ctl(&format!("interrupt {id}")).status.success());
    assert_eq!(speaker.wait_with_output().unwrap().status.code(), Some(130));
    let refused = service.ctl("interrupt 999");
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("999"), "{}", text(&refused.stderr));
    reader.end();
    service.stop();
}

#[test]
fn a_client_may_pause_clear_and_speak_again_on_one_connection() {
    let service = Service::start("pause", "");
    let mut speaker = service.connect(&json!({ "type": "speak", "rate_hz": 16000, "name": "agent" }));
    let opened = speaker.wait_for("opened");
    assert_eq!((&opened["protocol"], &opened["limit"]), (&1.into(), &15_680.into()));
    speaker.say(&noise(8_000, 1));
    speaker.send(&json!({ "type": "end" }));
    assert_eq!(speaker.wait_for("played")["position"], 8_000);
    // Two utterances one after the other, of lengths that are no whole frames.
    speaker.say(&noise(1_111, 2));
    speaker.send(&json!({ "type": "end" }));
    speaker.say(&noise(2_222, 3));
    speaker.send(&json!({ "type": "end" }));
    assert_eq!(speaker.wait_for("played")["position"], 9_111);
    assert_eq!(speaker.wait_for("played")["position"], 11_333);
    speaker.send(&json!({ "type": "pause" }));
    speaker.say(&noise(8_000, 4));
    speaker.send(&json!({ "type": "end" }));
    std::thread::sleep(Duration::from_millis(700));
    speaker.send(&json!({ "type": "position" }));
    let state = speaker.wait_for("position");
    assert_eq!((&state["position"], &state["taken"]), (&11_333.into(), &19_333.into()), "{state}");
    speaker.send(&json!({ "type": "clear" }));
    assert_eq!(speaker.wait_for("interrupted")["position"], 11_333);
    speaker.send(&json!({ "type": "resume" }));
    speaker.say(&noise(1_600, 5));
    speaker.send(&json!({ "type": "end" }));
    assert_eq!(speaker.wait_for("played")["position"], 20_933);
    // The end of the connection is the end of an utterance too.
    speaker.say(&noise(1_600, 6));
    speaker.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(speaker.wait_for("played")["position"], 22_533);
    assert!(speaker.receive().is_none(), "the service closes the connection");
    service.stop();
}

#[test]
fn a_higher_priority_pauses_and_a_background_fades() {
    let service = Service::start("priority", "");
    let mut reader = service.mic("");
    let low = service.speak("--name low", &noise(24_000, 1));
    service.wait_for_clients("speak", 1);
    reader.read(4_000);
    let alert = noise(16_000, 2);
    let high = service.speak("--priority 5 --name high", &alert);
    let heard = reader.read(48_000);
    assert_eq!(played(high)["position"], 16_000);
    assert_eq!(played(low)["position"], 24_000, "the paused speaker goes on to its end");
    let tail = find(&heard, &alert[4_000..]).expect("the alert sounds alone");
    assert!(heard[tail + 12_000 + 3_200..].iter().any(|&sample| sample != 0), "the other follows");
    let background = service.speak("--duck-db -40", &noise(48_000, 3));
    service.wait_for_clients("speak", 1);
    reader.read(8_000);
    let over = service.speak("", &vec![1; 16_000]);
    let heard = reader.read(24_000);
    assert!(played(over)["position"] == 16_000 && played(background)["position"] == 48_000);
    let level = |part: &[i16]| part.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / part.len() as f64;
    let levels: Vec<f64> = heard.chunks(1_600).map(level).collect();
    let (low, high) =
        (levels.iter().copied().fold(f64::MAX, f64::min), levels.iter().copied().fold(0.0, f64::max));
    assert!(low < high / 5_000.0, "40 dB: {levels:?}");
    reader.end();
    service.stop();
}

#[test]
fn dying_and_stopping_clients_harm_nobody() {
    let service = Service::start("faults", "");
    let mut reader = service.mic("");
    let stopped = service.mic("--name stopped");
    let killed = service.mic("--name killed");
    service.wait_for_clients("mic", 3);
    let mut dying = service.speak("--name dying", &noise(160_000, 9));
    service.wait_for_clients("speak", 1);
    signal(&stopped.child, "STOP");
    signal(&killed.child, "KILL");
    reader.read(8_000);
    dying.kill().unwrap();
    dying.wait().unwrap();
    service.wait_for_clients("speak", 0);
    service.wait_for_clients("mic", 2);
    let said = noise(64_000, 4);
    let outcome = played(service.speak("", &said));
    assert_eq!(outcome["position"], 64_000);
    // The killed speaker is not heard after its end: everything before is its beginning.
    let heard = reader.read(96_000);
    assert!(find(&heard, &said).is_some(), "the reader that reads has every sample");
    assert_eq!(reader.end().1, "");
    // The reader that was stopped goes on, and receives the count of what it missed.
    signal(&stopped.child, "CONT");
    let mut stopped = stopped;
    stopped.read(16_000);
    let (_, messages) = stopped.end();
    let mut killed = killed;
    killed.child.wait().unwrap();
    // Its pipe and its connection hold some seconds, which it has received in any case.
    assert!(messages.is_empty() || messages.contains("sample frames were lost"), "{messages}");
    service.stop();
}

#[test]
fn a_reader_that_does_not_read_loses_samples_which_are_counted() {
    let service = Service::start("slow", "--rate 48000");
    let mut slow =
        service.connect(&json!({ "type": "mic", "rate_hz": 48000, "channels": 2, "queue_ms": 100 }));
    slow.wait_for("opened");
    let mut steady = service.mic("-r 48000 -d 3");
    // The connection holds about 1 s at this rate.
    std::thread::sleep(Duration::from_secs(4));
    let dropped = service.clients("mic")[0]["dropped_sample_frames"].as_u64().unwrap();
    assert!(dropped > 48_000, "{dropped}");
    let mut all = Vec::new();
    steady.stdout.read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), 2 * 3 * 48_000, "-d has its exact length");
    let (mut next, mut lost) = (0, 0);
    while lost == 0 {
        let (message, samples) = slow.receive().unwrap();
        lost += message["lost"].as_u64().unwrap();
        next += message["lost"].as_u64().unwrap();
        assert_eq!(message["position"].as_u64().unwrap(), next, "{message}");
        next += samples.len() as u64 / 2;
    }
    assert!(lost.abs_diff(dropped) < 96_000 && lost % 480 == 0, "{lost} lost, {dropped} dropped");
    steady.child.wait().unwrap();
    service.stop();
}

#[test]
fn garbage_and_half_messages_end_only_their_connection() {
    let service = Service::start("garbage", "");
    let mut reader = service.mic("");
    service.wait_for_clients("mic", 1);
    let said = noise(48_000, 7);
    let speaker = service.speak("", &said);
    for (bytes, code) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "bad_message"),
        (&[0xff; 5_000], "line_too_long"),
        (b"{\"type\":\"mic\",\"rate_hz\":7}\n", "bad_format"),
        (b"{\"type\":\"mic\",\"queue_ms\":1}\n", "bad_queue"),
        (b"{\"type\":\"mic\",\"rate_hz\":\"fast\"}\n", "bad_message"),
        (b"{\"type\":\"sing\"}\n", "bad_message"),
        (b"{\"type\":\"speak\",\"channels\":9}\n", "bad_format"),
        (b"{\"type\":\"speak\",\"gain_db\":99}\n", "bad_gain"),
        (b"{\"type\":\"speak\",\"report_ms\":1}\n", "bad_report"),
        (b"{\"type\":\"speak\"}\n{\"type\":\"audio\",\"bytes\":70000}\n", "payload_too_long"),
        (b"{\"type\":\"speak\"}\n{\"type\":\"audio\",\"bytes\":640}\nhalf", "half_message"),
        (b"{\"type\":\"speak\"}\nnoise\n", "bad_message"),
        (b"{\"type\":\"control\"}\n{\"type\":\"fly\"}\n", "bad_message"),
    ] {
        let mut stream = UnixStream::connect(&service.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        // The service may already have closed the connection.
        _ = stream.write_all(bytes);
        _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = String::new();
        // A reset follows what was not read.
        let mut reader = BufReader::new(stream);
        while reader.read_line(&mut answer).is_ok_and(|count| count > 0) {}
        let last: Value = serde_json::from_str(answer.lines().last().unwrap_or("null")).unwrap();
        assert_eq!(
            (&last["type"], &last["code"]),
            (&"error".into(), &code.into()),
            "{}: {answer}",
            text(bytes)
        );
    }
    let heard = reader.read(64_000);
    assert_eq!(played(speaker)["position"], 48_000);
    assert!(find(&heard, &said).is_some());
    service.wait_for_clients("speak", 0);
    service.stop();
}

#[test]
fn a_thousand_connections_and_too_many_clients_harm_nobody() {
    let service = Service::start("many", "--max-clients 8");
    let mut reader = service.mic("");
    service.wait_for_clients("mic", 1);
    let said = noise(48_000, 8);
    let speaker = service.speak("", &said);
    service.wait_for_clients("speak", 1);
    let begun = Instant::now();
    for number in 0..1_000 {
        let mut stream = UnixStream::connect(&service.socket).unwrap();
        if number % 3 == 0 {
            // It may be refused already.
            _ = stream.write_all(b"{\"type\":\"mic\"}\n");
        }
    }
    let connected_in = begun.elapsed();
    // Those that stay take the seats that are left.
    let mut staying = Vec::new();
    let refusal = loop {
        assert!(staying.len() < 9 && begun.elapsed() < Duration::from_secs(30), "{} stay", staying.len());
        let mut peer = service.connect(&json!({ "type": "control" }));
        match peer.receive() {
            Some((message, _)) if message["type"] == "opened" => staying.push(peer),
            // Seats of the thousand are freed a moment later.
            Some((message, _)) if staying.len() == 6 => break message,
            _ => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    assert_eq!(refusal["code"], "too_many_clients", "{refusal}");
    assert!(refusal["message"].as_str().unwrap().contains("at most 8"), "{refusal}");
    let client = service.ctl("status");
    assert_eq!(client.status.code(), Some(1));
    assert!(text(&client.stderr).contains("at most 8"), "{}", text(&client.stderr));
    drop(staying);
    let heard = reader.read(64_000);
    assert_eq!(played(speaker)["position"], 48_000);
    assert!(find(&heard, &said).is_some());
    service.wait_for_clients("control", 1);
    assert!(service.status()["refused_clients"].as_u64().unwrap() > 0);
    assert!(connected_in < Duration::from_secs(10), "{connected_in:?}");
    assert_eq!(service.clients("mic")[0]["dropped_sample_frames"], 0);
    service.stop();
}

#[test]
fn speakers_are_limited_by_the_tracks() {
    let service = Service::start("tracks", "");
    let mut speakers: Vec<Peer> = (0..16)
        .map(|_| {
            let mut peer = service.connect(&json!({ "type": "speak" }));
            peer.wait_for("opened");
            peer
        })
        .collect();
    let mut refused = service.connect(&json!({ "type": "speak" }));
    let (message, _) = refused.receive().unwrap();
    assert_eq!(
        (&message["code"], message["message"].as_str().unwrap().contains("16")),
        (&"too_many_speakers".into(), true)
    );
    for (index, speaker) in speakers.iter_mut().enumerate() {
        speaker.say(&noise(1_600, index as u64 + 1));
        speaker.send(&json!({ "type": "end" }));
    }
    for speaker in &mut speakers {
        assert_eq!(speaker.wait_for("played")["position"], 1_600);
    }
    // The list is longer than a line of a client may be.
    let controls: Vec<Peer> = (0..30).map(|_| service.connect(&json!({ "type": "control" }))).collect();
    service.wait_for_clients("control", 31);
    drop((speakers, controls));
    service.wait_for_clients("speak", 0);
    let mut peer = service.connect(&json!({ "type": "speak", "rate_hz": 22050 }));
    assert!(peer.wait_for("opened")["id"].as_u64().unwrap() > 16, "tracks are free again");
    service.stop();
}

#[test]
fn events_and_status_are_lines_of_json() {
    let service = Service::start("events", "");
    let mut control = service.connect(&json!({ "type": "control", "name": "test" }));
    control.wait_for("opened");
    control.send(&json!({ "type": "events" }));
    control.wait_for("done");
    assert_eq!(played(service.speak("--name greeter", &noise(3_200, 1)))["position"], 3_200);
    let mut kinds = Vec::new();
    while kinds.last().is_none_or(|kind: &String| kind != "client_closed") {
        let event = control.wait_for("event");
        assert!(event["at_s"].as_f64().unwrap() > 0.0);
        kinds.push(event["event"].as_str().unwrap().to_owned());
    }
    assert_eq!(kinds, ["client_opened", "played", "client_closed"]);
    control.send(&json!({ "type": "mute" }));
    control.wait_for("done");
    let status = service.status();
    for key in ["microphone", "cleaned", "delay_ms", "xruns", "cpu_percent", "rate_hz", "clients"] {
        assert!(status.get(key).is_some(), "{key} is missing in {status}");
    }
    assert_eq!((&status["muted"], &status["capture"]), (&true.into(), &"running".into()));
    assert!(service.ctl("unmute").status.success());
    assert_eq!(service.status()["muted"], false);
    service.stop();
}

#[test]
fn a_wav_file_and_a_socket_have_their_properties() {
    use std::os::unix::fs::PermissionsExt as _;
    let service = Service::start("files", "--mode 600");
    assert_eq!(fs::metadata(&service.socket).unwrap().permissions().mode() & 0o777, 0o600);
    let wav = service.folder.join("clean.wav");
    let output = service.command(&format!("mic -d 0.5 -r 22050 -c 2 {}", wav.display())).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let reader = hound::WavReader::open(&wav).unwrap();
    assert_eq!((reader.spec().sample_rate, reader.spec().channels, reader.duration()), (22_050, 2, 11_025));
    let spoken =
        service.command(&format!("speak --json {}", wav.display())).stdout(Stdio::piped()).spawn().unwrap();
    assert_eq!(played(spoken)["position"], 11_025);
    let output = service.command("speak -t wav").stdin(fs::File::open(&wav).unwrap()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    for (words, code, expected) in [
        ("mic -r 7000", 2, "7000"),
        ("mic /no/such/folder/a.wav", 1, "/no/such/folder/a.wav"),
        ("speak /no/such/file.wav", 1, "/no/such/file.wav"),
        ("mic --socket /no/such/socket", 1, "/no/such/socket"),
    ] {
        let output = service.command(words).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{words}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(expected), "{words}: {}", text(&output.stderr));
    }
    let second = service.command(&format!("{WIRE} --socket {}", service.socket.display())).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("another service"), "{}", text(&second.stderr));
    service.stop();
}

/// On the wire the agent hears itself, so a loud answer interrupts itself, and a quiet one is heard to its end.
#[test]
fn the_agent_of_the_recipe_speaks_and_is_interrupted() {
    let service = Service::start("agent", "");
    let agent = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/recipes/agent.py");
    for (amplitude, expected) in [(1, "played"), (8, "interrupted")] {
        let samples: Vec<i16> = noise(32_000, 1).iter().map(|sample| sample / 8 * amplitude).collect();
        let file = service.folder.join("speech.raw");
        fs::write(&file, bytes_of(&samples)).unwrap();
        let output = Command::new("python3")
            .arg(&agent)
            .arg(&file)
            .env("HANDSFREE_SOCKET", &service.socket)
            .output()
            .unwrap();
        let message: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {} {}", text(&output.stdout), text(&output.stderr)));
        assert_eq!(message["type"], expected, "{message}");
        let position = message["position"].as_u64().unwrap();
        assert_eq!(position == 32_000, expected == "played", "{message}");
    }
    service.stop();
}

/// The service manager opens the socket and passes it as descriptor 3.
#[test]
fn a_passed_socket_is_used() {
    let path = std::env::temp_dir().join(format!("hf-passed-{}", std::process::id()));
    let _ = fs::remove_file(&path);
    let script = format!(
        "import os, socket, sys\n\
         s = socket.socket(socket.AF_UNIX)\ns.bind('{0}')\ns.listen()\nos.dup2(s.fileno(), 3)\n\
         os.set_inheritable(3, True)\n\
         os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')\n\
         os.execv('{1}', ['{1}'] + '{WIRE}'.split())",
        path.display(),
        env!("CARGO_BIN_EXE_handsfree")
    );
    let mut child = Command::new("python3")
        .args(["-c", &script])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("service manager"), "{line}");
    let status = Command::new(env!("CARGO_BIN_EXE_handsfree"))
        .args(["ctl", "--socket", path.to_str().unwrap(), "status"])
        .output()
        .unwrap();
    assert!(status.status.success(), "{}", text(&status.stderr));
    signal(&child, "TERM");
    assert!(child.wait().unwrap().success());
    assert!(Path::new(&path).exists(), "the file belongs to the service manager");
    fs::remove_file(&path).unwrap();
}
