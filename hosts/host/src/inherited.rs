//! Control side: file descriptors that the process inherited when it was started.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// First descriptor that is not one of stdin, stdout and stderr.
const FIRST_DESCRIPTOR: RawFd = 3;

/// Takes an inherited descriptor, which a service manager or a shell has opened. Each can be taken once.
///
/// # Errors
/// Returns an error for a descriptor below 3, for one that is not open, and for one that this process opened or
/// that was taken before. A descriptor of this process is
/// recognised because it is closed when another program is started.
pub fn take(descriptor: RawFd) -> io::Result<OwnedFd> {
    let refused =
        |why: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("descriptor {descriptor} {why}"));
    if descriptor < FIRST_DESCRIPTOR {
        return Err(refused("is below 3: expected an inherited descriptor"));
    }
    // SAFETY: the call takes numbers only, and reports a number that is no open descriptor.
    let flags = unsafe { libc::fcntl(descriptor, libc::F_GETFD) };
    if flags < 0 {
        return Err(refused("is not open: expected an inherited descriptor"));
    }
    if flags & libc::FD_CLOEXEC != 0 {
        return Err(refused("belongs to this process: expected an inherited descriptor that was not taken"));
    }
    // SAFETY: as above.
    if unsafe { libc::fcntl(descriptor, libc::F_SETFD, flags | libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open. Rust's library sets the flag on every descriptor that it opens, so one
    // without it is inherited and has no owner; the flag that was set above refuses a second call.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{AsRawFd, IntoRawFd};

    #[test]
    fn only_an_inherited_descriptor_is_taken_and_only_once() {
        let own = std::fs::File::open("/dev/null").unwrap();
        assert!(take(own.as_raw_fd()).unwrap_err().to_string().contains("belongs to this process"));
        for wrong in [-1, 0, 2, 1_000_000] {
            assert!(take(wrong).is_err(), "{wrong}");
        }
        let number = own.into_raw_fd();
        // SAFETY: the number was released above and is not used otherwise.
        unsafe { libc::fcntl(number, libc::F_SETFD, 0) };
        let taken = take(number).unwrap();
        assert_eq!(taken.as_raw_fd(), number);
        assert!(take(number).is_err());
    }
}
