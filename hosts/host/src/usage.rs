//! Any thread: measures the processor time of the process.

use handsfree_core::Duration;

/// Returns the processor time that all threads of the process have used since its start, in user mode and in the
/// kernel; `None` when the system cannot report it.
#[cfg(unix)]
#[must_use]
#[allow(clippy::useless_conversion, reason = "both numbers have 32 bits on some targets")]
pub fn process_time() -> Option<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec that lives through the call.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    let used = crate::clock::of_timespec(time.tv_sec.into(), time.tv_nsec.into());
    (result == 0).then(|| Duration::from_nanos(used.as_nanos()))
}

/// Returns the processor time that all threads of the process have used since its start; `None` when the system cannot
/// report it.
#[cfg(not(unix))]
#[must_use]
pub fn process_time() -> Option<Duration> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn computing_uses_processor_time() {
        let before = process_time().unwrap();
        let mut sum = 0u64;
        while process_time().unwrap() == before {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(process_time().unwrap() > before);
    }
}
