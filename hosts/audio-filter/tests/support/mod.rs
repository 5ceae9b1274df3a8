//! What the tests share: C filters built for one test each, and a look into them.
//!
//! Each build is a file of its own, so that the loader gives each test a filter with counters of its own.
#![allow(dead_code, reason = "each test file uses its part")]

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use handsfree_audio_filter::{AudioFilter, FilterProcessor, SampleType, SessionConfig};
use handsfree_core::capture::{Credentials, FrameProcessor, ProcessError};
use handsfree_core::{Format, PcmMut};
use libloading::Library;

/// A limit that no test machine exceeds by being busy.
pub(crate) const PATIENT: SessionConfig<'static> = SessionConfig {
    samples: SampleType::Int16,
    options: "",
    stream: handsfree_core::capture::StreamIdentity {
        url: "",
        room_id: "",
        room_name: "",
        participant_identity: "",
        participant_id: "",
        track_id: "",
    },
    limit: Duration::from_secs(60),
};

pub(crate) const NO_CREDENTIALS: Credentials<'static> = Credentials { url: "", token: "" };

/// Removes what a test built, at the end of its thread. Libraries that are loaded stay so.
struct Litter(RefCell<Vec<PathBuf>>);

impl Drop for Litter {
    fn drop(&mut self) {
        for directory in self.0.get_mut() {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

thread_local! {
    static LITTER: Litter = const { Litter(RefCell::new(Vec::new())) };
}

/// A place for one test's files, new for each call.
pub(crate) fn directory(test: &str) -> PathBuf {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let unique = format!("{test}-{}-{call}", std::process::id());
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique);
    std::fs::create_dir_all(&directory).expect("a directory for a test's files");
    LITTER.with(|litter| litter.0.borrow_mut().push(directory.clone()));
    directory
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| {
        panic!(
            "{command:?}: {error}; the tests need a C compiler: `apt install gcc libc6-dev`, or `make setup`"
        )
    })
}

/// Builds `source` of this package into `file` as a shared library.
pub(crate) fn build(source_name: &str, file: &Path, more: &[&str]) -> PathBuf {
    let mut command = Command::new("cc");
    command.args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"]);
    command.arg(file).arg(source(source_name)).args(more);
    let output = run(&mut command);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{told}");
    file.to_owned()
}

/// Builds the probe with these switches.
pub(crate) fn probe(test: &str, switches: &[&str]) -> PathBuf {
    let defines: Vec<_> = switches.iter().map(|switch| format!("-D{switch}")).collect();
    let defines: Vec<_> = defines.iter().map(String::as_str).collect();
    build("tests/filters/probe.c", &directory(test).join("probe.so"), &defines)
}

/// Loads `file` under a module id of its own.
pub(crate) fn load(file: &Path) -> AudioFilter {
    AudioFilter::load(&file.to_string_lossy(), file, &[], &NO_CREDENTIALS).unwrap()
}

/// A look into a probe that is loaded.
pub(crate) struct Probe(Library);

impl Probe {
    pub(crate) fn of(file: &Path) -> Self {
        // SAFETY: the probe has no initialisers, and is loaded already.
        Self(unsafe { Library::new(file) }.unwrap())
    }

    pub(crate) fn number(&self, name: &str) -> i64 {
        let name = CString::new(name).unwrap();
        // SAFETY: probe.c says what type the function is of, and that it reads a text.
        let value = unsafe {
            let number = self.0.get::<unsafe extern "C" fn(*const c_char) -> i64>(b"probe_number").unwrap();
            number(name.as_ptr())
        };
        assert!(value >= 0, "the probe has no number {name:?}");
        value
    }

    pub(crate) fn text(&self, name: &str) -> String {
        let name = CString::new(name).unwrap();
        // SAFETY: as above; the text that comes back is the probe's own and ends in NUL.
        let text = unsafe {
            let text =
                self.0.get::<unsafe extern "C" fn(*const c_char) -> *const c_char>(b"probe_text").unwrap();
            CStr::from_ptr(text(name.as_ptr()))
        };
        text.to_str().unwrap().to_owned()
    }

    /// Sessions that were made and are not destroyed.
    pub(crate) fn live(&self) -> i64 {
        self.number("v1_sessions") + self.number("v2_sessions") - self.number("destroys")
    }

    /// Nothing was called that may not be called, or when it may not.
    pub(crate) fn assert_well_treated(&self) {
        for name in ["misuses", "overlaps", "wrong_lengths"] {
            assert_eq!(self.number(name), 0, "{name}");
        }
    }
}

pub(crate) fn format(rate_hz: u32, channels: u32) -> Format {
    Format::new(rate_hz, channels).unwrap()
}

/// Noise that repeats from its seed (xorshift).
pub(crate) struct Noise(u32);

impl Noise {
    pub(crate) fn new(seed: u32) -> Self {
        Self(seed.wrapping_mul(2_654_435_761) | 1)
    }

    pub(crate) fn bits(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    pub(crate) fn frame(&mut self, format: Format) -> Vec<i16> {
        (0..format.samples()).map(|_| (self.bits() >> 16) as i16).collect()
    }
}

/// `samples` after the processor.
pub(crate) fn process(
    processor: &mut FilterProcessor,
    samples: &[i16],
) -> (Vec<i16>, Result<(), ProcessError>) {
    let mut samples = samples.to_vec();
    let outcome = processor.process(PcmMut { format: processor.format(), samples: &mut samples });
    (samples, outcome)
}

/// What the probe makes of one channel at equal rates, frame after frame.
pub(crate) struct Expected {
    gain: f32,
    last: Vec<i16>,
}

impl Expected {
    pub(crate) fn new(channels: usize, gain: f32) -> Self {
        Self { gain, last: vec![0; channels] }
    }

    pub(crate) fn next(&mut self, frame: &[i16]) -> Vec<i16> {
        let channels = self.last.len();
        frame
            .iter()
            .enumerate()
            .map(|(i, &sample)| {
                let before = std::mem::replace(&mut self.last[i % channels], sample);
                (self.gain * f32::from(before)) as i16
            })
            .collect()
    }
}
