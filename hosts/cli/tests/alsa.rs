//! ALSA's device `handsfree`: the plug-in and the configuration of `packaging/alsa`, used by `arecord` and `aplay` on a
//! simulated wire, where what is played comes out of the microphone bit for bit.
#![cfg(target_os = "linux")]
#![allow(missing_docs)]

#[path = "support/alsa_device.rs"]
mod alsa_device;
#[path = "support/samples.rs"]
mod samples;

use alsa_device::AlsaDevice;
use samples::{bytes_of, noise};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Service and device in a folder of their own.
struct Rig {
    service: Child,
    device: AlsaDevice,
    folder: PathBuf,
}

impl Rig {
    fn start(name: &str) -> Self {
        // Short, because the path of a socket has at most 107 bytes.
        let folder = std::env::temp_dir().join(format!("hf-alsa-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let device = AlsaDevice::build(&folder, &folder.join("s"));
        let mut service = Command::new(env!("CARGO_BIN_EXE_handsfree"))
            .args(["serve", "--io", "sim", "--wire", "--no-aec", "--no-ns", "--no-agc", "--no-hpf"])
            .args(["--no-echo-search", "--rate", "16000", "--socket", folder.join("s").to_str().unwrap()])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(service.stderr.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("serving on"), "{line}");
        Self { service, device, folder }
    }

    /// Returns a command for one of ALSA's programs on the device.
    fn command(&self, program: &str, words: &str, file: &str) -> Command {
        let mut command = self.device.command(program);
        command
            .args(["-D", "handsfree", "-q"])
            .args(words.split(' '))
            .arg(self.folder.join(file))
            .stderr(Stdio::piped());
        command
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        _ = self.service.kill();
        _ = self.service.wait();
        if !std::thread::panicking() {
            _ = fs::remove_dir_all(&self.folder);
        }
    }
}

fn succeeds(child: Child) {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn alsas_programs_play_and_record_every_sample() {
    let rig = Rig::start("whole");
    let said = noise(24_000, 1);
    fs::write(rig.folder.join("said"), bytes_of(&said)).unwrap();
    // The second format goes through ALSA's conversion, which asks for the same samples several times.
    let begun = Instant::now();
    let recorders = [("S16_LE", 2), ("S32_LE", 4)].map(|(format, width)| {
        let words = format!("-f {format} -r 16000 -c 1 -t raw -d 4");
        (format, width, rig.command("arecord", &words, format).spawn().unwrap())
    });
    std::thread::sleep(Duration::from_millis(700));
    let playing = Instant::now();
    succeeds(rig.command("aplay", "-f S16_LE -r 16000 -c 1 -t raw", "said").spawn().unwrap());
    let played_in = playing.elapsed();
    assert!(played_in > Duration::from_millis(1_500), "aplay ends when it was heard: {played_in:?}");
    for (format, width, recorder) in recorders {
        succeeds(recorder);
        let recorded_in = begun.elapsed();
        assert!(recorded_in > Duration::from_millis(3_900), "{format}: 4 s in {recorded_in:?}");
        let bytes = fs::read(rig.folder.join(format)).unwrap();
        let heard: Vec<i16> = bytes
            .chunks_exact(width)
            .map(|sample| i16::from_le_bytes([sample[width - 2], sample[width - 1]]))
            .collect();
        assert_eq!(heard.len(), 64_000, "{format}");
        let begin = heard.windows(32).position(|window| window == &said[..32]);
        let begin = begin.unwrap_or_else(|| panic!("{format}: the begin is missing"));
        let differ = said.iter().zip(&heard[begin..]).position(|(a, b)| a != b);
        assert_eq!(differ, None, "{format}: the sample of {} that differs", said.len());
    }
}

#[test]
fn alsas_formats_are_converted_and_the_end_is_an_error() {
    let mut rig = Rig::start("formats");
    for (words, bytes) in [
        ("-f S32_LE -r 44100 -c 2 -d 1", 352_844),
        ("-f U8 -r 22050 -c 1 -d 1", 22_094),
        ("-f S16_LE -r 96000 -c 1 -d 1", 192_044),
    ] {
        succeeds(rig.command("arecord", words, "a.wav").spawn().unwrap());
        assert_eq!(fs::metadata(rig.folder.join("a.wav")).unwrap().len(), bytes, "{words}");
        succeeds(rig.command("aplay", "-t wav", "a.wav").spawn().unwrap());
    }
    let recorder = rig.command("arecord", "-f S16_LE -r 16000 -c 1 -d 60", "b.wav").spawn().unwrap();
    std::thread::sleep(Duration::from_millis(700));
    rig.service.kill().unwrap();
    rig.service.wait().unwrap();
    let begun = Instant::now();
    let output = recorder.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && begun.elapsed() < Duration::from_secs(10), "{message}");
    assert!(message.contains("No such device"), "{message}");
}
