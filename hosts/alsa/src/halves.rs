//! Board's thread: the transfer of samples between a device and the core's interrupt halves, for each direction.

use handsfree_core::audio_io::Direction;
use handsfree_core::capture::Intake;
use handsfree_core::playback::Outlet;
use handsfree_core::time::Duration;
use handsfree_core::{DeviceSample, PeriodTime};

use crate::device_stream::{ConfiguredDevice, TransferHalf};
use crate::format::{PeriodMemory, in_its_type};
use crate::pcm::PcmFault;

/// Number of writes after which a device that does not accept its first fill counts as failed: far more than a device
/// needs that accepts a part of a period in each write.
const MAX_FILL_WRITES: u32 = 64;

fn advance(time: &mut PeriodTime, sample_frames: u32, device: &ConfiguredDevice) {
    time.position += u64::from(sample_frames);
    time.converter += Duration::of_sample_frames(sample_frames.into(), device.rate);
}

/// Capture half of the core, and the memory of one period.
#[derive(Debug)]
pub(crate) struct CaptureHalf<'a, const CAP: usize> {
    pub(crate) intake: Intake<'a, CAP>,
    pub(crate) memory: PeriodMemory,
}

impl<const CAP: usize> TransferHalf for CaptureHalf<'_, CAP> {
    const DIRECTION: Direction = Direction::Capture;

    fn transfer(
        &mut self,
        device: &ConfiguredDevice,
        queued: u32,
        time: &mut PeriodTime,
    ) -> Result<u32, PcmFault> {
        // At most one period a step, like in playback: even with a large backlog, neither direction starves the other,
        // and the worker runs in between.
        let limit = queued.min(device.period_sample_frames);
        let mut moved = 0;
        while moved < limit {
            let wanted = (limit - moved) as usize;
            let bytes =
                self.memory.bytes_mut().get_mut(..wanted * device.pcm.frame_bytes()).unwrap_or_default();
            let read = match device.pcm.read(bytes) {
                Ok(0) | Err(PcmFault::Again) => break,
                Ok(read) => read,
                // The samples before the fault were passed on, and the device reports the fault again in the next step.
                Err(fault) if moved == 0 => return Err(fault),
                Err(_) => break,
            };
            let samples = read * device.channels;
            in_its_type!(&self.memory, memory => capture_period(&mut self.intake, memory.get(..samples), *time));
            advance(time, read as u32, device);
            moved += read as u32;
        }
        Ok(moved)
    }

    fn has_more(&self, device: &ConfiguredDevice, queued: u32, moved: u32) -> bool {
        queued.saturating_sub(moved) >= device.period_sample_frames
    }

    fn waiting_sample_frames(&self) -> u32 {
        0
    }

    fn fill(&mut self, _: &ConfiguredDevice) -> Result<(), PcmFault> {
        Ok(())
    }

    fn discard(&mut self, _: u32) {}
}

fn capture_period<S: DeviceSample, const CAP: usize>(
    intake: &mut Intake<'_, CAP>,
    samples: Option<&[S]>,
    time: PeriodTime,
) {
    intake.on_period(samples.unwrap_or_default(), time);
}

/// Playback half of the core, and the memory of one period, part of which the device may not have accepted yet.
#[derive(Debug)]
pub(crate) struct PlaybackHalf<'a, const CAP: usize, const SLOTS: usize> {
    pub(crate) outlet: Outlet<'a, CAP, SLOTS>,
    memory: PeriodMemory,
    /// Sample frames in the memory.
    rendered: u32,
    /// Sample frames of the memory that the device has accepted.
    written: u32,
    /// Sample frames rendered since the device was last filled with silence.
    rendered_since_fill: u32,
}

impl<'a, const CAP: usize, const SLOTS: usize> PlaybackHalf<'a, CAP, SLOTS> {
    pub(crate) fn new(outlet: Outlet<'a, CAP, SLOTS>, memory: PeriodMemory) -> Self {
        Self { outlet, memory, rendered: 0, written: 0, rendered_since_fill: 0 }
    }

    /// Writes the rest of the memory, from where the last write stopped. Returns the number of accepted sample frames.
    fn write(&mut self, device: &ConfiguredDevice) -> Result<u32, PcmFault> {
        let written_before = self.written;
        while self.written < self.rendered {
            let frame_bytes = device.pcm.frame_bytes();
            let unwritten = self.written as usize * frame_bytes..self.rendered as usize * frame_bytes;
            match device.pcm.write(self.memory.bytes().get(unwritten).unwrap_or_default()) {
                Ok(0) | Err(PcmFault::Again) => break,
                Ok(written) => self.written += written as u32,
                Err(fault) if self.written == written_before => return Err(fault),
                Err(_) => break,
            }
        }
        Ok(self.written - written_before)
    }
}

impl<const CAP: usize, const SLOTS: usize> TransferHalf for PlaybackHalf<'_, CAP, SLOTS> {
    const DIRECTION: Direction = Direction::Playback;

    fn transfer(
        &mut self,
        device: &ConfiguredDevice,
        queued: u32,
        time: &mut PeriodTime,
    ) -> Result<u32, PcmFault> {
        let waiting = self.waiting_sample_frames();
        let mut moved = self.write(device)?;
        let space = device.fill_sample_frames.saturating_sub(queued + waiting);
        // At most one period a step, so that the worker fills the ring before the next one.
        if self.waiting_sample_frames() == 0 && space >= device.period_sample_frames {
            let samples = device.period_sample_frames as usize * device.channels;
            in_its_type!(&mut self.memory, memory => render_period(&mut self.outlet, memory.get_mut(..samples), *time));
            self.rendered = device.period_sample_frames;
            self.written = 0;
            self.rendered_since_fill = self.rendered_since_fill.saturating_add(self.rendered);
            advance(time, self.rendered, device);
            moved += self.write(device)?;
        }
        Ok(moved)
    }

    fn has_more(&self, device: &ConfiguredDevice, queued: u32, moved: u32) -> bool {
        queued.saturating_add(moved).saturating_add(device.period_sample_frames) <= device.fill_sample_frames
    }

    fn waiting_sample_frames(&self) -> u32 {
        self.rendered - self.written
    }

    /// Fills the device with as much silence as the fill that is kept in it; the core's first sample follows.
    fn fill(&mut self, device: &ConfiguredDevice) -> Result<(), PcmFault> {
        self.memory.silence();
        let mut remaining = device.fill_sample_frames;
        for _ in 0..MAX_FILL_WRITES {
            self.rendered = remaining.min(device.period_sample_frames);
            self.written = 0;
            remaining -= self.write(device)?;
            if remaining == 0 {
                break;
            }
        }
        self.rendered = 0;
        self.written = 0;
        self.rendered_since_fill = 0;
        if remaining == 0 { Ok(()) } else { Err(PcmFault::Failed(libc::EIO)) }
    }

    fn discard(&mut self, queued: u32) {
        let waiting = std::mem::take(&mut self.rendered) - std::mem::take(&mut self.written);
        // The silence of the first fill did not come from the core.
        let unplayed = queued.saturating_add(waiting).min(std::mem::take(&mut self.rendered_since_fill));
        if unplayed > 0 {
            self.outlet.discarded(unplayed);
        }
    }
}

fn render_period<S: DeviceSample, const CAP: usize, const SLOTS: usize>(
    outlet: &mut Outlet<'_, CAP, SLOTS>,
    samples: Option<&mut [S]>,
    time: PeriodTime,
) {
    outlet.on_period(samples.unwrap_or_default(), time);
}
