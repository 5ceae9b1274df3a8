//! Any thread: measures the processor time of the process and of a thread.

use handsfree_core::{Duration, Instant};

/// Returns the processor time that all threads of the process have used since its start, in user mode and in the
/// kernel; `None` when the system cannot report it.
#[cfg(unix)]
#[must_use]
pub fn process_time() -> Option<Duration> {
    read(libc::CLOCK_PROCESS_CPUTIME_ID).map(|used| Duration::from_nanos(used.as_nanos()))
}

/// Returns the processor time that the calling thread has used since its start, in user mode and in the kernel; `None`
/// when the system cannot report it. The time in which a process or its machine is stopped does not count.
#[cfg(unix)]
#[must_use]
pub fn thread_time() -> Option<Instant> {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

#[cfg(unix)]
#[allow(clippy::useless_conversion, reason = "both numbers have 32 bits on some targets")]
fn read(clock: libc::clockid_t) -> Option<Instant> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec that lives through the call.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    (result == 0).then(|| crate::clock::of_timespec(time.tv_sec.into(), time.tv_nsec.into()))
}

/// Returns the processor time that all threads of the process have used since its start; `None` when the system cannot
/// report it.
#[cfg(not(unix))]
#[must_use]
pub fn process_time() -> Option<Duration> {
    None
}

/// Returns the processor time that the calling thread has used since its start; `None` when the system cannot report it.
#[cfg(not(unix))]
#[must_use]
pub fn thread_time() -> Option<Instant> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_waits_uses_no_time_and_one_that_works_does() {
        let begun = (thread_time().unwrap(), std::time::Instant::now());
        std::thread::sleep(std::time::Duration::from_millis(50));
        let waited = thread_time().unwrap() - begun.0;
        assert!(begun.1.elapsed().as_millis() >= 50 && waited < Duration::from_millis(25), "{waited:?}");
        let mut sum = 0u64;
        while thread_time().unwrap() - begun.0 < Duration::from_millis(30) {
            sum = std::hint::black_box(sum + 1);
        }
    }

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
