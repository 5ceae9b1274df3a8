//! Shared test support: builds C filters, one for each test, and reads their counters.
//!
//! Each build is a separate file, so that the loader gives each test a filter with separate counters.
#![allow(dead_code, reason = "each test file uses only a part")]

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use handsfree_audio_filter::{AudioFilter, FilterError, FilterProcessor, SampleType, SessionConfig};
use handsfree_core::capture::{Credentials, FrameProcessor, ProcessError};
use handsfree_core::{Format, PcmMut};
use libloading::Library;

/// A configuration with a time limit that even a busy test machine does not exceed.
pub(crate) const LONG_LIMIT: SessionConfig<'static> = SessionConfig {
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

/// Directories of a test, removed at the end of its thread. Loaded libraries stay loaded.
struct TestDirectories(RefCell<Vec<PathBuf>>);

impl Drop for TestDirectories {
    fn drop(&mut self) {
        for directory in self.0.get_mut() {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

thread_local! {
    static TEST_DIRECTORIES: TestDirectories = const { TestDirectories(RefCell::new(Vec::new())) };
}

/// Makes a new directory for the files of one test.
pub(crate) fn directory(test: &str) -> PathBuf {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let unique = format!("{test}-{}-{call}", std::process::id());
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique);
    std::fs::create_dir_all(&directory).expect("a directory for a test's files");
    TEST_DIRECTORIES.with(|directories| directories.0.borrow_mut().push(directory.clone()));
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
    let compiler_output = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{compiler_output}");
    file.to_owned()
}

/// Builds the probe filter with these switches.
pub(crate) fn probe(test: &str, switches: &[&str]) -> PathBuf {
    let defines: Vec<_> = switches.iter().map(|switch| format!("-D{switch}")).collect();
    let defines: Vec<_> = defines.iter().map(String::as_str).collect();
    build("tests/filters/probe.c", &directory(test).join("probe.so"), &defines)
}

/// Loads `file`, with its path as the module id.
pub(crate) fn load(file: &Path) -> AudioFilter {
    load_as(&file.to_string_lossy(), file, &[], &NO_CREDENTIALS).unwrap()
}

/// Loads a filter that a test built, or a file that is no filter.
pub(crate) fn load_as(
    module_id: &str,
    file: &Path,
    dependencies: &[&Path],
    credentials: &Credentials<'_>,
) -> Result<AudioFilter, FilterError> {
    // SAFETY: the tests build every library from their own sources, which keep to the interface as far as memory goes.
    unsafe { AudioFilter::load(module_id, file, dependencies, credentials) }
}

/// Access to the counters of a loaded probe filter.
pub(crate) struct ProbeFilter(Library);

impl ProbeFilter {
    pub(crate) fn of(file: &Path) -> Self {
        // SAFETY: the probe filter has no initialisers and is loaded already.
        Self(unsafe { Library::new(file) }.unwrap())
    }

    pub(crate) fn number(&self, name: &str) -> i64 {
        let name = CString::new(name).unwrap();
        // SAFETY: the type is that of the function in probe.c, which reads a text that ends in NUL.
        let value = unsafe {
            let number = self.0.get::<unsafe extern "C" fn(*const c_char) -> i64>(b"probe_number").unwrap();
            number(name.as_ptr())
        };
        assert!(value >= 0, "the probe has no number {name:?}");
        value
    }

    pub(crate) fn text(&self, name: &str) -> String {
        let name = CString::new(name).unwrap();
        // SAFETY: the type is that of the function in probe.c; the text that it returns is static and ends in NUL.
        let text = unsafe {
            let text =
                self.0.get::<unsafe extern "C" fn(*const c_char) -> *const c_char>(b"probe_text").unwrap();
            CStr::from_ptr(text(name.as_ptr()))
        };
        text.to_str().unwrap().to_owned()
    }

    /// Returns the number of sessions that were made and not destroyed.
    pub(crate) fn live(&self) -> i64 {
        self.number("v1_sessions") + self.number("v2_sessions") - self.number("destroys")
    }

    /// Checks that every call was allowed at its time.
    pub(crate) fn assert_no_misuse(&self) {
        for name in ["misuses", "overlaps", "wrong_lengths"] {
            assert_eq!(self.number(name), 0, "{name}");
        }
    }
}

pub(crate) fn format(rate_hz: u32, channels: u32) -> Format {
    Format::new(rate_hz, channels).unwrap()
}

/// Frames of noise that is reproducible from its seed (xorshift).
pub(crate) struct NoiseFrames(u32);

impl NoiseFrames {
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

/// Returns `samples` after the processor.
pub(crate) fn process(
    processor: &mut FilterProcessor,
    samples: &[i16],
) -> (Vec<i16>, Result<(), ProcessError>) {
    let mut samples = samples.to_vec();
    let outcome = processor.process(PcmMut { format: processor.format(), samples: &mut samples });
    (samples, outcome)
}

/// Computes the output of the probe filter at equal rates, frame after frame.
pub(crate) struct ExpectedOutput {
    gain: f32,
    last: Vec<i16>,
}

impl ExpectedOutput {
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
