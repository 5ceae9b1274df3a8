//! A cpal implementation without devices: the test calls the streams' callbacks itself.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration as Span;

use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{
    Data, DeviceDescription, DeviceDescriptionBuilder, DeviceId, Error, ErrorKind, InputCallbackInfo,
    InputStreamTimestamp, OutputCallbackInfo, OutputStreamTimestamp, SampleFormat, StreamConfig,
    StreamInstant, SupportedBufferSize, SupportedStreamConfig, SupportedStreamConfigRange,
};

type InputDataCallback = Box<dyn FnMut(&Data, &InputCallbackInfo) + Send>;
type OutputDataCallback = Box<dyn FnMut(&mut Data, &OutputCallbackInfo) + Send>;
type ErrorCallback = Box<dyn FnMut(Error) + Send>;

/// Callbacks of one stream. They are kept when the stream is dropped, because some hosts call them for a while
/// longer.
#[derive(Default)]
pub(crate) struct KeptCallbacks {
    input: Option<InputDataCallback>,
    output: Option<OutputDataCallback>,
    error: Option<ErrorCallback>,
}

/// State shared by the test and the host.
#[derive(Clone, Default)]
pub(crate) struct HostScript {
    /// Callbacks of all capture streams that were built.
    pub(crate) capture_streams: Arc<Mutex<Vec<KeptCallbacks>>>,
    /// Callbacks of all playback streams that were built.
    pub(crate) playback_streams: Arc<Mutex<Vec<KeptCallbacks>>>,
    /// Whether dropping a stream hangs.
    pub(crate) hangs: Arc<AtomicBool>,
    /// Whether the devices are missing.
    pub(crate) gone: Arc<AtomicBool>,
    /// Number of the default loudspeaker. There are unlimited loudspeakers, numbered from 0.
    pub(crate) default: Arc<AtomicU32>,
    /// Number of queries for the default loudspeaker.
    pub(crate) default_queries: Arc<AtomicU32>,
    /// Number of the loudspeaker on which each playback stream was opened.
    pub(crate) opened_on: Arc<Mutex<Vec<u32>>>,
}

/// Period of both devices, in sample frames.
pub(crate) const PERIOD: u32 = 480;

pub(crate) fn instant(ms: u64) -> StreamInstant {
    StreamInstant::from_nanos(ms * 1_000_000)
}

impl HostScript {
    pub(crate) fn host(&self) -> cpal::Host {
        cpal::platform::CustomHost::from_host(ScriptedHost(self.clone())).into()
    }

    /// Calls the callback of capture stream `stream`; `None` selects the newest one.
    pub(crate) fn capture(
        &self,
        stream: Option<usize>,
        samples: &[f32],
        callback: StreamInstant,
        capture: StreamInstant,
    ) {
        let mut all = self.capture_streams.lock().unwrap();
        let stream = stream.unwrap_or(all.len() - 1);
        let on_input = all[stream].input.as_mut().unwrap();
        // SAFETY: the slice has this length and type, and cpal does not write through a shared `Data`.
        let data =
            unsafe { Data::from_parts(samples.as_ptr().cast_mut().cast(), samples.len(), SampleFormat::F32) };
        on_input(&data, &InputCallbackInfo::new(InputStreamTimestamp { callback, capture }));
    }

    /// Calls the callback of playback stream `stream`; `None` selects the newest one.
    pub(crate) fn play(
        &self,
        stream: Option<usize>,
        out: &mut [i16],
        callback: StreamInstant,
        playback: StreamInstant,
    ) {
        let mut all = self.playback_streams.lock().unwrap();
        let stream = stream.unwrap_or(all.len() - 1);
        let on_output = all[stream].output.as_mut().unwrap();
        // SAFETY: the slice has this length and type.
        let mut data = unsafe { Data::from_parts(out.as_mut_ptr().cast(), out.len(), SampleFormat::I16) };
        on_output(&mut data, &OutputCallbackInfo::new(OutputStreamTimestamp { callback, playback }));
    }

    /// Calls the error callback of the newest playback stream.
    pub(crate) fn fail(&self, kind: ErrorKind) {
        let mut all = self.playback_streams.lock().unwrap();
        all.last_mut().unwrap().error.as_mut().unwrap()(Error::new(kind));
    }
}

struct ScriptedHost(HostScript);

#[derive(Clone)]
struct ScriptedDevice {
    script: HostScript,
    is_microphone: bool,
    number: u32,
}

struct ScriptedStream(HostScript);

impl Drop for ScriptedStream {
    fn drop(&mut self) {
        while self.0.hangs.load(Ordering::Relaxed) {
            std::thread::sleep(Span::from_millis(5));
        }
    }
}

impl HostTrait for ScriptedHost {
    type Devices = std::vec::IntoIter<ScriptedDevice>;
    type Device = ScriptedDevice;

    fn is_available() -> bool {
        true
    }

    fn devices(&self) -> Result<Self::Devices, Error> {
        let both = [self.default_input_device(), self.default_output_device()];
        Ok(both.into_iter().flatten().collect::<Vec<_>>().into_iter())
    }

    fn default_input_device(&self) -> Option<ScriptedDevice> {
        let is_present = !self.0.gone.load(Ordering::Relaxed);
        is_present.then(|| ScriptedDevice { script: self.0.clone(), is_microphone: true, number: 0 })
    }

    fn default_output_device(&self) -> Option<ScriptedDevice> {
        let is_present = !self.0.gone.load(Ordering::Relaxed);
        self.0.default_queries.fetch_add(1, Ordering::Relaxed);
        let number = self.0.default.load(Ordering::Relaxed);
        is_present.then(|| ScriptedDevice { script: self.0.clone(), is_microphone: false, number })
    }
}

impl ScriptedDevice {
    fn range(&self) -> SupportedStreamConfigRange {
        let buffer = SupportedBufferSize::Range { min: PERIOD, max: PERIOD };
        let (channels, format) =
            if self.is_microphone { (2, SampleFormat::F32) } else { (1, SampleFormat::I16) };
        SupportedStreamConfigRange::new(channels, 48_000, 48_000, buffer, format)
    }
}

impl DeviceTrait for ScriptedDevice {
    type SupportedInputConfigs = std::vec::IntoIter<SupportedStreamConfigRange>;
    type SupportedOutputConfigs = std::vec::IntoIter<SupportedStreamConfigRange>;
    type Stream = ScriptedStream;

    fn description(&self) -> Result<DeviceDescription, Error> {
        Ok(DeviceDescriptionBuilder::new(if self.is_microphone { "microphone" } else { "loudspeaker" })
            .build())
    }

    fn id(&self) -> Result<DeviceId, Error> {
        let name = if self.is_microphone { "microphone" } else { "loudspeaker" };
        Ok(DeviceId::new("alsa".parse()?, format!("{name} {}", self.number)))
    }

    fn supported_input_configs(&self) -> Result<Self::SupportedInputConfigs, Error> {
        Ok(Vec::from_iter(self.is_microphone.then(|| self.range())).into_iter())
    }

    fn supported_output_configs(&self) -> Result<Self::SupportedOutputConfigs, Error> {
        Ok(Vec::from_iter((!self.is_microphone).then(|| self.range())).into_iter())
    }

    fn default_input_config(&self) -> Result<SupportedStreamConfig, Error> {
        Ok(self.range().with_max_sample_rate())
    }

    fn default_output_config(&self) -> Result<SupportedStreamConfig, Error> {
        Ok(self.range().with_max_sample_rate())
    }

    fn build_input_stream_raw<D, E>(
        &self,
        _: StreamConfig,
        _: SampleFormat,
        data: D,
        error: E,
        _: Option<Span>,
    ) -> Result<ScriptedStream, Error>
    where
        D: FnMut(&Data, &InputCallbackInfo) + Send + 'static,
        E: FnMut(Error) + Send + 'static,
    {
        let callbacks =
            KeptCallbacks { input: Some(Box::new(data)), output: None, error: Some(Box::new(error)) };
        self.script.capture_streams.lock().unwrap().push(callbacks);
        Ok(ScriptedStream(self.script.clone()))
    }

    fn build_output_stream_raw<D, E>(
        &self,
        _: StreamConfig,
        _: SampleFormat,
        data: D,
        error: E,
        _: Option<Span>,
    ) -> Result<ScriptedStream, Error>
    where
        D: FnMut(&mut Data, &OutputCallbackInfo) + Send + 'static,
        E: FnMut(Error) + Send + 'static,
    {
        let callbacks =
            KeptCallbacks { input: None, output: Some(Box::new(data)), error: Some(Box::new(error)) };
        self.script.playback_streams.lock().unwrap().push(callbacks);
        self.script.opened_on.lock().unwrap().push(self.number);
        Ok(ScriptedStream(self.script.clone()))
    }
}

impl StreamTrait for ScriptedStream {
    fn play(&self) -> Result<(), Error> {
        Ok(())
    }

    fn pause(&self) -> Result<(), Error> {
        Ok(())
    }

    fn buffer_size(&self) -> Result<u32, Error> {
        Ok(PERIOD)
    }

    fn now(&self) -> StreamInstant {
        StreamInstant::ZERO
    }
}

impl PartialEq for ScriptedDevice {
    fn eq(&self, other: &Self) -> bool {
        (self.is_microphone, self.number) == (other.is_microphone, other.number)
    }
}

impl Eq for ScriptedDevice {}

impl std::hash::Hash for ScriptedDevice {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.is_microphone.hash(state);
    }
}

impl fmt::Debug for ScriptedDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_microphone { "microphone" } else { "loudspeaker" })
    }
}

impl fmt::Display for ScriptedDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
