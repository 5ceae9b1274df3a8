//! Control side: whether the other end of a connection is gone, without reading from it.

use std::os::fd::{AsRawFd, BorrowedFd};

/// Returns whether the peer of a socket has closed it in both directions, or has ended. Data that it sent before may
/// still wait.
#[must_use]
pub fn has_hung_up(socket: BorrowedFd<'_>) -> bool {
    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: the pointer leads to one structure that lives through the call, and a timeout of 0 does not wait.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
    ready > 0 && poll.revents & (libc::POLLHUP | libc::POLLERR) != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::Shutdown;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn only_a_peer_that_reads_no_more_has_hung_up() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        assert!(!has_hung_up(theirs.as_fd()));
        ours.write_all(b"last words").unwrap();
        ours.shutdown(Shutdown::Write).unwrap();
        assert!(!has_hung_up(theirs.as_fd()), "it still reads");
        drop(ours);
        assert!(has_hung_up(theirs.as_fd()));
    }
}
