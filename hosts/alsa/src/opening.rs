//! Control side: opens a device and configures it for a request.

use handsfree_core::Duration;
use handsfree_core::audio_io::{Direction, DirectionInfo, DirectionRequest};
use handsfree_host::request::DeviceRequest;

use crate::config::{AlsaConfig, OpenedPcm};
use crate::device_stream::ConfiguredDevice;
use crate::devices::DEFAULT_PCM;
use crate::error::AlsaError;
use crate::format::PeriodMemory;
use crate::names;
use crate::params::{self, PcmParameters};
use crate::pcm::Pcm;

/// Open and configured device that does not run yet.
pub(crate) struct PreparedDevice {
    pub(crate) device: ConfiguredDevice,
    pub(crate) opened: OpenedPcm,
    pub(crate) memory: PeriodMemory,
    pub(crate) info: DirectionInfo,
}

impl PreparedDevice {
    pub(crate) fn open(
        direction: Direction,
        asked: &DirectionRequest<'_>,
        config: &AlsaConfig,
    ) -> Result<Self, AlsaError> {
        let device = asked.device.unwrap_or(DEFAULT_PCM);
        let missing = || AlsaError::NotFound { device: device.to_owned() };
        let alsa_name = names::resolve(device).ok_or_else(missing)?;
        let pcm = params::open(&alsa_name, direction)?;
        let (periods, format) = match direction {
            Direction::Capture => (1, config.capture_format),
            Direction::Playback => (config.playback_periods, config.playback_format),
        };
        let wanted = DeviceRequest::new(direction, asked, format);
        let granted = params::negotiate(&pcm, &alsa_name, direction, &wanted, periods)?;
        let fill = params::fill_of(&granted, periods);
        let samples = granted.period_sample_frames as usize * granted.channels as usize;
        let memory = PeriodMemory::new(granted.format, samples);
        let frame_bytes = memory.sample_bytes() * granted.channels as usize;
        let device_error = |error| AlsaError::on(&alsa_name, "configuring", error);
        let card = pcm.info().ok().map(|info| info.get_card()).filter(|&card| card >= 0);
        let configured =
            ConfiguredDevice::new(Pcm::new(pcm, frame_bytes).map_err(device_error)?, &granted, fill);
        let info = direction_info(direction, &granted, fill, card);
        let opened = OpenedPcm {
            device: device.to_owned(),
            alsa_name,
            format: granted.format,
            rate_hz: granted.rate.hz(),
            channels: granted.channels,
            period_sample_frames: granted.period_sample_frames,
            buffer_sample_frames: granted.buffer_sample_frames,
            fill_sample_frames: fill,
        };
        Ok(Self { device: configured, opened, memory, info })
    }
}

fn direction_info(
    direction: Direction,
    granted: &PcmParameters,
    fill: u32,
    card: Option<i32>,
) -> DirectionInfo {
    // One crystal drives both directions of a card. The clock behind a name without a card is unknown, so its two
    // directions have different clock domains, above the number of any card.
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
