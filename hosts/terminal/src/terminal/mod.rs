//! Control side: a terminal that runs on any host: its memory, the worker's work and the application's handle.
//!
//! A host calls the [`Work`] on its one worker. On a Linux board that is the real-time thread, after the audio
//! interrupts; elsewhere it is a thread that the audio callbacks wake. The [`StreamHalves`] go to the host with
//! [`AudioIo::start`](handsfree_core::audio_io::AudioIo::start), usually through a
//! [`StreamSupervisor`](handsfree_host::supervisor::StreamSupervisor). The [`Terminal`] holds everything else.
//!
//! ```
//! use std::sync::Arc;
//!
//! use handsfree::terminal::{Parts, TerminalConfig};
//! use handsfree_core::SampleRate;
//!
//! let clock = Arc::new(handsfree_host::clock::SystemClock);
//! let Parts { terminal, halves, mut work } = TerminalConfig::new(SampleRate::new(16_000)?).build(clock)?;
//! let mut track = terminal.tracks().open()?;
//! assert_eq!(track.push(&[100; 1_600])?, 1_600);
//! work(); // the host's worker does this after each period
//! assert!(halves.intake.is_some() && halves.outlet.is_some(), "the host takes them in AudioIo::start");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod canceller;
mod cleaned;
mod memory;
mod meters;
mod speech_queue;
mod voice_code;
mod voice_slot;

use std::fmt;
use std::sync::Arc;

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use handsfree_apm::{ApmConfig, ApmProcessor};
use handsfree_core::audio_io::StreamHalves;
use handsfree_core::capture::Bypass;
use handsfree_core::dsp::Quality;
use handsfree_core::limits::PROCESSOR_DEADLINE;
use handsfree_core::playback::{self, AdaptiveFill, TrackPool};
use handsfree_core::timing::AcousticMemory;
use handsfree_core::{
    Clock, Duration, Events, Format, FrameRing, Halves, Instant, SampleRate, Session, SessionEvent, Stats,
    StatsReader, capture,
};
use handsfree_host::supervisor::Notice;
use handsfree_host::worker::Work;

pub use self::canceller::{CancellerChoice, NATIVE_RATES_HZ, OwnCancellerVoice};
pub use self::cleaned::{CleanedFrames, MAX_WAITING};
use self::cleaned::{CleanedSink, QueueState};
pub use self::memory::JournalReaders;
pub(crate) use self::memory::on_large_stack;
use self::memory::{JournalWriters, journals};
use self::meters::EchoMeter;
pub use self::meters::Meters;
use self::speech_queue::{SpeechReader, speech_queue};
pub(crate) use self::voice_code::voice_code;
#[cfg(feature = "dump")]
pub(crate) use self::voice_code::voice_of_code;
pub use self::voice_slot::AnyVoice;
pub(crate) use self::voice_slot::{VoiceExchange, VoiceSlot};
use crate::failure::Failure;
use crate::speech::{SpeechDetector, SpeechEvent, SpeechSettings};
use crate::try_only::Busy;

/// Capacity of a frame in samples: 10 ms at 48 kHz stereo, or at 96 kHz mono.
pub const CAP: usize = 960;
/// Largest number of tracks that play at the same time.
pub const SLOTS: usize = 16;
/// Uncertainty below which the drift is reported, in ppm. The clocks take some seconds to reach it.
const SETTLED_PPM: f64 = 20.0;
/// Memory of a terminal: rings of 63 frames for capture and for playback, a ring of 127 frames for the echo
/// reference, one second of queue for each track, and 3 s of echo history at 48 kHz mono.
pub type HostSession = Session<CAP, SLOTS, 64, 64, 128, 101, 144_000>;
/// Pool in which a terminal's tracks are opened.
pub type Tracks = TrackPool<'static, CriticalSectionRawMutex, CAP, SLOTS>;
/// Track of a terminal. `MEMORY` is described at
/// [`TrackPool::open_source`](handsfree_core::playback::TrackPool::open_source).
pub type Track<const MEMORY: usize = 0> =
    playback::Track<'static, 'static, CriticalSectionRawMutex, CAP, SLOTS, MEMORY>;
/// Intake and outlet of a terminal, which a host runs in its audio interrupts.
pub type HostStreamHalves = StreamHalves<'static, CAP, SLOTS>;
/// Clock with which the host stamps periods.
pub type SharedClock = Arc<dyn Clock + Send + Sync>;

type CleanedRing = FrameRing<CAP, 0, { MAX_WAITING as usize + 1 }>;
type HostHalves<'a> = Halves<'a, CriticalSectionRawMutex, VoiceSlot, (), CAP, SLOTS>;
type CaptureWorker = capture::Pipeline<'static, CAP, SLOTS, VoiceSlot>;
type PlaybackWorker = playback::Pipeline<'static, CAP, SLOTS>;

/// Quality of the rate conversion for tracks with another rate than the terminal's.
pub const SOURCE_QUALITY: &Quality = Quality::MEDIUM;
/// Memory of a track that converts its rate: enough for any rate, and for converting 22.05 kHz, at which many synthetic voices
/// speak, and 44.1 kHz to 48 kHz with a table.
pub const SOURCE_MEMORY: usize = {
    let (usual, down) =
        (SOURCE_QUALITY.fast_memory(22_050, 48_000, 1), SOURCE_QUALITY.memory(192_000, 8_000, 1));
    if usual > down { usual } else { down }
};

/// Settings of a terminal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TerminalConfig {
    /// Sample rate of the mix, the processing and the cleaned frames. Devices may have other rates.
    pub rate: SampleRate,
    /// Settings of the voice processor.
    pub voice: ApmConfig,
    /// Echo canceller, if the voice processor's settings have echo cancellation.
    pub canceller: CancellerChoice,
    /// Whether acoustic delay estimation corrects the devices' timestamps.
    pub acoustic_delay: bool,
    /// Whether the capture device's second channel records the loudspeaker and is the echo reference.
    pub loopback: bool,
    /// Whether the playback ring holds fewer frames while the worker is punctual, so that sound is played earlier; see
    /// [`AdaptiveFill`].
    pub adaptive_latency: bool,
    /// Longest time that voice processing may take for a frame, of the worker thread's own processor time. Slower
    /// processing is bypassed for a while; a pause of the process or of the machine does not count.
    pub voice_deadline: Duration,
    /// When speech starts and ends.
    pub speech: SpeechSettings,
}

/// Parts of a terminal before it runs.
pub struct Parts {
    /// The application's handle.
    pub terminal: Terminal,
    /// Interrupt halves for the host to start.
    pub halves: HostStreamHalves,
    /// Work for the host's worker.
    pub work: Work,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("terminal", &self.terminal).finish_non_exhaustive()
    }
}

/// Application's handle of a terminal.
///
/// A terminal's memory of about 5 MB is never freed, because audio callbacks may use it until the process ends.
/// A program should make one terminal; its directions can be started and stopped any number of times.
pub struct Terminal {
    config: TerminalConfig,
    format: Format,
    clock: SharedClock,
    tracks: &'static Tracks,
    events: Events<'static>,
    /// Event that was held back because the voice processor could not be replaced.
    pending_event: Option<SessionEvent>,
    stats: StatsReader<'static>,
    meters: &'static Meters,
    cleaned: Option<CleanedFrames>,
    queue: &'static QueueState,
    voice: VoiceExchange,
    speech: SpeechReader,
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminal").field("config", &self.config).finish_non_exhaustive()
    }
}

impl TerminalConfig {
    /// Returns settings for a mono terminal with full voice processing.
    #[must_use]
    pub fn new(rate: SampleRate) -> Self {
        Self {
            rate,
            voice: ApmConfig::default(),
            canceller: CancellerChoice::default(),
            acoustic_delay: true,
            loopback: false,
            adaptive_latency: false,
            voice_deadline: PROCESSOR_DEADLINE,
            speech: SpeechSettings::DETECTOR,
        }
    }

    /// Makes a terminal's parts. `clock` must be the clock with which the host stamps periods.
    ///
    /// # Errors
    /// Returns an error for a rate that the voice processor does not support, and in a build without the feature `apm`
    /// for what only WebRTC's audio processing does.
    pub fn build(self, clock: SharedClock) -> Result<Parts, Failure> {
        self.build_with(clock, None)
    }

    /// Makes a terminal's parts like [`build`](Self::build), and adds journals of all inputs and outputs for
    /// `dump::DumpWriter`. The journals take 12 MB of memory, and each period is copied once more.
    ///
    /// # Errors
    /// Returns the errors of [`build`](Self::build).
    pub fn build_with_journals(self, clock: SharedClock) -> Result<(Parts, JournalReaders), Failure> {
        let (writers, readers) = journals()?;
        Ok((self.build_with(clock, Some(writers))?, readers))
    }

    fn build_with(self, clock: SharedClock, writers: Option<JournalWriters>) -> Result<Parts, Failure> {
        let session = on_large_stack(|| Box::new(HostSession::new()))?;
        let ring = on_large_stack(|| Box::new(CleanedRing::new()))?;
        let meters: &'static Meters = Box::leak(Box::new(Meters::new()));
        let queue: &'static QueueState = Box::leak(Box::new(QueueState::new()));
        let (mut halves, exchange) =
            self.split(Box::leak(session), Box::leak(Box::new(AcousticMemory::new())), meters)?;
        if let Some(JournalWriters { intake, outlet, worker }) = writers {
            halves.intake.write_journal(intake);
            halves.outlet.write_journal(outlet);
            halves.capture.write_journal(worker);
        }
        let (producer, consumer) = Box::leak(ring).split();
        let detector = SpeechDetector::new(self.speech)?;
        let (speech, speech_reader, marks) = speech_queue();
        let round = WorkerRound {
            capture: halves.capture,
            playback: halves.playback,
            adaptive_fill: self.adaptive_latency.then(|| AdaptiveFill::new(halves.stats)),
            sink: CleanedSink::new(producer, queue, meters, detector, speech),
            meters,
            clock: Arc::clone(&clock),
        };
        let terminal = Terminal {
            config: self,
            format: self.format()?,
            clock,
            tracks: Box::leak(Box::new(halves.tracks)),
            events: halves.events,
            pending_event: None,
            stats: halves.stats,
            meters,
            cleaned: Some(CleanedFrames::new(consumer, queue, marks)),
            queue,
            voice: exchange,
            speech: speech_reader,
        };
        let halves = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
        Ok(Parts { terminal, halves, work: round.into_work() })
    }

    /// Splits the session. A run and its replay both call this, so that they are configured alike.
    pub(crate) fn split<'a>(
        self,
        session: &'a mut HostSession,
        acoustic_memory: &'a mut AcousticMemory,
        meters: &'static Meters,
    ) -> Result<(HostHalves<'a>, VoiceExchange), Failure> {
        let slot = VoiceSlot::new(voice(self.format()?, self.voice, self.canceller)?, EchoMeter::new(meters));
        let exchange = slot.exchange();
        let terminal = handsfree_core::SessionFormat { rate: self.rate, near_channels: 1, far_channels: 1 };
        let mut halves = session.split::<CriticalSectionRawMutex, VoiceSlot, ()>(terminal, slot, ())?;
        halves.capture.set_voice_deadline(self.voice_deadline);
        if self.loopback {
            halves.capture.use_loopback_reference()?;
        }
        if self.acoustic_delay {
            halves.capture.use_acoustic_delay(acoustic_memory);
        }
        Ok((halves, exchange))
    }

    pub(crate) fn format(self) -> Result<Format, Failure> {
        Ok(Format::with_rate(self.rate, 1)?)
    }
}

/// Makes a voice processor, or one that changes nothing if `config` switches all parts off. Allocates.
pub(crate) fn voice(
    format: Format,
    config: ApmConfig,
    canceller: CancellerChoice,
) -> Result<AnyVoice, Failure> {
    if config == ApmConfig::BYPASS {
        return Ok(Box::new(Bypass));
    }
    if let CancellerChoice::Native(settings) = canceller.resolved(config, format, format) {
        return Ok(Box::new(OwnCancellerVoice::new(format, settings, config)?));
    }
    Ok(Box::new(ApmProcessor::new(format, format, config)?))
}

/// The shared clock as a type with a size, which the worker's half asks for.
struct SharedClockRef<'a>(&'a (dyn Clock + Send + Sync));

impl Clock for SharedClockRef<'_> {
    fn now(&self) -> Instant {
        self.0.now()
    }

    fn thread_time(&self) -> Instant {
        self.0.thread_time()
    }
}

/// State of the worker. Each call of the work runs one round.
struct WorkerRound {
    capture: CaptureWorker,
    playback: PlaybackWorker,
    adaptive_fill: Option<AdaptiveFill<'static>>,
    sink: CleanedSink,
    meters: &'static Meters,
    clock: SharedClock,
}

impl WorkerRound {
    fn into_work(mut self) -> Work {
        Box::new(move || self.run())
    }

    /// Runs one round, without allocating or waiting.
    fn run(&mut self) {
        match &mut self.adaptive_fill {
            Some(fill) => self.playback.poll_adaptive(fill, &mut ()),
            None => self.playback.poll(),
        };
        if let Some(config_code) = self.capture.voice_mut().take_next() {
            // A new processor starts without faults.
            self.capture.reset_breaker();
            self.capture.note([config_code, 0]);
            self.meters.count_voice_change();
        }
        let frames = self.capture.poll(&SharedClockRef(&*self.clock), &mut self.sink);
        if frames > 0 {
            let rates = self.capture.rates();
            let is_settled = rates.is_some_and(|(a, b)| a.uncertainty_ppm + b.uncertainty_ppm < SETTLED_PPM);
            let drift_ppm = self.capture.drift_ppm().filter(|_| is_settled);
            self.meters.show_clocks(drift_ppm, self.capture.reference_jumps());
        }
    }
}

impl Terminal {
    /// Returns the settings, including the voice processor's settings as they were set last.
    #[must_use]
    pub fn config(&self) -> TerminalConfig {
        self.config
    }

    /// Returns the pool in which tracks are opened.
    #[must_use]
    pub fn tracks(&self) -> &'static Tracks {
        self.tracks
    }

    /// Returns the current time of the clock that positions and events refer to.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Returns the clock that positions and events refer to.
    #[must_use]
    pub fn clock(&self) -> SharedClock {
        Arc::clone(&self.clock)
    }

    /// Returns the counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats.read()
    }

    /// Returns the meters: levels, echo reduction, drift.
    #[must_use]
    pub fn meters(&self) -> &'static Meters {
        self.meters
    }

    /// Takes the queue of cleaned frames. Only the first call returns it, because the queue has one reader.
    pub fn take_cleaned(&mut self) -> Option<CleanedFrames> {
        self.cleaned.take()
    }

    /// Returns the number of cleaned frames that were dropped because the queue was full; wraps at 2^32.
    #[must_use]
    pub fn dropped_frames(&self) -> u32 {
        self.queue.dropped_frames()
    }

    /// Replaces the microphone by silence, or stops doing so. The echo canceller keeps adapting meanwhile.
    pub fn set_muted(&self, muted: bool) {
        self.queue.set_muted(muted);
    }

    /// Returns whether silence replaces the microphone.
    #[must_use]
    pub fn is_muted(&self) -> bool {
        self.queue.is_muted()
    }

    /// Takes the oldest event of the worker, if there is one. When a device changed its format, the echo path
    /// that the voice processor learned is outdated. In that case a new voice processor replaces it before the
    /// event is returned.
    ///
    /// # Errors
    /// Returns an error when no new voice processor could be made. The old one stays in use and converges again
    /// within some seconds. The next call returns the event, without another attempt to replace the processor.
    pub fn poll_event(&mut self) -> Result<Option<SessionEvent>, Failure> {
        if let Some(event) = self.pending_event.take() {
            return Ok(Some(event));
        }
        let event = self.events.poll();
        if matches!(event, Some(SessionEvent::DeviceChanged { .. }))
            && let Err(failure) = self.restart_voice()
        {
            self.pending_event = event;
            return Err(failure);
        }
        Ok(event)
    }

    /// Takes the oldest event of a person's speech in the cleaned microphone, if there is one. At most 64 events
    /// wait. [`CleanedFrames::pop_speech`] returns the same events in step with the frames.
    pub fn poll_speech(&mut self) -> Option<SpeechEvent> {
        self.speech.pop()
    }

    /// Makes all later attempts to replace the voice processor fail.
    #[cfg(all(test, feature = "sim"))]
    pub(crate) fn fail_new_voices(&mut self) -> Result<(), Failure> {
        self.format = Format::new(12_000, 1)?;
        self.restart_voice()
            .map_or(Ok(()), |()| Err(Failure::run("a voice processor was made for 12000 Hz".to_owned())))
    }

    /// Replaces the voice processor when a stream moved to another device, because the echo path it learned is then
    /// outdated. Other notices have no effect.
    ///
    /// # Errors
    /// Returns an error when no new processor could be made. The old one stays in use.
    pub fn handle_notice(&mut self, notice: &Notice) -> Result<(), Failure> {
        match notice {
            Notice::Moved { .. } => self.restart_voice(),
            _ => Ok(()),
        }
    }

    /// Replaces the voice processor by a new one with the same settings, from the next frame on. No frame passes
    /// unprocessed.
    ///
    /// # Errors
    /// Returns the errors of [`set_voice`](Self::set_voice).
    pub fn restart_voice(&mut self) -> Result<(), Failure> {
        self.set_voice(self.config.voice)
    }

    /// Replaces the voice processor by a new one with other settings, from the next frame on. This also works
    /// while no frames flow, and takes some milliseconds.
    ///
    /// # Errors
    /// Returns an error when the new processor cannot be made. The old one stays in use.
    pub fn set_voice(&mut self, config: ApmConfig) -> Result<(), Failure> {
        let canceller = self.config.canceller;
        let canceller = canceller.resolved(config, self.format, self.format);
        self.voice.replace(voice(self.format, config, canceller)?, voice_code(config, canceller))?;
        self.config.voice = config;
        Ok(())
    }
}

impl From<Busy> for Failure {
    fn from(error: Busy) -> Self {
        Self::run(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_memory_size_is_correct() {
        let bytes = size_of::<HostSession>() + size_of::<AcousticMemory>() + size_of::<CleanedRing>();
        assert!((4_000_000..6_000_000).contains(&bytes), "{bytes} bytes");
    }
}
