//! Interrupt side: takes the place of the stall detector where a device is driven directly and knows its xruns.

use core::marker::PhantomData;

use crate::audio_io::Direction;
use crate::event::EventSender;
use crate::format::SampleRate;
use crate::stats::Counter;
use crate::time::{Duration, PeriodTime};

/// Finds no stalls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StallDetector;

impl StallDetector {
    pub(crate) const fn new(_: Direction) -> Self {
        Self
    }

    pub(crate) fn reset(&mut self) {}

    pub(crate) fn observe(&mut self, _: PeriodTime, _: usize, _: SampleRate) -> Option<Duration> {
        None
    }
}

/// Reports no stalls.
#[derive(Debug)]
pub(crate) struct StallReporter<'a>(PhantomData<&'a ()>);

impl<'a> StallReporter<'a> {
    pub(crate) const fn new(_: Direction, _: &'a Counter) -> Self {
        Self(PhantomData)
    }

    pub(crate) fn poll(&mut self, _: &mut EventSender<'_>) {}
}
