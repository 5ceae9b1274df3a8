//! `handsfree serve` and its clients, in real time on a simulated wire: the microphone records the loudspeaker's samples
//! bit for bit, so a client that listens receives exactly what the others say.
#![cfg(unix)]
#![allow(missing_docs)]

mod faults;
mod killed;
#[path = "../support/samples.rs"]
mod samples;
#[path = "../support/service.rs"]
mod service;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use samples::{bytes_of, noise};
use serde_json::{Value, json};
use service::{Peer, Service, WIRE, await_start, find, played, signal, text};

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
    let one = service.speak("", &first);
    // Otherwise the second might begin before the first.
    service.wait_for_clients("speak", 1);
    let other = service.speak("--gain-db -6.0205999", &second);
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
fn a_speaker_that_pauses_its_sending_is_heard_without_a_hole() {
    let service = Service::start("hole", "");
    let mut reader = service.mic("");
    service.wait_for_clients("mic", 1);
    let mut speaker = service.connect(&json!({ "type": "speak", "rate_hz": 16000 }));
    speaker.wait_for("opened");
    // No whole frames, and enough to last longer than the pause.
    let said = noise(12_877 + 4_000, 13);
    speaker.say(&said[..12_877]);
    std::thread::sleep(Duration::from_millis(200));
    speaker.say(&said[12_877..]);
    speaker.send(&json!({ "type": "end" }));
    assert_eq!(speaker.wait_for("played")["position"], said.len());
    let heard = reader.read(28_000);
    assert!(find(&heard, &said).is_some(), "the pause is heard");
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
    let raw = service.folder.join("said.raw");
    fs::write(&raw, [0.25_f32.to_le_bytes(); 4_410].concat()).unwrap();
    let words = format!("speak --json -t raw -f FLOAT_LE -r 22050 -c 2 {}", raw.display());
    assert_eq!(played(service.command(&words).stdout(Stdio::piped()).spawn().unwrap())["position"], 2_205);
    for (words, code, expected) in [
        ("mic -r 7000", 2, "7000"),
        ("speak -t raw -r 3999", 2, "3999"),
        ("speak -t raw -f S17_LE", 2, "S17_LE"),
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

#[test]
fn readers_have_rates_of_their_own() {
    let service = Service::start("rates", "");
    let rates = [8_000, 16_000, 44_100, 48_000];
    let mut readers = rates.map(|rate_hz| service.mic(&format!("-r {rate_hz}")));
    service.wait_for_clients("mic", rates.len());
    // A tone of 500 Hz for 2 s.
    let said: Vec<i16> = (0..32_000)
        .map(|n| (8_000.0 * (f64::from(n) * 500.0 * std::f64::consts::TAU / 16_000.0).sin()) as i16)
        .collect();
    let outcome = played(service.speak("", &said));
    assert_eq!(outcome["position"], 32_000);
    for (rate_hz, reader) in rates.into_iter().zip(&mut readers) {
        let heard = reader.read(2 * rate_hz);
        let is_loud = |sample: &i16| sample.unsigned_abs() > 200;
        let loud: Vec<i16> = heard.iter().copied().filter(is_loud).collect();
        let crossings = loud.windows(2).filter(|pair| pair[0] < 0 && pair[1] > 0).count() as f64;
        let bounds = [heard.iter().position(is_loud), heard.iter().rposition(is_loud)];
        let heard_s = (bounds[1].unwrap() - bounds[0].unwrap()) as f64 / rate_hz as f64;
        // Each period has one crossing, at every rate.
        assert!(
            heard_s > 1.0 && (crossings - 500.0 * heard_s).abs() < 2.0,
            "{rate_hz} Hz: {crossings} in {heard_s} s"
        );
    }
    service.stop();
}

/// On the wire an agent hears itself, so a loud answer interrupts itself, and a quiet one is heard to its end.
#[test]
fn the_agents_of_the_recipe_speak_and_are_interrupted() {
    let service = Service::start("agent", "");
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/recipes");
    let command = Path::new(env!("CARGO_BIN_EXE_handsfree")).parent().unwrap();
    let search_path = format!("{}:{}", command.display(), std::env::var("PATH").unwrap());
    let twice = |name: &'static str| [(name, 1, "played"), (name, 8, "interrupted")];
    for (name, amplitude, expected) in ["agent.py", "socket_agent.py"].into_iter().flat_map(twice) {
        let samples: Vec<i16> = noise(32_000, 1).iter().map(|sample| sample / 8 * amplitude).collect();
        let file = service.folder.join("speech.raw");
        fs::write(&file, bytes_of(&samples)).unwrap();
        let output = Command::new("python3")
            .arg(recipes.join(name))
            .arg(&file)
            .env("HANDSFREE_SOCKET", &service.socket)
            .env("PATH", &search_path)
            .output()
            .unwrap();
        let message: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {} {}", text(&output.stdout), text(&output.stderr)));
        let outcome = message.get("type").or(message.get("event")).unwrap();
        assert_eq!(outcome, expected, "{name}: {message}");
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
    await_start(&mut child, "service manager");
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
