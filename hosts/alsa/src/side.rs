//! Board's thread: one direction of a stream, kept going whatever its device does.
//!
//! A device that ran out of samples is started again at once, one that fails after a while that gets
//! longer, one that sleeps with the system when it wakes up; one that is gone, or that failed too
//! often, is given up. The position goes on through all of it: what was lost is counted by time.

use handsfree_core::audio_io::{Direction, Event};
use handsfree_core::time::{Duration, Instant};
use handsfree_core::{PeriodTime, SampleRate};

use crate::params::Granted;
use crate::pcm::{Fault, Pcm, State, Status};
use crate::timing::{Disbelieved, Timing};

/// First wait before a device that failed is started again; each further one is twice as long.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// Longest such wait.
const LONGEST_BACKOFF: Duration = Duration::from_millis(1_000);
/// How often a device is started again before it is given up, some four seconds in all.
const MAX_FAILURES: u32 = 6;
/// The same for one that never ran: whoever started it waits for the answer.
const MAX_FIRST_FAILURES: u32 = 2;
/// How often a suspended device is asked whether it is awake.
const RESUME_INTERVAL: Duration = Duration::from_millis(100);
/// What ran so long without a fault is healthy again.
const HEALTHY_AFTER: Duration = Duration::from_millis(1_000);
/// A running device that moves nothing for so long has failed.
const STALLED_AFTER: Duration = Duration::from_millis(1_000);
/// Wakes in a row with nothing to do, after which a device that claims to be ready has failed.
const MAX_IDLE_WAKES: u32 = 64;
/// Xruns are told at most so often.
const REPORT_INTERVAL: Duration = Duration::from_millis(100);

/// What differs between the directions.
pub(crate) trait Half {
    /// The direction.
    const DIRECTION: Direction;

    /// Moves what the device has, or has room for, between it and the core; how many sample frames.
    /// `time` is that of the next sample frame and moves on with each one.
    fn transfer(&mut self, stream: &Stream, queued: u32, time: &mut PeriodTime) -> Result<u32, Fault>;

    /// Whether another period could be moved at once, after `moved` with `queued` in the buffer.
    fn has_more(&self, stream: &Stream, queued: u32, moved: u32) -> bool;

    /// What the core made and the device did not take yet.
    fn waiting_sample_frames(&self) -> u32;

    /// Fills a prepared device as it has to be before it starts.
    fn fill(&mut self, stream: &Stream) -> Result<(), Fault>;

    /// What the device still held is lost: `queued` sample frames in its buffer, and what the half
    /// had not handed over.
    fn abandon(&mut self, queued: u32);
}

/// What one direction's device is and was granted.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) pcm: Pcm,
    pub(crate) rate: SampleRate,
    pub(crate) channels: usize,
    pub(crate) period_sample_frames: u32,
    pub(crate) buffer_sample_frames: u32,
    /// Sample frames kept between the application and the converter (playback).
    pub(crate) fill_sample_frames: u32,
}

impl Stream {
    pub(crate) fn new(pcm: Pcm, granted: &Granted, fill_sample_frames: u32) -> Self {
        Self {
            pcm,
            rate: granted.rate,
            channels: granted.channels as usize,
            period_sample_frames: granted.period_sample_frames,
            buffer_sample_frames: granted.buffer_sample_frames,
            fill_sample_frames,
        }
    }

    fn span(&self, sample_frames: u32) -> Duration {
        Duration::of_sample_frames(sample_frames.into(), self.rate)
    }
}

/// Where a side is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Started, nothing moved yet.
    Starting {
        /// Until when something has to.
        deadline: Instant,
    },
    Running,
    /// To be started again at a moment.
    Failed {
        again: Instant,
    },
    /// To be asked at a moment whether it is awake.
    Suspended {
        ask: Instant,
    },
    /// Given up.
    Lost,
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Goes on.
    Goes,
    /// The first sample moved.
    Began,
    /// The device is given up.
    Lost,
}

/// One direction: its device, its half of the core, and how it is doing.
#[derive(Debug)]
pub(crate) struct Side<H> {
    pub(crate) half: H,
    stream: Stream,
    timing: Timing,
    /// Stream position of the next sample frame to be read or written.
    position: u64,
    /// When the converter was, or will be, at a position, as last seen.
    known: Option<(u64, Instant)>,
    phase: Phase,
    /// Whether the first sample moved.
    began: bool,
    /// Whether the device was started anew, and what that cost is to be found out.
    interrupted: bool,
    linked: bool,
    /// Whether it was woken from a suspend, together with a linked device, since that was last asked.
    woken: bool,
    failures: u32,
    idle_wakes: u32,
    /// Whether there was more to move than one turn moves.
    behind: bool,
    /// When it last moved something, and when it last failed.
    moved: Instant,
    failed: Instant,
    xruns: Xruns,
}

/// Interruptions that were not told yet.
#[derive(Debug)]
struct Xruns {
    sample_frames: Option<u32>,
    told: Instant,
}

impl<H: Half> Side<H> {
    pub(crate) fn new(stream: Stream, half: H) -> Self {
        let timing = Timing::new(H::DIRECTION, stream.rate, stream.buffer_sample_frames);
        let long_ago = Instant::from_nanos(i64::MIN);
        Self {
            half,
            stream,
            timing,
            position: 0,
            known: None,
            phase: Phase::Failed { again: long_ago },
            began: false,
            interrupted: false,
            linked: false,
            woken: false,
            failures: 0,
            idle_wakes: 0,
            behind: false,
            moved: long_ago,
            failed: long_ago,
            xruns: Xruns { sample_frames: None, told: long_ago },
        }
    }

    pub(crate) fn pcm(&self) -> &Pcm {
        &self.stream.pcm
    }

    /// Says that the device starts and stops together with the other side's.
    pub(crate) fn set_linked(&mut self) {
        self.linked = true;
    }

    /// Whether it was woken from a suspend since the last time, and a linked device with it.
    pub(crate) fn take_woken(&mut self) -> bool {
        std::mem::take(&mut self.woken)
    }

    /// The device was woken together with the other one and goes on; what it slept through is a gap.
    pub(crate) fn wake(&mut self) {
        self.interrupted |= self.phase == Phase::Running;
    }

    /// Whether there is any use in waiting for its descriptors.
    pub(crate) fn is_polled(&self) -> bool {
        matches!(self.phase, Phase::Starting { .. } | Phase::Running)
    }

    /// When it wants a turn though its device has nothing to say.
    pub(crate) fn due(&self) -> Option<Instant> {
        let next = match self.phase {
            Phase::Starting { .. } | Phase::Running if self.behind => self.moved,
            Phase::Starting { deadline } => deadline,
            Phase::Running => self.moved + self.stalled_after(),
            Phase::Failed { again } => again,
            Phase::Suspended { ask } => ask,
            Phase::Lost => return None,
        };
        let tell = self.xruns.sample_frames.map(|_| self.xruns.told + REPORT_INTERVAL);
        Some(tell.map_or(next, |tell| tell.min(next)))
    }

    pub(crate) fn disbelieved(&self) -> Disbelieved {
        self.timing.disbelieved()
    }

    /// Makes ready to start, alone or together with the device it is linked to.
    pub(crate) fn prepare(&mut self, now: Instant) -> Result<(), Fault> {
        self.stream.pcm.prepare()?;
        self.half.fill(&self.stream)?;
        self.timing.restart();
        self.moved = now;
        self.idle_wakes = 0;
        Ok(())
    }

    /// Starts what was prepared, where the link has not done it.
    pub(crate) fn start(&mut self, now: Instant) -> Result<(), Fault> {
        if self.stream.pcm.state() != State::Running {
            self.stream.pcm.start()?;
        }
        self.phase = Phase::Starting { deadline: now + self.stalled_after() };
        Ok(())
    }

    /// The device could not be prepared or started.
    pub(crate) fn refuse(&mut self, fault: Fault, now: Instant) {
        self.fail(fault, now);
    }

    /// Does what is to be done now: `ready` is what the wait said of the device.
    pub(crate) fn turn(&mut self, ready: Result<bool, Fault>, now: Instant) -> Turn {
        match self.phase {
            Phase::Starting { .. } | Phase::Running => match ready {
                Ok(ready) => self.serve(ready, now),
                Err(fault) => self.fail(fault, now),
            },
            Phase::Failed { again } if now >= again => self.restart(now),
            Phase::Suspended { ask } if now >= ask => self.resume(now),
            _ => {}
        }
        if self.phase == Phase::Lost {
            return Turn::Lost;
        }
        let begins = self.phase == Phase::Running && !self.began;
        self.began |= begins;
        if begins { Turn::Began } else { Turn::Goes }
    }

    /// An event that is due.
    pub(crate) fn event(&mut self, now: Instant) -> Option<Event> {
        if now < self.xruns.told + REPORT_INTERVAL {
            return None;
        }
        let sample_frames = self.xruns.sample_frames.take()?;
        self.xruns.told = now;
        Some(Event::Xrun { direction: H::DIRECTION, sample_frames })
    }

    /// Stops the device; what it still held is lost.
    pub(crate) fn stop(&mut self) {
        self.unlink();
        self.abandon();
        // It is closed next, whatever it says to this.
        _ = self.stream.pcm.stop();
        self.phase = Phase::Lost;
    }

    fn serve(&mut self, ready: bool, now: Instant) {
        let overdue = self.due().is_some_and(|due| now >= due);
        if !ready && !overdue {
            return;
        }
        match self.exchange(now) {
            Ok(0) => self.nothing_moved(ready, now),
            Ok(_) => {
                self.moved = now;
                self.idle_wakes = 0;
                self.phase = Phase::Running;
                if now - self.failed >= HEALTHY_AFTER {
                    self.failures = 0;
                }
            }
            Err(fault) => self.fail(fault, now),
        }
    }

    /// Asks the device where it is and moves what can be moved.
    fn exchange(&mut self, now: Instant) -> Result<u32, Fault> {
        let status = self.stream.pcm.status()?;
        match status.state {
            State::Running => {}
            State::Xrun => return Err(Fault::Xrun),
            State::Suspended => return Err(Fault::Suspended),
            State::Disconnected => return Err(Fault::Gone),
            State::Standing => return Err(Fault::Stopped),
        }
        let waiting = self.half.waiting_sample_frames();
        let position = self.position.wrapping_sub(waiting.into());
        let converter = self.timing.converter(&status, position, now) + self.stream.span(waiting);
        self.find_gap(converter);
        self.known = Some((self.position, converter));
        let queued = self.queued(&status);
        let mut time = PeriodTime { position: self.position, converter, called: now };
        let moved = self.half.transfer(&self.stream, queued, &mut time);
        self.position = time.position;
        // A hardware device says at once that it has more; a plug-in may wait for its next tick.
        self.behind = moved.is_ok_and(|moved| moved > 0 && self.half.has_more(&self.stream, queued, moved));
        moved
    }

    fn queued(&self, status: &Status) -> u32 {
        u32::try_from(self.timing.queued(status)).unwrap_or(0)
    }

    /// After an interruption the time of the next sample says how many there would have been.
    fn find_gap(&mut self, converter: Instant) {
        if !std::mem::take(&mut self.interrupted) {
            return;
        }
        let gap = self.known.map_or(0, |(position, time)| {
            let since = Duration::of_sample_frames(self.position - position, self.stream.rate);
            self.sample_frames_in(converter - (time + since))
        });
        self.position += u64::from(gap);
        self.report_xrun(gap);
    }

    fn sample_frames_in(&self, span: Duration) -> u32 {
        let nanos = i128::from(span.as_nanos().max(0));
        let rounded = (nanos * i128::from(self.stream.rate.hz()) + 500_000_000) / 1_000_000_000;
        u32::try_from(rounded).unwrap_or(u32::MAX)
    }

    fn report_xrun(&mut self, sample_frames: u32) {
        let so_far = self.xruns.sample_frames.unwrap_or(0);
        self.xruns.sample_frames = Some(so_far.saturating_add(sample_frames));
    }

    fn nothing_moved(&mut self, ready: bool, now: Instant) {
        self.idle_wakes = if ready { self.idle_wakes + 1 } else { 0 };
        let stalled = match self.phase {
            Phase::Starting { deadline } => now >= deadline,
            _ => now - self.moved >= self.stalled_after(),
        };
        if stalled || self.idle_wakes >= MAX_IDLE_WAKES {
            self.fail(Fault::Failed(libc::ETIME), now);
        }
    }

    /// Longer than it takes the device to play all that it holds.
    fn stalled_after(&self) -> Duration {
        let buffer = self.stream.span(self.stream.buffer_sample_frames);
        STALLED_AFTER.max(buffer + buffer)
    }

    fn fail(&mut self, fault: Fault, now: Instant) {
        let fault = match fault {
            Fault::Stopped if self.stream.pcm.state() == State::Disconnected => Fault::Gone,
            Fault::Stopped if self.stream.pcm.state() == State::Suspended => Fault::Suspended,
            fault => fault,
        };
        match fault {
            Fault::Again => {}
            Fault::Gone => self.give_up(),
            Fault::Suspended => self.resume(now),
            // Nothing is wrong with a device that ran and was not served in time.
            Fault::Xrun if self.phase == Phase::Running => self.restart(now),
            Fault::Xrun if self.began => self.phase = Phase::Failed { again: now + FIRST_BACKOFF },
            Fault::Xrun | Fault::Stopped | Fault::Failed(_) => self.try_later(now),
        }
    }

    fn try_later(&mut self, now: Instant) {
        self.failures += 1;
        self.failed = now;
        let most = if self.began { MAX_FAILURES } else { MAX_FIRST_FAILURES };
        if self.failures > most {
            self.give_up();
            return;
        }
        let doubled = FIRST_BACKOFF.as_nanos() << (self.failures - 1).min(8);
        let wait = Duration::from_nanos(doubled).min(LONGEST_BACKOFF);
        self.phase = Phase::Failed { again: now + wait };
    }

    fn give_up(&mut self) {
        self.unlink();
        self.abandon();
        self.phase = Phase::Lost;
    }

    /// Asks a suspended device to go on; never waits for it.
    fn resume(&mut self, now: Instant) {
        match self.stream.pcm.resume() {
            Err(Fault::Again) => self.phase = Phase::Suspended { ask: now + RESUME_INTERVAL },
            Err(Fault::Gone) => self.give_up(),
            // Awake, or one that can only be started anew; either way its clock has stood still.
            _ => {
                let linked = self.linked;
                self.restart(now);
                self.woken = linked && matches!(self.phase, Phase::Starting { .. });
            }
        }
    }

    fn restart(&mut self, now: Instant) {
        self.unlink();
        if self.began {
            self.abandon();
            self.interrupted = true;
        }
        // An error here is one of `prepare` as well.
        _ = self.stream.pcm.stop();
        if let Err(fault) = self.prepare(now).and_then(|()| self.start(now)) {
            match fault {
                Fault::Gone => self.give_up(),
                // Not awake yet.
                Fault::Suspended | Fault::Again => {
                    self.phase = Phase::Suspended { ask: now + RESUME_INTERVAL };
                }
                _ => self.try_later(now),
            }
        }
    }

    /// Tells the half what the device will not play any more.
    fn abandon(&mut self) {
        // A device that is gone does not say how far it came: then all that it may have held counts.
        let queued = match self.stream.pcm.status() {
            Ok(status) => self.queued(&status),
            Err(_) => self.queued_by_time(),
        };
        self.half.abandon(queued);
    }

    /// What was written and not yet due at the converter when it was last seen.
    fn queued_by_time(&self) -> u32 {
        let Some((position, _)) = self.known else { return 0 };
        let since = u32::try_from(self.position - position).unwrap_or(u32::MAX);
        since.saturating_add(self.stream.fill_sample_frames).min(self.stream.buffer_sample_frames)
    }

    fn unlink(&mut self) {
        if std::mem::take(&mut self.linked) {
            self.stream.pcm.unlink();
        }
    }
}
