//! Control side: requests real-time scheduling and locked memory for audio threads.

use std::fmt;
use std::io;

/// Error of a request that the system refused. The thread keeps running, but may be scheduled late.
#[derive(Debug)]
#[non_exhaustive]
pub enum RealtimeError {
    /// Real-time scheduling was refused.
    Scheduling(io::Error),
    /// Locking the process's memory was refused.
    LockedMemory(io::Error),
}

impl fmt::Display for RealtimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheduling(error) => write!(
                f,
                "real-time scheduling was refused ({error}): expected permission for SCHED_FIFO, such as \
                 LimitRTPRIO=95 in a systemd unit or 'rtprio 95' in limits.conf"
            ),
            Self::LockedMemory(error) => write!(
                f,
                "locking memory was refused ({error}): expected a sufficient limit for locked memory, such as \
                 LimitMEMLOCK=infinity in a systemd unit or 'memlock unlimited' in limits.conf"
            ),
        }
    }
}

impl std::error::Error for RealtimeError {}

/// Requests real-time scheduling (`SCHED_FIFO`) for the calling thread, at a priority from 1 to 99.
///
/// Kernels that run interrupt handlers as threads run them at priority 50. A thread with a higher priority runs before
/// them, so each of its rounds must be much shorter than a period.
///
/// # Errors
/// Returns [`RealtimeError::Scheduling`] when the system does not allow it.
#[cfg(target_os = "linux")]
pub fn schedule_fifo(priority: u8) -> Result<(), RealtimeError> {
    let parameter = libc::sched_param { sched_priority: i32::from(priority.clamp(1, 99)) };
    // Child processes must not inherit the priority.
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: thread 0 is the calling thread; `parameter` lives through the call.
    let result = unsafe { libc::sched_setscheduler(0, policy, &raw const parameter) };
    if result == 0 { Ok(()) } else { Err(RealtimeError::Scheduling(io::Error::last_os_error())) }
}

/// Locks all present and future memory of the process, so that no audio thread waits for a page fault.
///
/// # Errors
/// Returns [`RealtimeError::LockedMemory`] when the system does not allow it.
#[cfg(target_os = "linux")]
pub fn lock_memory() -> Result<(), RealtimeError> {
    // SAFETY: the call takes flags only, no pointer.
    let result = unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) };
    if result == 0 { Ok(()) } else { Err(RealtimeError::LockedMemory(io::Error::last_os_error())) }
}
