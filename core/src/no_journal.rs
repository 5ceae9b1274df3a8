//! Interrupt and worker side: the halves without a journal. The same pens as in `journal/scribe.rs`, which
//! write nothing and weigh nothing.

use core::marker::PhantomData;

use crate::capture::IntakeConfig;
use crate::frame::Frame;
use crate::playback::{OutletConfig, RoundPlan};
use crate::time::{Clock, Instant, PeriodTime};

#[derive(Debug, Default)]
pub(crate) struct Scribe<'a>(PhantomData<&'a ()>);

impl Scribe<'_> {
    #[inline]
    pub(crate) fn admits(&mut self) -> bool {
        true
    }

    #[inline]
    pub(crate) fn pushed(&mut self, _: bool) {}

    #[inline]
    pub(crate) fn capture_configured(&mut self, _: &IntakeConfig) {}

    #[inline]
    pub(crate) fn captured<S>(&mut self, _: &[S], _: PeriodTime) {}

    #[inline]
    pub(crate) fn playback_configured(&mut self, _: &OutletConfig) {}

    #[inline]
    pub(crate) fn took<const CAP: usize, const SLOTS: usize>(&mut self, _: &Frame<CAP, SLOTS>) {}

    #[inline]
    pub(crate) fn played<S>(&mut self, _: &[S], _: PeriodTime) {}

    #[inline]
    pub(crate) fn stopped(&mut self) {}

    #[inline]
    pub(crate) fn discarded(&mut self, _: u32) {}
}

#[derive(Debug, Default)]
pub(crate) struct WorkerScribe<'a>(PhantomData<&'a ()>);

impl WorkerScribe<'_> {
    #[inline]
    pub(crate) fn turn(&mut self, plan: RoundPlan) -> RoundPlan {
        plan
    }

    #[inline]
    pub(crate) fn took_captured(&mut self) {}

    #[inline]
    pub(crate) fn took_reference(&mut self) {}

    #[inline]
    pub(crate) fn cleaned<const CAP: usize, C>(&mut self, _: &Frame<CAP>, _: &Witness<'_, C>) {}

    #[inline]
    pub(crate) fn polled<C>(&mut self, _: &Witness<'_, C>) {}
}

pub(crate) struct Witness<'c, C>(&'c C);

impl<'c, C: Clock> Witness<'c, C> {
    pub(crate) fn new(clock: &'c C) -> Self {
        Self(clock)
    }
}

impl<C: Clock> Clock for Witness<'_, C> {
    #[inline]
    fn now(&self) -> Instant {
        self.0.now()
    }
}
