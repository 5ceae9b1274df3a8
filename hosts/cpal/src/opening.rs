//! Control side: what a direction's stream is opened with, and what it is then granted.

use std::sync::Arc;

use handsfree_core::Duration;
use handsfree_core::audio_io::{Direction, DirectionInfo, DirectionRequest};
use handsfree_core::capture::Intake;
use handsfree_core::playback::Outlet;
use handsfree_host::worker::Wake;

use crate::agree::{Agreed, DeviceRequest};
use crate::attendant::{Built, Maker};
use crate::callback::{Callback, Shape};
use crate::config::CpalConfig;
use crate::gauge::Gauge;
use crate::hosts::Source;
use crate::slot::Slot;

/// A stream to open.
pub(crate) struct Opening {
    pub(crate) direction: Direction,
    pub(crate) source: Source,
    /// The device as it was asked for.
    pub(crate) device: Option<String>,
    pub(crate) wish: DeviceRequest,
    /// Periods that make up the buffer asked for.
    pub(crate) periods: u32,
    wake: Wake,
    priority: Option<u8>,
}

impl Opening {
    pub(crate) fn new(
        direction: Direction,
        asked: &DirectionRequest<'_>,
        config: &CpalConfig,
        source: &Source,
        wake: Wake,
    ) -> Self {
        let (format, kept) = match direction {
            Direction::Capture => (config.capture_format, source.keeps_one_period()),
            Direction::Playback => (config.playback_format, false),
        };
        Self {
            direction,
            source: source.clone(),
            device: asked.device.map(str::to_owned),
            wish: DeviceRequest::new(direction, asked, format),
            periods: if kept { config.kept_periods } else { 1 },
            wake,
            priority: config.priority.filter(|_| source.has_plain_threads()),
        }
    }

    /// Makes callbacks, a new one for each try to open the stream.
    fn callbacks<T>(
        &self,
        slot: Arc<Slot<T>>,
        gauge: Arc<Gauge>,
    ) -> impl Fn(&Agreed) -> Callback<T> + use<T> {
        let (direction, wake, priority) = (self.direction, self.wake.clone(), self.priority);
        move |agreed| {
            let shape = Shape {
                direction,
                rate: agreed.rate,
                channels: agreed.channels as usize,
                latency: latency_of(direction, agreed),
                priority,
            };
            Callback::new(Arc::clone(&slot), Arc::clone(&gauge), wake.clone(), shape)
        }
    }
}

/// A half that callbacks borrow.
pub(crate) trait Half: Sized + Send + 'static {
    fn maker(opening: &Opening, slot: Arc<Slot<Self>>, gauge: Arc<Gauge>) -> Maker;
}

impl<const CAP: usize> Half for Intake<'static, CAP> {
    fn maker(opening: &Opening, slot: Arc<Slot<Self>>, gauge: Arc<Gauge>) -> Maker {
        let make = opening.callbacks(slot, gauge);
        Maker::Capture(Box::new(move |agreed| {
            let mut callback = make(agreed);
            Box::new(move |data, info| callback.heard(data, info))
        }))
    }
}

impl<const CAP: usize, const SLOTS: usize> Half for Outlet<'static, CAP, SLOTS> {
    fn maker(opening: &Opening, slot: Arc<Slot<Self>>, gauge: Arc<Gauge>) -> Maker {
        let make = opening.callbacks(slot, gauge);
        Maker::Playback(Box::new(move |agreed| {
            let mut callback = make(agreed);
            Box::new(move |data, info| callback.wanted(data, info))
        }))
    }
}

/// What may be expected until something is known: a period of the microphone has been waited for, and two
/// of the loudspeaker's are kept ahead.
fn latency_of(direction: Direction, agreed: &Agreed) -> Duration {
    let period = Duration::of_sample_frames(agreed.period_sample_frames.into(), agreed.rate);
    match direction {
        Direction::Capture => period,
        Direction::Playback => period + period,
    }
}

pub(crate) fn end_info(direction: Direction, built: &Built) -> DirectionInfo {
    // Behind an audio system two devices may have one crystal or two, and it does not say: never equal.
    const CAPTURE_CLOCK: u32 = 1 << 17;
    DirectionInfo {
        rate: built.agreed.rate,
        device_channels: built.agreed.channels,
        max_period_sample_frames: built.longest_sample_frames,
        latency: latency_of(direction, &built.agreed),
        clock_domain: match direction {
            Direction::Capture => CAPTURE_CLOCK,
            Direction::Playback => CAPTURE_CLOCK + 1,
        },
    }
}
