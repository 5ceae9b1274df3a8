//! Either side: sample rates, frame formats and channel maps, all checked when they are made.

use crate::error::ConfigError;
use crate::limits::{FRAMES_PER_SECOND, MAX_CHANNELS, MAX_DEVICE_CHANNELS, MAX_RATE_HZ, MIN_RATE_HZ};
use crate::sample::HAS_VECTORS;
use crate::time::Duration;

/// A sample rate from 8 to 192 kHz with a whole number of samples in 10 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SampleRate {
    per_frame: u16,
}

impl SampleRate {
    /// Returns a sample rate from its value in hertz.
    ///
    /// # Errors
    /// [`ConfigError::RateOutOfRange`] and [`ConfigError::RateNotWhole`] name a rate that is not supported.
    pub const fn new(rate_hz: u32) -> Result<Self, ConfigError> {
        if rate_hz < MIN_RATE_HZ || rate_hz > MAX_RATE_HZ {
            return Err(ConfigError::RateOutOfRange { rate_hz });
        }
        if !rate_hz.is_multiple_of(FRAMES_PER_SECOND) {
            return Err(ConfigError::RateNotWhole { rate_hz });
        }
        Ok(Self { per_frame: (rate_hz / FRAMES_PER_SECOND) as u16 })
    }

    /// Returns the rate in hertz.
    #[must_use]
    pub const fn hz(self) -> u32 {
        self.per_frame as u32 * FRAMES_PER_SECOND
    }

    /// Returns the number of sample frames in 10 ms.
    #[must_use]
    pub const fn sample_frames(self) -> usize {
        self.per_frame as usize
    }
}

/// Conversions between time and sample frames. They are here and not beside the type so that `time` depends
/// on no other module.
impl Duration {
    /// Returns the time that `sample_frames` sample frames take at `rate`, rounded down to a nanosecond.
    ///
    /// Costs two 64-bit divisions: suitable for an interrupt once a period, not once a sample.
    #[must_use]
    #[inline(never)]
    pub fn of_sample_frames(sample_frames: u64, rate: SampleRate) -> Self {
        let hz = u64::from(rate.hz().max(1));
        let seconds = sample_frames / hz;
        let rest_ns = (sample_frames % hz) * 1_000_000_000 / hz;
        let whole_ns = seconds.saturating_mul(1_000_000_000).saturating_add(rest_ns);
        Self::from_nanos(i64::try_from(whole_ns).unwrap_or(i64::MAX))
    }

    /// Returns how many whole sample frames fit into this span at `rate`: 0 for a negative span, and at most
    /// [`u32::MAX`].
    #[must_use]
    #[inline(never)]
    pub(crate) fn in_sample_frames(self, rate: SampleRate) -> u32 {
        let us = u64::try_from(self.as_micros()).unwrap_or(0);
        let sample_frames = us.saturating_mul(u64::from(rate.hz())) / 1_000_000;
        u32::try_from(sample_frames).unwrap_or(u32::MAX)
    }

    /// Returns the nearest number of sample frames at `rate`, negative for a negative span.
    #[must_use]
    #[inline(never)]
    pub(crate) fn nearest_sample_frames(self, rate: SampleRate) -> i64 {
        let ns = self.as_nanos();
        let (seconds, rest_ns) = (ns / 1_000_000_000, ns % 1_000_000_000);
        let half = if ns < 0 { -500_000_000 } else { 500_000_000 };
        let hz = i64::from(rate.hz());
        seconds.saturating_mul(hz) + (rest_ns * hz + half) / 1_000_000_000
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
    /// A placeholder for memory that has no format yet; never given to an application.
    pub(crate) const UNSET: Self = Self { rate: SampleRate { per_frame: 0 }, channels: 0 };

    /// Returns a format of a rate in hertz and a channel count from 1 to 8.
    ///
    /// # Errors
    /// Names the value that is out of range.
    pub const fn new(rate_hz: u32, channels: u32) -> Result<Self, ConfigError> {
        match SampleRate::new(rate_hz) {
            Ok(rate) => Self::with_rate(rate, channels),
            Err(error) => Err(error),
        }
    }

    /// Returns a format of a rate and a channel count from 1 to 8.
    ///
    /// # Errors
    /// [`ConfigError::Channels`] names a channel count that is out of range.
    pub const fn with_rate(rate: SampleRate, channels: u32) -> Result<Self, ConfigError> {
        if channels == 0 || channels > MAX_CHANNELS as u32 {
            return Err(ConfigError::Channels { channels });
        }
        Ok(Self { rate, channels: channels as u8 })
    }

    /// Returns the sample rate.
    #[must_use]
    pub const fn rate(self) -> SampleRate {
        self.rate
    }

    /// Returns the sample rate in hertz.
    #[must_use]
    pub const fn rate_hz(self) -> u32 {
        self.rate.hz()
    }

    /// Returns the number of channels, 1 to 8.
    #[must_use]
    pub const fn channels(self) -> usize {
        self.channels as usize
    }

    /// Returns the number of sample frames in 10 ms.
    #[must_use]
    pub const fn sample_frames(self) -> usize {
        self.rate.sample_frames()
    }

    /// Returns the number of samples in 10 ms, all channels.
    #[must_use]
    pub const fn samples(self) -> usize {
        self.rate.sample_frames() * self.channels as usize
    }

    /// Returns this format if 10 ms of it fit `capacity` samples.
    ///
    /// # Errors
    /// [`ConfigError::FrameTooLarge`] names the samples and the capacity.
    pub const fn fitting(self, capacity: usize) -> Result<Self, ConfigError> {
        if self.samples() > capacity {
            return Err(ConfigError::FrameTooLarge { samples: self.samples(), capacity });
        }
        Ok(self)
    }
}

/// A channel map: for each channel on the receiving side, the source of its samples.
///
/// An intake maps device channels to frame channels (selection and down-mix), an outlet maps frame channels
/// to device channels. A receiving channel without a source gets silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ChannelMap {
    pub(crate) from: [u8; MAX_DEVICE_CHANNELS as usize],
    to_channels: u8,
    from_channels: u8,
    /// Whether every channel is its own source, so that a plain copy suffices.
    is_identity: bool,
}

impl ChannelMap {
    // Every other value of a source is 1 plus the index of its channel.
    pub(crate) const MEAN: u8 = u8::MAX;
    const SILENCE: u8 = 0;

    pub(crate) const fn checked(from_channels: u32, to_channels: u32) -> Result<Self, ConfigError> {
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

    /// The map from one channel to one channel.
    pub const MONO: Self = {
        let mut from = [Self::SILENCE; MAX_DEVICE_CHANNELS as usize];
        from[0] = 1;
        Self { from, to_channels: 1, from_channels: 1, is_identity: true }
    };

    /// Returns the map of every channel of a format to itself.
    pub(crate) fn identity(format: Format) -> Self {
        let channels = format.channels() as u8;
        Self { from: Self::IDENTITY, to_channels: channels, from_channels: channels, is_identity: true }
    }

    /// Sources of the identity map.
    const IDENTITY: [u8; MAX_DEVICE_CHANNELS as usize] = {
        let mut from = [0; MAX_DEVICE_CHANNELS as usize];
        let mut channel = 0;
        while channel < from.len() {
            channel += 1;
            from[channel - 1] = channel as u8;
        }
        from
    };

    /// Returns the usual map between two channel counts: equal counts pass straight through, one channel goes
    /// to all, several channels go to one as their mean; otherwise each channel goes to the one with the same
    /// index, if there is one.
    ///
    /// # Errors
    /// [`ConfigError::DeviceChannels`] names a count of 0 or more than 64 channels.
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

    /// Returns a map in which receiving channel `i` gets channel `picks[i]` of `from_channels`.
    ///
    /// # Errors
    /// [`ConfigError::NoSuchChannel`] names a pick that does not exist.
    pub fn select(from_channels: u32, picks: &[u8]) -> Result<Self, ConfigError> {
        let mut map = Self::checked(from_channels, u32::try_from(picks.len()).unwrap_or(u32::MAX))?;
        for (from, &pick) in map.from.iter_mut().zip(picks) {
            if u32::from(pick) >= from_channels {
                return Err(ConfigError::NoSuchChannel { channel: pick, channels: map.from_channels });
            }
            *from = 1 + pick;
        }
        Ok(map.with_identity_flag())
    }

    /// Returns a map in which frame channel `i` plays on device channel `targets[i]` of `to_channels`; the
    /// other device channels are silent.
    ///
    /// # Errors
    /// [`ConfigError::NoSuchChannel`] names a target that does not exist.
    pub fn place(targets: &[u8], to_channels: u32) -> Result<Self, ConfigError> {
        let mut map = Self::checked(u32::try_from(targets.len()).unwrap_or(u32::MAX), to_channels)?;
        for (channel, &target) in targets.iter().enumerate() {
            if u32::from(target) >= to_channels {
                return Err(ConfigError::NoSuchChannel { channel: target, channels: map.to_channels });
            }
            map.from[usize::from(target)] = 1 + channel as u8;
        }
        Ok(map.with_identity_flag())
    }

    /// Returns the number of channels on the giving side.
    #[must_use]
    pub const fn from_channels(&self) -> usize {
        self.from_channels as usize
    }

    /// Returns the number of channels on the receiving side.
    #[must_use]
    pub const fn to_channels(&self) -> usize {
        self.to_channels as usize
    }

    /// Maps as many whole sample frames as both slices have. Costs one addition a channel for a mean, a copy
    /// otherwise.
    #[inline(never)]
    pub(crate) fn apply(&self, from: &[i16], to: &mut [i16]) {
        // The usual maps have loops of their own, which compile to vector instructions.
        if HAS_VECTORS {
            let channels = self.from.get(..self.to_channels()).unwrap_or(&[]);
            match (self.from_channels, channels) {
                (2, [Self::MEAN]) => return means(from.as_chunks::<2>().0, to),
                (4, [Self::MEAN]) => return means(from.as_chunks::<4>().0, to),
                (8, [Self::MEAN]) => return means(from.as_chunks::<8>().0, to),
                (1, [1, 1]) => return copies(from, to.as_chunks_mut::<2>().0),
                (1, [1, 1, 1, 1, 1, 1, 1, 1]) => return copies(from, to.as_chunks_mut::<8>().0),
                _ => {}
            }
        }
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

    /// Determines once whether the map is the identity, so that it is not determined for each period.
    pub(crate) fn with_identity_flag(mut self) -> Self {
        let channels = self.to_channels();
        self.is_identity = self.from_channels == self.to_channels
            && self.from.get(..channels) == Self::IDENTITY.get(..channels);
        self
    }

    pub(crate) const fn is_identity(&self) -> bool {
        self.is_identity
    }
}

/// Writes the mean of each sample frame.
fn means<const CHANNELS: usize>(from: &[[i16; CHANNELS]], to: &mut [i16]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = mean(from));
}

/// Writes each sample to all channels.
fn copies<const CHANNELS: usize>(from: &[i16], to: &mut [[i16; CHANNELS]]) {
    to.iter_mut().zip(from).for_each(|(to, &from)| *to = [from; CHANNELS]);
}

/// Returns the mean of all channels, rounded half away from zero. The sum is at most 64 x 32768, which fits
/// an i32.
#[inline]
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
    fn sample_frames_become_time_at_any_rate() {
        let rate = SampleRate::new(44_100).unwrap();
        assert_eq!(Duration::of_sample_frames(441, rate), Duration::from_millis(10));
        assert_eq!(Duration::of_sample_frames(44_100 * 86_400, rate), Duration::from_millis(86_400_000));
        assert_eq!(Duration::of_sample_frames(u64::MAX, rate).as_nanos(), i64::MAX);
    }

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
    fn natural_maps_are_the_usual_ones() {
        assert_eq!(mapped(&ChannelMap::natural(2, 2).unwrap(), &[3, -4]), [3, -4]);
        assert_eq!(mapped(&ChannelMap::natural(1, 3).unwrap(), &[7]), [7, 7, 7]);
        assert_eq!(mapped(&ChannelMap::natural(2, 1).unwrap(), &[3, -5]), [-1]);
        assert_eq!(mapped(&ChannelMap::natural(2, 4).unwrap(), &[1, 2]), [1, 2, 0, 0]);
        assert_eq!(mapped(&ChannelMap::natural(4, 2).unwrap(), &[1, 2, 3, 4]), [1, 2]);
        assert!(ChannelMap::natural(2, 2).unwrap().is_identity());
        assert!(!ChannelMap::natural(1, 2).unwrap().is_identity());
    }

    /// Maps one sample frame at a time, as each sample's source says.
    fn mapped_slowly(map: &ChannelMap, from: &[i16]) -> Vec<i16> {
        let source = |from: &[i16], source| match source {
            ChannelMap::MEAN => mean(from),
            ChannelMap::SILENCE => 0,
            channel => from[usize::from(channel) - 1],
        };
        let sources = &map.from[..map.to_channels()];
        from.chunks_exact(map.from_channels())
            .flat_map(|from| sources.iter().map(move |&channel| source(from, channel)))
            .collect()
    }

    #[test]
    fn maps_with_loops_of_their_own_do_as_the_others() {
        let samples: Vec<i16> = (0..64 * 3u32).map(|n| n.wrapping_mul(40_503) as i16).collect();
        for (from, to) in (1..=8).flat_map(|from| (1..=8).map(move |to| (from, to))) {
            let map = ChannelMap::natural(from, to).unwrap();
            for sample_frames in [0, 1, 2, 21] {
                let given = &samples[..sample_frames * from as usize];
                let mut out = vec![99; sample_frames * to as usize + 1];
                map.apply(given, &mut out);
                assert_eq!(out.pop(), Some(99), "only whole sample frames are written");
                assert_eq!(out, mapped_slowly(&map, given), "{from} to {to}");
            }
        }
    }

    #[test]
    fn the_mean_of_full_scale_channels_does_not_overflow() {
        assert_eq!(mean(&[i16::MIN; 64]), i16::MIN);
        assert_eq!(mean(&[i16::MAX; 64]), i16::MAX);
    }

    #[test]
    fn picks_and_targets_are_checked() {
        assert_eq!(mapped(&ChannelMap::select(4, &[3, 0]).unwrap(), &[1, 2, 3, 4]), [4, 1]);
        assert_eq!(mapped(&ChannelMap::place(&[2], 4).unwrap(), &[9]), [0, 0, 9, 0]);
        assert_eq!(ChannelMap::select(2, &[2]), Err(ConfigError::NoSuchChannel { channel: 2, channels: 2 }));
        assert_eq!(ChannelMap::select(0, &[0]), Err(ConfigError::DeviceChannels { channels: 0 }));
    }
}
