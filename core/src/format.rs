//! Either side: sample rates, frame formats, and which channel goes where, all checked when made.

use crate::error::ConfigError;
use crate::limits::{FRAMES_PER_SECOND, MAX_CHANNELS, MAX_DEVICE_CHANNELS, MAX_RATE_HZ, MIN_RATE_HZ};

/// A sample rate from 8 to 192 kHz with a whole number of samples in 10 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SampleRate {
    per_frame: u16,
}

impl SampleRate {
    /// Checks a rate in hertz.
    ///
    /// # Errors
    /// [`ConfigError::RateOutOfRange`] and [`ConfigError::RateNotWhole`] name the rate.
    pub const fn new(rate_hz: u32) -> Result<Self, ConfigError> {
        if rate_hz < MIN_RATE_HZ || rate_hz > MAX_RATE_HZ {
            return Err(ConfigError::RateOutOfRange { rate_hz });
        }
        if !rate_hz.is_multiple_of(FRAMES_PER_SECOND) {
            return Err(ConfigError::RateNotWhole { rate_hz });
        }
        Ok(Self { per_frame: (rate_hz / FRAMES_PER_SECOND) as u16 })
    }

    /// The rate in hertz.
    #[must_use]
    pub const fn hz(self) -> u32 {
        self.per_frame as u32 * FRAMES_PER_SECOND
    }

    /// Sample frames in 10 ms.
    #[must_use]
    pub const fn sample_frames(self) -> usize {
        self.per_frame as usize
    }
}

/// The rate and channel count of interleaved PCM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Format {
    rate: SampleRate,
    channels: u8,
}

impl Format {
    /// What memory holds before a stream has a format; never handed out.
    pub(crate) const UNSET: Self = Self { rate: SampleRate { per_frame: 0 }, channels: 0 };

    /// Checks a rate in hertz and a channel count from 1 to 8.
    ///
    /// # Errors
    /// Names the value that is wrong.
    pub const fn new(rate_hz: u32, channels: u32) -> Result<Self, ConfigError> {
        match SampleRate::new(rate_hz) {
            Ok(rate) => Self::with_rate(rate, channels),
            Err(error) => Err(error),
        }
    }

    /// Checks a channel count from 1 to 8 beside a rate that is known to be good.
    ///
    /// # Errors
    /// Names the channel count.
    pub const fn with_rate(rate: SampleRate, channels: u32) -> Result<Self, ConfigError> {
        if channels == 0 || channels > MAX_CHANNELS as u32 {
            return Err(ConfigError::Channels { channels });
        }
        Ok(Self { rate, channels: channels as u8 })
    }

    /// The sample rate.
    #[must_use]
    pub const fn rate(self) -> SampleRate {
        self.rate
    }

    /// The sample rate in hertz.
    #[must_use]
    pub const fn rate_hz(self) -> u32 {
        self.rate.hz()
    }

    /// Channels, 1 to 8.
    #[must_use]
    pub const fn channels(self) -> usize {
        self.channels as usize
    }

    /// Sample frames in 10 ms.
    #[must_use]
    pub const fn sample_frames(self) -> usize {
        self.rate.sample_frames()
    }

    /// Samples in 10 ms, all channels.
    #[must_use]
    pub const fn samples(self) -> usize {
        self.rate.sample_frames() * self.channels as usize
    }

    /// This format, if 10 ms of it fit `capacity` samples.
    ///
    /// # Errors
    /// [`ConfigError::FrameTooLarge`] names both numbers.
    pub const fn fitting(self, capacity: usize) -> Result<Self, ConfigError> {
        if self.samples() > capacity {
            return Err(ConfigError::FrameTooLarge { samples: self.samples(), capacity });
        }
        Ok(self)
    }
}

/// For each channel on the receiving side, where its samples come from.
///
/// An intake maps device channels to frame channels (selection and down-mix), an outlet frame
/// channels to device channels (spread). What is not named gets silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ChannelMap {
    from: [u8; MAX_DEVICE_CHANNELS as usize],
    to_channels: u8,
    from_channels: u8,
    /// Every channel goes to the same place, so that a copy does.
    is_identity: bool,
}

impl ChannelMap {
    // Other than these, a source is 1 plus its channel.
    const MEAN: u8 = u8::MAX;
    const SILENCE: u8 = 0;

    const fn checked(from_channels: u32, to_channels: u32) -> Result<Self, ConfigError> {
        let most = MAX_DEVICE_CHANNELS as u32;
        if from_channels == 0 || from_channels > most {
            return Err(ConfigError::DeviceChannels { channels: from_channels });
        }
        if to_channels == 0 || to_channels > most {
            return Err(ConfigError::DeviceChannels { channels: to_channels });
        }
        Ok(Self {
            from: [Self::SILENCE; MAX_DEVICE_CHANNELS as usize],
            to_channels: to_channels as u8,
            from_channels: from_channels as u8,
            is_identity: false,
        })
    }

    /// Every channel of a format to itself.
    pub(crate) fn identity(format: Format) -> Self {
        let channels = format.channels() as u8;
        Self { from: Self::EACH, to_channels: channels, from_channels: channels, is_identity: true }
    }

    /// Each channel from its own.
    const EACH: [u8; MAX_DEVICE_CHANNELS as usize] = {
        let mut from = [0; MAX_DEVICE_CHANNELS as usize];
        let mut channel = 0;
        while channel < from.len() {
            channel += 1;
            from[channel - 1] = channel as u8;
        }
        from
    };

    /// What one would expect without being told: equal counts go straight through, one channel
    /// goes to all, many channels go to one as their mean, else as many as both sides have.
    ///
    /// # Errors
    /// [`ConfigError::DeviceChannels`] for no channels or more than 64 on either side.
    pub fn natural(from_channels: u32, to_channels: u32) -> Result<Self, ConfigError> {
        let mut map = Self::checked(from_channels, to_channels)?;
        let outputs = usize::from(map.to_channels);
        for (to, from) in map.from.iter_mut().take(outputs).enumerate() {
            *from = match (from_channels, to_channels) {
                (1, _) => 1,
                (_, 1) => Self::MEAN,
                _ if to < from_channels as usize => 1 + to as u8,
                _ => Self::SILENCE,
            };
        }
        map.is_identity = from_channels == to_channels;
        Ok(map)
    }

    /// Receiving channel `i` gets channel `picks[i]` of `from_channels`.
    ///
    /// # Errors
    /// [`ConfigError::NoSuchChannel`] names a pick that is not there.
    pub fn select(from_channels: u32, picks: &[u8]) -> Result<Self, ConfigError> {
        let mut map = Self::checked(from_channels, u32::try_from(picks.len()).unwrap_or(u32::MAX))?;
        for (from, &pick) in map.from.iter_mut().zip(picks) {
            if u32::from(pick) >= from_channels {
                return Err(ConfigError::NoSuchChannel { channel: pick, channels: map.from_channels });
            }
            *from = 1 + pick;
        }
        Ok(map.looked_at())
    }

    /// Frame channel `i` is heard on device channel `places[i]` of `to_channels`, the rest is silent.
    ///
    /// # Errors
    /// [`ConfigError::NoSuchChannel`] names a place that is not there.
    pub fn place(places: &[u8], to_channels: u32) -> Result<Self, ConfigError> {
        let mut map = Self::checked(u32::try_from(places.len()).unwrap_or(u32::MAX), to_channels)?;
        for (channel, &place) in places.iter().enumerate() {
            if u32::from(place) >= to_channels {
                return Err(ConfigError::NoSuchChannel { channel: place, channels: map.to_channels });
            }
            map.from[usize::from(place)] = 1 + channel as u8;
        }
        Ok(map.looked_at())
    }

    /// Channels on the giving side.
    #[must_use]
    pub const fn from_channels(&self) -> usize {
        self.from_channels as usize
    }

    /// Channels on the receiving side.
    #[must_use]
    pub const fn to_channels(&self) -> usize {
        self.to_channels as usize
    }

    /// Maps as many whole sample frames as both have. Costs one addition a channel for a mean, a copy
    /// otherwise.
    #[inline(never)]
    pub(crate) fn apply(&self, from: &[i16], to: &mut [i16]) {
        let from = from.chunks_exact(self.from_channels().max(1));
        for (from, to) in from.zip(to.chunks_exact_mut(self.to_channels().max(1))) {
            for (sample, &source) in to.iter_mut().zip(&self.from) {
                *sample = match source {
                    Self::MEAN => mean(from),
                    Self::SILENCE => 0,
                    channel => from.get(usize::from(channel) - 1).copied().unwrap_or(0),
                };
            }
        }
    }

    /// For a journal: for each receiving channel what it gets.
    #[cfg(feature = "journal")]
    pub(crate) fn sources(&self) -> &[u8] {
        self.from.get(..self.to_channels()).unwrap_or(&[])
    }

    /// The map that a journal tells of.
    #[cfg(feature = "journal")]
    pub(crate) fn of_sources(from_channels: u32, sources: &[u8]) -> Result<Self, ConfigError> {
        let mut map = Self::checked(from_channels, u32::try_from(sources.len()).unwrap_or(u32::MAX))?;
        for (from, &source) in map.from.iter_mut().zip(sources) {
            if u32::from(source) > from_channels && source != Self::MEAN {
                return Err(ConfigError::NoSuchChannel { channel: source - 1, channels: map.from_channels });
            }
            *from = source;
        }
        Ok(map.looked_at())
    }

    /// With whether it is the identity, which is not asked again for each period.
    fn looked_at(mut self) -> Self {
        let channels = self.to_channels();
        self.is_identity =
            self.from_channels == self.to_channels && self.from.get(..channels) == Self::EACH.get(..channels);
        self
    }

    pub(crate) const fn is_identity(&self) -> bool {
        self.is_identity
    }
}

/// The mean of all channels, rounded half away from zero; at most 64 x 32768, so i32 holds it.
fn mean(channels: &[i16]) -> i16 {
    let count = (channels.len() as i32).max(1);
    let sum: i32 = channels.iter().map(|&s| i32::from(s)).sum();
    let half = if sum >= 0 { count / 2 } else { -(count / 2) };
    ((sum + half) / count) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_whole_in_10_ms_or_refused_by_value() {
        for hz in [8_000, 16_000, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000, 11_100] {
            assert_eq!(SampleRate::new(hz).unwrap().hz(), hz);
        }
        assert_eq!(SampleRate::new(0), Err(ConfigError::RateOutOfRange { rate_hz: 0 }));
        assert_eq!(SampleRate::new(22_050), Err(ConfigError::RateNotWhole { rate_hz: 22_050 }));
        assert_eq!(SampleRate::new(192_100), Err(ConfigError::RateOutOfRange { rate_hz: 192_100 }));
    }

    #[test]
    fn channels_are_1_to_8_or_refused_by_value() {
        for channels in 1..=8 {
            assert_eq!(Format::new(48_000, channels).unwrap().samples(), 480 * channels as usize);
        }
        assert_eq!(Format::new(48_000, 0), Err(ConfigError::Channels { channels: 0 }));
        assert_eq!(Format::new(48_000, 9), Err(ConfigError::Channels { channels: 9 }));
        assert_eq!(
            Format::new(48_000, 2).unwrap().fitting(480),
            Err(ConfigError::FrameTooLarge { samples: 960, capacity: 480 })
        );
    }

    fn mapped(map: &ChannelMap, from: &[i16]) -> Vec<i16> {
        let mut to = vec![99; map.to_channels()];
        map.apply(from, &mut to);
        to
    }

    #[test]
    fn natural_maps_do_what_one_expects() {
        assert_eq!(mapped(&ChannelMap::natural(2, 2).unwrap(), &[3, -4]), [3, -4]);
        assert_eq!(mapped(&ChannelMap::natural(1, 3).unwrap(), &[7]), [7, 7, 7]);
        assert_eq!(mapped(&ChannelMap::natural(2, 1).unwrap(), &[3, -5]), [-1]);
        assert_eq!(mapped(&ChannelMap::natural(2, 4).unwrap(), &[1, 2]), [1, 2, 0, 0]);
        assert_eq!(mapped(&ChannelMap::natural(4, 2).unwrap(), &[1, 2, 3, 4]), [1, 2]);
        assert!(ChannelMap::natural(2, 2).unwrap().is_identity());
        assert!(!ChannelMap::natural(1, 2).unwrap().is_identity());
    }

    #[test]
    fn mean_of_full_scale_channels_does_not_overflow() {
        assert_eq!(mean(&[i16::MIN; 64]), i16::MIN);
        assert_eq!(mean(&[i16::MAX; 64]), i16::MAX);
    }

    #[test]
    fn picks_and_places_are_checked() {
        assert_eq!(mapped(&ChannelMap::select(4, &[3, 0]).unwrap(), &[1, 2, 3, 4]), [4, 1]);
        assert_eq!(mapped(&ChannelMap::place(&[2], 4).unwrap(), &[9]), [0, 0, 9, 0]);
        assert_eq!(ChannelMap::select(2, &[2]), Err(ConfigError::NoSuchChannel { channel: 2, channels: 2 }));
        assert_eq!(ChannelMap::select(0, &[0]), Err(ConfigError::DeviceChannels { channels: 0 }));
    }
}
