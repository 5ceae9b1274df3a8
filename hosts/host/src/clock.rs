//! Any thread: reads the system's monotonic clock in the core's time type.

use handsfree_core::time::{Clock, Instant};

/// Returns the current time of `CLOCK_MONOTONIC`, the clock of sound drivers' timestamps.
///
/// May be called from an audio callback: on Linux it reads a page that the kernel shares with the process and makes no
/// system call.
#[cfg(unix)]
#[must_use]
#[allow(clippy::useless_conversion, reason = "both numbers have 32 bits on some targets")]
pub fn now() -> Instant {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec that lives through the call. The clock exists on every system for which this is
    // built, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    of_timespec(time.tv_sec.into(), time.tv_nsec.into())
}

/// Returns the current time of the system's monotonic clock, counted from the first call.
#[cfg(not(unix))]
#[must_use]
pub fn now() -> Instant {
    use std::sync::OnceLock;
    static ORIGIN: OnceLock<std::time::Instant> = OnceLock::new();
    let elapsed = ORIGIN.get_or_init(std::time::Instant::now).elapsed();
    Instant::from_nanos(i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX))
}

/// The system's clocks for a worker: [`now`], and the time of the worker's own thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        now()
    }

    /// Costs a system call on Linux, 0.2 us on a small server core.
    fn thread_time(&self) -> Instant {
        crate::usage::thread_time().unwrap_or_else(now)
    }
}

/// Converts a system's seconds and nanoseconds into an [`Instant`]; saturates.
#[must_use]
pub const fn of_timespec(seconds: i64, nanos: i64) -> Instant {
    Instant::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_run_backwards() {
        let mut last = now();
        for _ in 0..10_000 {
            let next = now();
            assert!(next >= last);
            last = next;
        }
    }

    #[test]
    fn out_of_range_times_saturate() {
        assert_eq!(of_timespec(1, 5).as_nanos(), 1_000_000_005);
        assert_eq!(of_timespec(i64::MAX, 1).as_nanos(), i64::MAX);
    }
}
