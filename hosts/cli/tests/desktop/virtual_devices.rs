//! The virtual devices of `handsfree serve --virtual`, used by PulseAudio's own programs. The service's own devices
//! are a simulated wire, so what is played on the virtual loudspeaker comes out of the virtual microphone.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration as Span, Instant as Moment};

use crate::machine_pauses::repeat_while_machine_pauses;
use crate::samples::{bytes_of, noise};
use crate::server::{ServerKind, SoundServer, with};
use crate::service::await_start;

struct Service(Child);

impl Service {
    fn start(socket: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_handsfree"))
            .args(["serve", "--io", "sim", "--wire", "--no-aec", "--no-ns", "--no-agc", "--no-hpf"])
            .args([
                "--no-echo-search",
                "--virtual",
                "--virtual-default",
                "--socket",
                socket.to_str().unwrap(),
            ])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        await_start(&mut child, "serving on");
        Self(child)
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.0.id().to_string()]).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn pactl(words: &[&str]) -> String {
    let output = Command::new("pactl").args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the names of our devices that the server lists.
fn devices() -> Vec<String> {
    let listed = pactl(&["list", "short", "sources"]) + &pactl(&["list", "short", "sinks"]);
    let names = listed.lines().filter_map(|line| line.split('\t').nth(1));
    names
        .filter(|name| name.starts_with("handsfree_") && !name.ends_with("monitor"))
        .map(str::to_owned)
        .collect()
}

/// Plays noise on the virtual loudspeaker. Returns an error if the virtual microphone does not record each sample of it.
fn carry_every_sample(kind: ServerKind) -> Result<(), String> {
    let format = ["--rate=48000", "--format=s16le", "--channels=1", "--raw", "--latency-msec=50"];
    let mut recorder = Command::new("parec")
        .args(format)
        .arg("--device=handsfree_microphone")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut recorded = recorder.stdout.take().unwrap();
    let mut first = [0; 9_600];
    recorded.read_exact(&mut first).unwrap();
    // The loudspeaker is the default, so its name is not needed.
    let mut player = Command::new("pacat").args(format).stdin(Stdio::piped()).spawn().unwrap();
    let said = noise(96_000, 1);
    let bytes = bytes_of(&said);
    let mut stdin = player.stdin.take().unwrap();
    let begun = Moment::now();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes).unwrap());
    let mut heard = vec![0; 2 * 48_000 * 4];
    recorded.read_exact(&mut heard).unwrap();
    writer.join().unwrap();
    assert!(player.wait().unwrap().success());
    println!("{kind:?}: 2 s played and 4 s recorded in {:?}", begun.elapsed());
    recorder.kill().unwrap();
    recorder.wait().unwrap();
    let heard: Vec<i16> = heard.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
    let begin =
        (0..heard.len()).find(|&at| heard[at..].starts_with(&said[..16])).expect("the begin is heard");
    let differ = said.iter().zip(&heard[begin..]).position(|(a, b)| a != b);
    match differ {
        None => Ok(()),
        Some(at) => Err(format!("of {} samples, found {begin} after the begin, {at} are right", said.len())),
    }
}

fn check(kind: ServerKind, test: &str) {
    with(kind, test, |_server: SoundServer| {
        let folder = std::env::temp_dir().join(format!("hf-virtual-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let socket = folder.join("s");
        let defaults = [pactl(&["get-default-source"]), pactl(&["get-default-sink"])];
        let service = Service::start(&socket);
        let made: &[&str] = match kind {
            ServerKind::PulseAudio => &["handsfree_microphone", "handsfree_loudspeaker"],
            ServerKind::PipeWire => &["handsfree_microphone", "handsfree_feed", "handsfree_loudspeaker"],
        };
        assert_eq!(devices(), made);
        assert_eq!(pactl(&["get-default-sink"]).trim(), "handsfree_loudspeaker");
        repeat_while_machine_pauses(|| carry_every_sample(kind));
        // A killed service leaves its devices; the next one removes them.
        service.signal("-KILL");
        drop(service);
        assert_eq!(devices(), made);
        let service = Service::start(&socket);
        assert_eq!(devices(), made, "the old ones were replaced");
        service.signal("-TERM");
        let begun = Moment::now();
        while !devices().is_empty() {
            assert!(begun.elapsed() < Span::from_secs(20), "{:?}", devices());
            std::thread::sleep(Span::from_millis(20));
        }
        drop(service);
        // The killed service could not give the defaults back; the server chose others when its devices went.
        let begun = Moment::now();
        while [pactl(&["get-default-source"]), pactl(&["get-default-sink"])].concat().contains("handsfree") {
            assert!(begun.elapsed() < Span::from_secs(20), "the defaults were {defaults:?}");
            std::thread::sleep(Span::from_millis(20));
        }
        std::fs::remove_dir_all(&folder).unwrap();
    });
}

#[test]
fn virtual_devices_carry_every_sample_on_pulseaudio() {
    check(ServerKind::PulseAudio, "virtual_devices::virtual_devices_carry_every_sample_on_pulseaudio");
}

/// PipeWire's clock is this computer's, so a busy one that delays its threads makes a pause.
#[test]
#[ignore = "needs an idle machine: `make test-desktop` runs it"]
fn virtual_devices_carry_every_sample_on_pipewire() {
    check(ServerKind::PipeWire, "virtual_devices::virtual_devices_carry_every_sample_on_pipewire");
}
