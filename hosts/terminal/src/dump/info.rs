//! Control side: what a terminal was made as.

use std::path::Path;

use handsfree_core::{Duration, SampleRate};
use serde::{Deserialize, Serialize};

use super::INFO_FILE;
use crate::failure::Failure;
use crate::terminal::{TerminalConfig, voice_code, voice_of_code};

/// Which form the files have.
const FORM: u32 = 1;

/// `run.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Which form the files have: 1.
    pub form: u32,
    /// The program's version.
    pub handsfree: String,
    /// The processor's architecture and what it has that voice processing uses; with others floating point may
    /// differ.
    pub processor: String,
    /// Which host the devices were of.
    pub io: String,
    /// Rate of the terminal.
    pub rate_hz: u32,
    /// What the voice processor did at first, in a number.
    pub voice: u64,
    /// Whether it listened for the echo.
    pub acoustic_delay: bool,
    /// Whether the capture device recorded the loudspeaker too.
    pub loopback: bool,
    /// The longest that voice processing might take for a frame.
    pub voice_deadline_us: i64,
}

impl RunInfo {
    pub(crate) fn new(config: &TerminalConfig, io: &str) -> Self {
        Self {
            form: FORM,
            handsfree: env!("CARGO_PKG_VERSION").to_owned(),
            processor: processor(),
            io: io.to_owned(),
            rate_hz: config.rate.hz(),
            voice: voice_code(config.voice),
            acoustic_delay: config.acoustic_delay,
            loopback: config.loopback,
            voice_deadline_us: config.voice_deadline.as_micros(),
        }
    }

    pub(crate) fn config(&self) -> Result<TerminalConfig, Failure> {
        Ok(TerminalConfig {
            rate: SampleRate::new(self.rate_hz)?,
            voice: voice_of_code(self.voice)?,
            acoustic_delay: self.acoustic_delay,
            loopback: self.loopback,
            voice_deadline: Duration::from_micros(self.voice_deadline_us),
        })
    }

    /// Where it was written, if that is not such a place as this.
    pub(crate) fn differs_from_here(&self) -> Option<String> {
        let is_same = self.processor == processor() && self.handsfree == env!("CARGO_PKG_VERSION");
        (!is_same).then(|| format!("by version {} on {}", self.handsfree, self.processor))
    }

    pub(crate) fn read(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(INFO_FILE);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Failure::run(format!("{}: cannot be read: {error}; expected a dump's folder", path.display()))
        })?;
        let info: Self = serde_json::from_str(&text)
            .map_err(|error| Failure::run(format!("{}: not a dump's: {error}", path.display())))?;
        if info.form != FORM {
            return Err(Failure::run(format!(
                "{}: of form {}, expected {FORM}: it was written by version {}",
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

/// WebRTC chooses its code by these when it runs.
fn processor() -> String {
    let mut processor = std::env::consts::ARCH.to_owned();
    #[cfg(target_arch = "x86_64")]
    for (name, has) in [
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
    ] {
        if has {
            processor = processor + " " + name;
        }
    }
    processor
}
