//! Clients that are killed, are stopped, send garbage or connect without end: no other client loses a sample.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use handsfree_sim::noise::Rng;
use serde_json::{Value, json};

use crate::samples::noise;
use crate::service::{Service, find, played, signal, text};

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

/// Sends what clients send with a few bytes changed, cut or added, as `fuzz` does to the reader of messages alone. The
/// messages that control other clients are not among them.
#[test]
fn changed_messages_harm_nobody() {
    const MESSAGES: [&[u8]; 6] = [
        b"{\"type\":\"mic\",\"rate_hz\":16000,\"channels\":2,\"queue_ms\":100,\"name\":\"a\"}\n",
        b"{\"type\":\"speak\",\"rate_hz\":22050,\"channels\":1,\"gain_db\":-90}\n{\"type\":\"interrupt\"}\n",
        b"{\"type\":\"speak\",\"gain_db\":-90,\"report_ms\":10}\n{\"type\":\"pause\"}\n{\"type\":\"end\"}\n",
        b"{\"type\":\"speak\",\"gain_db\":-90}\n{\"type\":\"audio\",\"bytes\":4}\n\0\0\0\0{\"type\":\"clear\"}\n",
        b"{\"type\":\"control\"}\n{\"type\":\"events\"}\n{\"type\":\"status\"}\n",
        b"{\"type\":\"control\",\"name\":\"b\"}\n{\"type\":\"clients\"}\n",
    ];
    let service = Service::start("fuzz", "--max-clients 1000");
    let mut reader = service.mic("");
    service.wait_for_clients("mic", 1);
    let said = noise(16_000, 10);
    let speaker = service.speak("--priority 9", &said);
    let seed = 33;
    println!("seed {seed}");
    let mut rng = Rng::new(seed);
    for _ in 0..400 {
        let mut bytes = MESSAGES[rng.range(0, MESSAGES.len() as u64) as usize].to_vec();
        for _ in 0..rng.range(0, 4) {
            let at = rng.range(0, bytes.len() as u64) as usize;
            match rng.range(0, 4) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, rng.next_u64() as u8),
                2 => _ = bytes.remove(at),
                _ => bytes[at] ^= 1 << rng.range(0, 8),
            }
            if bytes.is_empty() {
                break;
            }
        }
        let mut stream = UnixStream::connect(&service.socket).unwrap();
        // The service may have closed the connection already.
        _ = stream.write_all(&bytes);
        if rng.range(0, 2) == 0 {
            _ = stream.shutdown(std::net::Shutdown::Write);
        }
    }
    let heard = reader.read(32_000);
    assert_eq!(played(speaker)["position"], 16_000);
    assert!(find(&heard, &said).is_some(), "the reader that reads has every sample");
    service.wait_for_clients("speak", 0);
    service.wait_for_clients("mic", 1);
    assert_eq!(service.clients("mic")[0]["dropped_sample_frames"], 0);
    assert_eq!(reader.end().1, "");
    service.stop();
}

#[test]
fn a_full_disk_behind_a_client_harms_nobody() {
    let service = Service::start("full", "");
    let mut reader = service.mic("");
    service.wait_for_clients("mic", 1);
    let said = noise(32_000, 12);
    let speaker = service.speak("", &said);
    for (line, expected) in [
        ("\"$0\" mic -t raw | cat > /dev/full", "No space left"),
        ("\"$0\" mic -t raw > /dev/full", "cannot be written"),
        ("\"$0\" mic -t raw /dev/full", "/dev/full: cannot be written"),
    ] {
        let output = Command::new("sh")
            .args(["-c", line, env!("CARGO_BIN_EXE_handsfree")])
            .env("HANDSFREE_SOCKET", &service.socket)
            .output()
            .unwrap();
        let message = text(&output.stderr);
        assert!(!output.status.success() && message.contains(expected), "{line}: {message}");
    }
    let heard = reader.read(48_000);
    assert_eq!(played(speaker)["position"], 32_000);
    assert!(find(&heard, &said).is_some());
    service.wait_for_clients("mic", 1);
    assert_eq!(reader.end().1, "");
    service.stop();
}
