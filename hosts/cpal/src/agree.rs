//! Control side: what a device can do, and agreeing with it on how it is to run.

use cpal::{BufferSize, SampleFormat, SupportedBufferSize, SupportedStreamConfigRange};
use handsfree_core::SampleRate;
use handsfree_core::audio_io::Direction;
use handsfree_core::limits::{MAX_DEVICE_CHANNELS, MAX_RATE_HZ, MIN_RATE_HZ};
use handsfree_host::request::{self, COMMON_RATES_HZ, rate_cost};

use crate::error::CpalError;
use crate::format;

/// What a device can do in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Fewest and most channels.
    pub channels: (u32, u32),
    /// The common rates among those that can be used here; empty when it takes any.
    pub rates: Vec<SampleRate>,
    /// The sample formats that can be used here.
    pub formats: Vec<SampleFormat>,
    /// Shortest and longest period in sample frames.
    pub period_sample_frames: (u32, u32),
}

pub(crate) type DeviceRequest = request::DeviceRequest<SampleFormat>;

/// What it is opened with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) rate: SampleRate,
    pub(crate) channels: u32,
    pub(crate) format: SampleFormat,
    /// The period asked for, as long at the device's rate, within what the device takes.
    pub(crate) period_sample_frames: u32,
}

impl Agreed {
    pub(crate) fn config(&self, buffer_size: BufferSize) -> cpal::StreamConfig {
        cpal::StreamConfig {
            // Not more than MAX_DEVICE_CHANNELS.
            channels: self.channels as cpal::ChannelCount,
            sample_rate: self.rate.hz(),
            buffer_size,
        }
    }
}

/// The ranges that can be used here: a known format, and as many channels as the core takes.
fn usable(ranges: &[SupportedStreamConfigRange]) -> impl Iterator<Item = &SupportedStreamConfigRange> {
    ranges.iter().filter(|range| {
        format::rank(range.sample_format(), false).is_some()
            && (1..=u16::from(MAX_DEVICE_CHANNELS)).contains(&range.channels())
            && range.max_sample_rate() >= MIN_RATE_HZ
            && range.min_sample_rate() <= MAX_RATE_HZ
    })
}

pub(crate) fn abilities(ranges: &[SupportedStreamConfigRange]) -> Option<Abilities> {
    let channels = || usable(ranges).map(|range| u32::from(range.channels()));
    let channels = (channels().min()?, channels().max()?);
    let any =
        usable(ranges).any(|range| range.contains_rate(MIN_RATE_HZ) && range.contains_rate(MAX_RATE_HZ));
    let rates = COMMON_RATES_HZ
        .into_iter()
        .filter(|&hz| !any && usable(ranges).any(|range| range.contains_rate(hz)))
        .filter_map(|hz| SampleRate::new(hz).ok())
        .collect();
    let formats =
        format::FORMATS.into_iter().filter(|&f| usable(ranges).any(|range| range.sample_format() == f));
    let periods = usable(ranges).map(|range| match *range.buffer_size() {
        SupportedBufferSize::Range { min, max } => (min, max),
        SupportedBufferSize::Unknown => (1, u32::MAX),
    });
    let period_sample_frames =
        periods.reduce(|(low, high), (min, max)| (low.min(min), high.max(max))).unwrap_or((1, u32::MAX));
    Some(Abilities { channels, rates, formats: formats.collect(), period_sample_frames })
}

/// The best of what a device offers: channels first, then the rate, then the format.
pub(crate) fn agree(
    device: &str,
    direction: Direction,
    ranges: &[SupportedStreamConfigRange],
    wish: &DeviceRequest,
) -> Result<Agreed, CpalError> {
    let best = usable(ranges)
        .filter(|range| wish.format.is_none_or(|only| only == range.sample_format()))
        .filter(|range| wish.any_channels || u32::from(range.channels()) == wish.channels)
        .filter_map(|range| {
            let rate = rate_of(range, wish.rate)?;
            let format = range.sample_format();
            let channels = u32::from(range.channels());
            // Fewer channels would lose some of the sound.
            let channel_cost = (channels < wish.channels, channels.abs_diff(wish.channels));
            Some(((channel_cost, rate_cost(rate, wish.rate), format::rank(format, wish.wide)?), range, rate))
        })
        .min_by_key(|&(cost, ..)| cost);
    let Some((_, range, rate)) = best else {
        return Err(unsupported(device, direction, ranges, wish));
    };
    let (shortest, longest) = match *range.buffer_size() {
        SupportedBufferSize::Range { min, max } => (min.max(1), max.max(1)),
        SupportedBufferSize::Unknown => (1, u32::MAX),
    };
    Ok(Agreed {
        rate,
        channels: range.channels().into(),
        format: range.sample_format(),
        period_sample_frames: wish.period_at(rate).clamp(shortest, longest.max(shortest)),
    })
}

/// The rate asked for, else the nearest common one, else an end of the range, if 10 ms of it are whole.
fn rate_of(range: &SupportedStreamConfigRange, wanted: SampleRate) -> Option<SampleRate> {
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
    wish: &DeviceRequest,
) -> CpalError {
    let channels = if wish.any_channels { "any".to_owned() } else { wish.channels.to_string() };
    let formats = match wish.format {
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
            "{channels} channels, a multiple of 100 Hz from 8000 to 192000, and one of {formats}"
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

    fn wish(hz: u32, channels: u32) -> DeviceRequest {
        DeviceRequest {
            rate: SampleRate::new(hz).unwrap(),
            channels,
            any_channels: true,
            period_sample_frames: hz / 100,
            format: None,
            wide: false,
        }
    }

    fn agreed(ranges: &[SupportedStreamConfigRange], wish: &DeviceRequest) -> Agreed {
        agree("device", Direction::Capture, ranges, wish).unwrap()
    }

    #[test]
    fn what_is_asked_for_is_taken_where_it_is_there() {
        let ranges = [
            range(2, 44_100, 48_000, SampleFormat::F32),
            range(1, 8_000, 48_000, SampleFormat::F32),
            range(1, 8_000, 48_000, SampleFormat::I16),
            range(1, 8_000, 48_000, SampleFormat::U64),
        ];
        let found = agreed(&ranges, &wish(16_000, 1));
        assert_eq!((found.rate.hz(), found.channels, found.format), (16_000, 1, SampleFormat::I16));
        assert_eq!(found.period_sample_frames, 160);
        let wide = agreed(&ranges, &DeviceRequest { wide: true, ..wish(16_000, 1) });
        assert_eq!(wide.format, SampleFormat::F32);
    }

    #[test]
    fn a_higher_rate_is_better_than_one_that_loses_sound() {
        let ranges =
            [range(1, 16_000, 16_000, SampleFormat::I16), range(1, 96_000, 96_000, SampleFormat::I16)];
        let found = agreed(&ranges, &wish(48_000, 1));
        assert_eq!(found.rate.hz(), 96_000);
        assert_eq!(found.period_sample_frames, 960, "as long as was asked for");
        assert_eq!(
            agreed(&[range(1, 44_100, 44_100, SampleFormat::I16)], &wish(48_000, 1)).rate.hz(),
            44_100
        );
    }

    #[test]
    fn more_channels_are_better_than_fewer_and_a_map_wants_its_own() {
        let ranges =
            [range(1, 48_000, 48_000, SampleFormat::I16), range(6, 48_000, 48_000, SampleFormat::I16)];
        assert_eq!(agreed(&ranges, &wish(48_000, 2)).channels, 6);
        let error = agree(
            "device",
            Direction::Playback,
            &ranges,
            &DeviceRequest { any_channels: false, ..wish(48_000, 2) },
        );
        assert!(error.unwrap_err().to_string().contains("expected 2 channels"));
    }

    #[test]
    fn periods_stay_within_what_the_device_takes() {
        let ranges = [range(1, 8_000, 48_000, SampleFormat::I16)];
        let asked = |period_sample_frames| DeviceRequest { period_sample_frames, ..wish(48_000, 1) };
        assert_eq!(agreed(&ranges, &asked(1)).period_sample_frames, 64);
        assert_eq!(agreed(&ranges, &asked(100_000)).period_sample_frames, 4_096);
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_what_is_there() {
        for ranges in [
            vec![],
            vec![range(1, 48_000, 48_000, SampleFormat::DsdU8)],
            vec![range(0, 48_000, 48_000, SampleFormat::I16)],
            vec![range(1, 11_025, 11_025, SampleFormat::I16)],
            vec![range(1, 400, 4_000, SampleFormat::I16)],
        ] {
            let error = agree("device", Direction::Capture, &ranges, &wish(48_000, 1)).unwrap_err();
            assert!(matches!(&error, CpalError::Unsupported { .. }), "{error}");
        }
    }

    #[test]
    fn abilities_are_those_that_can_be_used() {
        let odd = [range(300, 48_000, 48_000, SampleFormat::I16), range(2, 1, 384_000, SampleFormat::DsdU8)];
        assert_eq!(abilities(&odd), None);
        let some = [range(2, 44_100, 48_000, SampleFormat::F32), range(1, 16_000, 16_000, SampleFormat::I16)];
        let found = abilities(&some).unwrap();
        assert_eq!(found.channels, (1, 2));
        assert_eq!(found.rates.iter().map(|rate| rate.hz()).collect::<Vec<_>>(), [16_000, 44_100, 48_000]);
        assert_eq!(found.formats, [SampleFormat::I16, SampleFormat::F32]);
        assert_eq!(found.period_sample_frames, (64, 4_096));
        assert!(abilities(&[range(1, 1, 384_000, SampleFormat::I16)]).unwrap().rates.is_empty(), "any");
    }
}
