//! Command-line interface of `handsfree sweep`: shards, processes that are killed, the page, errors.
#![allow(missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Conversations of a second without voice processing, which take some milliseconds.
const FILE: &str = "
[base]
rate = 16000
seconds = 1
no-aec = true
no-ns = true
no-agc = true
near = 'none'
[axes]
seed = { from = 1, to = 6 }
playback-ppm = [0, 100]";
/// Number of conversations of [`FILE`].
const RUNS: u64 = 12;
/// Time in which a process must write its first lines, on a machine under load.
const LIMIT: Duration = Duration::from_secs(120);

/// Temporary folder of one test with a sweep file, removed when the test passes.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, file: &str) -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sweep-{name}-{}", std::process::id()));
        _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("rooms.toml"), file).unwrap();
        Self(path)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_handsfree"));
        command.current_dir(&self.0).arg("sweep").args(words);
        for name in ["SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX", "PARALLEL_SEQ", "HANDSFREE_SWEEP_SHARDS"]
        {
            command.env_remove(name);
        }
        command
    }

    fn sweep(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn succeeds(&self, words: &[&str]) -> String {
        let output = self.sweep(words);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn fails(&self, words: &[&str], code: i32) -> String {
        let output = self.sweep(words);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", text(&output.stderr));
        text(&output.stderr)
    }

    /// Returns all complete lines of a folder with lines.
    fn lines(&self, folder: &str) -> Vec<Value> {
        let mut lines = Vec::new();
        for entry in fs::read_dir(self.0.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "jsonl") {
                let content = fs::read_to_string(path).unwrap();
                let complete = content.rfind('\n').map_or("", |last| &content[..last]);
                lines.extend(complete.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
            }
        }
        lines
    }

    /// Returns the lines by number without the time they took, and asserts that each number is there once.
    fn results(&self, folder: &str) -> Vec<Value> {
        let mut lines = self.lines(folder);
        lines.iter_mut().for_each(|line| line["figures"]["took_s"] = Value::Null);
        lines.sort_by_key(|line| line["run"].as_u64());
        let numbers: Vec<Option<u64>> = lines.iter().map(|line| line["run"].as_u64()).collect();
        assert_eq!(numbers, (0..RUNS).map(Some).collect::<Vec<_>>());
        lines
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            _ = fs::remove_dir_all(&self.0);
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn shards_give_what_one_process_gives() {
    let folder = Folder::new("shards", FILE);
    folder.succeeds(&["rooms.toml", "--out", "one"]);
    for shard in ["3/3", "1/3"] {
        folder.succeeds(&["rooms.toml", "--out", "three", "--shard", shard]);
    }
    let indexed = folder
        .command(&["rooms.toml", "--out", "three"])
        .envs([("HANDSFREE_SWEEP_SHARDS", "3"), ("JOB_COMPLETION_INDEX", "1")])
        .output()
        .unwrap();
    assert!(indexed.status.success(), "{}", text(&indexed.stderr));
    let one = folder.results("one");
    assert!(one == folder.results("three"), "the shards differ from the whole");
    // The axes are ordered by name, and the first one varies fastest.
    assert_eq!(one[7]["values"]["playback-ppm"], "100");
    assert_eq!(one[7]["values"]["seed"], "4");
    // Nothing is left to do, with any number of shards.
    let again = folder.succeeds(&["rooms.toml", "--out", "three", "--shard", "2/5"]);
    assert!(again.contains(" 0 of them now"), "{again}");
    assert!(one == folder.results("three"));
}

#[test]
fn a_line_has_the_command_that_repeats_it() {
    let folder = Folder::new("replay", FILE);
    folder.succeeds(&["rooms.toml", "--out", "lines", "--shard", "5/12"]);
    let line = &folder.lines("lines")[0];
    let words: Vec<&str> = line["command"].as_str().unwrap().split(' ').collect();
    assert_eq!(words[..2], ["handsfree", "sim"]);
    let again = Command::new(env!("CARGO_BIN_EXE_handsfree"))
        .current_dir(&folder.0)
        .args(&words[1..])
        .args(["--json", "--out", "report"])
        .output()
        .unwrap();
    let summary: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(summary["seed"].as_u64(), line["values"]["seed"].as_str().unwrap().parse().ok());
    assert_eq!(summary["frames"]["lost"], line["figures"]["lost_sample_frames"]);
    let erle = summary["erle_db"][0]["db"].as_f64().unwrap();
    assert!((erle - line["figures"]["erle_db"].as_f64().unwrap()).abs() < 1e-3, "{summary} {line}");
}

/// Kills the process at several moments. What is on the disk then is whole, and a repeated command runs the rest.
#[test]
fn a_killed_process_loses_at_most_its_conversation() {
    let folder = Folder::new("killed", FILE);
    for wanted in [1, 4, 8] {
        let mut child =
            folder.command(&["rooms.toml", "--out", "killed"]).stdout(Stdio::null()).spawn().unwrap();
        let began = Instant::now();
        while !folder.0.join("killed").exists() || folder.lines("killed").len() < wanted {
            assert!(began.elapsed() < LIMIT, "{wanted} lines were not written in {LIMIT:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(folder.lines("killed").len() >= wanted);
    }
    // A kill within the write of a line.
    let path = folder.0.join("killed/shard-1-of-1.jsonl");
    let content = fs::read(&path).unwrap();
    fs::write(&path, &content[..content.len() - 20]).unwrap();
    folder.succeeds(&["rooms.toml", "--out", "killed"]);
    folder.succeeds(&["rooms.toml", "--out", "whole"]);
    assert!(folder.results("killed") == folder.results("whole"), "the killed run differs");
}

#[test]
fn the_report_merges_the_shards_and_says_what_is_missing() {
    let folder = Folder::new("report", FILE);
    for shard in ["1/3", "2/3"] {
        folder.succeeds(&["rooms.toml", "--out", "lines", "--shard", shard]);
    }
    let partial = folder.sweep(&["report", "lines"]);
    assert_eq!(partial.status.code(), Some(3));
    assert!(text(&partial.stdout).contains("8 of 12 conversations, 0 failed, 4 missing, 0 repeated"));
    folder.succeeds(&["rooms.toml", "--out", "lines", "--shard", "3/3"]);
    // The copy of a shard's file, as after a transfer between machines.
    fs::copy(folder.0.join("lines/shard-1-of-3.jsonl"), folder.0.join("lines/copy.jsonl")).unwrap();
    let whole = folder.succeeds(&["report", "lines", "--out", "page.html"]);
    assert!(whole.contains("12 of 12 conversations, 0 failed, 0 missing, 4 repeated"), "{whole}");
    assert!(whole.contains("| playback-ppm 100 | 6 |"), "{whole}");
    let page = fs::read_to_string(folder.0.join("page.html")).unwrap();
    let shown: BTreeSet<&str> = page.lines().filter(|line| line.contains("<code>handsfree sim ")).collect();
    assert_eq!(shown.len(), 12);
}

#[test]
fn a_conversation_that_fails_is_a_line_and_no_end() {
    let file = FILE.replace("[axes]", "[axes]\nfar = ['in.wav', 'missing.wav']");
    let folder = Folder::new("failing", &file.replace("to = 6", "to = 1"));
    handsfree_sim::wav::write_mono(folder.0.join("in.wav"), 16_000, &[0.1; 16_000]).unwrap();
    let output = folder.sweep(&["rooms.toml", "--out", "lines"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    let lines = folder.lines("lines");
    let errors: Vec<&str> = lines.iter().filter_map(|line| line["error"].as_str()).collect();
    assert_eq!((lines.len(), errors.len()), (4, 2));
    assert!(errors.iter().all(|error| error.contains("missing.wav")), "{errors:?}");
    // A repeated command says so again, without running them.
    let again = folder.sweep(&["rooms.toml", "--out", "lines"]);
    assert_eq!(again.status.code(), Some(3));
    assert!(
        text(&again.stdout).contains("4 conversations, 0 of them now; 2 failed"),
        "{}",
        text(&again.stdout)
    );
    assert_eq!(folder.sweep(&["report", "lines"]).status.code(), Some(3));
}

#[test]
fn wrong_files_and_folders_are_named() {
    let folder = Folder::new("wrong", FILE);
    let write = |name: &str, content: &str| fs::write(folder.0.join(name), content).unwrap();
    write("bad.toml", &FILE.replace("100]", "1e9]"));
    let message = folder.fails(&["bad.toml"], 2);
    assert!(message.contains("bad.toml: axes.playback-ppm: ") && message.contains("1000000000"), "{message}");
    assert!(!folder.0.join("handsfree-sweep").exists(), "a refused file leaves a folder");
    assert!(folder.fails(&["no-such.toml"], 1).contains("no-such.toml"));
    assert!(folder.fails(&["rooms.toml", "--shard", "4/3"], 2).contains("4/3"));
    assert_eq!(folder.sweep(&[]).status.code(), Some(2));
    assert!(folder.fails(&["report", "nowhere"], 1).contains("nowhere"));
    fs::create_dir(folder.0.join("empty")).unwrap();
    assert!(folder.fails(&["report", "empty"], 2).contains("no lines"));

    write("other.toml", &FILE.replace("seconds = 1", "seconds = 1.5"));
    folder.succeeds(&["rooms.toml", "--out", "lines", "--shard", "1/12"]);
    let message = folder.fails(&["other.toml", "--out", "lines", "--shard", "2/12"], 2);
    assert!(message.contains("other.toml") && message.contains("choose another folder"), "{message}");
    write("lines/shard-7-of-12.jsonl", "{\"run\":6}\n");
    let message = folder.fails(&["rooms.toml", "--out", "lines", "--shard", "2/12"], 1);
    assert!(message.contains("shard-7-of-12.jsonl:1: "), "{message}");
}
