//! Control side: the settings that a direction's stream is opened with, and the information about it when it is
//! open.

use std::sync::Arc;

use handsfree_core::Duration;
use handsfree_core::audio_io::{Direction, DirectionInfo, DirectionRequest};
use handsfree_core::capture::Intake;
use handsfree_core::playback::Outlet;
use handsfree_host::worker::Wake;

use crate::audio_system::AudioSystem;
use crate::callback::{CallbackConfig, StreamCallback};
use crate::config::CpalConfig;
use crate::negotiation::{CpalDeviceRequest, NegotiatedFormat};
use crate::signals::CallbackSignals;
use crate::slot::HalfSlot;
use crate::stream_thread::{BuiltStream, CallbackFactory};

/// Settings of a stream to open.
pub(crate) struct StreamSetup {
    pub(crate) direction: Direction,
    pub(crate) system: AudioSystem,
    /// Device name that was requested; `None` for the default device.
    pub(crate) device: Option<String>,
    pub(crate) request: CpalDeviceRequest,
    wake: Wake,
    priority: Option<u8>,
}

impl StreamSetup {
    pub(crate) fn new(
        direction: Direction,
        request: &DirectionRequest<'_>,
        config: &CpalConfig,
        system: &AudioSystem,
        wake: Wake,
    ) -> Self {
        let format = match direction {
            Direction::Capture => config.capture_format,
            Direction::Playback => config.playback_format,
        };
        Self {
            direction,
            system: system.clone(),
            device: request.device.map(str::to_owned),
            request: CpalDeviceRequest::new(direction, request, format),
            wake,
            priority: config.priority.filter(|_| system.has_plain_threads()),
        }
    }

    /// Returns a function that creates a new callback for each attempt to open the stream.
    fn callback_factory<T>(
        &self,
        slot: Arc<HalfSlot<T>>,
        signals: Arc<CallbackSignals>,
    ) -> impl Fn(&NegotiatedFormat) -> StreamCallback<T> + use<T> {
        let (direction, wake, priority) = (self.direction, self.wake.clone(), self.priority);
        move |format| {
            let config = CallbackConfig {
                direction,
                rate: format.rate,
                channels: format.channels as usize,
                expected_latency: expected_latency(direction, format),
                priority,
            };
            StreamCallback::new(Arc::clone(&slot), Arc::clone(&signals), wake.clone(), config)
        }
    }
}

/// A half that a stream's callbacks borrow from its slot.
pub(crate) trait CallbackHalf: Sized + Send + 'static {
    /// Returns the factory of the callbacks that borrow the half in `slot`.
    fn callbacks(
        setup: &StreamSetup,
        slot: Arc<HalfSlot<Self>>,
        signals: Arc<CallbackSignals>,
    ) -> CallbackFactory;
}

impl<const CAP: usize> CallbackHalf for Intake<'static, CAP> {
    fn callbacks(
        setup: &StreamSetup,
        slot: Arc<HalfSlot<Self>>,
        signals: Arc<CallbackSignals>,
    ) -> CallbackFactory {
        let create = setup.callback_factory(slot, signals);
        CallbackFactory::Capture(Box::new(move |format| {
            let mut callback = create(format);
            Box::new(move |samples, timestamps| callback.on_input(samples, timestamps))
        }))
    }
}

impl<const CAP: usize, const SLOTS: usize> CallbackHalf for Outlet<'static, CAP, SLOTS> {
    fn callbacks(
        setup: &StreamSetup,
        slot: Arc<HalfSlot<Self>>,
        signals: Arc<CallbackSignals>,
    ) -> CallbackFactory {
        let create = setup.callback_factory(slot, signals);
        CallbackFactory::Playback(Box::new(move |format| {
            let mut callback = create(format);
            Box::new(move |samples, timestamps| callback.on_output(samples, timestamps))
        }))
    }
}

/// Returns the latency to assume until one is measured: one period for the microphone, which delivers a period
/// once it is complete, and two for the loudspeaker, which keeps two periods in its buffer.
fn expected_latency(direction: Direction, format: &NegotiatedFormat) -> Duration {
    let period = Duration::of_sample_frames(format.period_sample_frames.into(), format.rate);
    match direction {
        Direction::Capture => period,
        Direction::Playback => period + period,
    }
}

pub(crate) fn direction_info(direction: Direction, built: &BuiltStream) -> DirectionInfo {
    // Behind an audio system, two devices may share a clock or not, and the system does not report which. So
    // the two directions never have the same domain.
    const CAPTURE_CLOCK: u32 = 1 << 17;
    DirectionInfo {
        rate: built.format.rate,
        device_channels: built.format.channels,
        max_period_sample_frames: built.longest_sample_frames,
        latency: expected_latency(direction, &built.format),
        clock_domain: match direction {
            Direction::Capture => CAPTURE_CLOCK,
            Direction::Playback => CAPTURE_CLOCK + 1,
        },
    }
}
