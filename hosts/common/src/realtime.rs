//! Control side: asks the system to treat a thread that plays and records as one.

use std::fmt;
use std::io;

/// What the system refused; the thread runs nevertheless, and may be late.
#[derive(Debug)]
#[non_exhaustive]
pub enum Refused {
    /// Real-time scheduling.
    Scheduling(io::Error),
    /// Keeping the process's memory in place.
    LockedMemory(io::Error),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheduling(error) => write!(
                f,
                "real-time scheduling was refused ({error}): expected the right to SCHED_FIFO, such as \
                 LimitRTPRIO=95 in a systemd unit or 'rtprio 95' in limits.conf"
            ),
            Self::LockedMemory(error) => write!(
                f,
                "locking memory was refused ({error}): expected enough of it to be allowed, such as \
                 LimitMEMLOCK=infinity in a systemd unit or 'memlock unlimited' in limits.conf"
            ),
        }
    }
}

impl std::error::Error for Refused {}

/// Gives the calling thread the first-in-first-out scheduling of real-time threads, at a priority from
/// 1 to 99. Where a kernel runs interrupt handlers as threads they are at 50; a thread above that is
/// served before them, which is well as long as its rounds are much shorter than a period.
///
/// # Errors
/// When the system does not allow it.
#[cfg(target_os = "linux")]
pub fn schedule_fifo(priority: u8) -> Result<(), Refused> {
    let parameter = libc::sched_param { sched_priority: i32::from(priority.clamp(1, 99)) };
    // Children that the process may start are not to inherit it.
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: thread 0 is the caller, `parameter` lives through the call.
    let result = unsafe { libc::sched_setscheduler(0, policy, &raw const parameter) };
    if result == 0 { Ok(()) } else { Err(Refused::Scheduling(io::Error::last_os_error())) }
}

/// Keeps all memory of the process, now and later, in place, so that no audio thread waits for a page.
///
/// # Errors
/// When the system does not allow it.
#[cfg(target_os = "linux")]
pub fn lock_memory() -> Result<(), Refused> {
    // SAFETY: takes flags only.
    let result = unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) };
    if result == 0 { Ok(()) } else { Err(Refused::LockedMemory(io::Error::last_os_error())) }
}
