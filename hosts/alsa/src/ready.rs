//! Control side: opening a device and setting it up as it is asked for.

use handsfree_core::Duration;
use handsfree_core::audio_io::{Direction, DirectionInfo, DirectionRequest};
use handsfree_host::request::DeviceRequest;

use crate::config::{AlsaConfig, Opened};
use crate::devices::DEFAULT;
use crate::error::AlsaError;
use crate::format::PeriodMemory;
use crate::names;
use crate::params::{self, Granted};
use crate::pcm::Pcm;
use crate::side::Stream;

/// A device that is open and set up, and does not run.
pub(crate) struct Ready {
    pub(crate) stream: Stream,
    pub(crate) opened: Opened,
    pub(crate) memory: PeriodMemory,
    pub(crate) info: DirectionInfo,
}

impl Ready {
    pub(crate) fn open(
        direction: Direction,
        asked: &DirectionRequest<'_>,
        config: &AlsaConfig,
    ) -> Result<Self, AlsaError> {
        let device = asked.device.unwrap_or(DEFAULT);
        let missing = || AlsaError::NotFound { device: device.to_owned() };
        let alsa_name = names::resolve(device).ok_or_else(missing)?;
        let pcm = params::open(&alsa_name, direction)?;
        let (periods, format) = match direction {
            Direction::Capture => (1, config.capture_format),
            Direction::Playback => (config.playback_periods, config.playback_format),
        };
        let wish = DeviceRequest::new(direction, asked, format);
        let granted = params::agree(&pcm, &alsa_name, direction, &wish, periods)?;
        let fill = params::fill_of(&granted, periods);
        let samples = granted.period_sample_frames as usize * granted.channels as usize;
        let memory = PeriodMemory::new(granted.format, samples);
        let frame_bytes = memory.sample_bytes() * granted.channels as usize;
        let told = |error| AlsaError::on(&alsa_name, "setting up", error);
        let card = pcm.info().ok().map(|info| info.get_card()).filter(|&card| card >= 0);
        let stream = Stream::new(Pcm::new(pcm, frame_bytes).map_err(told)?, &granted, fill);
        let info = end_info(direction, &granted, fill, card);
        let opened = Opened {
            device: device.to_owned(),
            alsa_name,
            format: granted.format,
            rate_hz: granted.rate.hz(),
            channels: granted.channels,
            period_sample_frames: granted.period_sample_frames,
            buffer_sample_frames: granted.buffer_sample_frames,
            fill_sample_frames: fill,
        };
        Ok(Self { stream, opened, memory, info })
    }
}

fn end_info(direction: Direction, granted: &Granted, fill: u32, card: Option<i32>) -> DirectionInfo {
    // One crystal drives a card. What is behind a name that belongs to no card is not known.
    const NO_CARD: u32 = 1 << 16;
    let clock_domain = match (card.and_then(|card| u32::try_from(card).ok()), direction) {
        (Some(card), _) => card + 1,
        (None, Direction::Capture) => NO_CARD,
        (None, Direction::Playback) => NO_CARD + 1,
    };
    let latency = match direction {
        Direction::Capture => granted.period_sample_frames,
        Direction::Playback => fill,
    };
    DirectionInfo {
        rate: granted.rate,
        device_channels: granted.channels,
        max_period_sample_frames: granted.period_sample_frames,
        latency: Duration::of_sample_frames(latency.into(), granted.rate),
        clock_domain,
    }
}
