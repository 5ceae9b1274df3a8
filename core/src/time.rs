//! Either side: time as a value. The core never reads a clock itself; the caller passes the time as an
//! argument.

use core::ops::{Add, AddAssign, Neg, Sub};

/// A point in time on the host's monotonic clock, in nanoseconds since an origin of the host's choice.
///
/// All times given to one session must come from the same clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Instant(i64);

/// A signed span of time in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Duration(i64);

impl Instant {
    /// The origin of the clock.
    pub const ORIGIN: Self = Self(0);

    /// Returns the time `nanos` nanoseconds after the clock's origin.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Returns the nanoseconds since the clock's origin.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }
}

impl Duration {
    /// A span of no length.
    pub const ZERO: Self = Self(0);

    /// Returns a span of `nanos` nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Returns a span of `micros` microseconds.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros.saturating_mul(1_000))
    }

    /// Returns a span of `millis` milliseconds.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Returns the length in nanoseconds.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Returns the length in whole microseconds, rounded towards zero.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0 / 1_000
    }

    /// Returns the length in milliseconds.
    #[must_use]
    pub fn as_millis_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Returns the length without its sign.
    #[must_use]
    pub const fn abs(self) -> Self {
        Self(self.0.saturating_abs())
    }
}

// Saturating arithmetic in 64 bits takes a dozen instructions on 32-bit processors and is used at dozens of
// places: there it is not inlined.
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

/// Position and time of a device period, as the host reports them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PeriodTime {
    /// Stream position of the period's first sample frame, counted by the device or host from the start of
    /// the stream. A jump ahead means that sample frames were lost.
    pub position: u64,
    /// Time at which the period's first sample was (capture) or will be (playback) at the converter.
    pub converter: Instant,
    /// Time of this call, on the same clock.
    pub called: Instant,
}

/// The host's monotonic clock, used by the worker halves only.
///
/// Any `Fn() -> Instant` is a clock. It must not block; the worker reads it twice a frame to measure how long a frame
/// waits, and [`thread_time`](Self::thread_time) twice to measure the time that a processor takes.
pub trait Clock {
    /// Returns the present time.
    fn now(&self) -> Instant;

    /// Returns how long the calling thread has run on a processor, counted from any moment. The default is
    /// [`now`](Self::now), which is right where nothing takes the processor away from the worker for long. On a system
    /// that schedules threads, or that a virtual machine pauses, a clock of the thread's own time keeps such a pause
    /// from counting as a slow voice processor.
    fn thread_time(&self) -> Instant {
        self.now()
    }
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
    fn arithmetic_saturates_instead_of_wrapping() {
        let end = Instant::from_nanos(i64::MAX);
        assert_eq!(end + Duration::from_millis(1), end);
        assert_eq!(Instant::from_nanos(i64::MIN) - end, Duration::from_nanos(i64::MIN));
        assert_eq!(Duration::from_nanos(i64::MIN).abs().as_nanos(), i64::MAX);
    }
}
