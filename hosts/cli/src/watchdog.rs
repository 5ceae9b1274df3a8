//! Control side: tells a service manager that the terminal runs, as long as its worker does.
//!
//! Source: sd_notify(3) and systemd.service(5) of systemd: the service manager passes a datagram socket in
//! `NOTIFY_SOCKET`, and the longest time between two messages in `WATCHDOG_USEC`. Without these nothing is sent.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration as WallDuration, Instant as WallInstant};

use handsfree_host::worker::Work;

/// Counter of the worker's finished rounds.
#[derive(Clone, Debug, Default)]
pub struct WorkerRounds(Arc<AtomicU64>);

impl WorkerRounds {
    /// Returns the work with a counter of its finished calls.
    #[must_use]
    pub fn counted(&self, mut work: Work) -> Work {
        let rounds = Arc::clone(&self.0);
        // Relaxed: only the count itself is read.
        Box::new(move || {
            work();
            rounds.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Sender of messages to the service manager.
///
/// While a device runs, its interrupts wake the worker every few milliseconds. The message that the terminal is alive is
/// sent only when the worker has finished rounds since the last one, so that a worker that hangs gets the service
/// restarted. While all devices are away the worker has nothing to do, and the control loop alone keeps the service alive.
#[derive(Debug)]
pub struct Watchdog {
    socket: Option<NotifySocket>,
    rounds: WorkerRounds,
    /// Number of finished rounds at the last message.
    reported_rounds: u64,
    /// Interval between two messages; `None` if the service manager does not watch.
    interval: Option<WallDuration>,
    next_at: WallInstant,
}

impl Watchdog {
    /// Makes the sender for the variables that a service manager passes.
    ///
    /// # Errors
    /// Returns an error that names the variable that cannot be used.
    pub fn from_environment(rounds: WorkerRounds) -> io::Result<Self> {
        let variable = |name: &str| std::env::var(name).ok();
        let invalid =
            |name: &str, found: &str| io::Error::other(format!("{name} {found:?}: expected a whole number"));
        let number = |name: &str| {
            variable(name).map(|text| text.parse::<u64>().map_err(|_| invalid(name, &text))).transpose()
        };
        // The variables may be meant for a parent of this process.
        let is_mine = number("WATCHDOG_PID")?.is_none_or(|pid| pid == u64::from(std::process::id()));
        let limit = number("WATCHDOG_USEC")?.filter(|&micros| is_mine && micros > 0);
        let socket = NotifySocket::from_environment()?;
        Ok(Self::new(socket, limit.map(WallDuration::from_micros), rounds, WallInstant::now()))
    }

    fn new(
        socket: Option<NotifySocket>,
        limit: Option<WallDuration>,
        rounds: WorkerRounds,
        now: WallInstant,
    ) -> Self {
        // sd_watchdog_enabled(3) recommends half of the limit; a third leaves time for a message that is sent late.
        let interval = limit.filter(|_| socket.is_some()).map(|limit| limit / 3);
        Self { socket, rounds, reported_rounds: 0, interval, next_at: now }
    }

    /// Reports that the devices are open.
    ///
    /// # Errors
    /// Returns the error of the socket.
    pub fn ready(&self) -> io::Result<()> {
        self.send("READY=1")
    }

    /// Reports that the terminal ends.
    ///
    /// # Errors
    /// Returns the error of the socket.
    pub fn stopping(&self) -> io::Result<()> {
        self.send("STOPPING=1")
    }

    /// Reports that the terminal is alive when a message is due and the worker has made progress. `is_running` is whether
    /// any device runs.
    ///
    /// # Errors
    /// Returns the error of the socket.
    pub fn poll(&mut self, is_running: bool, now: WallInstant) -> io::Result<()> {
        let Some(interval) = self.interval.filter(|_| now >= self.next_at) else { return Ok(()) };
        let rounds = self.rounds.read();
        if is_running && rounds == self.reported_rounds {
            return Ok(());
        }
        self.reported_rounds = rounds;
        self.next_at = now + interval;
        self.send("WATCHDOG=1")
    }

    fn send(&self, message: &str) -> io::Result<()> {
        self.socket.as_ref().map_or(Ok(()), |socket| socket.send(message))
    }
}

/// Datagram socket of a service manager.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct NotifySocket {
    socket: std::os::unix::net::UnixDatagram,
    address: std::os::unix::net::SocketAddr,
}

#[cfg(target_os = "linux")]
impl NotifySocket {
    fn from_environment() -> io::Result<Option<Self>> {
        use std::os::unix::ffi::OsStrExt;
        std::env::var_os("NOTIFY_SOCKET").map(|name| Self::open(name.as_bytes())).transpose()
    }

    /// Opens the socket with this name: a path, or `@` and an abstract name.
    fn open(name: &[u8]) -> io::Result<Self> {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::net::{SocketAddr, UnixDatagram};
        let address = match name {
            [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
            [b'/', ..] => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
            _ => {
                let found = String::from_utf8_lossy(name);
                return Err(io::Error::other(format!(
                    "NOTIFY_SOCKET {found:?}: expected a path that starts with '/' or '@'"
                )));
            }
        };
        let socket = UnixDatagram::unbound()?;
        // A service manager that does not read must not hold the control loop up.
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address })
    }

    fn send(&self, message: &str) -> io::Result<()> {
        self.socket.send_to_addr(message.as_bytes(), &self.address).map(|_| ())
    }
}

/// Nothing: other systems have no such socket.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
enum NotifySocket {}

#[cfg(not(target_os = "linux"))]
impl NotifySocket {
    fn from_environment() -> io::Result<Option<Self>> {
        Ok(None)
    }

    fn send(&self, _message: &str) -> io::Result<()> {
        match *self {}
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    /// Returns the messages that wait in the socket.
    fn received(socket: &UnixDatagram) -> Vec<String> {
        let mut bytes = [0; 256];
        std::iter::from_fn(|| socket.recv(&mut bytes).ok().map(|length| bytes[..length].to_vec()))
            .map(|message| String::from_utf8(message).unwrap())
            .collect()
    }

    #[test]
    fn a_worker_that_hangs_stops_the_messages() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("handsfree-watchdog-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        manager.set_nonblocking(true).unwrap();
        let socket = NotifySocket::open(format!("@{name}").as_bytes()).unwrap();
        let rounds = WorkerRounds::default();
        let mut work = rounds.counted(Box::new(|| {}));
        let mut now = WallInstant::now();
        let limit = WallDuration::from_millis(3_000);
        let mut watchdog = Watchdog::new(Some(socket), Some(limit), rounds, now);
        watchdog.ready().unwrap();
        assert_eq!(received(&manager), ["READY=1"]);
        // Returns the number of messages in some seconds of the control loop.
        let mut messages_in = |seconds: u32, is_running: bool, work: &mut dyn FnMut()| {
            for _ in 0..seconds * 50 {
                now += WallDuration::from_millis(20);
                work();
                watchdog.poll(is_running, now).unwrap();
            }
            let messages = received(&manager);
            assert!(messages.iter().all(|message| message == "WATCHDOG=1"), "{messages:?}");
            messages.len()
        };
        assert_eq!(messages_in(10, true, &mut work), 10, "three in each limit");
        assert!(messages_in(60, true, &mut || ()) <= 1, "the worker hangs, and the control loop does not");
        assert_eq!(messages_in(10, false, &mut || ()), 10, "no device runs, so the worker has nothing to do");
        assert_eq!(messages_in(10, true, &mut work), 10, "the worker runs again");
    }

    #[test]
    fn a_socket_name_is_a_path_or_abstract() {
        let message = NotifySocket::open(b"notify").unwrap_err().to_string();
        assert!(message.contains("NOTIFY_SOCKET \"notify\""), "{message}");
        assert!(NotifySocket::open(b"/run/systemd/notify").is_ok());
    }
}
