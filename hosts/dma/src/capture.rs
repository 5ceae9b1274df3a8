//! Interrupt side of capture: gives the intake each period that the DMA has filled.

use embassy_sync::blocking_mutex::raw::RawMutex;
use handsfree_core::capture::Intake;
use handsfree_core::{DeviceSample, Duration, PeriodTime};

use crate::port::{DmaPort, PortContents, PortState};
use crate::stream::DmaStream;

impl<'a, M: RawMutex, D: DmaStream, const CAP: usize, const PERIOD: usize>
    DmaPort<M, D, Intake<'a, CAP>, PERIOD>
{
    /// Gives the intake what the DMA has captured, and returns how many frames that completed, so that the interrupt wakes the
    /// worker when it is not 0. To be called by the DMA's half and complete interrupts, and by the
    /// interface's error interrupt if the DMA stops at a fault; all of one priority, so that none interrupts another.
    ///
    /// Interrupt side: wait-free on one core, no allocation. Costs a copy and [`Intake::on_period`] for each period, usually one and at
    /// most as many as the ring has; `PERIOD` samples of stack. Periods that the DMA has overwritten are lost and counted.
    /// After a fault of the interface nothing is given until control has restarted it.
    pub fn on_interrupt(&self) -> u32 {
        self.interrupt(PortContents::capture::<PERIOD>)
    }

    /// Works with the contents on the control side; `None` if no hardware was installed.
    pub(crate) fn with<R>(
        &self,
        work: impl FnOnce(&mut PortContents<D, Intake<'a, CAP>>, &PortState) -> R,
    ) -> Option<R> {
        self.hold(work, PortContents::capture::<PERIOD>)
    }
}

impl<D: DmaStream, const CAP: usize> PortContents<D, Intake<'_, CAP>> {
    fn capture<const PERIOD: usize>(&mut self, state: &PortState) -> u32 {
        let Some((called, head)) = self.enter(state) else { return 0 };
        let period = u64::from(self.properties.period_sample_frames);
        let mut samples = [D::Sample::SILENCE; PERIOD];
        let mut frames = 0;
        for _ in 0..self.properties.periods {
            self.skip_overwritten(state);
            if head < self.next + period {
                break;
            }
            let begin = self.next;
            let index = self.next_index();
            self.dma.read(index, &mut samples);
            // The DMA may have come round while they were copied.
            let now = self.dma.now();
            self.look(now);
            if self.skip_overwritten(state) {
                continue;
            }
            self.next += period;
            let age = Duration::of_sample_frames(head - begin, self.properties.rate);
            let converter = called - age - self.properties.latency;
            if let Some(intake) = &mut self.half {
                frames += intake.on_period(&samples, PeriodTime { position: begin, converter, called });
            }
        }
        frames
    }

    /// Skips the periods that the DMA has begun to overwrite, and returns whether there were any.
    fn skip_overwritten(&mut self, state: &PortState) -> bool {
        let period = u64::from(self.properties.period_sample_frames).max(1);
        let skipped = self.counter.oldest().saturating_sub(self.next).div_ceil(period) * period;
        self.next += skipped;
        PortState::count(&state.lost_sample_frames, skipped);
        skipped > 0
    }
}
