//! Control side: what every host makes of a request for a stream: what to wish for of each device, which of its
//! rates is best, and how the halves are configured for what it granted.

use handsfree_core::audio_io::{
    Capabilities, Direction, DirectionInfo, DirectionRequest, Directions, StreamHalves, StreamInfo,
    StreamRequest,
};
use handsfree_core::capture::{Intake, IntakeConfig};
use handsfree_core::limits::MAX_DEVICE_CHANNELS;
use handsfree_core::playback::{Outlet, OutletConfig};
use handsfree_core::{ChannelMap, ConfigError, Gain, SampleRate};

/// Both directions, capture first.
pub const BOTH: [Direction; 2] = [Direction::Capture, Direction::Playback];

/// Rates that are tried on a device, in hertz; the best of them for the rate asked for is taken.
pub const COMMON_RATES_HZ: [u32; 11] =
    [8_000, 12_000, 16_000, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 176_400, 192_000];

/// A rate that much lower than the one asked for, in percent, still carries most of its sound.
const CLOSE_ENOUGH_PERCENT: u64 = 90;

/// What is said of a device that does not tell what it can do: as much as any can.
pub const UNKNOWN_CAPABILITIES: Capabilities<'static> = Capabilities {
    max_channels: MAX_DEVICE_CHANNELS as u32,
    rates: &[],
    formats: &[],
    period_sample_frames: (1, u32::MAX),
};

/// A direction's place in an array of two, capture first.
#[must_use]
pub const fn index(direction: Direction) -> usize {
    match direction {
        Direction::Capture => 0,
        Direction::Playback => 1,
    }
}

/// How bad a rate is for one that was asked for; less is better, and 0 hertz off is best. Any rate that carries
/// the sound is better than one that does not.
#[must_use]
pub fn rate_cost(rate: SampleRate, wanted: SampleRate) -> (bool, u32) {
    let loses_sound = u64::from(rate.hz()) * 100 < u64::from(wanted.hz()) * CLOSE_ENOUGH_PERCENT;
    (loses_sound, rate.hz().abs_diff(wanted.hz()))
}

/// Whether a request can be served at all: it is for a direction that does not run, and the halves go with it.
///
/// # Errors
/// The misuse, in words.
pub fn check<const CAP: usize, const SLOTS: usize>(
    request: &StreamRequest<'_>,
    halves: &StreamHalves<'_, CAP, SLOTS>,
    runs: impl Fn(Direction) -> bool,
) -> Result<(), &'static str> {
    let asked = |direction| match direction {
        Direction::Capture => request.capture.is_some(),
        Direction::Playback => request.playback.is_some(),
    };
    if !BOTH.into_iter().any(asked) {
        return Err("a request for neither direction");
    }
    if request.capture.is_some() != halves.intake.is_some() {
        return Err("an intake goes with a request for capture, and only with one");
    }
    if request.playback.is_some() != halves.outlet.is_some() {
        return Err("an outlet goes with a request for playback, and only with one");
    }
    if BOTH.into_iter().any(|direction| asked(direction) && runs(direction)) {
        return Err("the direction runs already");
    }
    Ok(())
}

/// Which directions a request is for; both where it is for none.
#[must_use]
pub fn directions(request: &StreamRequest<'_>) -> Directions {
    match (request.capture, request.playback) {
        (Some(_), None) => Directions::Capture,
        (None, Some(_)) => Directions::Playback,
        _ => Directions::Both,
    }
}

/// What is asked of a device. `F` is the host's sample format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceRequest<F> {
    /// The rate wanted.
    pub rate: SampleRate,
    /// Channels wanted.
    pub channels: u32,
    /// Whether another channel count will do.
    pub any_channels: bool,
    /// The period wanted, in sample frames at the rate wanted.
    pub period_sample_frames: u32,
    /// The only format wanted, if there is one.
    pub format: Option<F>,
    /// Whether more than 16 bits are of use.
    pub wide: bool,
}

impl<F> DeviceRequest<F> {
    /// What a request for a direction means for its device. A map wants the channels that it is for.
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

    /// The period wanted, in sample frames at the rate granted: as long as it was asked for, and at least one.
    #[must_use]
    pub fn period_at(&self, rate: SampleRate) -> u32 {
        let period = u64::from(self.period_sample_frames) * u64::from(rate.hz()) / u64::from(self.rate.hz());
        u32::try_from(period.max(1)).unwrap_or(u32::MAX)
    }
}

fn map(
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

/// Configures an intake for what its device granted.
///
/// # Errors
/// When the device delivers what the intake cannot take.
pub fn configure_intake<const CAP: usize>(
    intake: &mut Intake<'_, CAP>,
    asked: &DirectionRequest<'_>,
    granted: &DirectionInfo,
) -> Result<(), ConfigError> {
    intake.configure(IntakeConfig {
        rate: granted.rate,
        map: map(Direction::Capture, asked, granted)?,
        gain: asked.gain,
        max_period_sample_frames: granted.max_period_sample_frames,
        clock_domain: granted.clock_domain,
    })
}

/// Configures an outlet for what its device granted.
///
/// # Errors
/// When the device asks for what the outlet cannot give.
pub fn configure_outlet<const CAP: usize, const SLOTS: usize>(
    outlet: &mut Outlet<'_, CAP, SLOTS>,
    asked: &DirectionRequest<'_>,
    granted: &DirectionInfo,
) -> Result<(), ConfigError> {
    outlet.configure(OutletConfig {
        rate: granted.rate,
        map: map(Direction::Playback, asked, granted)?,
        max_period_sample_frames: granted.max_period_sample_frames,
        worker_slack_sample_frames: asked.worker_slack_sample_frames,
        latency: granted.latency,
        clock_domain: granted.clock_domain,
    })
}

/// Configures the ends for what was granted in each direction that is asked for; nothing runs yet.
///
/// # Errors
/// When a device does what its half cannot.
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

    fn end(hz: u32) -> DirectionRequest<'static> {
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
    fn the_nearest_rate_that_carries_the_sound_is_best() {
        assert_eq!(best(48_000, &[48_000, 44_100, 96_000]), 48_000);
        assert_eq!(
            best(48_000, &[16_000, 96_000]),
            96_000,
            "a higher one is better than one that loses sound"
        );
        assert_eq!(best(48_000, &[44_100, 96_000]), 44_100, "little is lost of it");
        assert_eq!(best(48_000, &[8_000, 16_000]), 16_000, "where all lose sound, the least");
        assert_eq!(best(8_000, &[192_000, 44_100]), 44_100);
        for hz in COMMON_RATES_HZ {
            assert_eq!(best(hz, &COMMON_RATES_HZ), hz);
        }
    }

    #[test]
    fn a_wish_is_for_what_the_map_needs_and_for_width_where_a_gain_uses_it() {
        let plain = DeviceRequest::<u8>::new(Direction::Capture, &end(48_000), None);
        assert_eq!((plain.channels, plain.any_channels, plain.wide), (2, true, false));
        let map = Some(ChannelMap::natural(6, 1).unwrap());
        let mapped = DirectionRequest { map, gain: Gain::linear(2.0).unwrap(), ..end(48_000) };
        let capture = DeviceRequest::new(Direction::Capture, &mapped, Some(3_u8));
        assert_eq!((capture.channels, capture.any_channels, capture.wide), (6, false, true));
        assert_eq!(capture.format, Some(3));
        let playback = DeviceRequest::<u8>::new(Direction::Playback, &mapped, None);
        assert_eq!((playback.channels, playback.any_channels, playback.wide), (1, false, false));
    }

    #[test]
    fn a_period_is_as_long_as_it_was_asked_for_at_any_rate() {
        let wish = DeviceRequest::<u8>::new(Direction::Capture, &end(48_000), None);
        assert_eq!(wish.period_at(rate(48_000)), 480);
        assert_eq!(wish.period_at(rate(44_100)), 441);
        assert_eq!(wish.period_at(rate(8_000)), 80);
        assert_eq!(DeviceRequest { period_sample_frames: 0, ..wish }.period_at(rate(48_000)), 1);
        let endless = DeviceRequest { period_sample_frames: u32::MAX, ..wish };
        assert_eq!(endless.period_at(rate(192_000)), u32::MAX);
    }

    #[test]
    fn ends_go_with_their_request_and_are_configured_for_what_was_granted() {
        let mut session = Box::new(Session::<480, 2, 8, 8, 16, 16, 48_000>::new());
        let terminal = SessionFormat { rate: rate(48_000), near_channels: 1, far_channels: 1 };
        let halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).unwrap();
        let mut stream_halves = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
        let both = StreamRequest { capture: Some(end(48_000)), playback: Some(end(48_000)) };
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
        // A period that the rings cannot hold is refused by the half, and a device without channels by the map.
        let long = DirectionInfo { max_period_sample_frames: 1_000_000, ..info(2) };
        assert!(configure_intake(stream_halves.intake.as_mut().unwrap(), &end(48_000), &long).is_err());
        assert!(configure_outlet(stream_halves.outlet.as_mut().unwrap(), &end(48_000), &long).is_err());
        let none = StreamInfo { capture: Some(info(0)), playback: None };
        assert_eq!(
            configure(&mut stream_halves, &both, &none),
            Err(ConfigError::DeviceChannels { channels: 0 })
        );
    }
}
