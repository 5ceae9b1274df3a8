//! Board's thread: the stream of one direction, which recovers from the faults of its device.
//!
//! A device is restarted at once after an xrun, after a growing delay when it failed, and after the system's suspend when
//! it wakes up. A device that is gone, or that failed too often, is lost. The stream position continues through all of
//! this: the number of lost samples follows from the time.

use handsfree_core::audio_io::{Direction, Event};
use handsfree_core::time::{Duration, Instant};
use handsfree_core::{PeriodTime, SampleRate};

use crate::params::PcmParameters;
use crate::pcm::{Pcm, PcmFault, PcmState, PcmStatus};
use crate::timing::{ConverterTiming, RejectedCounts};

/// Delay before the first restart of a device that failed; each further delay is twice as long.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// Longest delay before a restart of a device that failed.
const MAX_BACKOFF: Duration = Duration::from_millis(1_000);
/// Number of restarts before a device that ran is lost: about four seconds in all.
const MAX_FAILURES: u32 = 6;
/// Number of restarts before a device that never ran is lost: few, because control waits for the start.
const MAX_FIRST_FAILURES: u32 = 2;
/// Interval at which a suspended device is resumed, until that succeeds.
const RESUME_INTERVAL: Duration = Duration::from_millis(100);
/// Running time without a fault after which the number of failures is reset.
const HEALTHY_AFTER: Duration = Duration::from_millis(1_000);
/// Time after which a running device that moves no samples counts as failed.
const STALLED_AFTER: Duration = Duration::from_millis(1_000);
/// Number of consecutive wake-ups without samples after which a device that reports to be ready counts as failed; it would
/// keep the thread busy otherwise.
const MAX_IDLE_WAKES: u32 = 64;
/// Shortest interval between two xrun events; xruns in between are added up.
const REPORT_INTERVAL: Duration = Duration::from_millis(100);

/// The part of a stream that differs between the directions: moves samples between a device and the core.
pub(crate) trait TransferHalf {
    /// The direction.
    const DIRECTION: Direction;

    /// Moves the samples that the device has, or has space for, and returns the number of sample frames. `time` belongs
    /// to the next sample frame and advances with each one.
    fn transfer(
        &mut self,
        device: &ConfiguredDevice,
        queued: u32,
        time: &mut PeriodTime,
    ) -> Result<u32, PcmFault>;

    /// Returns whether a further period could be moved at once, after `moved` sample frames with `queued` ones in the
    /// buffer.
    fn has_more(&self, device: &ConfiguredDevice, queued: u32, moved: u32) -> bool;

    /// Returns the number of sample frames that the core rendered and the device has not accepted yet.
    fn waiting_sample_frames(&self) -> u32;

    /// Fills a prepared device, as needed before its start.
    fn fill(&mut self, device: &ConfiguredDevice) -> Result<(), PcmFault>;

    /// Discards the `queued` sample frames in the device's buffer and the sample frames that the device has not accepted
    /// yet.
    fn discard(&mut self, queued: u32);
}

/// Device of one direction, and the parameters that it granted.
#[derive(Debug)]
pub(crate) struct ConfiguredDevice {
    pub(crate) pcm: Pcm,
    pub(crate) rate: SampleRate,
    pub(crate) channels: usize,
    pub(crate) period_sample_frames: u32,
    pub(crate) buffer_sample_frames: u32,
    /// Fill kept between the application and the converter, in sample frames (playback).
    pub(crate) fill_sample_frames: u32,
}

impl ConfiguredDevice {
    pub(crate) fn new(pcm: Pcm, granted: &PcmParameters, fill_sample_frames: u32) -> Self {
        Self {
            pcm,
            rate: granted.rate,
            channels: granted.channels as usize,
            period_sample_frames: granted.period_sample_frames,
            buffer_sample_frames: granted.buffer_sample_frames,
            fill_sample_frames,
        }
    }

    fn duration(&self, sample_frames: u32) -> Duration {
        Duration::of_sample_frames(sample_frames.into(), self.rate)
    }
}

/// Phase of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StreamPhase {
    /// The device was started; no sample moved yet.
    Starting {
        /// Time until which the first sample has to move.
        deadline: Instant,
    },
    /// Samples move.
    Running,
    /// The device failed.
    Failed {
        /// Time of the restart.
        restart_at: Instant,
    },
    /// The device is suspended.
    Suspended {
        /// Time of the next attempt to resume it.
        resume_at: Instant,
    },
    /// The device is gone or failed too often, or the stream was stopped.
    Lost,
}

/// Result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamProgress {
    /// Nothing changed for control.
    Unchanged,
    /// The first sample moved.
    Started,
    /// The device is lost.
    Lost,
}

/// Stream of one direction: its device, its half of the core, and its state.
#[derive(Debug)]
pub(crate) struct DeviceStream<H> {
    pub(crate) half: H,
    device: ConfiguredDevice,
    timing: ConverterTiming,
    /// Stream position of the next sample frame to be read or written.
    position: u64,
    /// Last known position, and the time at which it was or will be at the converter.
    last_position: Option<(u64, Instant)>,
    phase: StreamPhase,
    /// Whether the first sample moved.
    has_started: bool,
    /// Whether the device was restarted, and the size of the gap is still to be computed.
    interrupted: bool,
    linked: bool,
    /// Whether this device was resumed, and a linked device with it, since this was last queried.
    linked_resume: bool,
    failures: u32,
    idle_wakes: u32,
    /// Whether there was more to move than one step moves.
    has_backlog: bool,
    last_moved: Instant,
    last_failed: Instant,
    xruns: PendingXruns,
}

/// Xruns that were not reported yet.
#[derive(Debug)]
struct PendingXruns {
    sample_frames: Option<u32>,
    last_report: Instant,
}

impl<H: TransferHalf> DeviceStream<H> {
    pub(crate) fn new(device: ConfiguredDevice, half: H) -> Self {
        let timing = ConverterTiming::new(H::DIRECTION, device.rate, device.buffer_sample_frames);
        let long_ago = Instant::from_nanos(i64::MIN);
        Self {
            half,
            device,
            timing,
            position: 0,
            last_position: None,
            phase: StreamPhase::Failed { restart_at: long_ago },
            has_started: false,
            interrupted: false,
            linked: false,
            linked_resume: false,
            failures: 0,
            idle_wakes: 0,
            has_backlog: false,
            last_moved: long_ago,
            last_failed: long_ago,
            xruns: PendingXruns { sample_frames: None, last_report: long_ago },
        }
    }

    pub(crate) fn pcm(&self) -> &Pcm {
        &self.device.pcm
    }

    /// Records that the device starts and stops together with that of the other direction.
    pub(crate) fn set_linked(&mut self) {
        self.linked = true;
    }

    /// Returns whether this device was resumed, and a linked device with it, since the last call.
    pub(crate) fn take_linked_resume(&mut self) -> bool {
        std::mem::take(&mut self.linked_resume)
    }

    /// Records that the device was resumed together with the other one. The time of the suspend is a gap.
    pub(crate) fn resumed_by_link(&mut self) {
        self.interrupted |= self.phase == StreamPhase::Running;
    }

    /// Returns whether the device's descriptors are to be polled.
    pub(crate) fn is_polled(&self) -> bool {
        matches!(self.phase, StreamPhase::Starting { .. } | StreamPhase::Running)
    }

    /// Returns the time of the next step that is due even when the device is not ready.
    pub(crate) fn due(&self) -> Option<Instant> {
        let next = match self.phase {
            StreamPhase::Starting { .. } | StreamPhase::Running if self.has_backlog => self.last_moved,
            StreamPhase::Starting { deadline } => deadline,
            StreamPhase::Running => self.last_moved + self.stall_timeout(),
            StreamPhase::Failed { restart_at } => restart_at,
            StreamPhase::Suspended { resume_at } => resume_at,
            StreamPhase::Lost => return None,
        };
        let report = self.xruns.sample_frames.map(|_| self.xruns.last_report + REPORT_INTERVAL);
        Some(report.map_or(next, |report| report.min(next)))
    }

    pub(crate) fn rejected_counts(&self) -> RejectedCounts {
        self.timing.rejected_counts()
    }

    /// Prepares the device for a start, alone or together with the device to which it is linked.
    pub(crate) fn prepare(&mut self, now: Instant) -> Result<(), PcmFault> {
        self.device.pcm.prepare()?;
        self.half.fill(&self.device)?;
        self.timing.restart();
        self.last_moved = now;
        self.idle_wakes = 0;
        Ok(())
    }

    /// Starts the prepared device, unless the link has started it already.
    pub(crate) fn start(&mut self, now: Instant) -> Result<(), PcmFault> {
        if self.device.pcm.state() != PcmState::Running {
            self.device.pcm.start()?;
        }
        self.phase = StreamPhase::Starting { deadline: now + self.stall_timeout() };
        Ok(())
    }

    /// Handles a fault of `prepare` or `start`.
    pub(crate) fn record_failed_start(&mut self, fault: PcmFault, now: Instant) {
        self.fail(fault, now);
    }

    /// Does everything that is due. `ready` is the result of the wait for the device.
    pub(crate) fn step(&mut self, ready: Result<bool, PcmFault>, now: Instant) -> StreamProgress {
        match self.phase {
            StreamPhase::Starting { .. } | StreamPhase::Running => match ready {
                Ok(ready) => self.serve(ready, now),
                Err(fault) => self.fail(fault, now),
            },
            StreamPhase::Failed { restart_at } if now >= restart_at => self.restart(now),
            StreamPhase::Suspended { resume_at } if now >= resume_at => self.resume(now),
            _ => {}
        }
        if self.phase == StreamPhase::Lost {
            return StreamProgress::Lost;
        }
        let starts = self.phase == StreamPhase::Running && !self.has_started;
        self.has_started |= starts;
        if starts { StreamProgress::Started } else { StreamProgress::Unchanged }
    }

    /// Returns an event that is due.
    pub(crate) fn take_event(&mut self, now: Instant) -> Option<Event> {
        if now < self.xruns.last_report + REPORT_INTERVAL {
            return None;
        }
        let sample_frames = self.xruns.sample_frames.take()?;
        self.xruns.last_report = now;
        Some(Event::Xrun { direction: H::DIRECTION, sample_frames })
    }

    /// Stops the device and discards the samples in its buffer.
    pub(crate) fn stop(&mut self) {
        self.unlink();
        self.discard_queued();
        // The device is closed next, so an error changes nothing.
        _ = self.device.pcm.stop();
        self.phase = StreamPhase::Lost;
    }

    fn serve(&mut self, ready: bool, now: Instant) {
        let overdue = self.due().is_some_and(|due| now >= due);
        if !ready && !overdue {
            return;
        }
        match self.exchange(now) {
            Ok(0) => self.check_for_stall(ready, now),
            Ok(_) => {
                self.last_moved = now;
                self.idle_wakes = 0;
                self.phase = StreamPhase::Running;
                if now - self.last_failed >= HEALTHY_AFTER {
                    self.failures = 0;
                }
            }
            Err(fault) => self.fail(fault, now),
        }
    }

    /// Queries the device's status and moves the samples that can be moved.
    fn exchange(&mut self, now: Instant) -> Result<u32, PcmFault> {
        let status = self.device.pcm.status()?;
        match status.state {
            PcmState::Running => {}
            PcmState::Xrun => return Err(PcmFault::Xrun),
            PcmState::Suspended => return Err(PcmFault::Suspended),
            PcmState::Disconnected => return Err(PcmFault::Gone),
            PcmState::Stopped => return Err(PcmFault::Stopped),
        }
        let waiting = self.half.waiting_sample_frames();
        let position = self.position.wrapping_sub(waiting.into());
        let converter = self.timing.converter(&status, position, now) + self.device.duration(waiting);
        self.account_for_gap(converter);
        self.last_position = Some((self.position, converter));
        let queued = self.queued(&status);
        let mut time = PeriodTime { position: self.position, converter, called: now };
        let moved = self.half.transfer(&self.device, queued, &mut time);
        self.position = time.position;
        // A hardware device reports further samples at once, but a plug-in may do so only at its next timer tick.
        self.has_backlog =
            moved.is_ok_and(|moved| moved > 0 && self.half.has_more(&self.device, queued, moved));
        moved
    }

    fn queued(&self, status: &PcmStatus) -> u32 {
        u32::try_from(self.timing.queued(status)).unwrap_or(0)
    }

    /// Computes the gap after an interruption: the number of sample frames that would have passed in the elapsed time.
    fn account_for_gap(&mut self, converter: Instant) {
        if !std::mem::take(&mut self.interrupted) {
            return;
        }
        let gap = self.last_position.map_or(0, |(position, time)| {
            let expected = time + Duration::of_sample_frames(self.position - position, self.device.rate);
            self.sample_frames_in(converter - expected)
        });
        self.position += u64::from(gap);
        self.add_xrun(gap);
    }

    fn sample_frames_in(&self, span: Duration) -> u32 {
        let nanos = i128::from(span.as_nanos().max(0));
        let rounded = (nanos * i128::from(self.device.rate.hz()) + 500_000_000) / 1_000_000_000;
        u32::try_from(rounded).unwrap_or(u32::MAX)
    }

    fn add_xrun(&mut self, sample_frames: u32) {
        let so_far = self.xruns.sample_frames.unwrap_or(0);
        self.xruns.sample_frames = Some(so_far.saturating_add(sample_frames));
    }

    fn check_for_stall(&mut self, ready: bool, now: Instant) {
        self.idle_wakes = if ready { self.idle_wakes + 1 } else { 0 };
        let stalled = match self.phase {
            StreamPhase::Starting { deadline } => now >= deadline,
            _ => now - self.last_moved >= self.stall_timeout(),
        };
        if stalled || self.idle_wakes >= MAX_IDLE_WAKES {
            self.fail(PcmFault::Failed(libc::ETIME), now);
        }
    }

    /// Returns a time longer than the device needs to play a full buffer.
    fn stall_timeout(&self) -> Duration {
        let buffer = self.device.duration(self.device.buffer_sample_frames);
        STALLED_AFTER.max(buffer + buffer)
    }

    fn fail(&mut self, fault: PcmFault, now: Instant) {
        let fault = match fault {
            PcmFault::Stopped if self.device.pcm.state() == PcmState::Disconnected => PcmFault::Gone,
            PcmFault::Stopped if self.device.pcm.state() == PcmState::Suspended => PcmFault::Suspended,
            fault => fault,
        };
        match fault {
            PcmFault::Again => {}
            PcmFault::Gone => self.lose(),
            PcmFault::Suspended => self.resume(now),
            // A running device that was not served in time has not failed.
            PcmFault::Xrun if self.phase == StreamPhase::Running => self.restart(now),
            PcmFault::Xrun if self.has_started => {
                self.phase = StreamPhase::Failed { restart_at: now + FIRST_BACKOFF };
            }
            PcmFault::Xrun | PcmFault::Stopped | PcmFault::Failed(_) => self.back_off(now),
        }
    }

    fn back_off(&mut self, now: Instant) {
        self.failures += 1;
        self.last_failed = now;
        let max_failures = if self.has_started { MAX_FAILURES } else { MAX_FIRST_FAILURES };
        if self.failures > max_failures {
            self.lose();
            return;
        }
        let doubled = FIRST_BACKOFF.as_nanos() << (self.failures - 1).min(8);
        let backoff = Duration::from_nanos(doubled).min(MAX_BACKOFF);
        self.phase = StreamPhase::Failed { restart_at: now + backoff };
    }

    fn lose(&mut self) {
        self.unlink();
        self.discard_queued();
        self.phase = StreamPhase::Lost;
    }

    /// Resumes a suspended device, without waiting for it.
    fn resume(&mut self, now: Instant) {
        match self.device.pcm.resume() {
            Err(PcmFault::Again) => self.phase = StreamPhase::Suspended { resume_at: now + RESUME_INTERVAL },
            Err(PcmFault::Gone) => self.lose(),
            // The device was resumed, or supports only a restart. Its clock has stood still in both cases.
            _ => {
                let linked = self.linked;
                self.restart(now);
                self.linked_resume = linked && matches!(self.phase, StreamPhase::Starting { .. });
            }
        }
    }

    fn restart(&mut self, now: Instant) {
        self.unlink();
        if self.has_started {
            self.discard_queued();
            self.interrupted = true;
        }
        // An error that matters is returned by `prepare` too.
        _ = self.device.pcm.stop();
        if let Err(fault) = self.prepare(now).and_then(|()| self.start(now)) {
            match fault {
                PcmFault::Gone => self.lose(),
                // The device is still suspended.
                PcmFault::Suspended | PcmFault::Again => {
                    self.phase = StreamPhase::Suspended { resume_at: now + RESUME_INTERVAL };
                }
                _ => self.back_off(now),
            }
        }
    }

    /// Discards the samples that the device will not play any more.
    fn discard_queued(&mut self) {
        // A device that is gone does not report its position; then all samples that it may hold count as discarded.
        let queued = match self.device.pcm.status() {
            Ok(status) => self.queued(&status),
            Err(_) => self.queued_by_time(),
        };
        self.half.discard(queued);
    }

    /// Returns the number of sample frames that were written and had not reached the converter when the status was last
    /// read.
    fn queued_by_time(&self) -> u32 {
        let Some((position, _)) = self.last_position else { return 0 };
        let since_status = u32::try_from(self.position - position).unwrap_or(u32::MAX);
        since_status.saturating_add(self.device.fill_sample_frames).min(self.device.buffer_sample_frames)
    }

    fn unlink(&mut self) {
        if std::mem::take(&mut self.linked) {
            self.device.pcm.unlink();
        }
    }
}
