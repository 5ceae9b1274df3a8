//! Board's thread: what is particular to capture and to playback.

use handsfree_core::audio_io::Direction;
use handsfree_core::capture::Intake;
use handsfree_core::playback::Outlet;
use handsfree_core::time::Duration;
use handsfree_core::{DeviceSample, PeriodTime};

use crate::format::{PeriodMemory, in_its_type};
use crate::pcm::Fault;
use crate::side::{Half, Stream};

/// Tries to write the first fill before the device is said to have failed.
const MAX_FILL_WRITES: u32 = 64;

fn advance(time: &mut PeriodTime, sample_frames: u32, stream: &Stream) {
    time.position += u64::from(sample_frames);
    time.converter += Duration::of_sample_frames(sample_frames.into(), stream.rate);
}

/// The capture half, and memory for a period.
#[derive(Debug)]
pub(crate) struct CaptureHalf<'a, const CAP: usize> {
    pub(crate) intake: Intake<'a, CAP>,
    pub(crate) memory: PeriodMemory,
}

impl<const CAP: usize> Half for CaptureHalf<'_, CAP> {
    const DIRECTION: Direction = Direction::Capture;

    fn transfer(&mut self, stream: &Stream, queued: u32, time: &mut PeriodTime) -> Result<u32, Fault> {
        // One period a turn, as in playback: when there is much to catch up, neither direction starves the
        // other, and the worker runs in between.
        let most = queued.min(stream.period_sample_frames);
        let mut moved = 0;
        while moved < most {
            let wanted = (most - moved) as usize;
            let bytes =
                self.memory.bytes_mut().get_mut(..wanted * stream.pcm.frame_bytes()).unwrap_or_default();
            let read = match stream.pcm.read(bytes) {
                Ok(0) | Err(Fault::Again) => break,
                Ok(read) => read,
                // What came before it was handed on, and the device says so again next time.
                Err(fault) if moved == 0 => return Err(fault),
                Err(_) => break,
            };
            let samples = read * stream.channels;
            in_its_type!(&self.memory, memory => take_in(&mut self.intake, memory.get(..samples), *time));
            advance(time, read as u32, stream);
            moved += read as u32;
        }
        Ok(moved)
    }

    fn has_more(&self, stream: &Stream, queued: u32, moved: u32) -> bool {
        queued.saturating_sub(moved) >= stream.period_sample_frames
    }

    fn waiting_sample_frames(&self) -> u32 {
        0
    }

    fn fill(&mut self, _: &Stream) -> Result<(), Fault> {
        Ok(())
    }

    fn abandon(&mut self, _: u32) {}
}

fn take_in<S: DeviceSample, const CAP: usize>(
    intake: &mut Intake<'_, CAP>,
    samples: Option<&[S]>,
    time: PeriodTime,
) {
    intake.on_period(samples.unwrap_or_default(), time);
}

/// The playback half, memory for a period, and how much of it the device has not taken yet.
#[derive(Debug)]
pub(crate) struct PlaybackHalf<'a, const CAP: usize, const SLOTS: usize> {
    pub(crate) outlet: Outlet<'a, CAP, SLOTS>,
    memory: PeriodMemory,
    /// Sample frames made, and how many of them are written.
    made: u32,
    written: u32,
    /// Sample frames made since the device was last filled with silence.
    since_start: u32,
}

impl<'a, const CAP: usize, const SLOTS: usize> PlaybackHalf<'a, CAP, SLOTS> {
    pub(crate) fn new(outlet: Outlet<'a, CAP, SLOTS>, memory: PeriodMemory) -> Self {
        Self { outlet, memory, made: 0, written: 0, since_start: 0 }
    }

    /// Writes what was made; how much went. Takes up where a short write stopped.
    fn write(&mut self, stream: &Stream) -> Result<u32, Fault> {
        let begun = self.written;
        while self.written < self.made {
            let frame_bytes = stream.pcm.frame_bytes();
            let rest = self.written as usize * frame_bytes..self.made as usize * frame_bytes;
            match stream.pcm.write(self.memory.bytes().get(rest).unwrap_or_default()) {
                Ok(0) | Err(Fault::Again) => break,
                Ok(written) => self.written += written as u32,
                Err(fault) if self.written == begun => return Err(fault),
                Err(_) => break,
            }
        }
        Ok(self.written - begun)
    }
}

impl<const CAP: usize, const SLOTS: usize> Half for PlaybackHalf<'_, CAP, SLOTS> {
    const DIRECTION: Direction = Direction::Playback;

    fn transfer(&mut self, stream: &Stream, queued: u32, time: &mut PeriodTime) -> Result<u32, Fault> {
        let waiting = self.waiting_sample_frames();
        let mut moved = self.write(stream)?;
        let room = stream.fill_sample_frames.saturating_sub(queued + waiting);
        // One period a turn: the worker fills the ring before the next one.
        if self.waiting_sample_frames() == 0 && room >= stream.period_sample_frames {
            let samples = stream.period_sample_frames as usize * stream.channels;
            in_its_type!(&mut self.memory, memory => put_out(&mut self.outlet, memory.get_mut(..samples), *time));
            self.made = stream.period_sample_frames;
            self.written = 0;
            self.since_start = self.since_start.saturating_add(self.made);
            advance(time, self.made, stream);
            moved += self.write(stream)?;
        }
        Ok(moved)
    }

    fn has_more(&self, stream: &Stream, queued: u32, moved: u32) -> bool {
        queued.saturating_add(moved).saturating_add(stream.period_sample_frames) <= stream.fill_sample_frames
    }

    fn waiting_sample_frames(&self) -> u32 {
        self.made - self.written
    }

    /// Silence, as much as is to be kept in the device: the core's first sample follows it.
    fn fill(&mut self, stream: &Stream) -> Result<(), Fault> {
        self.memory.silence();
        let mut left = stream.fill_sample_frames;
        for _ in 0..MAX_FILL_WRITES {
            self.made = left.min(stream.period_sample_frames);
            self.written = 0;
            left -= self.write(stream)?;
            if left == 0 {
                break;
            }
        }
        self.made = 0;
        self.written = 0;
        self.since_start = 0;
        if left == 0 { Ok(()) } else { Err(Fault::Failed(libc::EIO)) }
    }

    fn abandon(&mut self, queued: u32) {
        let waiting = std::mem::take(&mut self.made) - std::mem::take(&mut self.written);
        // The silence that it was filled with is none of the core's.
        let unplayed = queued.saturating_add(waiting).min(std::mem::take(&mut self.since_start));
        if unplayed > 0 {
            self.outlet.discarded(unplayed);
        }
    }
}

fn put_out<S: DeviceSample, const CAP: usize, const SLOTS: usize>(
    outlet: &mut Outlet<'_, CAP, SLOTS>,
    samples: Option<&mut [S]>,
    time: PeriodTime,
) {
    outlet.on_period(samples.unwrap_or_default(), time);
}
