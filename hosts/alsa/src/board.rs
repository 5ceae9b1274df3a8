//! Board's thread: waits for both devices at once, calls the interrupt halves, then the worker.

use std::io;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use handsfree_core::audio_io::{Direction, Directions, Event};
use handsfree_core::time::Instant;
use handsfree_host::worker::Work;
use handsfree_host::{clock, realtime};
use libc::pollfd;

use crate::exchange::{BoardEnd, CaptureSide, News, Order, PlaybackSide, Sides};
use crate::pcm::MAX_DESCRIPTORS;
use crate::side::{Half, Side, Turn};

/// How the board's thread wants to be treated by the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RealTime {
    /// Priority of `SCHED_FIFO`, 1 to 99; `None` leaves the thread as it is.
    pub priority: Option<u8>,
    /// Whether the process's memory is to be kept in place.
    pub lock_memory: bool,
}

impl Default for RealTime {
    fn default() -> Self {
        Self { priority: Some(70), lock_memory: true }
    }
}

/// The one thread that audio needs on a board.
///
/// It waits in `poll` for capture and playback device and for orders, moves periods between devices and
/// interrupt halves, and then calls the worker, which polls both pipelines or wakes somebody who does. In
/// its loop it makes only these system calls: `poll`, `ioctl` on the devices (`STATUS_EXT`, `READI_FRAMES`,
/// `WRITEI_FRAMES`, and where a stream begins, ends or fails `PREPARE`, `START`, `DROP`, `RESUME`, `LINK`,
/// `UNLINK`), and `read` on the descriptor that orders ring. It allocates and frees nothing. Where the
/// kernel does not share a device's state in memory, as on ARM, there is `ioctl(SYNC_PTR)` as well. Before the
/// loop comes what is asked for as [`RealTime`]: `sched_setscheduler` and `mlockall`. A test traces the thread
/// (`tests/kernel/tests/kernel/ours_calls.rs`).
#[derive(Debug)]
pub struct Board<'a, const CAP: usize, const SLOTS: usize> {
    end: BoardEnd<'a, CAP, SLOTS>,
    real_time: RealTime,
    capture: Option<CaptureSide<'a, CAP>>,
    playback: Option<PlaybackSide<'a, CAP, SLOTS>>,
}

/// The descriptors of one wait: the bell, then both devices'.
struct Polled {
    fds: [pollfd; 1 + 2 * MAX_DESCRIPTORS],
    capture: usize,
    playback: usize,
}

impl<'a, const CAP: usize, const SLOTS: usize> Board<'a, CAP, SLOTS> {
    pub(crate) fn new(end: BoardEnd<'a, CAP, SLOTS>, real_time: RealTime) -> Self {
        Self { end, real_time, capture: None, playback: None }
    }

    /// Runs until the [`AlsaIo`](crate::AlsaIo) that it belongs to is dropped. `work` is called after each
    /// round in which samples moved, and may take as long as the device's fill allows.
    ///
    /// What the system refuses of [`RealTime`] is told once, as [`Event::RealTimeRefused`].
    pub fn run(mut self, mut work: impl FnMut()) {
        self.ask_for_real_time();
        // Release: partner of the Acquire in `AlsaIo::start`.
        self.end.counters.runs.store(true, Ordering::Release);
        let mut polled = Polled::new(self.end.bell.descriptor());
        while self.take_orders() {
            self.wait(&mut polled);
            self.turn(&polled);
            work();
        }
    }

    /// [`run`](Self::run)s on a thread of its own.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn spawn(self, work: Work) -> io::Result<JoinHandle<()>>
    where
        'a: 'static,
    {
        std::thread::Builder::new().name("handsfree-alsa".into()).spawn(move || self.run(work))
    }

    fn ask_for_real_time(&mut self) {
        let scheduled = self.real_time.priority.is_none_or(|p| realtime::schedule_fifo(p).is_ok());
        let locked = !self.real_time.lock_memory || realtime::lock_memory().is_ok();
        if !scheduled || !locked {
            self.end.tell(Event::RealTimeRefused);
        }
    }

    /// Does what control ordered; `false` when control is gone.
    fn take_orders(&mut self) -> bool {
        while let Ok(order) = self.end.orders.pop() {
            match order {
                Order::Start(sides) => self.start(sides),
                Order::Stop(directions) => self.stop(directions),
            }
        }
        // Asked for after the last order was done, so that none is left.
        !self.end.orders.is_abandoned()
    }

    fn start(&mut self, sides: Sides<'a, CAP, SLOTS>) {
        let now = clock::now();
        let Sides { mut capture, mut playback, linked } = sides;
        if let (Some(capture), Some(playback)) = (&mut capture, &mut playback)
            && linked
            && capture.pcm().link(playback.pcm()).is_ok()
        {
            start_linked(capture, playback, now);
        }
        // What was not started together starts alone in its first turn.
        self.capture = capture.or(self.capture.take());
        self.playback = playback.or(self.playback.take());
    }

    fn stop(&mut self, directions: Directions) {
        if directions.includes(Direction::Capture)
            && let Some(mut side) = self.capture.take()
        {
            side.stop();
            self.end.send(News::CaptureBack(side));
        }
        if directions.includes(Direction::Playback)
            && let Some(mut side) = self.playback.take()
        {
            side.stop();
            self.end.send(News::PlaybackBack(side));
        }
    }

    /// `poll`, until a device or control has something to say or a side is due.
    fn wait(&self, polled: &mut Polled) {
        polled.set(self.capture.as_deref(), self.playback.as_deref());
        let due = [
            self.capture.as_ref().and_then(|side| side.due()),
            self.playback.as_ref().and_then(|side| side.due()),
        ];
        let timeout_ms = due.into_iter().flatten().min().map_or(-1, |due| {
            let nanos = (due - clock::now()).as_nanos().max(0);
            i32::try_from(nanos / 1_000_000 + 1).unwrap_or(i32::MAX)
        });
        // An error is a signal: as good as a wake with nothing to do.
        if alsa::poll::poll(polled.all(), timeout_ms).is_err() {
            polled.forget();
        }
        if polled.bell_rang() {
            self.end.bell.hear();
        }
    }

    fn turn(&mut self, polled: &Polled) {
        if let Some(mut side) = self.capture.take() {
            match serve(&mut side, polled.of_capture(), &mut self.end) {
                Turn::Lost => self.lose(Direction::Capture, News::CaptureBack(side)),
                Turn::Began | Turn::Goes => self.capture = Some(side),
            }
        }
        if let Some(mut side) = self.playback.take() {
            match serve(&mut side, polled.of_playback(), &mut self.end) {
                Turn::Lost => self.lose(Direction::Playback, News::PlaybackBack(side)),
                Turn::Began | Turn::Goes => self.playback = Some(side),
            }
        }
        if let (Some(capture), Some(playback)) = (&mut self.capture, &mut self.playback) {
            let (capture_woken, playback_woken) = (capture.take_woken(), playback.take_woken());
            if capture_woken && !playback_woken {
                playback.wake();
            } else if playback_woken && !capture_woken {
                capture.wake();
            }
        }
    }

    fn lose(&mut self, direction: Direction, back: News<'a, CAP, SLOTS>) {
        self.end.send(back);
        self.end.tell(Event::DeviceLost { direction });
    }
}

impl<const CAP: usize, const SLOTS: usize> Drop for Board<'_, CAP, SLOTS> {
    fn drop(&mut self) {
        // Whoever holds the other end gets the halves, also when the worker panicked.
        self.stop(Directions::Both);
    }
}

/// Starts both devices of a card in one instant, and looks whether both run: some drivers start only
/// the one that was asked, and some report success without starting the other.
fn start_linked<const CAP: usize, const SLOTS: usize>(
    capture: &mut CaptureSide<'_, CAP>,
    playback: &mut PlaybackSide<'_, CAP, SLOTS>,
    now: Instant,
) {
    capture.set_linked();
    playback.set_linked();
    // Preparing the one prepares the other, and that throws away what it holds: the fill comes last.
    let prepared = capture.prepare(now).and_then(|()| playback.prepare(now));
    if let Err(fault) = prepared.and_then(|()| playback.start(now)).and_then(|()| capture.start(now)) {
        capture.refuse(fault, now);
        playback.refuse(fault, now);
    }
}

/// One side's turn, and all that there is to say of it.
fn serve<H: Half, const CAP: usize, const SLOTS: usize>(
    side: &mut Side<H>,
    fds: &[pollfd],
    end: &mut BoardEnd<'_, CAP, SLOTS>,
) -> Turn {
    let now = clock::now();
    let ready = if fds.is_empty() { Ok(false) } else { side.pcm().is_ready(fds) };
    let turn = side.turn(ready, now);
    let index = usize::from(H::DIRECTION == Direction::Playback);
    let disbelieved = side.disbelieved();
    end.counters.times_disbelieved[index].store(disbelieved.times, Ordering::Relaxed);
    end.counters.delays_disbelieved[index].store(disbelieved.delays, Ordering::Relaxed);
    if let Some(event) = side.event(now) {
        end.tell(event);
    }
    if turn == Turn::Began {
        end.send(News::Began(H::DIRECTION));
    }
    turn
}

impl Polled {
    fn new(bell: i32) -> Self {
        let mut fds = [pollfd { fd: -1, events: 0, revents: 0 }; 1 + 2 * MAX_DESCRIPTORS];
        fds[0] = pollfd { fd: bell, events: libc::POLLIN, revents: 0 };
        Self { fds, capture: 0, playback: 0 }
    }

    fn set<C: Half, P: Half>(&mut self, capture: Option<&Side<C>>, playback: Option<&Side<P>>) {
        let of_capture =
            capture.filter(|side| side.is_polled()).map_or(&[][..], |side| side.pcm().descriptors());
        let of_playback =
            playback.filter(|side| side.is_polled()).map_or(&[][..], |side| side.pcm().descriptors());
        self.capture = of_capture.len();
        self.playback = of_playback.len();
        let places = self.fds.iter_mut().skip(1);
        for (place, fd) in places.zip(of_capture.iter().chain(of_playback)) {
            *place = *fd;
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.fds.iter_mut().for_each(|fd| fd.revents = 0);
    }

    fn all(&mut self) -> &mut [pollfd] {
        let used = 1 + self.capture + self.playback;
        self.fds.get_mut(..used).unwrap_or_default()
    }

    fn bell_rang(&self) -> bool {
        self.fds.first().is_some_and(|bell| bell.revents != 0)
    }

    fn of_capture(&self) -> &[pollfd] {
        self.fds.get(1..1 + self.capture).unwrap_or_default()
    }

    fn of_playback(&self) -> &[pollfd] {
        let first = 1 + self.capture;
        self.fds.get(first..first + self.playback).unwrap_or_default()
    }
}
