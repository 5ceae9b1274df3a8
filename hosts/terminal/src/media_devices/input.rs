//! Application side: the cleaned microphone.

use std::fmt;
use std::sync::Arc;
use std::time::Duration as WallDuration;

use handsfree_apm::{ApmConfig, EchoCancellation, GainControl, NoiseSuppression};
use handsfree_core::audio_io::{AudioIo, Direction};
use handsfree_core::speech::SpeechFrames;
use handsfree_core::{ChannelMap, Duration, Format, Frame};
use handsfree_host::supervisor::DirectionConfig;

use super::error::MediaError;
use super::{Inner, SharedDevices};
use crate::host::AnyIo;
use crate::speech::SpeechEvent;
use crate::terminal::{CAP, CleanedFrames, SLOTS};

/// Settings for opening the microphone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputOptions {
    /// Whether the loudspeaker's echo is removed.
    pub enable_aec: bool,
    /// Whether steady noise is suppressed.
    pub noise_suppression: bool,
    /// Whether frequencies below 100 Hz are removed.
    pub high_pass_filter: bool,
    /// Whether the talker's level is kept constant.
    pub auto_gain_control: bool,
    /// Id of the device; `None` selects the system's default.
    pub input_device: Option<String>,
    /// Largest number of 10 ms frames that wait, 1 to 255. When the queue is full, new frames are dropped and
    /// counted.
    pub queue_capacity: u32,
    /// Channel of the device to use, counted from 0. `None` selects the mean of all channels, or channel 0 when the
    /// echo reference is a [loopback channel](super::MediaDevicesBuilder::loopback_channel).
    pub input_channel_index: Option<u8>,
    /// Number of channels to open; `None` opens all channels of the device, at most 2.
    pub device_channels: Option<u32>,
    /// Period of the device, in sample frames; `None` selects 10 ms.
    pub period_sample_frames: Option<u32>,
}

impl Default for InputOptions {
    fn default() -> Self {
        Self {
            enable_aec: true,
            noise_suppression: true,
            high_pass_filter: true,
            auto_gain_control: true,
            input_device: None,
            queue_capacity: 50,
            input_channel_index: None,
            device_channels: None,
            period_sample_frames: None,
        }
    }
}

impl InputOptions {
    /// Returns `all` without the parts that these options switch off.
    fn voice(&self, all: ApmConfig) -> ApmConfig {
        ApmConfig {
            echo_cancellation: if self.enable_aec { all.echo_cancellation } else { EchoCancellation::Off },
            noise_suppression: if self.noise_suppression {
                all.noise_suppression
            } else {
                NoiseSuppression::Off
            },
            high_pass: self.high_pass_filter && all.high_pass,
            gain_control: if self.auto_gain_control { all.gain_control } else { GainControl::Off },
        }
    }

    fn direction_config<Io: AudioIo<'static, CAP, SLOTS>>(
        &self,
        inner: &Inner<Io>,
    ) -> Result<DirectionConfig, MediaError> {
        let device = inner.find(Direction::Capture, self.input_device.as_deref())?;
        // A host may open more names than it lists, such as ALSA's "plughw:1", and may mark no default device.
        let known_channels = self.device_channels.or(device.map(|device| device.max_channels));
        let mut config = DirectionConfig::new(inner.terminal.config().rate);
        config.device.clone_from(&self.input_device);
        config.device_channels = self.device_channels.unwrap_or(known_channels.unwrap_or(1).clamp(1, 2));
        if self.input_channel_index.is_some() || inner.loopback_channel.is_some() {
            let near = self.input_channel_index.unwrap_or(0);
            let selected: Vec<u8> = std::iter::once(near).chain(inner.loopback_channel).collect();
            let needed = selected.iter().max().map_or(1, |&highest| u32::from(highest) + 1);
            let channels = known_channels.unwrap_or(needed);
            if let Some(&index) = selected.iter().find(|&&index| u32::from(index) >= channels) {
                return Err(MediaError::NoSuchChannel { index, channels });
            }
            config.device_channels = channels;
            config.map = Some(ChannelMap::select(channels, &selected)?);
        }
        if let Some(period) = self.period_sample_frames {
            config.period_sample_frames = period;
        }
        Ok(config)
    }
}

/// Part of a person's speech at the microphone: `Started`, its audio, with `Confirmed` in between, and `Ended`.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "almost every part is a frame")]
pub enum Speech {
    /// Start or end of the speech.
    Event(SpeechEvent),
    /// 10 ms of its audio, from 300 ms before its start until its end was noticed.
    Audio(Frame<CAP>),
}

/// Number of frames kept for speech: 300 ms before its start, 300 ms until it is noticed, and a reserve.
const KEPT_FRAMES: usize = 64;

/// Reader of speech: the last frames, and the event that is to be returned next.
struct SpeechReading {
    frames: SpeechFrames<CAP, KEPT_FRAMES>,
    event: Option<SpeechEvent>,
}

impl SpeechReading {
    /// Returns what comes next, as far as it is known.
    fn next(&mut self) -> Option<Speech> {
        if let Some(SpeechEvent::Started(_)) = self.event {
            return self.event.take().map(Speech::Event);
        }
        // The last frame of the speech comes before its end.
        if let Some(frame) = self.frames.pop() {
            return Some(Speech::Audio(frame.clone()));
        }
        self.event.take().map(Speech::Event)
    }
}

/// The open microphone. Dropping it closes the microphone.
pub struct InputCapture<Io: AudioIo<'static, CAP, SLOTS> = AnyIo> {
    shared: Arc<SharedDevices<Io>>,
    /// Queue of cleaned frames; `None` once the capture is closed.
    frames: Option<CleanedFrames>,
    speech: Box<SpeechReading>,
    options: InputOptions,
    format: Format,
    dropped_before: u32,
}

impl<Io: AudioIo<'static, CAP, SLOTS>> fmt::Debug for InputCapture<Io> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InputCapture").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<Io: AudioIo<'static, CAP, SLOTS>> InputCapture<Io> {
    pub(super) fn open(shared: Arc<SharedDevices<Io>>, options: InputOptions) -> Result<Self, MediaError> {
        let mut inner = shared.lock();
        if inner.frames.is_none() {
            return Err(MediaError::InputOpen);
        }
        let config = options.direction_config(&inner)?;
        let voice = options.voice(inner.voice);
        if voice != inner.terminal.config().voice {
            inner.terminal.set_voice(voice)?;
        }
        inner.start(Direction::Capture, &config)?;
        let mut frames = inner.frames.take().ok_or(MediaError::InputOpen)?;
        frames.listen(options.queue_capacity);
        inner.terminal.set_muted(false);
        let format = Format::with_rate(inner.terminal.config().rate, 1)?;
        let dropped_before = frames.dropped_frames();
        drop(inner);
        let speech = Box::new(SpeechReading { frames: SpeechFrames::new(), event: None });
        Ok(Self { shared, frames: Some(frames), speech, options, format, dropped_before })
    }

    /// Returns the format of the frames: 10 ms each, at the terminal's rate.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Takes the oldest waiting frame, if there is one. [`Stamp::lost`](handsfree_core::Stamp::lost) is the
    /// number of sample frames that are missing before it.
    pub fn try_frame(&mut self) -> Option<Frame<CAP>> {
        self.frames.as_mut().and_then(CleanedFrames::pop)
    }

    /// Blocks until the next frame, and returns `None` after `timeout`. With
    /// [`Polling::Manual`](super::Polling::Manual) another thread has to call
    /// [`tick`](super::MediaDevices::tick) meanwhile.
    pub fn next_frame(&mut self, timeout: WallDuration) -> Option<Frame<CAP>> {
        let Self { shared, frames, .. } = self;
        shared.waiters.block_until(timeout, || frames.as_mut().and_then(CleanedFrames::pop))
    }

    /// Waits for the next frame in any executor, without a time limit: while the microphone is lost, it waits
    /// for its return. Dropping the future, for example in a `select`, loses no frame.
    pub async fn frame(&mut self) -> Frame<CAP> {
        let Self { shared, frames, .. } = self;
        shared.waiters.until(|| frames.as_mut().and_then(CleanedFrames::pop)).await
    }

    /// Takes the next part of a person's speech, if there is one: its start, its audio from 300 ms before that on,
    /// and its end. What lies between is dropped. Takes the same frames as [`try_frame`](Self::try_frame), so an
    /// application uses the one or the other.
    pub fn try_speech(&mut self) -> Option<Speech> {
        next_speech(&mut self.speech, self.frames.as_mut()?)
    }

    /// Blocks until the next part of a person's speech, and returns `None` after `timeout`; see
    /// [`try_speech`](Self::try_speech).
    pub fn next_speech(&mut self, timeout: WallDuration) -> Option<Speech> {
        let Self { shared, frames, speech, .. } = self;
        shared.waiters.block_until(timeout, || next_speech(speech, frames.as_mut()?))
    }

    /// Waits for the next part of a person's speech in any executor, without a time limit; see
    /// [`try_speech`](Self::try_speech). Dropping the future loses no part.
    pub async fn speech(&mut self) -> Speech {
        let Self { shared, frames, speech, .. } = self;
        shared.waiters.until(|| next_speech(speech, frames.as_mut()?)).await
    }

    /// Returns the number of frames that were dropped since the capture was opened, because the queue was full.
    #[must_use]
    pub fn dropped_frames(&self) -> u32 {
        self.frames.as_ref().map_or(0, |frames| frames.dropped_frames().wrapping_sub(self.dropped_before))
    }

    /// Replaces the microphone by silence, or stops doing so. The echo canceller keeps adapting meanwhile.
    pub fn set_muted(&self, muted: bool) {
        self.shared.lock().terminal.set_muted(muted);
    }

    /// Returns whether silence replaces the microphone.
    #[must_use]
    pub fn is_muted(&self) -> bool {
        self.shared.lock().terminal.is_muted()
    }

    /// Returns the smoothed estimate of render plus capture latency. It follows jumps of the latency.
    #[must_use]
    pub fn delay(&self) -> Duration {
        Duration::from_micros(self.shared.lock().terminal.stats().capture.delay_us.into())
    }

    /// Returns the echo return loss enhancement, in dB: how much quieter the processing makes the microphone
    /// while the loudspeaker sounds. See [`Meters::erle_db`](crate::terminal::Meters::erle_db).
    #[must_use]
    pub fn erle_db(&self) -> Option<f32> {
        self.shared.lock().terminal.meters().erle_db()
    }

    /// Closes the microphone. It can be opened again.
    pub fn close(self) {
        drop(self);
    }
}

/// Takes cleaned frames until there is a part of a person's speech, or no frame is left.
fn next_speech(speech: &mut SpeechReading, frames: &mut CleanedFrames) -> Option<Speech> {
    loop {
        if let Some(part) = speech.next() {
            return Some(part);
        }
        let frame = frames.pop()?;
        speech.event = frames.pop_speech(frame.stamp.position);
        speech.frames.push(&frame, speech.event);
    }
}

impl<Io: AudioIo<'static, CAP, SLOTS>> Drop for InputCapture<Io> {
    fn drop(&mut self) {
        let Some(mut frames) = self.frames.take() else { return };
        frames.ignore();
        let mut inner = self.shared.lock();
        inner.supervisor.close(Direction::Capture);
        inner.frames = Some(frames);
    }
}
