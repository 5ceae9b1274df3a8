//! Application side: the cleaned microphone.

use std::fmt;
use std::sync::Arc;
use std::time::Duration as WallDuration;

use handsfree_apm::{ApmConfig, EchoCancellation, GainControl, NoiseSuppression};
use handsfree_core::audio_io::{AudioIo, Direction};
use handsfree_core::{ChannelMap, Duration, Format, Frame};
use handsfree_host::supervisor::DirectionConfig;

use super::error::MediaError;
use super::{Inner, Shared};
use crate::host::AnyIo;
use crate::terminal::{CAP, CleanedFrames, SLOTS};

/// How the microphone is to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputOptions {
    /// Take the loudspeaker's echo out.
    pub enable_aec: bool,
    /// Take steady noise out.
    pub noise_suppression: bool,
    /// Take out what is below 100 Hz.
    pub high_pass_filter: bool,
    /// Keep the talker's level even.
    pub auto_gain_control: bool,
    /// Which device, by its id; the system's default when not said.
    pub input_device: Option<String>,
    /// Frames of 10 ms that may wait, 1 to 255; the newest is dropped and counted when it is full.
    pub queue_capacity: u32,
    /// Channel of the device to take, counted from 0. `None` takes the mean of all channels; where the echo reference
    /// is a [loopback channel](super::MediaDevicesBuilder::loopback_channel), `None` takes channel 0.
    pub input_channel_index: Option<u8>,
    /// Channels to open; as many as the device has, at most 2, when not said.
    pub device_channels: Option<u32>,
    /// The device's period in sample frames; 10 ms when not said.
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
    /// What of the voice processing is left on.
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

    fn plan<Io: AudioIo<'static, CAP, SLOTS>>(
        &self,
        inner: &Inner<Io>,
    ) -> Result<DirectionConfig, MediaError> {
        let device = inner.find(Direction::Capture, self.input_device.as_deref())?;
        let known = match (&device, &self.input_device) {
            (Some(device), _) => device.max_channels,
            (None, Some(id)) => return Err(MediaError::NoSuchDevice { id: id.clone() }),
            // A host that marks no default opens what it likes.
            (None, None) => 1,
        };
        let mut plan = DirectionConfig::new(inner.terminal.config().rate);
        plan.device.clone_from(&self.input_device);
        plan.device_channels = self.device_channels.unwrap_or(known.clamp(1, 2));
        if self.input_channel_index.is_some() || inner.loopback_channel.is_some() {
            let channels = self.device_channels.unwrap_or(known);
            let near = self.input_channel_index.unwrap_or(0);
            let picks: Vec<u8> = std::iter::once(near).chain(inner.loopback_channel).collect();
            if let Some(&index) = picks.iter().find(|&&index| u32::from(index) >= channels) {
                return Err(MediaError::NoSuchChannel { index, channels });
            }
            plan.device_channels = channels;
            plan.map = Some(ChannelMap::select(channels, &picks)?);
        }
        if let Some(period) = self.period_sample_frames {
            plan.period_sample_frames = period;
        }
        Ok(plan)
    }
}

/// The open microphone. Dropping it closes it.
pub struct InputCapture<Io: AudioIo<'static, CAP, SLOTS> = AnyIo> {
    shared: Arc<Shared<Io>>,
    /// Gone once closed.
    frames: Option<CleanedFrames>,
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
    pub(super) fn open(shared: Arc<Shared<Io>>, options: InputOptions) -> Result<Self, MediaError> {
        let mut inner = shared.lock();
        if inner.frames.is_none() {
            return Err(MediaError::InputOpen);
        }
        let plan = options.plan(&inner)?;
        let voice = options.voice(inner.voice);
        if voice != inner.terminal.config().voice {
            inner.terminal.set_voice(voice)?;
        }
        inner.start(Direction::Capture, &plan)?;
        let mut frames = inner.frames.take().ok_or(MediaError::InputOpen)?;
        frames.listen(options.queue_capacity);
        inner.terminal.set_muted(false);
        let format = Format::with_rate(inner.terminal.config().rate, 1)?;
        let dropped_before = frames.dropped_frames();
        drop(inner);
        Ok(Self { shared, frames: Some(frames), options, format, dropped_before })
    }

    /// The format of its frames: 10 ms each, at the terminal's rate.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// The oldest frame that waits. [`Stamp::lost`](handsfree_core::Stamp::lost) says what is missing
    /// before it.
    pub fn try_frame(&mut self) -> Option<Frame<CAP>> {
        self.frames.as_mut().and_then(CleanedFrames::pop)
    }

    /// The next frame; waits for it in this thread, at most so long. With
    /// [`Polling::Manual`](super::Polling::Manual) another thread has to tick meanwhile.
    pub fn next_frame(&mut self, patience: WallDuration) -> Option<Frame<CAP>> {
        let Self { shared, frames, .. } = self;
        shared.waiters.block_until(patience, || frames.as_mut().and_then(CleanedFrames::pop))
    }

    /// The next frame, in any executor; for as long as it takes, so also until a lost microphone is back. A
    /// future that is dropped, as by a `select`, has taken nothing.
    pub async fn frame(&mut self) -> Frame<CAP> {
        let Self { shared, frames, .. } = self;
        shared.waiters.until(|| frames.as_mut().and_then(CleanedFrames::pop)).await
    }

    /// Frames that were dropped since it was opened because nobody took them in time.
    #[must_use]
    pub fn dropped_frames(&self) -> u32 {
        self.frames.as_ref().map_or(0, |frames| frames.dropped_frames().wrapping_sub(self.dropped_before))
    }

    /// Silence instead of the microphone; the echo canceller goes on learning.
    pub fn set_muted(&self, muted: bool) {
        self.shared.lock().terminal.set_muted(muted);
    }

    /// Whether there is silence instead of the microphone.
    #[must_use]
    pub fn is_muted(&self) -> bool {
        self.shared.lock().terminal.is_muted()
    }

    /// Render plus capture latency as estimated: smoothed, and following jumps.
    #[must_use]
    pub fn delay(&self) -> Duration {
        Duration::from_micros(self.shared.lock().terminal.stats().capture.delay_us.into())
    }

    /// How much quieter the processing makes the microphone while the loudspeaker sounds; see
    /// [`Meters::erle_db`](crate::terminal::Meters::erle_db).
    #[must_use]
    pub fn erle_db(&self) -> Option<f32> {
        self.shared.lock().terminal.meters().erle_db()
    }

    /// Closes the microphone; it may be opened again.
    pub fn close(self) {
        drop(self);
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
