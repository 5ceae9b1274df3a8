//! Control side: what a device can do, and agreeing with it on how it is to run.

use std::ffi::CString;

use alsa::pcm::{Access, Format, Frames, HwParams, PCM};
use alsa::{Direction as Way, ValueOr};
use handsfree_core::SampleRate;
use handsfree_core::audio_io::Direction;
use handsfree_core::limits::{MAX_RATE_HZ, MIN_RATE_HZ};
use handsfree_host::request::{self, COMMON_RATES_HZ, rate_cost};

use crate::error::AlsaError;
use crate::format::SampleFormat;
use crate::names;
use crate::pcm;

/// Shortest time that a device's memory should hold, in milliseconds. What is not used of it costs no
/// latency, and a thread that was held up that long loses nothing of the microphone.
const BUFFER_MS: u32 = 200;

type DeviceRequest = request::DeviceRequest<SampleFormat>;

/// What a device granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) rate: SampleRate,
    pub(crate) channels: u32,
    pub(crate) format: SampleFormat,
    pub(crate) period_sample_frames: u32,
    pub(crate) buffer_sample_frames: u32,
}

/// What a device can do, asked while nobody uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Fewest and most channels.
    pub channels: (u32, u32),
    /// The rates that can be used here.
    pub rates: Vec<SampleRate>,
    /// The sample formats that can be used here.
    pub formats: Vec<SampleFormat>,
    /// Shortest and longest period in sample frames.
    pub period_sample_frames: (u32, u32),
    /// Shortest and longest buffer in sample frames.
    pub buffer_sample_frames: (u32, u32),
}

pub(crate) const fn way(direction: Direction) -> Way {
    match direction {
        Direction::Capture => Way::Capture,
        Direction::Playback => Way::Playback,
    }
}

/// Opens a device by ALSA's name, without waiting for whoever uses it.
pub(crate) fn open(name: &str, direction: Direction) -> Result<PCM, AlsaError> {
    let c_name = CString::new(name).map_err(|_| AlsaError::NotFound { device: name.to_owned() })?;
    pcm::open(&c_name, way(direction)).map_err(|error| match AlsaError::on(name, "opening", error) {
        // Who may not open a card's control is told by ALSA that there is no such card.
        AlsaError::NotFound { device } if names::is_forbidden(name) => AlsaError::Denied { device },
        error => error,
    })
}

/// What the device can do.
pub(crate) fn abilities(pcm: &PCM) -> Result<Abilities, alsa::Error> {
    let any = HwParams::any(pcm)?;
    any.set_access(Access::RWInterleaved)?;
    // A plug-in would say that it takes any rate.
    _ = any.set_rate_resample(false);
    let frames = |value: Result<Frames, alsa::Error>| {
        value.map(|frames| u32::try_from(frames.max(0)).unwrap_or(u32::MAX))
    };
    Ok(Abilities {
        channels: (any.get_channels_min()?, any.get_channels_max()?),
        rates: rates(&any).collect(),
        formats: formats(&any).collect(),
        period_sample_frames: (frames(any.get_period_size_min())?, frames(any.get_period_size_max())?),
        buffer_sample_frames: (frames(any.get_buffer_size_min())?, frames(any.get_buffer_size_max())?),
    })
}

fn rates<'p>(params: &'p HwParams<'_>) -> impl Iterator<Item = SampleRate> + 'p {
    COMMON_RATES_HZ
        .into_iter()
        .filter(|&hz| params.test_rate(hz).is_ok())
        .filter_map(|hz| SampleRate::new(hz).ok())
}

fn formats<'p>(params: &'p HwParams<'_>) -> impl Iterator<Item = SampleFormat> + 'p {
    SampleFormat::ALL.into_iter().filter(|format| params.test_format(format.alsa()).is_ok())
}

/// Agrees with a device and sets it up: afterwards it can be prepared and started.
/// Playback keeps `periods` of them between the application and the converter.
pub(crate) fn agree(
    pcm: &PCM,
    name: &str,
    direction: Direction,
    wish: &DeviceRequest,
    periods: u32,
) -> Result<Granted, AlsaError> {
    let told = |error| AlsaError::on(name, "setting up", error);
    let params = HwParams::any(pcm).map_err(told)?;
    params.set_access(Access::RWInterleaved).map_err(told)?;
    // Ours is better than the one in ALSA's plug-ins. Where there is none to switch off this fails.
    _ = params.set_rate_resample(false);
    let format = agree_on_format(&params, name, wish)?;
    let channels = agree_on_channels(&params, name, wish)?;
    let rate = agree_on_rate(&params, name, wish.rate)?;
    let (period, buffer) =
        agree_on_period(&params, direction, wish.period_at(rate), periods, rate).map_err(told)?;
    pcm.hw_params(&params).map_err(told)?;
    let granted = Granted {
        rate,
        channels,
        format,
        period_sample_frames: u32::try_from(period).unwrap_or(u32::MAX),
        buffer_sample_frames: u32::try_from(buffer).unwrap_or(u32::MAX),
    };
    set_software(pcm, direction, &granted, periods).map_err(told)?;
    Ok(granted)
}

fn agree_on_format(
    params: &HwParams<'_>,
    name: &str,
    wish: &DeviceRequest,
) -> Result<SampleFormat, AlsaError> {
    use SampleFormat::{Float, S16, S24, S24Packed, S32};
    let by_preference =
        if wish.wide { [S32, S24, S24Packed, Float, S16] } else { [S16, S32, S24, S24Packed, Float] };
    let wanted = by_preference.into_iter().filter(|&format| wish.format.is_none_or(|only| only == format));
    for format in wanted {
        if params.set_format(format.alsa()).is_ok() {
            return Ok(format);
        }
    }
    // ALSA numbers its formats from 0; these are the ones it has names for.
    let names = "S8 U8 S16_LE S16_BE U16_LE U16_BE S24_LE S24_BE S32_LE S32_BE FLOAT_LE FLOAT_BE MU_LAW A_LAW \
                 S24_3LE S24_3BE S20_3LE DSD_U8 DSD_U16_LE DSD_U32_LE IEC958_SUBFRAME_LE";
    let offers = |name: &&str| {
        name.parse::<Format>()
            .is_ok_and(|format| format != Format::Unknown && params.test_format(format).is_ok())
    };
    let offered = names.split(' ').filter(offers).map(str::to_owned).collect();
    Err(AlsaError::Format { device: name.to_owned(), asked: wish.format, offered })
}

fn agree_on_channels(params: &HwParams<'_>, name: &str, wish: &DeviceRequest) -> Result<u32, AlsaError> {
    let told = |error| AlsaError::on(name, "setting up", error);
    if params.set_channels(wish.channels).is_ok() {
        return Ok(wish.channels);
    }
    let offered = (params.get_channels_min().map_err(told)?, params.get_channels_max().map_err(told)?);
    if !wish.any_channels {
        return Err(AlsaError::Channels { device: name.to_owned(), needed: wish.channels, offered });
    }
    params.set_channels_near(wish.channels).map_err(told)
}

fn agree_on_rate(params: &HwParams<'_>, name: &str, wanted: SampleRate) -> Result<SampleRate, AlsaError> {
    let told = |error| AlsaError::on(name, "setting up", error);
    let nearest = std::iter::once(wanted)
        .filter(|rate| params.test_rate(rate.hz()).is_ok())
        .chain(rates(params))
        .min_by_key(|&rate| rate_cost(rate, wanted));
    if let Some(rate) = nearest {
        params.set_rate(rate.hz(), ValueOr::Nearest).map_err(told)?;
        return Ok(rate);
    }
    // None of the common ones: whatever is nearest, if 10 ms of it are whole samples.
    let offered_hz = (params.get_rate_min().map_err(told)?, params.get_rate_max().map_err(told)?);
    let near =
        wanted.hz().clamp(MIN_RATE_HZ, MAX_RATE_HZ).clamp(offered_hz.0, offered_hz.1.max(offered_hz.0));
    let refused = |_| AlsaError::Rate { device: name.to_owned(), offered_hz };
    let rate =
        SampleRate::new(params.set_rate_near(near, ValueOr::Nearest).map_err(told)?).map_err(refused)?;
    Ok(rate)
}

/// The period and the buffer, in sample frames.
fn agree_on_period(
    params: &HwParams<'_>,
    direction: Direction,
    asked: u32,
    periods: u32,
    rate: SampleRate,
) -> Result<(Frames, Frames), alsa::Error> {
    let period = params.set_period_size_near(frames_of(asked.into()), ValueOr::Nearest)?;
    let queued = match direction {
        Direction::Capture => 2,
        Direction::Playback => Frames::from(u8::try_from(periods.max(1)).unwrap_or(u8::MAX)),
    };
    let comfortable = frames_of(u64::from(rate.hz()) * u64::from(BUFFER_MS) / 1_000);
    // Two periods more than what is kept in it, so that there is always room for one.
    let wanted = comfortable.max(period * (queued + 2));
    let wanted = (wanted + period - 1) / period * period;
    let buffer = params.set_buffer_size_near(wanted)?;
    Ok((params.get_period_size().unwrap_or(period), buffer))
}

fn frames_of(count: u64) -> Frames {
    Frames::try_from(count).unwrap_or(Frames::MAX)
}

fn set_software(pcm: &PCM, direction: Direction, granted: &Granted, periods: u32) -> Result<(), alsa::Error> {
    let params = pcm.sw_params_current()?;
    // Nothing starts by itself: a stream starts with a known fill.
    params.set_start_threshold(params.get_boundary()?)?;
    let period = frames_of(granted.period_sample_frames.into());
    let avail_min = match direction {
        Direction::Capture => period,
        Direction::Playback => {
            let fill = frames_of(fill_of(granted, periods).into());
            frames_of(granted.buffer_sample_frames.into()) - fill + period
        }
    };
    params.set_avail_min(avail_min)?;
    params.set_tstamp_mode(true)?;
    // Old kernels and some plug-ins have wall time only, which the timing then does not believe.
    _ = params.set_tstamp_type(alsa::pcm::TstampType::Monotonic);
    pcm.sw_params(&params)
}

/// Sample frames that are kept between the application and the converter: what was asked for, or as
/// much as the device's buffer allows.
pub(crate) fn fill_of(granted: &Granted, periods: u32) -> u32 {
    let asked = granted.period_sample_frames.saturating_mul(periods.max(1));
    asked.min(granted.buffer_sample_frames)
}
