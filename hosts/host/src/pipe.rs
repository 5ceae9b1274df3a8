//! Control side: the size of a pipe's buffer, which is latency where the pipe carries sound.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Limits the buffer of a pipe or FIFO. The system rounds up to a power of two and at least a page.
///
/// # Errors
/// Returns the system's error, for example for a pipe that holds more than the new size.
#[cfg(target_os = "linux")]
pub fn limit_buffer(pipe: BorrowedFd<'_>, bytes: u32) -> io::Result<()> {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    // SAFETY: the call takes numbers only, and the descriptor is open for the length of the borrow.
    match unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETPIPE_SZ, bytes) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;

    #[test]
    fn a_limited_pipe_takes_no_more_than_its_size() {
        let (reader, mut writer) = io::pipe().unwrap();
        limit_buffer(writer.as_fd(), 4_096).unwrap();
        writer.write_all(&[0; 4_096]).unwrap();
        assert!(limit_buffer(writer.as_fd(), u32::MAX).is_err());
        drop(reader);
    }
}
