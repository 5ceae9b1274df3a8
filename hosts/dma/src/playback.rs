//! Interrupt side of playback: fills each period that the DMA has played.

use embassy_sync::blocking_mutex::raw::RawMutex;
use handsfree_core::playback::Outlet;
use handsfree_core::{DeviceSample, Duration, PeriodTime};

use crate::port::{DmaPort, PortContents, PortState};
use crate::stream::DmaStream;

impl<'a, M: RawMutex, D: DmaStream, const CAP: usize, const SLOTS: usize, const PERIOD: usize>
    DmaPort<M, D, Outlet<'a, CAP, SLOTS>, PERIOD>
{
    /// Fills what the DMA has played, and returns how many reference frames that completed, so that the interrupt wakes the
    /// worker when it is not 0. To be called by the DMA's half and complete interrupts, and by the
    /// interface's error interrupt if the DMA stops at a fault; all of one priority, so that none interrupts another.
    ///
    /// Interrupt side: wait-free on one core, no allocation. Costs [`Outlet::on_period`] and a copy for each period, usually one and
    /// at most as many as the ring has; `PERIOD` samples of stack. Where an interrupt comes so late that the DMA plays old
    /// samples again, their number is counted as lost, and filling goes on behind them. After a fault of the interface nothing
    /// is filled until control has restarted it.
    pub fn on_interrupt(&self) -> u32 {
        self.interrupt(PortContents::play::<PERIOD>)
    }

    /// Works with the contents on the control side; `None` if no hardware was installed.
    pub(crate) fn with<R>(
        &self,
        work: impl FnOnce(&mut PortContents<D, Outlet<'a, CAP, SLOTS>>, &PortState) -> R,
    ) -> Option<R> {
        self.hold(work, PortContents::play::<PERIOD>)
    }
}

impl<D: DmaStream, const CAP: usize, const SLOTS: usize> PortContents<D, Outlet<'_, CAP, SLOTS>> {
    fn play<const PERIOD: usize>(&mut self, state: &PortState) -> u32 {
        let Some((called, head)) = self.enter(state) else { return 0 };
        let [period, ring] =
            [self.properties.period_sample_frames, self.properties.ring_sample_frames()].map(u64::from);
        let mut samples = [D::Sample::SILENCE; PERIOD];
        let mut frames = 0;
        for _ in 0..self.properties.periods {
            self.skip_played(state);
            if self.next + period > head + ring {
                break;
            }
            let begin = self.next;
            let wait = Duration::of_sample_frames(begin.saturating_sub(head), self.properties.rate);
            let converter = called + wait + self.properties.latency;
            if let Some(outlet) = &mut self.half {
                frames += outlet.on_period(&mut samples, PeriodTime { position: begin, converter, called });
            }
            let index = self.next_index();
            self.dma.write(index, &samples);
            self.next += period;
            // The DMA may have begun to play the period before it was written.
            let now = self.dma.now();
            let late = self.look(now).saturating_sub(begin).min(period);
            PortState::count(&state.lost_sample_frames, late);
        }
        frames
    }

    /// Skips the periods that the DMA has begun to play.
    fn skip_played(&mut self, state: &PortState) {
        let period = u64::from(self.properties.period_sample_frames).max(1);
        let Some(ahead) = self.counter.position().checked_sub(self.next) else { return };
        if ahead == 0 {
            return;
        }
        let skipped = ahead.div_ceil(period) * period;
        self.next += skipped;
        PortState::count(&state.lost_sample_frames, skipped);
    }

    /// Begins a stream at the begin of the ring, which is silent at first. Control side.
    pub(crate) fn begin_playback<const PERIOD: usize>(&mut self, state: &PortState) {
        for period in 0..self.properties.periods as usize {
            self.dma.write(period * PERIOD, &[D::Sample::SILENCE; PERIOD]);
        }
        self.begin(state, self.properties.ring_sample_frames());
    }

    /// Stops the DMA and tells the outlet what it wrote and the DMA has not played. Control side.
    pub(crate) fn stop_playback(&mut self) {
        let head = self.counter.least(self.index());
        self.dma.stop();
        let unplayed = self.next.saturating_sub(head.max(self.first));
        if let Some(outlet) = &mut self.half {
            outlet.discarded(u32::try_from(unplayed).unwrap_or(u32::MAX));
        }
    }
}
