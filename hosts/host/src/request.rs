//! Control side: the steps that every host takes for a stream request: what to ask of each device, which of its rates
//! fits best, and how the halves are configured for what it granted.

use handsfree_core::audio_io::{
    Capabilities, Direction, DirectionInfo, DirectionRequest, Directions, StreamHalves, StreamInfo,
    StreamRequest,
};
use handsfree_core::capture::{Intake, IntakeConfig};
use handsfree_core::limits::MAX_DEVICE_CHANNELS;
use handsfree_core::playback::{Outlet, OutletConfig};
use handsfree_core::{ChannelMap, ConfigError, Gain, SampleRate};

/// Both directions, capture first.
pub const BOTH_DIRECTIONS: [Direction; 2] = [Direction::Capture, Direction::Playback];

/// Rates that are tried on a device, in hertz; the one with the lowest [`rate_cost`] is used.
pub const COMMON_RATES_HZ: [u32; 11] =
    [8_000, 12_000, 16_000, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 176_400, 192_000];

/// Lowest rate, in percent of the requested one, that still counts as carrying the requested bandwidth: 44.1 kHz
/// instead of 48 kHz loses only what is barely audible.
const MIN_BANDWIDTH_PERCENT: u64 = 90;

/// Capabilities that are assumed for a device that does not report its own: the widest possible ones.
pub const UNKNOWN_CAPABILITIES: Capabilities<'static> = Capabilities {
    max_channels: MAX_DEVICE_CHANNELS as u32,
    rates: &[],
    formats: &[],
    period_sample_frames: (1, u32::MAX),
};

/// Returns the index of a direction in an array of two, capture first.
#[must_use]
pub const fn index(direction: Direction) -> usize {
    match direction {
        Direction::Capture => 0,
        Direction::Playback => 1,
    }
}

/// Returns the cost of using `rate` instead of the `wanted` rate; the lowest cost is best. The cost is the distance in
/// hertz, and any rate that carries the wanted bandwidth costs less than any rate that does not.
#[must_use]
pub fn rate_cost(rate: SampleRate, wanted: SampleRate) -> (bool, u32) {
    let loses_bandwidth = u64::from(rate.hz()) * 100 < u64::from(wanted.hz()) * MIN_BANDWIDTH_PERCENT;
    (loses_bandwidth, rate.hz().abs_diff(wanted.hz()))
}

/// Checks that a request can be served: it names at least one direction, none of its directions runs, and the halves
/// match the directions.
///
/// # Errors
/// Returns a description of the misuse.
pub fn check<const CAP: usize, const SLOTS: usize>(
    request: &StreamRequest<'_>,
    halves: &StreamHalves<'_, CAP, SLOTS>,
    runs: impl Fn(Direction) -> bool,
) -> Result<(), &'static str> {
    let asked = |direction| match direction {
        Direction::Capture => request.capture.is_some(),
        Direction::Playback => request.playback.is_some(),
    };
    if !BOTH_DIRECTIONS.into_iter().any(asked) {
        return Err("the request names no direction: expected capture, playback or both");
    }
    if request.capture.is_some() != halves.intake.is_some() {
        return Err("expected an intake together with a request for capture, and only then");
    }
    if request.playback.is_some() != halves.outlet.is_some() {
        return Err("expected an outlet together with a request for playback, and only then");
    }
    if BOTH_DIRECTIONS.into_iter().any(|direction| asked(direction) && runs(direction)) {
        return Err("the direction runs already: expected it to be stopped first");
    }
    Ok(())
}

/// Returns the directions that a request names, or both when it names none.
#[must_use]
pub fn directions(request: &StreamRequest<'_>) -> Directions {
    match (request.capture, request.playback) {
        (Some(_), None) => Directions::Capture,
        (None, Some(_)) => Directions::Playback,
        _ => Directions::Both,
    }
}

/// Parameters that a host asks of a device. `F` is the host's type of sample formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceRequest<F> {
    /// Wanted sample rate.
    pub rate: SampleRate,
    /// Wanted channel count.
    pub channels: u32,
    /// Whether a different channel count is acceptable.
    pub any_channels: bool,
    /// Wanted period, in sample frames at the wanted rate.
    pub period_sample_frames: u32,
    /// The only acceptable sample format; `None` accepts any.
    pub format: Option<F>,
    /// Whether samples of more than 16 bits are preferred, because a gain will be applied to them.
    pub wide: bool,
}

impl<F> DeviceRequest<F> {
    /// Derives the device's parameters from a request for a direction. With a channel map, the device must have exactly
    /// the map's channels.
    #[must_use]
    pub fn new(direction: Direction, asked: &DirectionRequest<'_>, format: Option<F>) -> Self {
        let mapped = asked.map.map(|map| match direction {
            Direction::Capture => map.from_channels(),
            Direction::Playback => map.to_channels(),
        });
        Self {
            rate: asked.rate,
            channels: mapped.map_or(asked.device_channels, |channels| channels as u32),
            any_channels: mapped.is_none(),
            period_sample_frames: asked.period_sample_frames,
            format,
            wide: direction == Direction::Capture && asked.gain != Gain::UNITY,
        }
    }

    /// Returns the period in sample frames at the granted `rate`: the same duration as requested, at least one sample
    /// frame.
    #[must_use]
    pub fn period_at(&self, rate: SampleRate) -> u32 {
        let period = u64::from(self.period_sample_frames) * u64::from(rate.hz()) / u64::from(self.rate.hz());
        u32::try_from(period.max(1)).unwrap_or(u32::MAX)
    }
}

fn channel_map(
    direction: Direction,
    asked: &DirectionRequest<'_>,
    granted: &DirectionInfo,
) -> Result<ChannelMap, ConfigError> {
    match (asked.map, direction) {
        (Some(map), _) => Ok(map),
        (None, Direction::Capture) => ChannelMap::natural(granted.device_channels, 1),
        (None, Direction::Playback) => ChannelMap::natural(1, granted.device_channels),
    }
}

/// Configures an intake for the parameters that its device granted.
///
/// # Errors
/// Returns the intake's error when it does not support the device's parameters.
pub fn configure_intake<const CAP: usize>(
    intake: &mut Intake<'_, CAP>,
    asked: &DirectionRequest<'_>,
    granted: &DirectionInfo,
) -> Result<(), ConfigError> {
    intake.configure(IntakeConfig {
        rate: granted.rate,
        map: channel_map(Direction::Capture, asked, granted)?,
        gain: asked.gain,
        max_period_sample_frames: granted.max_period_sample_frames,
        clock_domain: granted.clock_domain,
    })
}

/// Configures an outlet for the parameters that its device granted.
///
/// # Errors
/// Returns the outlet's error when it does not support the device's parameters.
pub fn configure_outlet<const CAP: usize, const SLOTS: usize>(
    outlet: &mut Outlet<'_, CAP, SLOTS>,
    asked: &DirectionRequest<'_>,
    granted: &DirectionInfo,
) -> Result<(), ConfigError> {
    outlet.configure(OutletConfig {
        rate: granted.rate,
        map: channel_map(Direction::Playback, asked, granted)?,
        max_period_sample_frames: granted.max_period_sample_frames,
        worker_slack_sample_frames: asked.worker_slack_sample_frames,
        latency: granted.latency,
        clock_domain: granted.clock_domain,
    })
}

/// Configures the half of each requested direction for the parameters that its device granted. Starts nothing.
///
/// # Errors
/// Returns the error of the first half that does not support its device's parameters.
pub fn configure<const CAP: usize, const SLOTS: usize>(
    halves: &mut StreamHalves<'_, CAP, SLOTS>,
    request: &StreamRequest<'_>,
    granted: &StreamInfo,
) -> Result<(), ConfigError> {
    if let (Some(intake), Some(asked), Some(info)) = (&mut halves.intake, &request.capture, &granted.capture)
    {
        configure_intake(intake, asked, info)?;
    }
    if let (Some(outlet), Some(asked), Some(info)) =
        (&mut halves.outlet, &request.playback, &granted.playback)
    {
        configure_outlet(outlet, asked, info)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use embassy_sync::blocking_mutex::raw::NoopRawMutex;
    use handsfree_core::capture::Bypass;
    use handsfree_core::{Duration, Session, SessionFormat};

    use super::*;

    fn rate(hz: u32) -> SampleRate {
        SampleRate::new(hz).unwrap()
    }

    fn direction_request(hz: u32) -> DirectionRequest<'static> {
        DirectionRequest {
            device: None,
            rate: rate(hz),
            device_channels: 2,
            map: None,
            period_sample_frames: hz / 100,
            worker_slack_sample_frames: 7,
            gain: Gain::UNITY,
        }
    }

    fn best(wanted_hz: u32, among: &[u32]) -> u32 {
        let wanted = rate(wanted_hz);
        among.iter().map(|&hz| rate(hz)).min_by_key(|&rate| rate_cost(rate, wanted)).unwrap().hz()
    }

    #[test]
    fn prefers_the_nearest_rate_that_keeps_the_bandwidth() {
        assert_eq!(best(48_000, &[48_000, 44_100, 96_000]), 48_000);
        assert_eq!(
            best(48_000, &[16_000, 96_000]),
            96_000,
            "a higher rate is better than one that loses bandwidth"
        );
        assert_eq!(best(48_000, &[44_100, 96_000]), 44_100, "44.1 kHz loses little bandwidth");
        assert_eq!(
            best(48_000, &[8_000, 16_000]),
            16_000,
            "if all rates lose bandwidth, the highest is best"
        );
        assert_eq!(best(8_000, &[192_000, 44_100]), 44_100);
        for hz in COMMON_RATES_HZ {
            assert_eq!(best(hz, &COMMON_RATES_HZ), hz);
        }
    }

    #[test]
    fn device_request_follows_channel_map_and_gain() {
        let plain = DeviceRequest::<u8>::new(Direction::Capture, &direction_request(48_000), None);
        assert_eq!((plain.channels, plain.any_channels, plain.wide), (2, true, false));
        let map = Some(ChannelMap::natural(6, 1).unwrap());
        let mapped = DirectionRequest { map, gain: Gain::linear(2.0).unwrap(), ..direction_request(48_000) };
        let capture = DeviceRequest::new(Direction::Capture, &mapped, Some(3_u8));
        assert_eq!((capture.channels, capture.any_channels, capture.wide), (6, false, true));
        assert_eq!(capture.format, Some(3));
        let playback = DeviceRequest::<u8>::new(Direction::Playback, &mapped, None);
        assert_eq!((playback.channels, playback.any_channels, playback.wide), (1, false, false));
    }

    #[test]
    fn period_keeps_its_duration_at_any_rate() {
        let request = DeviceRequest::<u8>::new(Direction::Capture, &direction_request(48_000), None);
        assert_eq!(request.period_at(rate(48_000)), 480);
        assert_eq!(request.period_at(rate(44_100)), 441);
        assert_eq!(request.period_at(rate(8_000)), 80);
        assert_eq!(DeviceRequest { period_sample_frames: 0, ..request }.period_at(rate(48_000)), 1);
        let endless = DeviceRequest { period_sample_frames: u32::MAX, ..request };
        assert_eq!(endless.period_at(rate(192_000)), u32::MAX);
    }

    #[test]
    fn halves_match_the_request_and_get_the_granted_format() {
        let mut session = Box::new(Session::<480, 2, 8, 8, 16, 16, 48_000>::new());
        let terminal = SessionFormat { rate: rate(48_000), near_channels: 1, far_channels: 1 };
        let halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).unwrap();
        let mut stream_halves = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
        let both = StreamRequest {
            capture: Some(direction_request(48_000)),
            playback: Some(direction_request(48_000)),
        };
        let one = StreamRequest { playback: None, ..both };
        let never = |_| false;
        assert_eq!(check(&both, &stream_halves, never), Ok(()));
        assert_eq!((directions(&both), directions(&one)), (Directions::Both, Directions::Capture));
        let misuses = [
            check(&StreamRequest::default(), &stream_halves, never),
            check(&one, &stream_halves, never),
            check(&StreamRequest { capture: None, ..both }, &stream_halves, never),
            check(&both, &StreamHalves::<480, 2>::default(), never),
            check(&both, &stream_halves, |direction| direction == Direction::Playback),
        ];
        assert!(misuses.iter().all(Result::is_err), "{misuses:?}");
        assert_eq!(directions(&StreamRequest { capture: None, ..both }), Directions::Playback);

        let info = |device_channels| DirectionInfo {
            rate: rate(44_100),
            device_channels,
            max_period_sample_frames: 441,
            latency: Duration::from_millis(20),
            clock_domain: 5,
        };
        let granted = StreamInfo { capture: Some(info(2)), playback: Some(info(6)) };
        configure(&mut stream_halves, &both, &granted).unwrap();
        // The half refuses a period that its ring cannot hold, and the channel map a device without channels.
        let long = DirectionInfo { max_period_sample_frames: 1_000_000, ..info(2) };
        assert!(
            configure_intake(stream_halves.intake.as_mut().unwrap(), &direction_request(48_000), &long)
                .is_err()
        );
        assert!(
            configure_outlet(stream_halves.outlet.as_mut().unwrap(), &direction_request(48_000), &long)
                .is_err()
        );
        let none = StreamInfo { capture: Some(info(0)), playback: None };
        assert_eq!(
            configure(&mut stream_halves, &both, &none),
            Err(ConfigError::DeviceChannels { channels: 0 })
        );
    }
}
