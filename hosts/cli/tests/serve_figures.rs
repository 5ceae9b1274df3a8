//! What `handsfree serve` costs, and a minute of every fault that a client can have. On a simulated wire, in real time. Each test
//! needs the whole machine: `make soak` runs them, one after the other.
#![cfg(target_os = "linux")]
#![allow(missing_docs)]

#[path = "support/samples.rs"]
mod samples;
#[path = "support/service.rs"]
mod service;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use samples::{bytes_of, noise, samples_of};
use serde_json::json;
use service::{Service, WIRE, find, played, signal, text};

/// Rate of the terminal and of the clients where a test needs one rate, in hertz.
const RATE_HZ: usize = 16_000;
/// Samples in 10 ms at that rate.
const BLOCK: usize = RATE_HZ / 100;

/// Lets one test run at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Number of clicks by which a latency is measured, and the blocks from one to the next.
const CLICKS: usize = 20;
const CLICK_BLOCKS: usize = 50;
/// Amplitude of a click.
const CLICK: i16 = 20_000;

/// Writes sound at the pace of a clock, as a program does that speaks live, with a click now and then. Returns the median time
/// from writing a click to reading it.
fn round_trip(mut input: impl Write + Send, mut output: impl Read + Send) -> Duration {
    // What is written before the devices run waits, and makes all that follows late.
    output.read_exact(&mut [0; 2 * BLOCK]).unwrap();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let written = scope.spawn(move || {
            let mut written = Vec::new();
            for number in 0..(CLICKS + 1) * CLICK_BLOCKS {
                let mut block = [0; BLOCK];
                if number % CLICK_BLOCKS == CLICK_BLOCKS / 2 {
                    block[0] = CLICK;
                    written.push(begun.elapsed());
                }
                // The reader leaves when it has all clicks.
                if input.write_all(&bytes_of(&block)).is_err() {
                    break;
                }
                let next = begun + Duration::from_millis(10) * (number as u32 + 1);
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            written
        });
        let read = scope.spawn(move || {
            let (mut read, mut bytes) = (Vec::new(), vec![0; 4_096]);
            let mut odd = Vec::new();
            while read.len() < CLICKS {
                let count = output.read(&mut bytes).unwrap();
                assert!(count > 0, "{} clicks came", read.len());
                odd.extend_from_slice(&bytes[..count]);
                let whole = odd.len() / 2 * 2;
                let clicks = samples_of(&odd[..whole]).iter().filter(|&&sample| sample > CLICK / 2).count();
                read.extend(std::iter::repeat_n(begun.elapsed(), clicks));
                odd.drain(..whole);
            }
            read
        });
        let (written, read) = (written.join().unwrap(), read.join().unwrap());
        let mut took: Vec<Duration> =
            read.iter().zip(&written).map(|(read, written)| *read - *written).collect();
        took.sort();
        took[CLICKS / 2]
    })
}

/// `run` hands its frames on every 5 ms, so the service and its clients cannot save more than that in one direction. If both
/// directions together add at most 15 ms, each adds at most 20 ms.
#[test]
#[ignore = "needs an idle machine: `make soak` runs it"]
fn service_and_clients_add_less_than_20_ms_one_way() {
    let _alone = alone();
    let words = WIRE.replacen("serve", "run", 1);
    let mut run = Command::new(env!("CARGO_BIN_EXE_handsfree"))
        .args(words.split(' '))
        .args(["--rate", "16000", "--pcm-in", "-", "--pcm-out", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let of_run = round_trip(run.stdin.take().unwrap(), run.stdout.take().unwrap());
    _ = run.kill();
    run.wait().unwrap();

    let service = Service::start("latency", "");
    let mut mic = service.command("mic -t raw").stdout(Stdio::piped()).spawn().unwrap();
    let mut speak = service.command("speak -t raw").stdin(Stdio::piped()).spawn().unwrap();
    service.wait_for_clients("mic", 1);
    service.wait_for_clients("speak", 1);
    let of_clients = round_trip(speak.stdin.take().unwrap(), mic.stdout.take().unwrap());
    assert!(speak.wait().unwrap().success());
    mic.wait().unwrap();
    service.stop();
    let added_ms = of_clients.as_secs_f64() * 1e3 - of_run.as_secs_f64() * 1e3;
    println!("there and back: run {of_run:.1?}, service and clients {of_clients:.1?}: {added_ms:.1} ms more");
    assert!((-5.0..=15.0).contains(&added_ms), "{added_ms:.1} ms are added: expected -5 to 15");
}

/// Number of readers and of speakers, as many as there are tracks.
const MANY: usize = 16;
/// Time over which processor time is measured, in seconds.
const COST_S: f64 = 10.0;

/// Returns the processor time of a process so far, in seconds.
fn processor_s(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // Behind the name, which may contain blanks, the twelfth and thirteenth fields are those of user and system.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = [fields[11], fields[12]].iter().map(|field| field.parse::<f64>().unwrap()).sum();
    ticks / 100.0
}

/// Returns the share of a core that the service takes, and that of all its clients, with this number of readers and speakers.
fn cost_of(count: usize) -> [f64; 2] {
    let service = Service::start("cost", "--rate 48000");
    let sound = service.folder.join("sound");
    let samples: Vec<i16> = noise(22_050 * 30, 1).iter().map(|sample| sample / 16).collect();
    fs::write(&sound, bytes_of(&samples)).unwrap();
    let spawn = |words: &str| service.command(words).stdout(Stdio::null()).spawn().unwrap();
    let mut clients: Vec<Child> = (0..count).map(|_| spawn("mic -r 16000 -t raw")).collect();
    clients.extend((0..count).map(|_| spawn(&format!("speak -r 22050 -t raw {}", sound.display()))));
    service.wait_for_clients("mic", count);
    service.wait_for_clients("speak", count);
    std::thread::sleep(Duration::from_secs(2));
    let ids = [vec![service.child.id()], clients.iter().map(Child::id).collect()];
    let used = || ids.clone().map(|ids| ids.into_iter().map(processor_s).sum::<f64>());
    let (before, begun) = (used(), Instant::now());
    std::thread::sleep(Duration::from_secs_f64(COST_S));
    let (after, took_s) = (used(), begun.elapsed().as_secs_f64());
    assert_eq!(service.clients("speak").len(), count, "all speak");
    for client in service.clients("mic") {
        assert_eq!(client["dropped_sample_frames"], 0, "{client}");
    }
    for client in &mut clients {
        client.kill().unwrap();
        client.wait().unwrap();
    }
    service.stop();
    [0, 1].map(|which| (after[which] - before[which]) / took_s)
}

#[test]
#[ignore = "needs an idle machine: `make soak` runs it"]
fn sixteen_readers_and_speakers_cost_a_tenth_of_a_core() {
    let _alone = alone();
    let [one, many] = [1, MANY].map(cost_of);
    let [service, clients] = [0, 1].map(|which| 100.0 * (many[which] - one[which]));
    println!(
        "one reader and one speaker: service {:.1} %, clients {:.1} % of a core; {MANY} of each: {:.1} %, {:.1} %",
        100.0 * one[0],
        100.0 * one[1],
        100.0 * many[0],
        100.0 * many[1]
    );
    assert!(service < 10.0, "the service takes {service:.1} % of a core more: expected less than 10");
    println!("more: service {service:.1} %, clients {clients:.1} %");
}

/// Length of the faults.
const FAULTS: Duration = Duration::from_secs(60);
/// Connections a second.
const CONNECTS: u32 = 1_000;

/// Every client's fault at the same time for a minute: no other client loses a sample. Speakers that fail are silent, so that what is
/// heard must be equal to what the good speaker says.
#[test]
#[ignore = "a minute: `make soak` runs it"]
fn a_minute_of_faulty_clients_costs_nobody_a_sample() {
    let _alone = alone();
    let service = Service::start("minute", "");
    let mut reader = service.mic("--name good");
    let mut stopped = service.mic("--name stopped");
    let mut stopped_speaker = service.speak("--name stopped", &vec![0; 120 * RATE_HZ]);
    let mut slow = service.connect(&json!({ "type": "mic", "name": "slow" }));
    slow.wait_for("opened");
    let silence = service.folder.join("silence");
    fs::write(&silence, bytes_of(&vec![0; 120 * RATE_HZ])).unwrap();
    service.wait_for_clients("mic", 3);
    service.wait_for_clients("speak", 1);
    let said = noise(70 * RATE_HZ, 21);
    let speaker = service.speak("--name good", &said);
    service.wait_for_clients("speak", 2);
    let before = threads_and_kilobytes(&service);
    [&stopped.child, &stopped_speaker].into_iter().for_each(|client| signal(client, "STOP"));
    let is_over = AtomicBool::new(false);
    let [connects, garbage, killed, full] = [const { AtomicU32::new(0) }; 4];
    let run = |pause: Duration, fault: &dyn Fn(u32)| {
        let begun = Instant::now();
        for number in 0.. {
            if is_over.load(Ordering::Relaxed) {
                return;
            }
            fault(number);
            let next = begun + pause * (number + 1);
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    };
    let heard = std::thread::scope(|scope| {
        let heard = scope.spawn(|| reader.read(74 * RATE_HZ));
        scope.spawn(|| {
            run(Duration::from_secs(1) / CONNECTS, &|number| {
                let mut stream = UnixStream::connect(&service.socket).unwrap();
                if number % 3 == 0 {
                    // It may be refused already.
                    _ = stream.write_all(b"{\"type\":\"mic\"}\n");
                }
                connects.fetch_add(1, Ordering::Relaxed);
            });
        });
        scope.spawn(|| {
            run(Duration::from_millis(50), &|number| {
                let mut stream = UnixStream::connect(&service.socket).unwrap();
                let bytes = bytes_of(&noise(3_000, u64::from(number) + 1));
                let hello: &[u8] =
                    [&b""[..], b"{\"type\":\"speak\"}\n", b"{\"type\":\"control\"}\n"][number as usize % 3];
                // The service may have closed the connection.
                _ = stream.write_all(hello).and_then(|()| stream.write_all(&bytes));
                garbage.fetch_add(1, Ordering::Relaxed);
            });
        });
        scope.spawn(|| {
            run(Duration::from_millis(500), &|number| {
                let words = format!("speak -t raw {}", silence.display());
                let mut client = service.command(["mic -t raw", &words][number as usize % 2]);
                let mut client = client.stdout(Stdio::null()).spawn().unwrap();
                std::thread::sleep(Duration::from_millis(200));
                client.kill().unwrap();
                client.wait().unwrap();
                killed.fetch_add(1, Ordering::Relaxed);
            });
        });
        scope.spawn(|| {
            run(Duration::from_secs(1), &|_| {
                let mut shell = Command::new("sh");
                shell.args(["-c", "\"$0\" mic -t raw | cat > /dev/full", env!("CARGO_BIN_EXE_handsfree")]);
                let output = shell.env("HANDSFREE_SOCKET", &service.socket).output().unwrap();
                assert!(!output.status.success(), "{}", text(&output.stderr));
                full.fetch_add(1, Ordering::Relaxed);
            });
        });
        std::thread::sleep(FAULTS);
        is_over.store(true, Ordering::Relaxed);
        heard.join().unwrap()
    });
    let counts = [connects, garbage, killed, full].map(AtomicU32::into_inner);
    [&stopped.child, &stopped_speaker].into_iter().for_each(|client| signal(client, "CONT"));
    let outcome = played(speaker);
    assert_eq!(outcome["position"].as_u64(), Some(said.len() as u64), "{outcome}");
    assert!(find(&heard, &said).is_some(), "the good reader has not all {} samples", said.len());
    assert_eq!(reader.end().1, "", "the good reader lost nothing");
    // It goes on with the current sound.
    stopped.read(RATE_HZ);
    for client in [&mut stopped.child, &mut stopped_speaker] {
        client.kill().unwrap();
        client.wait().unwrap();
    }
    drop(slow);
    service.wait_for_clients("mic", 0);
    service.wait_for_clients("speak", 0);
    let after = threads_and_kilobytes(&service);
    println!(
        "{} connections, {} of garbage, {} killed clients, {} full disks; refused {}; threads {} then {}, memory {} then {} kB",
        counts[0],
        counts[1],
        counts[2],
        counts[3],
        service.status()["refused_clients"],
        before[0],
        after[0],
        before[1],
        after[1]
    );
    let least = CONNECTS * FAULTS.as_secs() as u32 * 95 / 100;
    assert!(counts[0] >= least, "{} connections in {FAULTS:?}: expected at least {least}", counts[0]);
    assert!(counts[1..].iter().all(|&count| count > 30), "{counts:?}");
    assert!(after[0] <= before[0], "threads are left behind: {before:?}, then {after:?}");
    service.stop();
}

/// Returns the number of threads of the service, and the kilobytes of its memory.
fn threads_and_kilobytes(service: &Service) -> [u64; 2] {
    let status = fs::read_to_string(format!("/proc/{}/status", service.child.id())).unwrap();
    ["Threads:", "VmRSS:"].map(|name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    })
}

#[test]
#[ignore = "soak: over a minute of real time"]
fn listeners_that_hang_give_their_place_to_others() {
    let _alone = alone();
    let service = Service::start("places", "--max-clients 3");
    let hello = json!({ "type": "mic", "rate_hz": 48000, "name": "hangs" });
    let hanging = [service.connect(&hello), service.connect(&hello)];
    let mut reading = service.mic("");
    reading.read(800);
    let begun = Instant::now();
    let mut refused = 0;
    // A control client needs a place too.
    while !service.ctl("status").status.success() {
        refused += 1;
        assert!(begun.elapsed() < Duration::from_secs(90), "no place became free");
        reading.read(8_000);
    }
    let took_s = begun.elapsed().as_secs_f64();
    println!("a place was free after {took_s:.1} s and {refused} refusals");
    assert!((60.0..75.0).contains(&took_s), "{took_s} s: their sockets hold some seconds");
    // The one that reads keeps its place and its samples.
    for client in service.clients("mic") {
        let hangs = client["name"] == "hangs";
        assert!(hangs || client["dropped_sample_frames"] == 0, "{client}");
    }
    assert!(reading.read(8_000).len() == 8_000);
    let left = service.clients("mic").iter().filter(|client| client["name"] == "hangs").count();
    assert_eq!((left, hanging.len()), (1, 2), "one was closed");
    service.stop();
}
