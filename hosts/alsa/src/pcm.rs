//! Board's thread: one ALSA device that never blocks, in calls that can fail and cannot panic.
//!
//! After each comes the system call it makes on a hardware device. `snd_pcm_recover` is not among them:
//! it sleeps for as long as a card stays suspended.

use std::ffi::CStr;

use alsa::PollDescriptors;
use alsa::pcm::{Frames, PCM};
use handsfree_core::time::Instant;
use handsfree_host::clock;
use libc::{c_short, pollfd};

/// Most descriptors that one device may be waited for with; hardware devices have one.
pub(crate) const MAX_DESCRIPTORS: usize = 8;

/// What went wrong with a device, by what has to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It ran out of samples or of room.
    Xrun,
    /// The system was suspended.
    Suspended,
    /// It stands still though nobody stopped it.
    Stopped,
    /// Not now; nothing is wrong.
    Again,
    /// It is gone for good.
    Gone,
    /// It failed; the system's number for why.
    Failed(i32),
}

impl Fault {
    fn of(errno: i32) -> Self {
        match errno.abs() {
            libc::EPIPE => Self::Xrun,
            libc::ESTRPIPE => Self::Suspended,
            libc::EAGAIN | libc::EINTR => Self::Again,
            libc::ENODEV | libc::ENXIO | libc::ENOENT => Self::Gone,
            libc::EBADFD => Self::Stopped,
            errno => Self::Failed(errno),
        }
    }
}

impl From<alsa::Error> for Fault {
    fn from(error: alsa::Error) -> Self {
        Self::of(error.errno())
    }
}

/// What a device is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    /// Set up, but not started.
    Standing,
    Xrun,
    Suspended,
    Disconnected,
}

/// What a device said of itself at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) state: State,
    /// Sample frames to be read, or room to write.
    pub(crate) avail: i64,
    /// Sample frames between the application's end and the converter.
    pub(crate) delay: i64,
    /// When that was.
    pub(crate) time: Instant,
}

/// A device that is open, non-blocking and configured.
#[derive(Debug)]
pub(crate) struct Pcm {
    pcm: PCM,
    frame_bytes: usize,
    descriptors: Vec<pollfd>,
}

impl Pcm {
    /// Takes over a device that has its parameters. Control side.
    pub(crate) fn new(pcm: PCM, frame_bytes: usize) -> Result<Self, alsa::Error> {
        let descriptors = PollDescriptors::get(&pcm)?;
        if descriptors.is_empty() || descriptors.len() > MAX_DESCRIPTORS {
            return Err(alsa::Error::unsupported("snd_pcm_poll_descriptors"));
        }
        Ok(Self { pcm, frame_bytes, descriptors })
    }

    pub(crate) fn descriptors(&self) -> &[pollfd] {
        &self.descriptors
    }

    /// Whether the device has something to do or to say, after a wait for its descriptors.
    pub(crate) fn is_ready(&self, polled: &[pollfd]) -> Result<bool, Fault> {
        const TROUBLE: c_short = libc::POLLERR | libc::POLLHUP | libc::POLLNVAL;
        if polled.iter().any(|fd| fd.revents & libc::POLLNVAL != 0) {
            return Err(Fault::Gone);
        }
        if polled.iter().all(|fd| fd.revents == 0) {
            return Ok(false);
        }
        // Trouble makes it ready as well: its status says what it is.
        let ready = self.pcm.revents(polled)?;
        Ok(ready.bits() & (libc::POLLIN | libc::POLLOUT | TROUBLE) != 0)
    }

    /// `ioctl(SNDRV_PCM_IOCTL_STATUS_EXT)`; asks the hardware where it is.
    pub(crate) fn status(&self) -> Result<Status, Fault> {
        let status = self.pcm.status()?;
        let time = status.get_htstamp();
        Ok(Status {
            state: self.state(),
            avail: wide(status.get_avail()),
            delay: wide(status.get_delay()),
            #[allow(clippy::useless_conversion, reason = "both numbers have 32 bits on some targets")]
            time: clock::of_timespec(time.tv_sec.into(), time.tv_nsec.into()),
        })
    }

    /// No system call: the kernel shows it in shared memory; where it cannot, `ioctl(SYNC_PTR)`.
    pub(crate) fn state(&self) -> State {
        use alsa::pcm::State as S;
        const RUNNING: i32 = S::Running as i32;
        const DRAINING: i32 = S::Draining as i32;
        const XRUN: i32 = S::XRun as i32;
        const SUSPENDED: i32 = S::Suspended as i32;
        const DISCONNECTED: i32 = S::Disconnected as i32;
        match self.pcm.state_raw() {
            RUNNING | DRAINING => State::Running,
            XRUN => State::Xrun,
            SUSPENDED => State::Suspended,
            DISCONNECTED => State::Disconnected,
            _ => State::Standing,
        }
    }

    /// Reads whole sample frames into `bytes`; how many came. `ioctl(READI_FRAMES)`.
    pub(crate) fn read(&self, bytes: &mut [u8]) -> Result<usize, Fault> {
        let most = bytes.len() / self.frame_bytes.max(1);
        let read = self.pcm.io_bytes().readi(bytes)?;
        // A plug-in may say anything.
        if read > most { Err(Fault::Failed(libc::EPROTO)) } else { Ok(read) }
    }

    /// Writes whole sample frames; how many went. `ioctl(WRITEI_FRAMES)`.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<usize, Fault> {
        let most = bytes.len() / self.frame_bytes.max(1);
        let written = self.pcm.io_bytes().writei(bytes)?;
        if written > most { Err(Fault::Failed(libc::EPROTO)) } else { Ok(written) }
    }

    /// `ioctl(PREPARE)`.
    pub(crate) fn prepare(&self) -> Result<(), Fault> {
        Ok(self.pcm.prepare()?)
    }

    /// `ioctl(START)`.
    pub(crate) fn start(&self) -> Result<(), Fault> {
        Ok(self.pcm.start()?)
    }

    /// Stops at once; what is in the buffer is not played. `ioctl(DROP)`.
    pub(crate) fn stop(&self) -> Result<(), Fault> {
        Ok(self.pcm.drop()?)
    }

    /// Asks a suspended device to go on. `ioctl(RESUME)`; says [`Fault::Again`] while it sleeps.
    pub(crate) fn resume(&self) -> Result<(), Fault> {
        Ok(self.pcm.resume()?)
    }

    /// Starts and stops together with `other` from now on. `ioctl(LINK)`.
    pub(crate) fn link(&self, other: &Self) -> Result<(), Fault> {
        Ok(self.pcm.link(&other.pcm)?)
    }

    /// The end of [`link`](Self::link). `ioctl(UNLINK)`.
    pub(crate) fn unlink(&self) {
        // It fails where the other one unlinked already, or is gone: there is no link then either.
        _ = self.pcm.unlink();
    }

    pub(crate) fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }
}

#[allow(clippy::useless_conversion, reason = "a long has 32 bits on some targets")]
fn wide(frames: Frames) -> i64 {
    frames.into()
}

/// Opens a device without waiting for whoever uses it. Control side.
pub(crate) fn open(name: &CStr, direction: alsa::Direction) -> Result<PCM, alsa::Error> {
    PCM::open(name, direction, true)
}
