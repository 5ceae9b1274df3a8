//! A cpal host made of Rust, whose callbacks the test calls itself, when and as it likes.

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

type Heard = Box<dyn FnMut(&Data, &InputCallbackInfo) + Send>;
type Wanted = Box<dyn FnMut(&mut Data, &OutputCallbackInfo) + Send>;
type Failed = Box<dyn FnMut(Error) + Send>;

/// One stream's callbacks, which stay when the stream is dropped: some hosts call them for a while longer.
#[derive(Default)]
pub(crate) struct Callbacks {
    heard: Option<Heard>,
    wanted: Option<Wanted>,
    failed: Option<Failed>,
}

/// What the test and the host share.
#[derive(Clone, Default)]
pub(crate) struct Studio {
    /// The callbacks of all streams that were ever built, microphones and loudspeakers.
    pub(crate) microphones: Arc<Mutex<Vec<Callbacks>>>,
    pub(crate) loudspeakers: Arc<Mutex<Vec<Callbacks>>>,
    /// Dropping a stream hangs for so long.
    pub(crate) hangs: Arc<AtomicBool>,
    /// Whether the devices are there.
    pub(crate) gone: Arc<AtomicBool>,
    /// Which loudspeaker is the default one, counted from 0; there are as many as are asked for.
    pub(crate) default: Arc<AtomicU32>,
    /// How often somebody asked for the default loudspeaker.
    pub(crate) asked: Arc<AtomicU32>,
    /// On which one each loudspeaker's stream was opened.
    pub(crate) opened_on: Arc<Mutex<Vec<u32>>>,
}

/// Period of both devices.
pub(crate) const PERIOD: u32 = 480;

pub(crate) fn instant(ms: u64) -> StreamInstant {
    StreamInstant::from_nanos(ms * 1_000_000)
}

impl Studio {
    pub(crate) fn host(&self) -> cpal::Host {
        cpal::platform::CustomHost::from_host(Host(self.clone())).into()
    }

    /// Calls the newest microphone's callback, or that of the stream `stream`.
    pub(crate) fn speak(
        &self,
        stream: Option<usize>,
        samples: &[f32],
        callback: StreamInstant,
        capture: StreamInstant,
    ) {
        let mut all = self.microphones.lock().unwrap();
        let stream = stream.unwrap_or(all.len() - 1);
        let heard = all[stream].heard.as_mut().unwrap();
        // SAFETY: the slice is that long and of that type, and nobody writes through shared data.
        let data =
            unsafe { Data::from_parts(samples.as_ptr().cast_mut().cast(), samples.len(), SampleFormat::F32) };
        heard(&data, &InputCallbackInfo::new(InputStreamTimestamp { callback, capture }));
    }

    /// Calls the newest loudspeaker's callback, or that of the stream `stream`.
    pub(crate) fn listen(
        &self,
        stream: Option<usize>,
        out: &mut [i16],
        callback: StreamInstant,
        playback: StreamInstant,
    ) {
        let mut all = self.loudspeakers.lock().unwrap();
        let stream = stream.unwrap_or(all.len() - 1);
        let wanted = all[stream].wanted.as_mut().unwrap();
        // SAFETY: the slice is that long and of that type.
        let mut data = unsafe { Data::from_parts(out.as_mut_ptr().cast(), out.len(), SampleFormat::I16) };
        wanted(&mut data, &OutputCallbackInfo::new(OutputStreamTimestamp { callback, playback }));
    }

    /// The newest loudspeaker fails.
    pub(crate) fn fail(&self, kind: ErrorKind) {
        let mut all = self.loudspeakers.lock().unwrap();
        all.last_mut().unwrap().failed.as_mut().unwrap()(Error::new(kind));
    }
}

struct Host(Studio);

#[derive(Clone)]
struct Device {
    studio: Studio,
    is_microphone: bool,
    number: u32,
}

struct Stream(Studio);

impl Drop for Stream {
    fn drop(&mut self) {
        while self.0.hangs.load(Ordering::Relaxed) {
            std::thread::sleep(Span::from_millis(5));
        }
    }
}

impl HostTrait for Host {
    type Devices = std::vec::IntoIter<Device>;
    type Device = Device;

    fn is_available() -> bool {
        true
    }

    fn devices(&self) -> Result<Self::Devices, Error> {
        let both = [self.default_input_device(), self.default_output_device()];
        Ok(both.into_iter().flatten().collect::<Vec<_>>().into_iter())
    }

    fn default_input_device(&self) -> Option<Device> {
        let there = !self.0.gone.load(Ordering::Relaxed);
        there.then(|| Device { studio: self.0.clone(), is_microphone: true, number: 0 })
    }

    fn default_output_device(&self) -> Option<Device> {
        let there = !self.0.gone.load(Ordering::Relaxed);
        self.0.asked.fetch_add(1, Ordering::Relaxed);
        let number = self.0.default.load(Ordering::Relaxed);
        there.then(|| Device { studio: self.0.clone(), is_microphone: false, number })
    }
}

impl Device {
    fn range(&self) -> SupportedStreamConfigRange {
        let buffer = SupportedBufferSize::Range { min: PERIOD, max: PERIOD };
        let (channels, format) =
            if self.is_microphone { (2, SampleFormat::F32) } else { (1, SampleFormat::I16) };
        SupportedStreamConfigRange::new(channels, 48_000, 48_000, buffer, format)
    }
}

impl DeviceTrait for Device {
    type SupportedInputConfigs = std::vec::IntoIter<SupportedStreamConfigRange>;
    type SupportedOutputConfigs = std::vec::IntoIter<SupportedStreamConfigRange>;
    type Stream = Stream;

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
    ) -> Result<Stream, Error>
    where
        D: FnMut(&Data, &InputCallbackInfo) + Send + 'static,
        E: FnMut(Error) + Send + 'static,
    {
        let callbacks =
            Callbacks { heard: Some(Box::new(data)), wanted: None, failed: Some(Box::new(error)) };
        self.studio.microphones.lock().unwrap().push(callbacks);
        Ok(Stream(self.studio.clone()))
    }

    fn build_output_stream_raw<D, E>(
        &self,
        _: StreamConfig,
        _: SampleFormat,
        data: D,
        error: E,
        _: Option<Span>,
    ) -> Result<Stream, Error>
    where
        D: FnMut(&mut Data, &OutputCallbackInfo) + Send + 'static,
        E: FnMut(Error) + Send + 'static,
    {
        let callbacks =
            Callbacks { heard: None, wanted: Some(Box::new(data)), failed: Some(Box::new(error)) };
        self.studio.loudspeakers.lock().unwrap().push(callbacks);
        self.studio.opened_on.lock().unwrap().push(self.number);
        Ok(Stream(self.studio.clone()))
    }
}

impl StreamTrait for Stream {
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

impl PartialEq for Device {
    fn eq(&self, other: &Self) -> bool {
        (self.is_microphone, self.number) == (other.is_microphone, other.number)
    }
}

impl Eq for Device {}

impl std::hash::Hash for Device {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.is_microphone.hash(state);
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_microphone { "microphone" } else { "loudspeaker" })
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
