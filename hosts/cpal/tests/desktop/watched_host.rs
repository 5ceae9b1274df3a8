//! A cpal host that forwards all calls and counts the allocator calls in callbacks.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration as Span;

use cpal::traits::{DeviceTrait, HostTrait};
use cpal::{
    Data, DeviceDescription, DeviceId, Error, InputCallbackInfo, OutputCallbackInfo, SampleFormat,
    StreamConfig, SupportedStreamConfig,
};

use crate::desktop_rig::CallbackCalls;
use crate::malloc_counter;

struct WatchedHost(cpal::Host, Arc<CallbackCalls>);

#[derive(Clone)]
struct WatchedDevice(cpal::Device, Arc<CallbackCalls>);

/// Wraps a host so that the allocator calls in its callbacks are counted.
pub(crate) fn watch(host: cpal::Host, calls: Arc<CallbackCalls>) -> cpal::Host {
    cpal::platform::CustomHost::from_host(WatchedHost(host, calls)).into()
}

fn counted(calls: &CallbackCalls, callback: impl FnOnce()) {
    let _ = malloc_counter::taken();
    malloc_counter::watched(callback);
    let taken = malloc_counter::taken();
    calls.callbacks.fetch_add(1, Ordering::Relaxed);
    calls.allocator_calls.fetch_add(taken.allocations + taken.frees, Ordering::Relaxed);
}

impl HostTrait for WatchedHost {
    type Devices = std::vec::IntoIter<WatchedDevice>;
    type Device = WatchedDevice;

    fn is_available() -> bool {
        true
    }

    fn devices(&self) -> Result<Self::Devices, Error> {
        let all: Vec<_> =
            self.0.devices()?.map(|device| WatchedDevice(device, Arc::clone(&self.1))).collect();
        Ok(all.into_iter())
    }

    fn default_input_device(&self) -> Option<WatchedDevice> {
        Some(WatchedDevice(self.0.default_input_device()?, Arc::clone(&self.1)))
    }

    fn default_output_device(&self) -> Option<WatchedDevice> {
        Some(WatchedDevice(self.0.default_output_device()?, Arc::clone(&self.1)))
    }
}

impl DeviceTrait for WatchedDevice {
    type SupportedInputConfigs = cpal::SupportedInputConfigs;
    type SupportedOutputConfigs = cpal::SupportedOutputConfigs;
    type Stream = cpal::Stream;

    fn description(&self) -> Result<DeviceDescription, Error> {
        self.0.description()
    }

    fn id(&self) -> Result<DeviceId, Error> {
        self.0.id()
    }

    fn supported_input_configs(&self) -> Result<Self::SupportedInputConfigs, Error> {
        self.0.supported_input_configs()
    }

    fn supported_output_configs(&self) -> Result<Self::SupportedOutputConfigs, Error> {
        self.0.supported_output_configs()
    }

    fn default_input_config(&self) -> Result<SupportedStreamConfig, Error> {
        self.0.default_input_config()
    }

    fn default_output_config(&self) -> Result<SupportedStreamConfig, Error> {
        self.0.default_output_config()
    }

    fn build_input_stream_raw<D, E>(
        &self,
        config: StreamConfig,
        format: SampleFormat,
        mut data: D,
        error: E,
        timeout: Option<Span>,
    ) -> Result<cpal::Stream, Error>
    where
        D: FnMut(&Data, &InputCallbackInfo) + Send + 'static,
        E: FnMut(Error) + Send + 'static,
    {
        let calls = Arc::clone(&self.1);
        let data = move |samples: &Data, info: &_| counted(&calls, || data(samples, info));
        self.0.build_input_stream_raw(config, format, data, error, timeout)
    }

    fn build_output_stream_raw<D, E>(
        &self,
        config: StreamConfig,
        format: SampleFormat,
        mut data: D,
        error: E,
        timeout: Option<Span>,
    ) -> Result<cpal::Stream, Error>
    where
        D: FnMut(&mut Data, &OutputCallbackInfo) + Send + 'static,
        E: FnMut(Error) + Send + 'static,
    {
        let calls = Arc::clone(&self.1);
        let data = move |samples: &mut Data, info: &_| counted(&calls, || data(samples, info));
        self.0.build_output_stream_raw(config, format, data, error, timeout)
    }
}

impl PartialEq for WatchedDevice {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for WatchedDevice {}

impl Hash for WatchedDevice {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for WatchedDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for WatchedDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
