//! Control side: settings of the devices before they are opened.

use handsfree_apm::{ApmConfig, GainControl};
use handsfree_core::audio_io::AudioIo;
use handsfree_core::{Duration, SampleRate};
use handsfree_host::worker::Work;

use super::{MediaDevices, MediaError, Setup};
use crate::failure::Failure;
#[cfg(all(target_os = "linux", feature = "alsa"))]
use crate::host::AlsaConfig;
#[cfg(feature = "cpal")]
use crate::host::CpalConfig;
use crate::host::{AnyIo, HostChoice, HostConfig};
#[cfg(feature = "sim")]
use crate::sim::SimRoomConfig;
use crate::speech::SpeechSettings;
use crate::terminal::{CAP, CancellerChoice, SLOTS, SharedClock, TerminalConfig};

/// Choice of what polls the devices for losses and returns, and wakes tasks that wait for time to pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Polling {
    /// A separate thread polls fifty times a second. A second thread wakes waiting tasks after the worker's rounds.
    #[default]
    Thread,
    /// The application polls with [`MediaDevices::tick`], as tests in virtual time do.
    Manual,
}

/// Settings of [`MediaDevices`], made by [`MediaDevices::builder`].
///
/// The defaults are a rate of 48 kHz, full voice processing, the first host that has devices, and a separate thread
/// that polls them.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is opened"]
pub struct MediaDevicesBuilder {
    rate_hz: u32,
    host: HostChoice,
    polling: Polling,
    voice: ApmConfig,
    canceller: CancellerChoice,
    loopback_channel: Option<u8>,
    acoustic_delay: bool,
    adaptive_latency: bool,
    voice_deadline: Duration,
    speech: SpeechSettings,
    #[cfg(feature = "sim")]
    sim: SimRoomConfig,
    #[cfg(feature = "cpal")]
    cpal: CpalConfig,
    #[cfg(all(target_os = "linux", feature = "alsa"))]
    alsa: AlsaConfig,
}

impl Default for MediaDevicesBuilder {
    fn default() -> Self {
        Self {
            rate_hz: 48_000,
            host: HostChoice::Auto,
            polling: Polling::Thread,
            voice: ApmConfig { gain_control: GainControl::Adaptive, ..ApmConfig::default() },
            canceller: CancellerChoice::default(),
            loopback_channel: None,
            acoustic_delay: true,
            adaptive_latency: false,
            voice_deadline: handsfree_core::limits::PROCESSOR_DEADLINE,
            speech: SpeechSettings::DETECTOR,
            #[cfg(feature = "sim")]
            sim: SimRoomConfig::default(),
            #[cfg(feature = "cpal")]
            cpal: CpalConfig::default(),
            #[cfg(all(target_os = "linux", feature = "alsa"))]
            alsa: AlsaConfig::default(),
        }
    }
}

impl MediaDevicesBuilder {
    /// Sets the rate of the voice processing and of microphone frames, in hertz: 8000, 16000, 24000, 32000,
    /// 44100 or
    /// 48000. Devices and tracks may have other rates. The default is 48000.
    pub fn rate_hz(mut self, rate_hz: u32) -> Self {
        self.rate_hz = rate_hz;
        self
    }

    /// Sets the host that [`open`](Self::open) uses. The default is [`HostChoice::Auto`].
    pub fn host(mut self, host: HostChoice) -> Self {
        self.host = host;
        self
    }

    /// Sets whether a separate thread or the application polls the devices. The default is [`Polling::Thread`].
    pub fn polling(mut self, polling: Polling) -> Self {
        self.polling = polling;
        self
    }

    /// Sets how strong each part of the voice processing is. [`InputOptions`](super::InputOptions) switches the
    /// parts off for one opening of the microphone. The default is full echo cancellation, low noise
    /// suppression, the high-pass filter and adaptive gain control.
    pub fn voice(mut self, voice: ApmConfig) -> Self {
        self.voice = voice;
        self
    }

    /// Sets the echo canceller. The default is the project's own where it can be used, else WebRTC's.
    pub fn canceller(mut self, canceller: CancellerChoice) -> Self {
        self.canceller = canceller;
        self
    }

    /// Uses a channel of the capture device as the echo reference. The device must record the loudspeaker's
    /// signal on channel `index`, counted from 0. By default the played samples themselves are the reference.
    pub fn loopback_channel(mut self, index: u8) -> Self {
        self.loopback_channel = Some(index);
        self
    }

    /// Sets whether the echo's delay is estimated from the sound to correct the devices' timestamps. The default is
    /// true.
    pub fn acoustic_delay(mut self, is_enabled: bool) -> Self {
        self.acoustic_delay = is_enabled;
        self
    }

    /// Sets whether sound is played earlier while the worker is punctual: after 10 s without an underrun, by the 10 ms that are
    /// otherwise kept for a late worker. An underrun ends that, and the next try needs twice as long; each change is a
    /// [`SessionEvent::PlaybackFillChanged`](handsfree_core::SessionEvent::PlaybackFillChanged). The default is false.
    pub fn adaptive_latency(mut self, is_enabled: bool) -> Self {
        self.adaptive_latency = is_enabled;
        self
    }

    /// Sets the longest time that voice processing may take for a frame before it is bypassed. The default is
    /// [`PROCESSOR_DEADLINE`](handsfree_core::limits::PROCESSOR_DEADLINE).
    pub fn voice_deadline(mut self, deadline: Duration) -> Self {
        self.voice_deadline = deadline;
        self
    }

    /// Sets when speech at the microphone starts and ends, for [`MediaEvent::Speech`](super::MediaEvent::Speech) and
    /// [`InputCapture::speech`](super::InputCapture::speech). The default is [`SpeechSettings::DETECTOR`].
    pub fn speech(mut self, settings: SpeechSettings) -> Self {
        self.speech = settings;
        self
    }

    /// Sets the properties of the simulated room, for [`HostChoice::Sim`].
    #[cfg(feature = "sim")]
    pub fn sim(mut self, config: SimRoomConfig) -> Self {
        self.sim = config;
        self
    }

    /// Sets how the desktop's audio system is used, for [`HostChoice::Cpal`].
    #[cfg(feature = "cpal")]
    pub fn cpal(mut self, config: CpalConfig) -> Self {
        self.cpal = config;
        self
    }

    /// Sets how ALSA's devices are used, for [`HostChoice::Alsa`].
    #[cfg(all(target_os = "linux", feature = "alsa"))]
    pub fn alsa(mut self, config: AlsaConfig) -> Self {
        self.alsa = config;
        self
    }

    /// Starts the chosen host with a terminal on it. No device is opened yet.
    ///
    /// # Errors
    /// Returns an error for a rate that the voice processor does not support, when no device was found, and
    /// when the host cannot be started.
    pub fn open(self) -> Result<MediaDevices<AnyIo>, MediaError> {
        let host = self.host.resolve()?;
        #[allow(unused_mut, reason = "a build without hosts has no host settings")]
        let mut config = HostConfig::new(SampleRate::new(self.rate_hz)?);
        #[cfg(feature = "sim")]
        config.sim.clone_from(&self.sim);
        #[cfg(feature = "cpal")]
        config.cpal.clone_from(&self.cpal);
        #[cfg(all(target_os = "linux", feature = "alsa"))]
        {
            config.alsa = self.alsa;
        }
        let (name, notice, clock) = (host.name(), host.notice(), host.clock());
        let mut devices = self.open_with(clock, |work| Ok(host.open(&config, work)?.io))?;
        devices.host_name = name;
        devices.notices.extend(notice);
        Ok(devices)
    }

    /// Makes a terminal on a host that the application provides. The function `host` receives the worker's work and
    /// returns the host, which must call the work after each period and stamp periods with `clock`.
    ///
    /// # Errors
    /// Returns an error for a rate that the voice processor does not support, and the error of `host`.
    pub fn open_with<Io>(
        self,
        clock: SharedClock,
        host: impl FnOnce(Work) -> Result<Io, Failure>,
    ) -> Result<MediaDevices<Io>, MediaError>
    where
        Io: AudioIo<'static, CAP, SLOTS> + Send + 'static,
        Io::Error: Send,
    {
        let terminal = TerminalConfig {
            rate: SampleRate::new(self.rate_hz)?,
            voice: self.voice,
            canceller: self.canceller,
            acoustic_delay: self.acoustic_delay,
            adaptive_latency: self.adaptive_latency,
            loopback: self.loopback_channel.is_some(),
            voice_deadline: self.voice_deadline,
            speech: self.speech,
        };
        let setup = Setup { terminal, loopback_channel: self.loopback_channel, polling: self.polling };
        MediaDevices::with_setup(setup, clock, host)
    }
}
