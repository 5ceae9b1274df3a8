//! Board's thread: an ALSA device in non-blocking mode. Its calls can fail, but neither block nor panic.
//!
//! The documentation of each call names the system call that it makes on a hardware device. `snd_pcm_recover` is not used,
//! because it sleeps while a card is suspended.

use std::ffi::CStr;

use alsa::PollDescriptors;
use alsa::pcm::{Frames, PCM};
use handsfree_core::time::Instant;
use handsfree_host::clock;
use libc::{c_short, pollfd};

/// Maximum number of descriptors of one device; hardware devices have one.
pub(crate) const MAX_DESCRIPTORS: usize = 8;

/// Fault of a device, classified by the necessary reaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PcmFault {
    /// The device ran out of samples or of free space.
    Xrun,
    /// The system was suspended.
    Suspended,
    /// The device stands still although it was not stopped.
    Stopped,
    /// The call is to be repeated later; the device works.
    Again,
    /// The device is gone permanently.
    Gone,
    /// The device failed with this error number of the system.
    Failed(i32),
}

impl PcmFault {
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

impl From<alsa::Error> for PcmFault {
    fn from(error: alsa::Error) -> Self {
        Self::of(error.errno())
    }
}

/// State of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PcmState {
    Running,
    /// The device is configured, but not started.
    Stopped,
    Xrun,
    Suspended,
    Disconnected,
}

/// Status of a device at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PcmStatus {
    pub(crate) state: PcmState,
    /// Sample frames that can be read or written.
    pub(crate) avail: i64,
    /// Sample frames between the application's end and the converter.
    pub(crate) delay: i64,
    /// Driver's timestamp of the status.
    pub(crate) time: Instant,
}

/// Open and configured device in non-blocking mode.
#[derive(Debug)]
pub(crate) struct Pcm {
    pcm: PCM,
    frame_bytes: usize,
    descriptors: Vec<pollfd>,
}

impl Pcm {
    /// Takes over a configured device. Control side.
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

    /// Returns whether the device can move samples or has an error, after a poll of its descriptors.
    pub(crate) fn is_ready(&self, polled: &[pollfd]) -> Result<bool, PcmFault> {
        const ERRORS: c_short = libc::POLLERR | libc::POLLHUP | libc::POLLNVAL;
        if polled.iter().any(|fd| fd.revents & libc::POLLNVAL != 0) {
            return Err(PcmFault::Gone);
        }
        if polled.iter().all(|fd| fd.revents == 0) {
            return Ok(false);
        }
        // An error counts as ready, because the next status reports it.
        let ready = self.pcm.revents(polled)?;
        Ok(ready.bits() & (libc::POLLIN | libc::POLLOUT | ERRORS) != 0)
    }

    /// Reads the status, with the hardware's current position. System call: `ioctl(SNDRV_PCM_IOCTL_STATUS_EXT)`.
    pub(crate) fn status(&self) -> Result<PcmStatus, PcmFault> {
        let status = self.pcm.status()?;
        let time = status.get_htstamp();
        Ok(PcmStatus {
            state: self.state(),
            avail: wide(status.get_avail()),
            delay: wide(status.get_delay()),
            #[allow(clippy::useless_conversion, reason = "both numbers have 32 bits on some targets")]
            time: clock::of_timespec(time.tv_sec.into(), time.tv_nsec.into()),
        })
    }

    /// Returns the state. Makes no system call when the kernel shares the state in memory, or else `ioctl(SYNC_PTR)`.
    pub(crate) fn state(&self) -> PcmState {
        use alsa::pcm::State as S;
        const RUNNING: i32 = S::Running as i32;
        const DRAINING: i32 = S::Draining as i32;
        const XRUN: i32 = S::XRun as i32;
        const SUSPENDED: i32 = S::Suspended as i32;
        const DISCONNECTED: i32 = S::Disconnected as i32;
        match self.pcm.state_raw() {
            RUNNING | DRAINING => PcmState::Running,
            XRUN => PcmState::Xrun,
            SUSPENDED => PcmState::Suspended,
            DISCONNECTED => PcmState::Disconnected,
            _ => PcmState::Stopped,
        }
    }

    /// Reads whole sample frames into `bytes` and returns their number. System call: `ioctl(READI_FRAMES)`.
    pub(crate) fn read(&self, bytes: &mut [u8]) -> Result<usize, PcmFault> {
        let max_frames = bytes.len() / self.frame_bytes.max(1);
        let read = self.pcm.io_bytes().readi(bytes)?;
        // A faulty plug-in may return any number.
        if read > max_frames { Err(PcmFault::Failed(libc::EPROTO)) } else { Ok(read) }
    }

    /// Writes whole sample frames and returns the number of accepted ones. System call: `ioctl(WRITEI_FRAMES)`.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<usize, PcmFault> {
        let max_frames = bytes.len() / self.frame_bytes.max(1);
        let written = self.pcm.io_bytes().writei(bytes)?;
        if written > max_frames { Err(PcmFault::Failed(libc::EPROTO)) } else { Ok(written) }
    }

    /// Prepares the device for a start. System call: `ioctl(PREPARE)`.
    pub(crate) fn prepare(&self) -> Result<(), PcmFault> {
        Ok(self.pcm.prepare()?)
    }

    /// Starts the device. System call: `ioctl(START)`.
    pub(crate) fn start(&self) -> Result<(), PcmFault> {
        Ok(self.pcm.start()?)
    }

    /// Stops the device at once and discards the content of its buffer. System call: `ioctl(DROP)`.
    pub(crate) fn stop(&self) -> Result<(), PcmFault> {
        Ok(self.pcm.drop()?)
    }

    /// Resumes a suspended device. Returns [`PcmFault::Again`] while the device is still suspended. System call:
    /// `ioctl(RESUME)`.
    pub(crate) fn resume(&self) -> Result<(), PcmFault> {
        Ok(self.pcm.resume()?)
    }

    /// Links the device with `other`, so that both start and stop together. System call: `ioctl(LINK)`.
    pub(crate) fn link(&self, other: &Self) -> Result<(), PcmFault> {
        Ok(self.pcm.link(&other.pcm)?)
    }

    /// Ends the effect of [`link`](Self::link). System call: `ioctl(UNLINK)`.
    pub(crate) fn unlink(&self) {
        // Fails when the other device was unlinked already or is gone, and there is no link in these cases.
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

/// Opens a device; fails at once when another program uses it. Control side.
pub(crate) fn open(name: &CStr, direction: alsa::Direction) -> Result<PCM, alsa::Error> {
    PCM::open(name, direction, true)
}
