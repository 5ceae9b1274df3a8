//! The virtual devices of `handsfree serve --virtual`, used by PulseAudio's own programs. The service's own devices
//! are a simulated wire, so what is played on the virtual loudspeaker comes out of the virtual microphone.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration as Span, Instant as Moment};

use crate::machine_pauses::repeat_while_machine_pauses;
use crate::samples::{bytes_of, noise, samples_of};
use crate::server::{ServerKind, SoundServer, with, with_server};
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

/// Plays samples on the virtual loudspeaker, which is the default, and returns what the virtual microphone records from just before
/// on, for this many seconds.
fn record_while_playing(said: &[i16], seconds: usize) -> Vec<i16> {
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
    let mut player = Command::new("pacat").args(format).stdin(Stdio::piped()).spawn().unwrap();
    let bytes = bytes_of(said);
    let mut stdin = player.stdin.take().unwrap();
    let begun = Moment::now();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes).unwrap());
    let mut heard = vec![0; 2 * 48_000 * seconds];
    recorded.read_exact(&mut heard).unwrap();
    writer.join().unwrap();
    assert!(player.wait().unwrap().success());
    println!("{} samples played and {seconds} s recorded in {:?}", said.len(), begun.elapsed());
    recorder.kill().unwrap();
    recorder.wait().unwrap();
    samples_of(&heard)
}

/// Plays noise on the virtual loudspeaker. Returns an error if the virtual microphone does not record each sample of it.
fn carry_every_sample() -> Result<(), String> {
    let said = noise(96_000, 1);
    let heard = record_while_playing(&said, 4);
    let begin =
        (0..heard.len()).find(|&at| heard[at..].starts_with(&said[..16])).expect("the begin is heard");
    let differ = said.iter().zip(&heard[begin..]).position(|(a, b)| a != b);
    match differ {
        None => Ok(()),
        Some(at) => Err(format!("of {} samples, found {begin} after the begin, {at} are right", said.len())),
    }
}

/// Waits until our devices are gone and the defaults are those from before.
fn await_removal(defaults: &[String; 2]) {
    let begun = Moment::now();
    loop {
        let now = [pactl(&["get-default-source"]), pactl(&["get-default-sink"])];
        if devices().is_empty() && now == *defaults {
            return;
        }
        assert!(
            begun.elapsed() < Span::from_secs(20),
            "{:?}, defaults {now:?}: expected {defaults:?}",
            devices()
        );
        std::thread::sleep(Span::from_millis(20));
    }
}

/// Sends a signal to the process that removes the service's devices at its end.
fn signal_guard(service: &Service, name: &str) {
    let process = service.0.id();
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap();
    let is_guard = |child: &&str| {
        let words = std::fs::read(format!("/proc/{child}/cmdline")).unwrap();
        String::from_utf8_lossy(&words).contains("remove-virtual-devices")
    };
    let guards: Vec<&str> = children.split_whitespace().filter(is_guard).collect();
    assert_eq!(guards.len(), 1, "{children}");
    assert!(Command::new("kill").args([name, guards[0]]).status().unwrap().success());
}

fn check(kind: ServerKind, test: &str) {
    with(kind, test, |_server: SoundServer| {
        let folder = std::env::temp_dir().join(format!("hf-virtual-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let socket = folder.join("s");
        let defaults = [pactl(&["get-default-source"]), pactl(&["get-default-sink"])];
        let service = Service::start(&socket);
        let mut processes = vec![service.0.id()];
        let made: &[&str] = match kind {
            ServerKind::PulseAudio => &["handsfree_microphone", "handsfree_loudspeaker"],
            ServerKind::PipeWire => &["handsfree_microphone", "handsfree_feed", "handsfree_loudspeaker"],
        };
        assert_eq!(devices(), made);
        assert_eq!(pactl(&["get-default-sink"]).trim(), "handsfree_loudspeaker");
        repeat_while_machine_pauses(carry_every_sample);
        // Also a killed service's devices are removed, and the defaults given back.
        service.signal("-KILL");
        drop(service);
        await_removal(&defaults);
        let service = Service::start(&socket);
        processes.push(service.0.id());
        // Only where its guard is killed too, the devices are left, and the next service removes them.
        signal_guard(&service, "-KILL");
        service.signal("-KILL");
        drop(service);
        assert_eq!(devices(), made);
        let service = Service::start(&socket);
        assert_eq!(devices(), made, "the old ones were replaced");
        processes.push(service.0.id());
        // A service manager sends SIGTERM to all processes of a service.
        signal_guard(&service, "-TERM");
        service.signal("-TERM");
        drop(service);
        let begun = Moment::now();
        while !devices().is_empty() {
            assert!(begun.elapsed() < Span::from_secs(20), "{:?}", devices());
            std::thread::sleep(Span::from_millis(20));
        }
        for process in processes {
            let runtime = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, Into::into);
            let fifos = runtime.join(format!("handsfree-virtual-{process}"));
            assert!(!fifos.exists(), "{}", fifos.display());
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

/// The service's own devices are the server's: what an application plays on the virtual loudspeaker comes out of the real one,
/// whose monitor is the microphone, and applications record the cleaned microphone.
#[test]
fn virtual_devices_stand_before_the_servers_own() {
    with_server("virtual_devices::virtual_devices_stand_before_the_servers_own", |_server| {
        repeat_while_machine_pauses(|| {
            let levels = ["--no-aec --no-echo-search", ""].map(recorded_level_db);
            println!("played noise is recorded at {:.1} dBFS, cleaned at {:.1} dBFS", levels[0], levels[1]);
            // The noise has a quarter of full scale. 20 dB show that it is cancelled; how well is tested elsewhere.
            let is_right = (-20.0..-14.0).contains(&levels[0]) && levels[1] < levels[0] - 20.0;
            is_right.then_some(()).ok_or(format!("{levels:?} dBFS"))
        });
    });
}

/// Returns the level, in dBFS, at which the virtual microphone of a service with these switches records noise that is played on the
/// virtual loudspeaker.
fn recorded_level_db(switches: &str) -> f64 {
    let words = "serve --io cpal --input speaker.monitor --output speaker --virtual --virtual-default --no-ns --no-agc \
                 --voice-deadline-ms 500";
    let service = crate::service::Service::start_with("own-devices", &format!("{words} {switches}"));
    // The canceller has learned the path after some seconds.
    let heard = record_while_playing(&noise(8 * 48_000, 2), 7);
    service.stop();
    let last = &heard[48_000 * 5..];
    let power = last.iter().map(|&sample| (f64::from(sample) / 32_768.0).powi(2)).sum::<f64>();
    10.0 * (power / last.len() as f64).log10()
}
