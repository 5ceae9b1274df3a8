//! Interrupt and worker side: the recorders without the feature `journal`. They record nothing, have no size
//! and compile to no code.

use core::marker::PhantomData;

use crate::capture::IntakeConfig;
use crate::devices::DeviceSnapshot;
use crate::frame::Frame;
use crate::playback::OutletConfig;
use crate::time::{Clock, Instant, PeriodTime};

/// Stands in for the recorder of an intake or outlet.
#[derive(Debug, Default)]
pub(crate) struct HalfRecorder<'a>(PhantomData<&'a ()>);

impl HalfRecorder<'_> {
    #[inline]
    pub(crate) fn may_push(&mut self) -> bool {
        true
    }

    #[inline]
    pub(crate) fn record_push(&mut self, _: bool) {}

    #[inline]
    pub(crate) fn record_capture_config(&mut self, _: &IntakeConfig) {}

    #[inline]
    pub(crate) fn record_capture_period<S>(&mut self, _: &[S], _: PeriodTime) {}

    #[inline]
    pub(crate) fn record_playback_config(&mut self, _: &OutletConfig) {}

    #[inline]
    pub(crate) fn record_playback_frame<const CAP: usize, const SLOTS: usize>(
        &mut self,
        _: &Frame<CAP, SLOTS>,
    ) {
    }

    #[inline]
    pub(crate) fn record_playback_period<S>(&mut self, _: &[S], _: PeriodTime) {}

    #[inline]
    pub(crate) fn record_playback_stop(&mut self) {}

    #[inline]
    pub(crate) fn record_discard(&mut self, _: u32) {}
}

/// Stands in for the recorder of the capture worker.
#[derive(Debug, Default)]
pub(crate) struct WorkerRecorder<'a>(PhantomData<&'a ()>);

impl WorkerRecorder<'_> {
    #[inline]
    pub(crate) fn begin_round(&mut self, devices: DeviceSnapshot) -> DeviceSnapshot {
        devices
    }

    #[inline]
    pub(crate) fn count_captured(&mut self) {}

    #[inline]
    pub(crate) fn count_reference(&mut self) {}

    #[inline]
    pub(crate) fn record_cleaned<const CAP: usize, C>(&mut self, _: &Frame<CAP>, _: &RecordingClock<'_, C>) {}

    #[inline]
    pub(crate) fn end_round<C>(&mut self, _: &RecordingClock<'_, C>) {}
}

/// The caller's clock, passed through.
pub(crate) struct RecordingClock<'c, C>(&'c C);

impl<'c, C: Clock> RecordingClock<'c, C> {
    pub(crate) fn new(clock: &'c C) -> Self {
        Self(clock)
    }
}

impl<C: Clock> Clock for RecordingClock<'_, C> {
    #[inline]
    fn now(&self) -> Instant {
        self.0.now()
    }

    #[inline]
    fn thread_time(&self) -> Instant {
        self.0.thread_time()
    }
}
