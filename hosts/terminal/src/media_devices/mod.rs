//! Application side: the devices of one host as an application wants them: a microphone without echo, and
//! a loudspeaker for several tracks.
//!
//! Whatever is opened first, the microphone is cleaned of all that any player plays; what is closed can be
//! opened again, on another device too; a device that is unplugged is waited for.
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
//! let mut player = devices.open_output(OutputOptions::default())?;
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
//! What waits can be waited for in any executor, or in a thread of its own: [`InputCapture::frame`] and
//! [`next_frame`](InputCapture::next_frame), [`OutputTrack::push_all`] and
//! [`push_blocking`](OutputTrack::push_blocking). After its rounds the worker lets a thread know, and that calls the
//! wakers, so frames and room are told without delay. What becomes true by time alone, as that the last sample was
//! played or where an interruption stopped a track, no round tells: for that [`tick`](MediaDevices::tick) calls all
//! wakers too, with [`Polling::Thread`] every 20 ms. `examples/` has four small programs.

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
use handsfree_core::SessionEvent;
use handsfree_core::audio_io::{AudioIo, Direction};
use handsfree_host::supervisor::{DirectionConfig, Notice, OpenError, StreamSupervisor};
use handsfree_host::worker::Work;

pub use self::builder::{MediaDevicesBuilder, Polling};
pub use self::error::MediaError;
pub use self::input::{InputCapture, InputOptions};
pub use self::output::{OutputOptions, OutputPlayer};
pub use self::track::{OutputTrack, TrackOptions};
use self::waiting::{Dispatcher, Waiters};
use crate::device::Device;
use crate::failure::Failure;
use crate::host::AnyIo;
use crate::terminal::{CAP, CleanedFrames, Parts, SLOTS, SharedClock, Terminal, TerminalConfig};

/// How often devices are looked after.
const TICK: WallDuration = WallDuration::from_millis(20);
/// Events that wait for the application; older ones make room.
const MOST_EVENTS: usize = 256;

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaEvent {
    /// To a device.
    Device(Notice),
    /// To a track, or to the processing.
    Session(SessionEvent),
}

/// The devices of one host with one terminal over them.
///
/// Any thread may use it, no audio thread. Its memory is the [`Terminal`]'s and is never freed, so make one
/// for the life of the process; when it and all that was opened with it are dropped, the host stops.
pub struct MediaDevices<Io: AudioIo<'static, CAP, SLOTS> = AnyIo> {
    shared: Arc<Shared<Io>>,
    host_name: &'static str,
    notices: Vec<&'static str>,
    _polling: Option<JoinHandle<()>>,
}

struct Shared<Io: AudioIo<'static, CAP, SLOTS>> {
    inner: Mutex<Inner<Io>>,
    waiters: Arc<Waiters>,
    /// None where the application ticks.
    _dispatcher: Option<Dispatcher>,
}

struct Inner<Io: AudioIo<'static, CAP, SLOTS>> {
    supervisor: StreamSupervisor<'static, Io, CAP, SLOTS>,
    terminal: Terminal,
    /// Here while no input is open.
    frames: Option<CleanedFrames>,
    /// Players that are started.
    playing: u32,
    /// The loudspeaker's device while a player is started.
    output_device: Option<String>,
    /// How strong each part of the voice processing is where an input does not switch it off.
    voice: ApmConfig,
    /// Channel of the microphone's device with the loudspeaker's signal, the echo reference.
    loopback_channel: Option<u8>,
    events: VecDeque<MediaEvent>,
}

/// What the builder hands over.
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

impl<Io: AudioIo<'static, CAP, SLOTS>> Shared<Io> {
    /// What is inside stays whole when somebody panics with it in hand: each change is one step.
    fn lock(&self) -> MutexGuard<'_, Inner<Io>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MediaDevices<AnyIo> {
    /// Returns the settings to open devices with: a rate, a host, and the voice processing.
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
        let supervisor = StreamSupervisor::new(host(waiters.told_by(work))?, halves);
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
        let shared = Arc::new(Shared { inner: Mutex::new(inner), waiters, _dispatcher: dispatcher });
        let thread = match setup.polling {
            Polling::Manual => None,
            Polling::Thread => Some(look_after(Arc::downgrade(&shared))?),
        };
        Ok(Self { shared, host_name: "custom", notices: Vec::new(), _polling: thread })
    }

    /// Returns the host's name: "cpal", "alsa" or "sim", or "custom" for one given to
    /// [`MediaDevicesBuilder::open_with`].
    #[must_use]
    pub fn host_name(&self) -> &'static str {
        self.host_name
    }

    /// Returns sentences that a user should read, such as which host [`HostChoice::Auto`](crate::HostChoice::Auto)
    /// chose.
    #[must_use]
    pub fn notices(&self) -> &[&'static str] {
        &self.notices
    }

    /// Microphones, the system's default marked.
    ///
    /// # Errors
    /// When the host does not answer.
    pub fn list_input_devices(&self) -> Result<Vec<Device>, MediaError> {
        self.shared.lock().list(Direction::Capture)
    }

    /// Loudspeakers, the system's default marked.
    ///
    /// # Errors
    /// When the host does not answer.
    pub fn list_output_devices(&self) -> Result<Vec<Device>, MediaError> {
        self.shared.lock().list(Direction::Playback)
    }

    /// The system's default microphone.
    ///
    /// # Errors
    /// When the host does not answer.
    pub fn default_input_device(&self) -> Result<Option<Device>, MediaError> {
        Ok(self.list_input_devices()?.into_iter().find(|device| device.is_default))
    }

    /// The system's default loudspeaker.
    ///
    /// # Errors
    /// When the host does not answer.
    pub fn default_output_device(&self) -> Result<Option<Device>, MediaError> {
        Ok(self.list_output_devices()?.into_iter().find(|device| device.is_default))
    }

    /// Opens the microphone and cleans it from now on.
    ///
    /// # Errors
    /// [`MediaError::InputOpen`] while another capture has it; names a device or channel that there is not.
    pub fn open_input(&self, options: InputOptions) -> Result<InputCapture<Io>, MediaError> {
        InputCapture::open(Arc::clone(&self.shared), options)
    }

    /// A player for the loudspeaker, which it opens when it is started. Several may play at once, on the same
    /// device.
    ///
    /// # Errors
    /// Names a device that there is not.
    pub fn open_output(&self, options: OutputOptions) -> Result<OutputPlayer<Io>, MediaError> {
        OutputPlayer::open(Arc::clone(&self.shared), options)
    }

    /// The oldest event that was not taken.
    pub fn poll_event(&self) -> Option<MediaEvent> {
        self.shared.lock().events.pop_front()
    }

    /// Looks after the devices and lets who waits for frames and tracks look again; with [`Polling::Thread`]
    /// nobody needs to.
    pub fn tick(&self) {
        tick(&self.shared);
    }

    /// Does something with the host itself, such as asking it for what is its own. All else waits meanwhile, and a
    /// call to these devices, or to a capture or player of theirs, inside `what` would wait for itself for ever.
    pub fn with_host<T>(&self, what: impl FnOnce(&mut Io) -> T) -> T {
        what(self.shared.lock().supervisor.io_mut())
    }
}

fn look_after<Io: AudioIo<'static, CAP, SLOTS> + Send + 'static>(
    shared: Weak<Shared<Io>>,
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
        .map_err(|error| Failure::run(format!("the devices' thread could not be started: {error}")))
}

fn tick<Io: AudioIo<'static, CAP, SLOTS>>(shared: &Shared<Io>) {
    {
        let mut inner = shared.lock();
        let now = inner.terminal.now();
        while let Some(notice) = inner.supervisor.poll(now) {
            // As below: without a new processor the old one goes on.
            _ = inner.terminal.handle_notice(&notice);
            inner.tell(MediaEvent::Device(notice));
        }
        loop {
            match inner.terminal.poll_event() {
                Ok(Some(event)) => inner.tell(MediaEvent::Session(event)),
                Ok(None) => break,
                // The old processor stays and finds its way by itself; the event comes next.
                Err(_) => {}
            }
        }
    }
    // Wakers are the application's: not called with the lock in hand.
    shared.waiters.wake_all();
}

impl<Io: AudioIo<'static, CAP, SLOTS>> Inner<Io> {
    fn tell(&mut self, event: MediaEvent) {
        if self.events.len() == MOST_EVENTS {
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

    /// The device meant, if it is listed now.
    fn find(&self, direction: Direction, id: Option<&str>) -> Result<Option<Device>, MediaError> {
        let devices = self.list(direction)?;
        Ok(devices.into_iter().find(|device| id.map_or(device.is_default, |id| device.id == id)))
    }

    fn start(&mut self, direction: Direction, plan: &DirectionConfig) -> Result<(), MediaError> {
        let now = self.terminal.now();
        let (capture, playback) = match direction {
            Direction::Capture => (Some(plan), None),
            Direction::Playback => (None, Some(plan)),
        };
        match self.supervisor.open(capture, playback, now) {
            Ok(_) => Ok(()),
            Err(OpenError::Host(error)) => Err(MediaError::host(&error)),
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
    fn a_device_of_another_format_is_told_where_no_new_voice_processor_can_be_made_too() {
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
        devices.shared.lock().terminal.refuse_voices().unwrap();
        sim.unplug(Direction::Capture).unwrap();
        pass();
        sim.plug_in(Direction::Capture, DeviceConfig::new(SampleRate::new(48_000).unwrap(), 480)).unwrap();
        pass();
        let told: Vec<_> = std::iter::from_fn(|| devices.poll_event()).collect();
        let changed = MediaEvent::Session(SessionEvent::DeviceChanged { direction: Direction::Capture });
        assert_eq!(told.iter().filter(|&&event| event == changed).count(), 1, "{told:?}");
    }
}
