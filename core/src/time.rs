//! Either side: time as a value. Nothing in the core reads a clock; a host says what time it is.

use core::ops::{Add, AddAssign, Neg, Sub};

use crate::format::SampleRate;

/// A moment on the host's monotonic clock, in nanoseconds since an origin of the host's choice.
///
/// All times given to one session must come from one clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Instant(i64);

/// A signed span of time in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Duration(i64);

impl Instant {
    /// The clock's origin.
    pub const ORIGIN: Self = Self(0);

    /// A moment `nanos` nanoseconds after the clock's origin.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's origin.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }
}

impl Duration {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// `nanos` nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// `micros` microseconds.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros.saturating_mul(1_000))
    }

    /// `millis` milliseconds.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// The time that `sample_frames` sample frames take at `rate`, rounded down to a nanosecond.
    ///
    /// Costs two 64-bit divisions; fit for an interrupt once a period, not once a sample.
    #[must_use]
    #[inline(never)]
    pub fn of_sample_frames(sample_frames: u64, rate: SampleRate) -> Self {
        let hz = u64::from(rate.hz().max(1));
        let seconds = sample_frames / hz;
        let rest_ns = (sample_frames % hz) * 1_000_000_000 / hz;
        let whole_ns = seconds.saturating_mul(1_000_000_000).saturating_add(rest_ns);
        Self(i64::try_from(whole_ns).unwrap_or(i64::MAX))
    }

    /// How many whole sample frames it has room for at `rate`; none for a negative span, and no more
    /// than 32 bits hold.
    #[must_use]
    #[inline(never)]
    pub(crate) fn in_sample_frames(self, rate: SampleRate) -> u32 {
        let us = u64::try_from(self.as_micros()).unwrap_or(0);
        let sample_frames = us.saturating_mul(u64::from(rate.hz())) / 1_000_000;
        u32::try_from(sample_frames).unwrap_or(u32::MAX)
    }

    /// The nearest number of sample frames at `rate`, negative for a negative span.
    #[must_use]
    #[inline(never)]
    pub(crate) fn nearest_sample_frames(self, rate: SampleRate) -> i64 {
        let (seconds, rest_ns) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        let half = if self.0 < 0 { -500_000_000 } else { 500_000_000 };
        let hz = i64::from(rate.hz());
        seconds.saturating_mul(hz) + (rest_ns * hz + half) / 1_000_000_000
    }

    /// Whole nanoseconds.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Whole microseconds, towards zero.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0 / 1_000
    }

    /// Milliseconds.
    #[must_use]
    pub fn as_millis_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// The length without its sign.
    #[must_use]
    pub const fn abs(self) -> Self {
        Self(self.0.saturating_abs())
    }
}

// Saturating in 64 bits is a dozen instructions on 32-bit processors, and done at dozens of places: there it
// is not inlined.
impl Sub for Instant {
    type Output = Duration;
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    fn sub(self, earlier: Self) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, span: Duration) {
        *self = *self + span;
    }
}

impl Add for Duration {
    type Output = Self;
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Duration {
    type Output = Self;
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Neg for Duration {
    type Output = Self;
    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

/// When and where in its stream a device period was, as the host saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PeriodTime {
    /// Stream position of the period's first sample frame, counted by the device or host from the
    /// start of the stream. A jump ahead says that sample frames were lost.
    pub position: u64,
    /// The moment the period's first sample was (capture) or will be (playback) at the converter.
    pub converter: Instant,
    /// The moment of this call, on the same clock.
    pub called: Instant,
}

/// The host's monotonic clock, for the worker halves only.
///
/// Any `Fn() -> Instant` is one. It must not block; the worker reads it twice a frame to see
/// whether a processor is too slow.
pub trait Clock {
    /// The present moment.
    fn now(&self) -> Instant;
}

impl<F: Fn() -> Instant> Clock for F {
    fn now(&self) -> Instant {
        self()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_frames_take_their_time_at_any_rate_and_length() {
        let rate = SampleRate::new(44_100).unwrap();
        assert_eq!(Duration::of_sample_frames(441, rate), Duration::from_millis(10));
        assert_eq!(Duration::of_sample_frames(44_100 * 86_400, rate), Duration::from_millis(86_400_000));
        assert_eq!(Duration::of_sample_frames(u64::MAX, rate).as_nanos(), i64::MAX);
    }

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        let end = Instant::from_nanos(i64::MAX);
        assert_eq!(end + Duration::from_millis(1), end);
        assert_eq!(Instant::from_nanos(i64::MIN) - end, Duration::from_nanos(i64::MIN));
        assert_eq!(Duration::from_nanos(i64::MIN).abs().as_nanos(), i64::MAX);
    }
}
