//! Control side: a device's capabilities, and the choice of the format in which to open it.

use cpal::{BufferSize, SampleFormat, SupportedBufferSize, SupportedStreamConfigRange};
use handsfree_core::SampleRate;
use handsfree_core::audio_io::Direction;
use handsfree_core::limits::{MAX_DEVICE_CHANNELS, MAX_RATE_HZ, MIN_RATE_HZ};
use handsfree_host::request::{COMMON_RATES_HZ, DeviceRequest, rate_cost};

use crate::error::CpalError;
use crate::format;

/// Capabilities of a device in one direction, as far as this crate can use them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpalCapabilities {
    /// Lowest and highest number of channels.
    pub channels: (u32, u32),
    /// Usable sample rates among the common ones; empty when the device accepts any rate.
    pub rates: Vec<SampleRate>,
    /// Usable sample formats.
    pub formats: Vec<SampleFormat>,
    /// Shortest and longest period, in sample frames.
    pub period_sample_frames: (u32, u32),
}

pub(crate) type CpalDeviceRequest = DeviceRequest<SampleFormat>;

/// Format in which a device is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NegotiatedFormat {
    pub(crate) rate: SampleRate,
    pub(crate) channels: u32,
    pub(crate) sample_format: SampleFormat,
    /// Requested period, converted to the device's rate and limited to the device's range, in sample frames.
    pub(crate) period_sample_frames: u32,
}

impl NegotiatedFormat {
    pub(crate) fn stream_config(&self, buffer_size: BufferSize) -> cpal::StreamConfig {
        cpal::StreamConfig {
            // `usable_ranges` limits the channels to MAX_DEVICE_CHANNELS, so the cast is exact.
            channels: self.channels as cpal::ChannelCount,
            sample_rate: self.rate.hz(),
            buffer_size,
        }
    }
}

/// Returns the ranges with a supported sample format, a channel count that the core accepts and a supported rate.
fn usable_ranges(ranges: &[SupportedStreamConfigRange]) -> impl Iterator<Item = &SupportedStreamConfigRange> {
    ranges.iter().filter(|range| {
        format::rank(range.sample_format(), false).is_some()
            && (1..=u16::from(MAX_DEVICE_CHANNELS)).contains(&range.channels())
            && range.max_sample_rate() >= MIN_RATE_HZ
            && range.min_sample_rate() <= MAX_RATE_HZ
    })
}

/// Returns what the ranges offer together; `None` if no range is usable.
pub(crate) fn capabilities(ranges: &[SupportedStreamConfigRange]) -> Option<CpalCapabilities> {
    let channels = || usable_ranges(ranges).map(|range| u32::from(range.channels()));
    let channels = (channels().min()?, channels().max()?);
    let takes_any_rate = usable_ranges(ranges)
        .any(|range| range.contains_rate(MIN_RATE_HZ) && range.contains_rate(MAX_RATE_HZ));
    let rates = COMMON_RATES_HZ
        .into_iter()
        .filter(|&hz| !takes_any_rate && usable_ranges(ranges).any(|range| range.contains_rate(hz)))
        .filter_map(|hz| SampleRate::new(hz).ok())
        .collect();
    let formats = format::FORMATS
        .into_iter()
        .filter(|&f| usable_ranges(ranges).any(|range| range.sample_format() == f));
    let periods = usable_ranges(ranges).map(|range| match *range.buffer_size() {
        SupportedBufferSize::Range { min, max } => (min, max),
        SupportedBufferSize::Unknown => (1, u32::MAX),
    });
    let period_sample_frames =
        periods.reduce(|(low, high), (min, max)| (low.min(min), high.max(max))).unwrap_or((1, u32::MAX));
    Some(CpalCapabilities { channels, rates, formats: formats.collect(), period_sample_frames })
}

/// Chooses the best format that a device offers: first by its channels, then by its rate, then by its sample
/// format.
pub(crate) fn negotiate(
    device: &str,
    direction: Direction,
    ranges: &[SupportedStreamConfigRange],
    request: &CpalDeviceRequest,
) -> Result<NegotiatedFormat, CpalError> {
    let best = usable_ranges(ranges)
        .filter(|range| request.format.is_none_or(|only| only == range.sample_format()))
        .filter(|range| request.any_channels || u32::from(range.channels()) == request.channels)
        .filter_map(|range| {
            let rate = best_rate(range, request.rate)?;
            let format = range.sample_format();
            let channels = u32::from(range.channels());
            // A lower channel count would lose some of the sound.
            let channel_cost = (channels < request.channels, channels.abs_diff(request.channels));
            Some((
                (channel_cost, rate_cost(rate, request.rate), format::rank(format, request.wide)?),
                range,
                rate,
            ))
        })
        .min_by_key(|&(cost, ..)| cost);
    let Some((_, range, rate)) = best else {
        return Err(unsupported(device, direction, ranges, request));
    };
    let (shortest, longest) = match *range.buffer_size() {
        SupportedBufferSize::Range { min, max } => (min.max(1), max.max(1)),
        SupportedBufferSize::Unknown => (1, u32::MAX),
    };
    Ok(NegotiatedFormat {
        rate,
        channels: range.channels().into(),
        sample_format: range.sample_format(),
        period_sample_frames: request.period_at(rate).clamp(shortest, longest.max(shortest)),
    })
}

/// Returns the rate of the range that is best for the rate wanted: the rate itself, a common rate or a limit of
/// the range. Only rates at which 10 ms are a whole number of samples count.
fn best_rate(range: &SupportedStreamConfigRange, wanted: SampleRate) -> Option<SampleRate> {
    std::iter::once(wanted.hz())
        .chain(COMMON_RATES_HZ)
        .chain([range.min_sample_rate(), range.max_sample_rate()])
        .filter(|&hz| range.contains_rate(hz))
        .filter_map(|hz| SampleRate::new(hz).ok())
        .min_by_key(|&rate| rate_cost(rate, wanted))
}

fn unsupported(
    device: &str,
    direction: Direction,
    ranges: &[SupportedStreamConfigRange],
    request: &CpalDeviceRequest,
) -> CpalError {
    let channels = if request.any_channels { "any".to_owned() } else { request.channels.to_string() };
    let formats = match request.format {
        Some(only) => only.to_string(),
        None => format::FORMATS.map(|format| format.to_string()).join(" "),
    };
    let mut offered: Vec<String> = ranges
        .iter()
        .map(|range| {
            let (low, high) = (range.min_sample_rate(), range.max_sample_rate());
            format!("{} with {} channels at {low} to {high} Hz", range.sample_format(), range.channels())
        })
        .collect();
    let more = offered.len().saturating_sub(8);
    offered.truncate(8);
    if more > 0 {
        offered.push(format!("{more} more"));
    }
    if offered.is_empty() {
        offered.push(format!("no {}", crate::error::word(direction)));
    }
    CpalError::Unsupported {
        device: device.to_owned(),
        needed: format!(
            "{channels} channels, a rate that is a multiple of 100 Hz from 8000 to 192000 Hz, and a format of {formats}"
        ),
        offered: offered.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(channels: u16, low: u32, high: u32, format: SampleFormat) -> SupportedStreamConfigRange {
        let buffer = SupportedBufferSize::Range { min: 64, max: 4_096 };
        SupportedStreamConfigRange::new(channels, low, high, buffer, format)
    }

    fn request(hz: u32, channels: u32) -> CpalDeviceRequest {
        CpalDeviceRequest {
            rate: SampleRate::new(hz).unwrap(),
            channels,
            any_channels: true,
            period_sample_frames: hz / 100,
            format: None,
            wide: false,
        }
    }

    fn negotiated(ranges: &[SupportedStreamConfigRange], request: &CpalDeviceRequest) -> NegotiatedFormat {
        negotiate("device", Direction::Capture, ranges, request).unwrap()
    }

    #[test]
    fn a_requested_format_is_chosen_where_it_is_offered() {
        let ranges = [
            range(2, 44_100, 48_000, SampleFormat::F32),
            range(1, 8_000, 48_000, SampleFormat::F32),
            range(1, 8_000, 48_000, SampleFormat::I16),
            range(1, 8_000, 48_000, SampleFormat::U64),
        ];
        let found = negotiated(&ranges, &request(16_000, 1));
        assert_eq!((found.rate.hz(), found.channels, found.sample_format), (16_000, 1, SampleFormat::I16));
        assert_eq!(found.period_sample_frames, 160);
        let wide = negotiated(&ranges, &CpalDeviceRequest { wide: true, ..request(16_000, 1) });
        assert_eq!(wide.sample_format, SampleFormat::F32);
    }

    #[test]
    fn a_higher_rate_is_preferred_to_one_that_loses_sound() {
        let ranges =
            [range(1, 16_000, 16_000, SampleFormat::I16), range(1, 96_000, 96_000, SampleFormat::I16)];
        let found = negotiated(&ranges, &request(48_000, 1));
        assert_eq!(found.rate.hz(), 96_000);
        assert_eq!(found.period_sample_frames, 960, "the requested duration");
        assert_eq!(
            negotiated(&[range(1, 44_100, 44_100, SampleFormat::I16)], &request(48_000, 1)).rate.hz(),
            44_100
        );
    }

    #[test]
    fn more_channels_are_preferred_unless_a_map_needs_a_count() {
        let ranges =
            [range(1, 48_000, 48_000, SampleFormat::I16), range(6, 48_000, 48_000, SampleFormat::I16)];
        assert_eq!(negotiated(&ranges, &request(48_000, 2)).channels, 6);
        let error = negotiate(
            "device",
            Direction::Playback,
            &ranges,
            &CpalDeviceRequest { any_channels: false, ..request(48_000, 2) },
        );
        assert!(error.unwrap_err().to_string().contains("expected 2 channels"));
    }

    #[test]
    fn periods_are_limited_to_the_device_range() {
        let ranges = [range(1, 8_000, 48_000, SampleFormat::I16)];
        let with_period =
            |period_sample_frames| CpalDeviceRequest { period_sample_frames, ..request(48_000, 1) };
        assert_eq!(negotiated(&ranges, &with_period(1)).period_sample_frames, 64);
        assert_eq!(negotiated(&ranges, &with_period(100_000)).period_sample_frames, 4_096);
    }

    #[test]
    fn unusable_ranges_are_refused_with_an_error() {
        for ranges in [
            vec![],
            vec![range(1, 48_000, 48_000, SampleFormat::DsdU8)],
            vec![range(0, 48_000, 48_000, SampleFormat::I16)],
            vec![range(1, 11_025, 11_025, SampleFormat::I16)],
            vec![range(1, 400, 4_000, SampleFormat::I16)],
        ] {
            let error = negotiate("device", Direction::Capture, &ranges, &request(48_000, 1)).unwrap_err();
            assert!(matches!(&error, CpalError::Unsupported { .. }), "{error}");
        }
    }

    #[test]
    fn capabilities_contain_only_usable_ranges() {
        let unusable =
            [range(300, 48_000, 48_000, SampleFormat::I16), range(2, 1, 384_000, SampleFormat::DsdU8)];
        assert_eq!(capabilities(&unusable), None);
        let usable =
            [range(2, 44_100, 48_000, SampleFormat::F32), range(1, 16_000, 16_000, SampleFormat::I16)];
        let found = capabilities(&usable).unwrap();
        assert_eq!(found.channels, (1, 2));
        assert_eq!(found.rates.iter().map(|rate| rate.hz()).collect::<Vec<_>>(), [16_000, 44_100, 48_000]);
        assert_eq!(found.formats, [SampleFormat::I16, SampleFormat::F32]);
        assert_eq!(found.period_sample_frames, (64, 4_096));
        assert!(
            capabilities(&[range(1, 1, 384_000, SampleFormat::I16)]).unwrap().rates.is_empty(),
            "any rate"
        );
    }
}
