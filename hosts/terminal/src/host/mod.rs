//! Control side: the choice of a host, and one type for all hosts.
//!
//! A new host needs three additions here: a module with a function that returns a [`ChosenHost`], a variant of
//! [`HostChoice`], and a line in [`HostChoice::resolve`]. No other place names hosts.

#[cfg(all(target_os = "linux", feature = "alsa"))]
mod alsa;
mod any;
#[cfg(feature = "cpal")]
mod cpal;

use std::fmt;
use std::str::FromStr;

use handsfree_core::SampleRate;
use handsfree_host::worker::Work;

pub use self::any::{AnyHostError, AnyIo};
use crate::failure::Failure;
#[cfg(feature = "sim")]
use crate::sim::{SimHandle, SimRoomConfig};
use crate::terminal::SharedClock;

#[cfg(all(target_os = "linux", feature = "alsa"))]
pub use handsfree_alsa::AlsaConfig;
#[cfg(feature = "cpal")]
pub use handsfree_cpal::CpalConfig;

/// Choice of a host. The variants depend on the enabled features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostChoice {
    /// The first host of this build that has devices: the desktop's audio system, then ALSA, then the simulated
    /// room.
    #[default]
    Auto,
    /// The desktop's audio system: PulseAudio, PipeWire, Core Audio, WASAPI.
    #[cfg(feature = "cpal")]
    Cpal,
    /// Linux sound cards, without a sound server.
    #[cfg(all(target_os = "linux", feature = "alsa"))]
    Alsa,
    /// A simulated room with simulated devices, in real time.
    #[cfg(feature = "sim")]
    Sim,
}

impl HostChoice {
    /// All choices that this build supports.
    pub const ALL: &[Self] = &[
        Self::Auto,
        #[cfg(feature = "cpal")]
        Self::Cpal,
        #[cfg(all(target_os = "linux", feature = "alsa"))]
        Self::Alsa,
        #[cfg(feature = "sim")]
        Self::Sim,
    ];

    /// Returns the choice's name, which [`FromStr`] parses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            #[cfg(feature = "cpal")]
            Self::Cpal => "cpal",
            #[cfg(all(target_os = "linux", feature = "alsa"))]
            Self::Alsa => "alsa",
            #[cfg(feature = "sim")]
            Self::Sim => "sim",
        }
    }

    /// Returns the chosen host. [`Auto`](Self::Auto) lists the devices of the hosts, which takes some milliseconds.
    ///
    /// # Errors
    /// Returns an error for [`Auto`](Self::Auto) when no host of this build has both a microphone and a
    /// loudspeaker.
    pub fn resolve(self) -> Result<ChosenHost, Failure> {
        match self {
            Self::Auto => first_with_devices(),
            #[cfg(feature = "cpal")]
            Self::Cpal => Ok(cpal::host()),
            #[cfg(all(target_os = "linux", feature = "alsa"))]
            Self::Alsa => Ok(alsa::host()),
            #[cfg(feature = "sim")]
            Self::Sim => Ok(crate::sim::host()),
        }
    }
}

fn first_with_devices() -> Result<ChosenHost, Failure> {
    #[cfg(feature = "cpal")]
    if cpal::has_devices() {
        return Ok(cpal::host().with_notice("using the desktop's audio system"));
    }
    #[cfg(all(target_os = "linux", feature = "alsa"))]
    if alsa::has_devices() {
        return Ok(alsa::host().with_notice("using ALSA sound cards without a sound server"));
    }
    #[cfg(feature = "sim")]
    return Ok(crate::sim::host().with_notice(if cfg!(any(feature = "cpal", feature = "alsa")) {
        "no real audio device was found: using the simulated room"
    } else {
        "this build has no audio devices (features cpal and alsa): using the simulated room"
    }));
    #[cfg(not(feature = "sim"))]
    Err(Failure::run("no audio device was found: expected a microphone and a loudspeaker"))
}

impl fmt::Display for HostChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for HostChoice {
    type Err = Failure;

    fn from_str(name: &str) -> Result<Self, Failure> {
        Self::ALL.iter().copied().find(|choice| choice.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|choice| choice.name()).collect();
            Failure::usage(format!("host '{name}': expected one of {}", names.join(", ")))
        })
    }
}

/// Settings of all hosts that this build supports.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Sample rate of the simulated devices.
    pub rate: SampleRate,
    /// Period of the simulated devices, in sample frames.
    pub period_sample_frames: u32,
    /// Properties of the simulated room.
    #[cfg(feature = "sim")]
    pub sim: SimRoomConfig,
    /// Settings of the desktop's audio system.
    #[cfg(feature = "cpal")]
    pub cpal: CpalConfig,
    /// Settings of direct ALSA.
    #[cfg(all(target_os = "linux", feature = "alsa"))]
    pub alsa: AlsaConfig,
}

impl HostConfig {
    /// Returns settings for devices of this rate with periods of 10 ms, and each host's defaults.
    #[must_use]
    pub fn new(rate: SampleRate) -> Self {
        Self {
            rate,
            period_sample_frames: rate.sample_frames() as u32,
            #[cfg(feature = "sim")]
            sim: SimRoomConfig::default(),
            #[cfg(feature = "cpal")]
            cpal: CpalConfig::default(),
            #[cfg(all(target_os = "linux", feature = "alsa"))]
            alsa: AlsaConfig::default(),
        }
    }
}

/// Host that runs.
#[derive(Debug)]
pub struct OpenHost {
    /// The host, which starts and stops streams.
    pub io: AnyIo,
    /// Handle that unplugs simulated devices; `None` unless the host is the simulated room.
    #[cfg(feature = "sim")]
    pub sim: Option<SimHandle>,
}

impl OpenHost {
    #[cfg(any(feature = "cpal", all(target_os = "linux", feature = "alsa")))]
    fn of_devices(io: AnyIo) -> Self {
        Self {
            io,
            #[cfg(feature = "sim")]
            sim: None,
        }
    }
}

type OpenHostFn = Box<dyn FnOnce(&HostConfig, Work) -> Result<OpenHost, Failure> + Send>;

/// Host that was chosen and does not run yet.
pub struct ChosenHost {
    name: &'static str,
    notice: Option<&'static str>,
    is_simulated: bool,
    clock: SharedClock,
    open: OpenHostFn,
}

impl fmt::Debug for ChosenHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChosenHost").field("name", &self.name).finish_non_exhaustive()
    }
}

impl ChosenHost {
    /// Makes a host of real devices, which stamps periods with the system's monotonic clock.
    #[cfg(any(feature = "cpal", all(target_os = "linux", feature = "alsa")))]
    fn of_devices(name: &'static str, open: fn(&HostConfig, Work) -> Result<OpenHost, Failure>) -> Self {
        let clock = std::sync::Arc::new(handsfree_host::clock::SystemClock);
        Self { name, notice: None, is_simulated: false, clock, open: Box::new(open) }
    }

    #[cfg(feature = "sim")]
    pub(crate) fn simulated(
        clock: SharedClock,
        open: impl FnOnce(&HostConfig, Work) -> Result<OpenHost, Failure> + Send + 'static,
    ) -> Self {
        Self { name: "sim", notice: None, is_simulated: true, clock, open: Box::new(open) }
    }

    #[cfg(any(feature = "cpal", feature = "sim", all(target_os = "linux", feature = "alsa")))]
    fn with_notice(self, notice: &'static str) -> Self {
        Self { notice: Some(notice), ..self }
    }

    /// Returns the host's name: "cpal", "alsa" or "sim".
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns a message for the user when [`HostChoice::Auto`] chose this host.
    #[must_use]
    pub fn notice(&self) -> Option<&'static str> {
        self.notice
    }

    /// Returns whether the devices are simulated.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        self.is_simulated
    }

    /// Returns the clock that the host stamps periods with. A terminal on this host must use it.
    #[must_use]
    pub fn clock(&self) -> SharedClock {
        SharedClock::clone(&self.clock)
    }

    /// Starts the host, which calls `work` on its worker from now on.
    ///
    /// # Errors
    /// Returns the host's error when it cannot be started.
    pub fn open(self, config: &HostConfig, work: Work) -> Result<OpenHost, Failure> {
        (self.open)(config, work)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_is_parsed_from_its_own_name() {
        for &choice in HostChoice::ALL {
            assert_eq!(choice.to_string().parse::<HostChoice>().unwrap(), choice);
        }
        let failure = "jack".parse::<HostChoice>().unwrap_err();
        assert!(failure.to_string().contains("jack") && failure.to_string().contains("auto"), "{failure}");
    }
}
