//! A service or a recording client that is killed leaves a valid file that is complete up to the last second.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use handsfree_sim::noise::Rng;

use crate::samples::{noise, samples_of};
use crate::service::{Service, signal, text};

const RATE_HZ: usize = 16_000;

/// Returns the samples of a WAV file that must be valid: those that its header states. A file without a header yet has none.
fn samples(path: &Path) -> Vec<i16> {
    if fs::metadata(path).map_or(0, |found| found.len()) == 0 {
        return Vec::new();
    }
    let reader = hound::WavReader::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    reader.into_samples().map(|sample| sample.unwrap_or_else(|error| panic!("{error}"))).collect()
}

/// Returns what was recorded from the first sample that was said.
fn said_in(recorded: &[i16]) -> &[i16] {
    &recorded[recorded.iter().position(|&sample| sample != 0).unwrap_or(recorded.len())..]
}

/// Moment at which a process is killed.
#[derive(Clone, Copy, Debug)]
struct Kill {
    number: u32,
    /// Whether the service is killed, or else the client that records.
    of_service: bool,
    after_ms: u64,
}

/// Number of services that run at the same time.
const TOGETHER: usize = 3;

/// Kills services, and clients that record, at random moments.
fn kill_at_random_moments(name: &str, runs: u32) {
    let seed = 18;
    println!("seed {seed}");
    let mut random = Rng::new(seed);
    let kills: Vec<Kill> = (1..=runs)
        .map(|number| Kill { number, of_service: number % 2 == 0, after_ms: random.range(0, 1_200) })
        .collect();
    for kills in kills.chunks(TOGETHER) {
        std::thread::scope(|scope| {
            for &kill in kills {
                scope.spawn(move || kill_once(&format!("{name}-{}", kill.number), kill));
            }
        });
    }
}

/// Compares what a killed process leaves with what another client received.
fn kill_once(name: &str, kill: Kill) {
    let said = noise(4 * RATE_HZ, 5);
    let service = Service::start(name, "");
    let (keep, part) = (service.folder.join("keep.wav"), service.folder.join("keep.wav.part"));
    fs::write(&keep, "old").unwrap();
    let mut other = service.mic("");
    let mut recorder =
        service.command(&format!("mic {}", keep.display())).stdout(Stdio::null()).spawn().unwrap();
    service.wait_for_clients("mic", 2);
    let mut speaker = service.speak("", &said);
    std::thread::sleep(Duration::from_millis(kill.after_ms));
    signal(if kill.of_service { &service.child } else { &recorder }, "KILL");
    let (mut messages, mut received) = (String::new(), Vec::new());
    recorder.stderr.take().unwrap().read_to_string(&mut messages).unwrap();
    let status = recorder.wait().unwrap();
    let recorded = if kill.of_service {
        assert_eq!(status.code(), Some(1), "{kill:?}: {messages}");
        assert!(messages.contains("the service"), "{kill:?}: {messages}");
        assert!(!part.exists(), "{kill:?}");
        // The service was killed before it sent anything.
        if fs::read(&keep).unwrap() == b"old" { Vec::new() } else { samples(&keep) }
    } else {
        assert_eq!(fs::read(&keep).unwrap(), b"old", "{kill:?}: the old recording has changed");
        signal(&service.child, "TERM");
        samples(&part)
    };
    // The other client ends with the service, after it has written everything that it received.
    other.stdout.read_to_end(&mut received).unwrap();
    other.child.wait().unwrap();
    speaker.wait().unwrap();
    let received = samples_of(&received);
    let (heard, kept) = (said_in(&received), said_in(&recorded));
    let common = kept.len().min(heard.len());
    assert!(kept[..common] == heard[..common], "{kill:?}: the recording differs from what was sent");
    assert!(kept[..common] == said[..common], "{kill:?}: the recording differs from what was said");
    let missing_s = (heard.len() as f64 - kept.len() as f64) / RATE_HZ as f64;
    println!("{kill:?}: {} of {} samples, {missing_s:.2} s missing", kept.len(), heard.len());
    assert!(missing_s <= 1.0, "{kill:?}: {missing_s} s are missing of {}", heard.len());
    if !kill.of_service && !recorded.is_empty() {
        keeps_what_was_left(&format!("{name}-again"), &part, recorded.len());
    }
    let folder = service.folder.clone();
    drop(service);
    fs::remove_dir_all(folder).unwrap();
}

/// The next recording with the same name keeps what the killed client left, and says so.
fn keeps_what_was_left(name: &str, part: &Path, left: usize) {
    let service = Service::start(name, "");
    let keep = part.with_extension("");
    let output = service.command(&format!("mic -d 0.1 {}", keep.display())).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let recovered = keep.with_file_name("keep.recovered-1.wav");
    assert!(text(&output.stderr).contains("keep.recovered-1.wav"), "{}", text(&output.stderr));
    assert_eq!((samples(&recovered).len(), samples(&keep).len(), part.exists()), (left, RATE_HZ / 10, false));
    service.stop();
}

#[test]
fn killed_services_and_clients_leave_all_but_the_last_second() {
    kill_at_random_moments("kill", 3);
}

#[test]
#[ignore = "minutes: kills 200 services and clients"]
fn two_hundred_killed_services_and_clients_leave_all_but_the_last_second() {
    kill_at_random_moments("kill-often", 200);
}

#[test]
fn a_recording_that_is_refused_changes_no_file() {
    let service = Service::start("refuse", "--input none");
    let keep = service.folder.join("keep.wav");
    fs::write(&keep, "old").unwrap();
    let output = service.command(&format!("mic {}", keep.display())).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("no microphone"), "{}", text(&output.stderr));
    let missing =
        service.command(&format!("mic --socket /no/such/socket {}", keep.display())).output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
    assert_eq!(fs::read(&keep).unwrap(), b"old");
    assert_eq!(fs::read_dir(&service.folder).unwrap().count(), 2, "the socket and the old file");
    service.stop();
}
