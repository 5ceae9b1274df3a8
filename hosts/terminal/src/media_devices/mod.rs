//! Application side: the devices of one host, as a microphone without echo and a loudspeaker for several tracks.
//!
//! The sound of every player is removed from the microphone, in whatever order microphone and players are
//! opened. After closing, the microphone or a player can be opened again, also on another device. An unplugged
//! device is used again when it returns.
//!
//! ```
//! use handsfree::{HostChoice, InputOptions, MediaDevices, OutputOptions, TrackOptions};
//!
//! # #[cfg(feature = "sim")]
//! # let choice = HostChoice::Sim;
//! # #[cfg(not(feature = "sim"))]
//! let choice = HostChoice::Auto;
//! let devices = MediaDevices::builder().rate_hz(16_000).host(choice).open()?;
//! assert!(devices.default_input_device()?.is_some());
//!
//! let mut player = devices.open_output(OutputOptions::default());
//! let mut voice = player.add_track(TrackOptions { rate_hz: 24_000, channels: 1 })?;
//! player.start()?;
//! voice.push(&[0; 2_400])?;
//!
//! let mut microphone = devices.open_input(InputOptions::default())?;
//! let frame = microphone.next_frame(std::time::Duration::from_secs(5)).expect("10 ms of sound");
//! assert_eq!(frame.sample_frames(), 160, "at 16 kHz");
//! microphone.close();
//! player.close();
//! # Ok::<(), handsfree::MediaError>(())
//! ```
//!
//! Each operation that waits exists in two forms: asynchronous for any executor, such as
//! [`InputCapture::frame`] and [`OutputTrack::push_all`], and blocking, such as [`InputCapture::next_frame`]
//! and [`OutputTrack::push_blocking`]. After each round the worker wakes a thread that calls the wakers, so
//! tasks notice new frames and free queue space at once. Some conditions become true only because time passes,
//! such as the end of playout. For these, [`tick`](MediaDevices::tick) calls all wakers; with
//! [`Polling::Thread`] that happens every 20 ms. The folder `examples/` contains four small programs.

mod builder;
mod error;
mod input;
mod output;
mod track;
mod waiting;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration as WallDuration;

use handsfree_apm::ApmConfig;
use handsfree_core::audio_io::{AudioIo, Direction, ErrorKind, HostError as _};
use handsfree_core::{SessionEvent, Stats};
use handsfree_host::supervisor::{DirectionConfig, Notice, OpenError, StreamSupervisor};
use handsfree_host::worker::Work;

pub use self::builder::{MediaDevicesBuilder, Polling};
pub use self::error::MediaError;
pub use self::input::{InputCapture, InputOptions, Speech};
pub use self::output::{OutputOptions, OutputPlayer};
pub use self::track::{OutputTrack, TrackOptions};
use self::waiting::{Dispatcher, Waiters};
use crate::device::Device;
use crate::failure::Failure;
use crate::host::AnyIo;
use crate::speech::SpeechEvent;
use crate::terminal::{CAP, CleanedFrames, Meters, Parts, SLOTS, SharedClock, Terminal, TerminalConfig};

/// Interval at which devices are polled. It is short compared with the supervisor's first retry, after 250 ms.
const TICK: WallDuration = WallDuration::from_millis(20);
/// Largest number of events that wait for the application. When the queue is full, a new event replaces the oldest.
const MAX_EVENTS: usize = 256;

/// Event of the devices or of the audio processing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaEvent {
    /// Loss, return or change of a device.
    Device(Notice),
    /// Event of a track or of the audio processing.
    Session(SessionEvent),
    /// A person has started to speak at the microphone, or has ended.
    Speech(SpeechEvent),
}

/// The devices of one host, with one terminal that processes their audio.
///
/// Any thread except an audio thread may use it. The memory of its [`Terminal`] is never freed, so a process
/// should make only one. The host stops when this value and everything opened with it are dropped.
pub struct MediaDevices<Io: AudioIo<'static, CAP, SLOTS> = AnyIo> {
    shared: Arc<SharedDevices<Io>>,
    host_name: &'static str,
    notices: Vec<&'static str>,
    _polling: Option<JoinHandle<()>>,
}

struct SharedDevices<Io: AudioIo<'static, CAP, SLOTS>> {
    inner: Mutex<Inner<Io>>,
    waiters: Arc<Waiters>,
    /// Thread that calls wakers; `None` with [`Polling::Manual`].
    _dispatcher: Option<Dispatcher>,
}

struct Inner<Io: AudioIo<'static, CAP, SLOTS>> {
    supervisor: StreamSupervisor<'static, Io, CAP, SLOTS>,
    terminal: Terminal,
    /// Queue of cleaned frames; `None` while a capture has it.
    frames: Option<CleanedFrames>,
    /// Number of started players.
    playing: u32,
    /// Id of the loudspeaker's device while a player is started.
    output_device: Option<String>,
    /// Strength of each part of the voice processing. The options of a capture can switch parts off.
    voice: ApmConfig,
    /// Channel of the microphone's device that records the loudspeaker and is the echo reference.
    loopback_channel: Option<u8>,
    events: VecDeque<MediaEvent>,
}

/// Settings that the builder passes on.
struct Setup {
    terminal: TerminalConfig,
    loopback_channel: Option<u8>,
    polling: Polling,
}

impl<Io: AudioIo<'static, CAP, SLOTS>> fmt::Debug for MediaDevices<Io> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MediaDevices").finish_non_exhaustive()
    }
}

impl<Io: AudioIo<'static, CAP, SLOTS>> SharedDevices<Io> {
    /// Locks the state. A poisoned lock is still used, because each change is a single step and leaves the
    /// state valid.
    fn lock(&self) -> MutexGuard<'_, Inner<Io>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MediaDevices<AnyIo> {
    /// Returns a builder with the default settings: the rate, the host and the voice processing can be changed.
    pub fn builder() -> MediaDevicesBuilder {
        MediaDevicesBuilder::default()
    }
}

impl<Io: AudioIo<'static, CAP, SLOTS> + Send + 'static> MediaDevices<Io> {
    fn with_setup(
        setup: Setup,
        clock: SharedClock,
        host: impl FnOnce(Work) -> Result<Io, Failure>,
    ) -> Result<Self, MediaError>
    where
        Io::Error: Send,
    {
        let Parts { mut terminal, halves, work } = setup.terminal.build(clock)?;
        let waiters = Arc::new(Waiters::default());
        let supervisor = StreamSupervisor::new(host(waiters.notify_after(work))?, halves);
        let frames = terminal.take_cleaned();
        let inner = Inner {
            supervisor,
            terminal,
            frames,
            playing: 0,
            output_device: None,
            voice: setup.terminal.voice,
            loopback_channel: setup.loopback_channel,
            events: VecDeque::new(),
        };
        let dispatcher = match setup.polling {
            Polling::Manual => None,
            Polling::Thread => Some(Dispatcher::spawn(&waiters)?),
        };
        let shared = Arc::new(SharedDevices { inner: Mutex::new(inner), waiters, _dispatcher: dispatcher });
        let thread = match setup.polling {
            Polling::Manual => None,
            Polling::Thread => Some(spawn_polling_thread(Arc::downgrade(&shared))?),
        };
        Ok(Self { shared, host_name: "custom", notices: Vec::new(), _polling: thread })
    }

    /// Returns the host's name: "cpal", "alsa" or "sim", or "custom" for one given to
    /// [`MediaDevicesBuilder::open_with`].
    #[must_use]
    pub fn host_name(&self) -> &'static str {
        self.host_name
    }

    /// Returns messages for the user, such as which host [`HostChoice::Auto`](crate::HostChoice::Auto) chose.
    #[must_use]
    pub fn notices(&self) -> &[&'static str] {
        &self.notices
    }

    /// Lists the microphones and marks the system's default.
    ///
    /// # Errors
    /// Returns an error when the host does not answer.
    pub fn list_input_devices(&self) -> Result<Vec<Device>, MediaError> {
        self.shared.lock().list(Direction::Capture)
    }

    /// Lists the loudspeakers and marks the system's default.
    ///
    /// # Errors
    /// Returns an error when the host does not answer.
    pub fn list_output_devices(&self) -> Result<Vec<Device>, MediaError> {
        self.shared.lock().list(Direction::Playback)
    }

    /// Returns the system's default microphone, if there is one.
    ///
    /// # Errors
    /// Returns an error when the host does not answer.
    pub fn default_input_device(&self) -> Result<Option<Device>, MediaError> {
        Ok(self.list_input_devices()?.into_iter().find(|device| device.is_default))
    }

    /// Returns the system's default loudspeaker, if there is one.
    ///
    /// # Errors
    /// Returns an error when the host does not answer.
    pub fn default_output_device(&self) -> Result<Option<Device>, MediaError> {
        Ok(self.list_output_devices()?.into_iter().find(|device| device.is_default))
    }

    /// Opens the microphone. Its frames are cleaned from the first one on.
    ///
    /// # Errors
    /// Returns [`MediaError::InputOpen`] while another capture has the microphone, [`MediaError::NoSuchDevice`] or
    /// [`MediaError::NoSuchChannel`] for a device or channel that does not exist, and the host's error.
    pub fn open_input(&self, options: InputOptions) -> Result<InputCapture<Io>, MediaError> {
        InputCapture::open(Arc::clone(&self.shared), options)
    }

    /// Makes a player for the loudspeaker. Starting the player opens the device. Several players may play at
    /// once on the same device.
    pub fn open_output(&self, options: OutputOptions) -> OutputPlayer<Io> {
        OutputPlayer::new(Arc::clone(&self.shared), options)
    }

    /// Takes the oldest waiting event, if there is one. At most 256 events wait.
    pub fn poll_event(&self) -> Option<MediaEvent> {
        self.shared.lock().events.pop_front()
    }

    /// Returns the counters of the audio processing.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.lock().terminal.stats()
    }

    /// Returns the meters: levels, echo reduction, drift.
    #[must_use]
    pub fn meters(&self) -> &'static Meters {
        self.shared.lock().terminal.meters()
    }

    /// Returns the number of cleaned frames that were dropped because the queue was full; wraps at 2^32.
    #[must_use]
    pub fn dropped_frames(&self) -> u32 {
        self.shared.lock().terminal.dropped_frames()
    }

    /// Polls the devices for losses and returns, and wakes the tasks that wait for frames and tracks.
    /// Unnecessary with [`Polling::Thread`].
    pub fn tick(&self) {
        tick(&self.shared);
    }

    /// Calls `operation` with the host, for functions that only this host has. All other calls wait meanwhile, so
    /// `operation` must not use these devices, or captures and players opened with them: that would deadlock.
    pub fn with_host<T>(&self, operation: impl FnOnce(&mut Io) -> T) -> T {
        operation(self.shared.lock().supervisor.io_mut())
    }
}

fn spawn_polling_thread<Io: AudioIo<'static, CAP, SLOTS> + Send + 'static>(
    shared: Weak<SharedDevices<Io>>,
) -> Result<JoinHandle<()>, Failure>
where
    Io::Error: Send,
{
    std::thread::Builder::new()
        .name("media devices".into())
        .spawn(move || {
            while let Some(shared) = shared.upgrade() {
                tick(&shared);
                drop(shared);
                std::thread::sleep(TICK);
            }
        })
        .map_err(|error| {
            Failure::run(format!("the thread that polls the devices could not be started: {error}"))
        })
}

fn tick<Io: AudioIo<'static, CAP, SLOTS>>(shared: &SharedDevices<Io>) {
    {
        let mut inner = shared.lock();
        let now = inner.terminal.now();
        while let Some(notice) = inner.supervisor.poll(now) {
            // When no new voice processor can be made, the old one stays in use.
            _ = inner.terminal.handle_notice(&notice);
            inner.push_event(MediaEvent::Device(notice));
        }
        loop {
            match inner.terminal.poll_event() {
                Ok(Some(event)) => inner.push_event(MediaEvent::Session(event)),
                Ok(None) => break,
                // The old voice processor stays in use and converges again; the next call returns the event.
                Err(_) => {}
            }
        }
        while let Some(event) = inner.terminal.poll_speech() {
            inner.push_event(MediaEvent::Speech(event));
        }
    }
    // Wakers are application code, so they are called without the lock.
    shared.waiters.wake_all();
}

impl<Io: AudioIo<'static, CAP, SLOTS>> Inner<Io> {
    fn push_event(&mut self, event: MediaEvent) {
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    fn list(&self, direction: Direction) -> Result<Vec<Device>, MediaError> {
        let mut devices = Vec::new();
        self.supervisor
            .devices(&mut |info| {
                if info.direction == direction {
                    devices.push(Device::from(info));
                }
            })
            .map_err(|error| MediaError::host(&error))?;
        Ok(devices)
    }

    /// Returns the requested device, if it is listed.
    fn find(&self, direction: Direction, id: Option<&str>) -> Result<Option<Device>, MediaError> {
        let devices = self.list(direction)?;
        Ok(devices.into_iter().find(|device| id.map_or(device.is_default, |id| device.id == id)))
    }

    fn start(&mut self, direction: Direction, config: &DirectionConfig) -> Result<(), MediaError> {
        let now = self.terminal.now();
        let (capture, playback) = match direction {
            Direction::Capture => (Some(config), None),
            Direction::Playback => (None, Some(config)),
        };
        match self.supervisor.open(capture, playback, now) {
            Ok(_) => Ok(()),
            Err(OpenError::Host(error)) => Err(match &config.device {
                Some(id) if error.kind() == ErrorKind::NotFound => {
                    MediaError::NoSuchDevice { id: id.clone() }
                }
                _ => MediaError::host(&error),
            }),
            Err(other) => Err(MediaError::Host { message: other.to_string() }),
        }
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use super::*;
    use crate::sim::{Pace, SimClock, SimIo, SimRoomConfig};
    use handsfree_core::{Duration, SampleRate};
    use handsfree_sim::acoustics::Wire;
    use handsfree_sim::device::DeviceConfig;

    #[test]
    fn a_changed_format_is_reported_without_a_new_voice_processor() {
        let rate = SampleRate::new(16_000).unwrap();
        let clock = SimClock::shared();
        let mut handle = None;
        let board = SimRoomConfig::default().board(rate, 160);
        let devices = MediaDevices::builder()
            .rate_hz(rate.hz())
            .polling(Polling::Manual)
            .open_with(clock.clone(), |work| {
                let (io, sim) = SimIo::spawn(board, Box::new(Wire), work, &clock, Pace::Stepped)?;
                handle = Some(sim);
                Ok(io)
            })
            .unwrap();
        let sim = handle.unwrap();
        let pass = || {
            for _ in 0..100 {
                sim.advance(Duration::from_millis(10)).unwrap();
                devices.tick();
            }
        };
        let _input = devices.open_input(InputOptions::default()).unwrap();
        pass();
        devices.shared.lock().terminal.fail_new_voices().unwrap();
        sim.unplug(Direction::Capture).unwrap();
        pass();
        sim.plug_in(Direction::Capture, DeviceConfig::new(SampleRate::new(48_000).unwrap(), 480)).unwrap();
        pass();
        let events: Vec<_> = std::iter::from_fn(|| devices.poll_event()).collect();
        let changed = MediaEvent::Session(SessionEvent::DeviceChanged { direction: Direction::Capture });
        assert_eq!(events.iter().filter(|&&event| event == changed).count(), 1, "{events:?}");
    }
}
