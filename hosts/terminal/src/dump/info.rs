//! Control side: the file with the settings of a recorded terminal.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use handsfree_core::{Duration, SampleRate};
use serde::{Deserialize, Serialize};

use super::INFO_FILE;
use crate::failure::Failure;
use crate::speech::SpeechSettings;
use crate::terminal::{TerminalConfig, voice_code, voice_of_code};

/// Largest number of bytes that are read of the file: a hundred times its size.
const MAX_BYTES: u64 = 1 << 16;
/// Version of the files' format.
const FORM_VERSION: u32 = 1;

/// Content of `run.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Version of the files' format: 1.
    pub form: u32,
    /// Version of handsfree that made the recording.
    pub handsfree: String,
    /// Architecture and instruction set extensions of the processor that made the recording. On a different
    /// processor, floating-point results may differ.
    pub processor: String,
    /// Name of the host that provided the devices.
    pub io: String,
    /// Rate of the terminal, in hertz.
    pub rate_hz: u32,
    /// Code of the voice processor's configuration at the start of the run.
    pub voice: u64,
    /// Whether acoustic delay estimation corrected the timestamps. The first dumps named this `follow_echo`.
    #[serde(alias = "follow_echo")]
    pub acoustic_delay: bool,
    /// Whether a channel of the capture device was the echo reference.
    pub loopback: bool,
    /// Longest time that voice processing was allowed for a frame, in microseconds.
    pub voice_deadline_us: i64,
}

impl RunInfo {
    pub(crate) fn new(config: &TerminalConfig, io: &str) -> Result<Self, Failure> {
        let format = config.format()?;
        let resolved = config.canceller.resolved(config.voice, format, format);
        Ok(Self {
            form: FORM_VERSION,
            handsfree: env!("CARGO_PKG_VERSION").to_owned(),
            processor: processor(),
            io: io.to_owned(),
            rate_hz: config.rate.hz(),
            voice: voice_code(config.voice, resolved),
            acoustic_delay: config.acoustic_delay,
            loopback: config.loopback,
            voice_deadline_us: config.voice_deadline.as_micros(),
        })
    }

    pub(crate) fn config(&self) -> Result<TerminalConfig, Failure> {
        let (voice, canceller) = voice_of_code(self.voice)?;
        Ok(TerminalConfig {
            rate: SampleRate::new(self.rate_hz)?,
            voice,
            canceller,
            acoustic_delay: self.acoustic_delay,
            loopback: self.loopback,
            voice_deadline: Duration::from_micros(self.voice_deadline_us),
            // Both have no influence on the frames that are compared.
            adaptive_latency: false,
            speech: SpeechSettings::DETECTOR,
        })
    }

    /// Returns the version and processor that made the recording, if they differ from this program's.
    pub(crate) fn differs_from_here(&self) -> Option<String> {
        let is_same = self.processor == processor() && self.handsfree == env!("CARGO_PKG_VERSION");
        (!is_same).then(|| format!("version {} on {}", self.handsfree, self.processor))
    }

    pub(crate) fn read(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(INFO_FILE);
        let mut text = String::new();
        let read = File::open(&path).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text));
        read.map_err(|error| {
            Failure::run(format!("{}: cannot be read: {error}; expected a dump's folder", path.display()))
        })?;
        let info: Self = serde_json::from_str(&text).map_err(|error| {
            Failure::run(format!("{}: expected the settings of a dump: {error}", path.display()))
        })?;
        if info.form != FORM_VERSION {
            return Err(Failure::run(format!(
                "{}: format version {}, expected {FORM_VERSION}; it was written by handsfree {}",
                path.display(),
                info.form,
                info.handsfree
            )));
        }
        Ok(info)
    }

    pub(crate) fn write(&self, folder: &Path) -> Result<(), Failure> {
        let path = folder.join(INFO_FILE);
        let cannot = |why: String| Failure::run(format!("{}: cannot be written: {why}", path.display()));
        let text = serde_json::to_string_pretty(self).map_err(|error| cannot(error.to_string()))?;
        std::fs::write(&path, text + "\n").map_err(|error| cannot(error.to_string()))
    }
}

/// Returns the processor's architecture and the extensions by which WebRTC selects its code at run time.
fn processor() -> String {
    let extensions: &[(&str, bool)] = &[
        #[cfg(target_arch = "x86_64")]
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        #[cfg(target_arch = "x86_64")]
        ("fma", std::arch::is_x86_feature_detected!("fma")),
    ];
    let found = extensions.iter().filter(|(_, has)| *has).map(|(name, _)| *name);
    std::iter::once(std::env::consts::ARCH).chain(found).collect::<Vec<_>>().join(" ")
}
