//! Board's thread: waits for both devices at once, calls the interrupt halves, then the worker.

use std::io;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use handsfree_core::audio_io::{Direction, Directions, Event};
use handsfree_core::time::Instant;
use handsfree_host::request::index;
use handsfree_host::worker::Work;
use handsfree_host::{clock, realtime};
use libc::pollfd;

use crate::config::RealTimeConfig;
use crate::device_stream::{DeviceStream, StreamProgress, TransferHalf};
use crate::exchange::{
    BoardCommand, BoardEndpoint, BoardReport, CaptureDeviceStream, DeviceStreams, PlaybackDeviceStream,
};
use crate::pcm::MAX_DESCRIPTORS;

/// The only thread that audio needs on a board.
///
/// The thread waits in `poll` for the capture and playback devices and for commands, moves periods between the devices
/// and the interrupt halves, and then calls the worker, which polls both pipelines or wakes a thread that does. Its loop
/// allocates and frees nothing and makes only these system calls: `poll`, `ioctl` on the devices (`STATUS_EXT`,
/// `READI_FRAMES`, `WRITEI_FRAMES`, and when a stream starts, stops or fails `PREPARE`, `START`, `DROP`, `RESUME`,
/// `LINK`, `UNLINK`), and `read` on the event descriptor that announces commands. Where the kernel does not share the
/// state of a device in memory, for example on ARM, it also makes `ioctl(SYNC_PTR)`. Before the loop, it makes the calls
/// for [`RealTimeConfig`]: `sched_setscheduler` and `mlockall`. A test traces the thread's calls
/// (`tests/kernel/tests/kernel/alsa_host_calls.rs`).
#[derive(Debug)]
pub struct Board<'a, const CAP: usize, const SLOTS: usize> {
    endpoint: BoardEndpoint<'a, CAP, SLOTS>,
    real_time: RealTimeConfig,
    capture: Option<CaptureDeviceStream<'a, CAP>>,
    playback: Option<PlaybackDeviceStream<'a, CAP, SLOTS>>,
}

/// Descriptors of one wait: the wake-up event, then those of both devices.
struct PollSet {
    fds: [pollfd; 1 + 2 * MAX_DESCRIPTORS],
    capture_fds: usize,
    playback_fds: usize,
}

impl<'a, const CAP: usize, const SLOTS: usize> Board<'a, CAP, SLOTS> {
    pub(crate) fn new(endpoint: BoardEndpoint<'a, CAP, SLOTS>, real_time: RealTimeConfig) -> Self {
        Self { endpoint, real_time, capture: None, playback: None }
    }

    /// Runs until the [`AlsaIo`](crate::AlsaIo) of this board is dropped. Calls `work` after each round in which samples
    /// moved; `work` may take at most as long as the fill of the playback device lasts.
    ///
    /// When the system refuses a request of [`RealTimeConfig`], the board sends [`Event::RealTimeRefused`] once.
    pub fn run(mut self, mut work: impl FnMut()) {
        self.request_real_time();
        // Release: partner of the Acquire in `AlsaIo::await_board`.
        self.endpoint.counters.runs.store(true, Ordering::Release);
        let mut poll_set = PollSet::new(self.endpoint.wake.descriptor());
        while self.execute_commands() {
            self.wait(&mut poll_set);
            self.serve_devices(&poll_set);
            work();
        }
    }

    /// Calls [`run`](Self::run) on a new thread.
    ///
    /// # Errors
    /// Returns the system's error when it cannot start a thread.
    pub fn spawn(self, work: Work) -> io::Result<JoinHandle<()>>
    where
        'a: 'static,
    {
        std::thread::Builder::new().name("handsfree-alsa".into()).spawn(move || self.run(work))
    }

    fn request_real_time(&mut self) {
        let scheduled = self.real_time.priority.is_none_or(|p| realtime::schedule_fifo(p).is_ok());
        let locked = !self.real_time.lock_memory || realtime::lock_memory().is_ok();
        if !scheduled || !locked {
            self.endpoint.send_event(Event::RealTimeRefused);
        }
    }

    /// Executes the waiting commands. Returns false when control is gone.
    fn execute_commands(&mut self) -> bool {
        while let Ok(command) = self.endpoint.commands.pop() {
            match command {
                BoardCommand::Start(streams) => self.start(streams),
                BoardCommand::Stop(directions) => self.stop(directions),
            }
        }
        // Checked after the queue was empty, so that no command is skipped.
        !self.endpoint.commands.is_abandoned()
    }

    fn start(&mut self, streams: DeviceStreams<'a, CAP, SLOTS>) {
        let now = clock::now();
        let DeviceStreams { mut capture, mut playback, linked } = streams;
        if let (Some(capture), Some(playback)) = (&mut capture, &mut playback)
            && linked
            && capture.pcm().link(playback.pcm()).is_ok()
        {
            start_linked(capture, playback, now);
        }
        // A stream that was not started here starts by itself in its first step.
        self.capture = capture.or(self.capture.take());
        self.playback = playback.or(self.playback.take());
    }

    fn stop(&mut self, directions: Directions) {
        if directions.includes(Direction::Capture)
            && let Some(mut stream) = self.capture.take()
        {
            stream.stop();
            self.endpoint.report(BoardReport::CaptureReturned(stream));
        }
        if directions.includes(Direction::Playback)
            && let Some(mut stream) = self.playback.take()
        {
            stream.stop();
            self.endpoint.report(BoardReport::PlaybackReturned(stream));
        }
    }

    /// Waits until a device is ready, control sends a command, or a stream is due. System call: `poll`.
    fn wait(&self, poll_set: &mut PollSet) {
        poll_set.set(self.capture.as_deref(), self.playback.as_deref());
        let due = [
            self.capture.as_ref().and_then(|stream| stream.due()),
            self.playback.as_ref().and_then(|stream| stream.due()),
        ];
        let timeout_ms = due.into_iter().flatten().min().map_or(-1, |due| {
            let nanos = (due - clock::now()).as_nanos().max(0);
            i32::try_from(nanos / 1_000_000 + 1).unwrap_or(i32::MAX)
        });
        // Only a signal causes an error here; the round then has nothing to do.
        if alsa::poll::poll(poll_set.all(), timeout_ms).is_err() {
            poll_set.clear_results();
        }
        if poll_set.wake_was_signalled() {
            self.endpoint.wake.clear();
        }
    }

    fn serve_devices(&mut self, poll_set: &PollSet) {
        if let Some(mut stream) = self.capture.take() {
            match serve(&mut stream, poll_set.capture(), &mut self.endpoint) {
                StreamProgress::Lost => {
                    self.report_loss(Direction::Capture, BoardReport::CaptureReturned(stream));
                }
                StreamProgress::Started | StreamProgress::Unchanged => self.capture = Some(stream),
            }
        }
        if let Some(mut stream) = self.playback.take() {
            match serve(&mut stream, poll_set.playback(), &mut self.endpoint) {
                StreamProgress::Lost => {
                    self.report_loss(Direction::Playback, BoardReport::PlaybackReturned(stream));
                }
                StreamProgress::Started | StreamProgress::Unchanged => self.playback = Some(stream),
            }
        }
        if let (Some(capture), Some(playback)) = (&mut self.capture, &mut self.playback) {
            let (capture_resumed, playback_resumed) =
                (capture.take_linked_resume(), playback.take_linked_resume());
            if capture_resumed && !playback_resumed {
                playback.resumed_by_link();
            } else if playback_resumed && !capture_resumed {
                capture.resumed_by_link();
            }
        }
    }

    fn report_loss(&mut self, direction: Direction, returned: BoardReport<'a, CAP, SLOTS>) {
        self.endpoint.report(returned);
        self.endpoint.send_event(Event::DeviceLost { direction });
    }
}

impl<const CAP: usize, const SLOTS: usize> Drop for Board<'_, CAP, SLOTS> {
    fn drop(&mut self) {
        // Control gets the halves back even when the worker panicked.
        self.stop(Directions::Both);
    }
}

/// Starts both devices of a card at the same instant, and checks that both run: some drivers start only the one on which
/// the start was called, and some report success without starting the other one.
fn start_linked<const CAP: usize, const SLOTS: usize>(
    capture: &mut CaptureDeviceStream<'_, CAP>,
    playback: &mut PlaybackDeviceStream<'_, CAP, SLOTS>,
    now: Instant,
) {
    capture.set_linked();
    playback.set_linked();
    // Preparing one device also prepares the other and discards the content of its buffer, so playback comes last.
    let prepared = capture.prepare(now).and_then(|()| playback.prepare(now));
    if let Err(fault) = prepared.and_then(|()| playback.start(now)).and_then(|()| capture.start(now)) {
        capture.record_failed_start(fault, now);
        playback.record_failed_start(fault, now);
    }
}

/// Runs one step of a stream, and sends its events and reports to control.
fn serve<H: TransferHalf, const CAP: usize, const SLOTS: usize>(
    stream: &mut DeviceStream<H>,
    fds: &[pollfd],
    endpoint: &mut BoardEndpoint<'_, CAP, SLOTS>,
) -> StreamProgress {
    let now = clock::now();
    let ready = if fds.is_empty() { Ok(false) } else { stream.pcm().is_ready(fds) };
    let progress = stream.step(ready, now);
    let rejected = stream.rejected_counts();
    // Relaxed: the counters order no other memory access.
    endpoint.counters.times_rejected[index(H::DIRECTION)].store(rejected.times, Ordering::Relaxed);
    endpoint.counters.delays_rejected[index(H::DIRECTION)].store(rejected.delays, Ordering::Relaxed);
    if let Some(event) = stream.take_event(now) {
        endpoint.send_event(event);
    }
    if progress == StreamProgress::Started {
        endpoint.report(BoardReport::Started(H::DIRECTION));
    }
    progress
}

impl PollSet {
    fn new(wake: i32) -> Self {
        let mut fds = [pollfd { fd: -1, events: 0, revents: 0 }; 1 + 2 * MAX_DESCRIPTORS];
        fds[0] = pollfd { fd: wake, events: libc::POLLIN, revents: 0 };
        Self { fds, capture_fds: 0, playback_fds: 0 }
    }

    fn set<C: TransferHalf, P: TransferHalf>(
        &mut self,
        capture: Option<&DeviceStream<C>>,
        playback: Option<&DeviceStream<P>>,
    ) {
        let capture_fds =
            capture.filter(|stream| stream.is_polled()).map_or(&[][..], |stream| stream.pcm().descriptors());
        let playback_fds =
            playback.filter(|stream| stream.is_polled()).map_or(&[][..], |stream| stream.pcm().descriptors());
        self.capture_fds = capture_fds.len();
        self.playback_fds = playback_fds.len();
        let entries = self.fds.iter_mut().skip(1);
        for (entry, fd) in entries.zip(capture_fds.iter().chain(playback_fds)) {
            *entry = *fd;
        }
        self.clear_results();
    }

    fn clear_results(&mut self) {
        self.fds.iter_mut().for_each(|fd| fd.revents = 0);
    }

    fn all(&mut self) -> &mut [pollfd] {
        let used = 1 + self.capture_fds + self.playback_fds;
        self.fds.get_mut(..used).unwrap_or_default()
    }

    fn wake_was_signalled(&self) -> bool {
        self.fds.first().is_some_and(|wake| wake.revents != 0)
    }

    fn capture(&self) -> &[pollfd] {
        self.fds.get(1..1 + self.capture_fds).unwrap_or_default()
    }

    fn playback(&self) -> &[pollfd] {
        let first = 1 + self.capture_fds;
        self.fds.get(first..first + self.playback_fds).unwrap_or_default()
    }
}
