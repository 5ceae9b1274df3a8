//! Command-line interface of `handsfree run --dump` and `handsfree replay`.
#![allow(missing_docs)]

use std::path::Path;
use std::process::{Command, Output};

fn handsfree(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_handsfree")).args(words).output().unwrap()
}

#[test]
fn a_dump_replays_with_equal_samples() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dump-command");
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{}: {error}", folder.display()),
        _ => {}
    }
    let (dump, out) = (folder.join("dump"), folder.join("out"));
    let (dump, out) = (dump.to_str().unwrap(), out.to_str().unwrap());
    std::fs::create_dir_all(&folder).unwrap();
    let recorded = folder.join("recorded.wav");
    let run = ["run", "--io", "sim", "--duration", "1.5", "--dump", dump, "--json"];
    let ran = handsfree(&[&run[..], &["--record", recorded.to_str().unwrap()]].concat());
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let replayed = handsfree(&["replay", dump, "--out", out]);
    let report = String::from_utf8_lossy(&replayed.stdout);
    assert!(replayed.status.success() && report.contains("every sample is the same"), "{report}");
    let samples = |path: &Path| -> Vec<i16> {
        hound::WavReader::open(path).unwrap().samples().map(Result::unwrap).collect()
    };
    let cleaned = samples(&Path::new(out).join("cleaned.wav"));
    let recorded = samples(&recorded);
    // The worker may process more frames while the recording is being closed.
    let missing =
        cleaned.len().checked_sub(recorded.len()).expect("the replay must not be shorter than the recording");
    assert!(missing <= 3 * 480, "the replay has {missing} samples more than the recording");
    assert!(cleaned[..recorded.len()] == recorded, "the replay differs from the recording");
    for name in ["microphone.wav", "loudspeaker.wav"] {
        let signal = samples(&Path::new(out).join(name));
        assert!(signal.iter().any(|sample| sample.abs() > 300), "{name} is silent");
    }
    let second_run = handsfree(&run);
    let error = String::from_utf8_lossy(&second_run.stderr);
    assert!(
        second_run.status.code() == Some(1) && error.contains("expected a new or an empty folder"),
        "{error}"
    );

    let path = Path::new(dump).join("microphone.journal");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2 / 64 * 64 + 5;
    bytes[middle] ^= 0x7F;
    std::fs::write(&path, bytes).unwrap();
    let replayed = handsfree(&["replay", dump, "--json"]);
    assert_eq!(replayed.status.code(), Some(1));
    let figures: serde_json::Value = serde_json::from_slice(&replayed.stdout).unwrap();
    assert!(figures["cleaned"]["differing_frames"].as_u64().unwrap() > 0, "{figures}");
    assert_eq!(handsfree(&["replay"]).status.code(), Some(2));
}
