//! Control side: queries the capabilities of a device, and negotiates its parameters.

use std::ffi::CString;

use alsa::pcm::{Access, Format, Frames, HwParams, PCM};
use alsa::{Direction as AlsaDirection, ValueOr};
use handsfree_core::SampleRate;
use handsfree_core::audio_io::Direction;
use handsfree_core::limits::{MAX_RATE_HZ, MIN_RATE_HZ};
use handsfree_host::request::{self, COMMON_RATES_HZ, rate_cost};

use crate::error::AlsaError;
use crate::format::SampleFormat;
use crate::messages;
use crate::names;
use crate::pcm;

/// Shortest wanted duration of a device's buffer, in milliseconds. Unused buffer causes no latency, and capture survives a
/// delay of the thread of this duration without a loss.
const BUFFER_MS: u32 = 200;

type DeviceRequest = request::DeviceRequest<SampleFormat>;

/// Parameters that a device granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PcmParameters {
    pub(crate) rate: SampleRate,
    pub(crate) channels: u32,
    pub(crate) format: SampleFormat,
    pub(crate) period_sample_frames: u32,
    pub(crate) buffer_sample_frames: u32,
}

/// Capabilities of a device, queried while no program uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PcmCapabilities {
    /// Smallest and largest channel count.
    pub channels: (u32, u32),
    /// Supported sample rates among those that can be used here.
    pub rates: Vec<SampleRate>,
    /// Supported sample formats among those that can be used here.
    pub formats: Vec<SampleFormat>,
    /// Shortest and longest period, in sample frames.
    pub period_sample_frames: (u32, u32),
    /// Smallest and largest buffer, in sample frames.
    pub buffer_sample_frames: (u32, u32),
}

pub(crate) const fn alsa_direction(direction: Direction) -> AlsaDirection {
    match direction {
        Direction::Capture => AlsaDirection::Capture,
        Direction::Playback => AlsaDirection::Playback,
    }
}

/// Opens a device by its ALSA name; fails at once when another program uses it.
pub(crate) fn open(name: &str, direction: Direction) -> Result<PCM, AlsaError> {
    let c_name = CString::new(name).map_err(|_| AlsaError::NotFound { device: name.to_owned() })?;
    let (opened, said) = messages::collect(|| pcm::open(&c_name, alsa_direction(direction)));
    opened.map_err(|error| {
        match AlsaError::on(name, "opening", error) {
            // ALSA reports a card as missing when the process lacks the permission to open its control device.
            AlsaError::NotFound { device } if names::is_forbidden(name) => AlsaError::Denied { device },
            // The library knows more than the error number, such as that a plug-in reached no server.
            AlsaError::Alsa { mut doing, function, errno } => {
                if let Some(message) = messages::last(&said) {
                    doing = format!("{doing} ({message})");
                }
                AlsaError::Alsa { doing, function, errno }
            }
            error => error,
        }
    })
}

/// Queries the capabilities of a device.
pub(crate) fn capabilities(pcm: &PCM) -> Result<PcmCapabilities, alsa::Error> {
    let any = HwParams::any(pcm)?;
    any.set_access(Access::RWInterleaved)?;
    // With resampling allowed, a plug-in would report every rate as supported.
    _ = any.set_rate_resample(false);
    let frames = |value: Result<Frames, alsa::Error>| {
        value.map(|frames| u32::try_from(frames.max(0)).unwrap_or(u32::MAX))
    };
    Ok(PcmCapabilities {
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

/// Negotiates parameters with a device and configures it, so that it can be prepared and started. Playback keeps
/// `periods` periods between the application and the converter.
pub(crate) fn negotiate(
    pcm: &PCM,
    name: &str,
    direction: Direction,
    wanted: &DeviceRequest,
    periods: u32,
) -> Result<PcmParameters, AlsaError> {
    let device_error = |error| AlsaError::on(name, "configuring", error);
    let params = HwParams::any(pcm).map_err(device_error)?;
    params.set_access(Access::RWInterleaved).map_err(device_error)?;
    // The core's resampler is better than that of ALSA's plug-ins. The call fails on devices without a resampler.
    _ = params.set_rate_resample(false);
    let format = negotiate_format(&params, name, wanted)?;
    let channels = negotiate_channels(&params, name, wanted)?;
    let rate = negotiate_rate(&params, name, wanted.rate)?;
    let (period, buffer) =
        negotiate_period(&params, direction, wanted.period_at(rate), periods, rate).map_err(device_error)?;
    pcm.hw_params(&params).map_err(device_error)?;
    let granted = PcmParameters {
        rate,
        channels,
        format,
        period_sample_frames: u32::try_from(period).unwrap_or(u32::MAX),
        buffer_sample_frames: u32::try_from(buffer).unwrap_or(u32::MAX),
    };
    set_software(pcm, direction, &granted, periods).map_err(device_error)?;
    Ok(granted)
}

fn negotiate_format(
    params: &HwParams<'_>,
    name: &str,
    wanted: &DeviceRequest,
) -> Result<SampleFormat, AlsaError> {
    use SampleFormat::{Float, S16, S24, S24Packed, S32};
    let by_preference =
        if wanted.wide { [S32, S24, S24Packed, Float, S16] } else { [S16, S32, S24, S24Packed, Float] };
    let acceptable =
        by_preference.into_iter().filter(|&format| wanted.format.is_none_or(|only| only == format));
    for format in acceptable {
        if params.set_format(format.alsa()).is_ok() {
            return Ok(format);
        }
    }
    // All formats that have a name in ALSA.
    let names = "S8 U8 S16_LE S16_BE U16_LE U16_BE S24_LE S24_BE S32_LE S32_BE FLOAT_LE FLOAT_BE MU_LAW A_LAW \
                 S24_3LE S24_3BE S20_3LE DSD_U8 DSD_U16_LE DSD_U32_LE IEC958_SUBFRAME_LE";
    let offers = |name: &&str| {
        name.parse::<Format>()
            .is_ok_and(|format| format != Format::Unknown && params.test_format(format).is_ok())
    };
    let offered = names.split(' ').filter(offers).map(str::to_owned).collect();
    Err(AlsaError::Format { device: name.to_owned(), asked: wanted.format, offered })
}

fn negotiate_channels(params: &HwParams<'_>, name: &str, wanted: &DeviceRequest) -> Result<u32, AlsaError> {
    let device_error = |error| AlsaError::on(name, "configuring", error);
    if params.set_channels(wanted.channels).is_ok() {
        return Ok(wanted.channels);
    }
    let offered =
        (params.get_channels_min().map_err(device_error)?, params.get_channels_max().map_err(device_error)?);
    if !wanted.any_channels {
        return Err(AlsaError::Channels { device: name.to_owned(), needed: wanted.channels, offered });
    }
    params.set_channels_near(wanted.channels).map_err(device_error)
}

fn negotiate_rate(params: &HwParams<'_>, name: &str, wanted: SampleRate) -> Result<SampleRate, AlsaError> {
    let device_error = |error| AlsaError::on(name, "configuring", error);
    let nearest = std::iter::once(wanted)
        .filter(|rate| params.test_rate(rate.hz()).is_ok())
        .chain(rates(params))
        .min_by_key(|&rate| rate_cost(rate, wanted));
    if let Some(rate) = nearest {
        params.set_rate(rate.hz(), ValueOr::Nearest).map_err(device_error)?;
        return Ok(rate);
    }
    // The device has none of the common rates. Its nearest rate is usable if 10 ms of it are a whole number of samples.
    let offered_hz =
        (params.get_rate_min().map_err(device_error)?, params.get_rate_max().map_err(device_error)?);
    let near =
        wanted.hz().clamp(MIN_RATE_HZ, MAX_RATE_HZ).clamp(offered_hz.0, offered_hz.1.max(offered_hz.0));
    let unsupported = |_| AlsaError::Rate { device: name.to_owned(), offered_hz };
    let rate = SampleRate::new(params.set_rate_near(near, ValueOr::Nearest).map_err(device_error)?)
        .map_err(unsupported)?;
    Ok(rate)
}

/// Negotiates the period and the buffer, and returns both in sample frames.
fn negotiate_period(
    params: &HwParams<'_>,
    direction: Direction,
    asked: u32,
    periods: u32,
    rate: SampleRate,
) -> Result<(Frames, Frames), alsa::Error> {
    let period = params.set_period_size_near(frames_of(asked.into()), ValueOr::Nearest)?;
    let kept_periods = match direction {
        Direction::Capture => 2,
        Direction::Playback => Frames::from(u8::try_from(periods.max(1)).unwrap_or(u8::MAX)),
    };
    let min_buffer = frames_of(u64::from(rate.hz()) * u64::from(BUFFER_MS) / 1_000);
    // Two periods more than the kept fill, so that there is always free space for one period.
    let wanted = min_buffer.max(period * (kept_periods + 2));
    let wanted = (wanted + period - 1) / period * period;
    let buffer = params.set_buffer_size_near(wanted)?;
    Ok((params.get_period_size().unwrap_or(period), buffer))
}

fn frames_of(count: u64) -> Frames {
    Frames::try_from(count).unwrap_or(Frames::MAX)
}

fn set_software(
    pcm: &PCM,
    direction: Direction,
    granted: &PcmParameters,
    periods: u32,
) -> Result<(), alsa::Error> {
    let params = pcm.sw_params_current()?;
    // The device must not start by itself, because a stream starts with a known fill.
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
    // Old kernels and some plug-ins have only wall-clock time; the converter timing rejects such timestamps.
    _ = params.set_tstamp_type(alsa::pcm::TstampType::Monotonic);
    pcm.sw_params(&params)
}

/// Returns the number of sample frames that are kept between the application and the converter: the requested number of
/// periods, limited by the device's buffer.
pub(crate) fn fill_of(granted: &PcmParameters, periods: u32) -> u32 {
    let asked = granted.period_sample_frames.saturating_mul(periods.max(1));
    asked.min(granted.buffer_sample_frames)
}
