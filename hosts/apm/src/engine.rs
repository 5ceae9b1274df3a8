//! Worker side: the C++ instance with its settings and the buffers it works in. The one place that
//! calls the library.

use std::ptr::NonNull;

use webrtc_audio_processing_sys as sys;

use handsfree_core::capture::{ProcessError, VoiceStats};
use handsfree_core::{Duration, Format};

use crate::config::{ApmConfig, EchoCancellation, MAX_CHANNELS, MAX_SAMPLE_FRAMES};
use crate::convert::{from_planes, to_planes};
use crate::error::ApmError;

/// The longest delay the library takes; more it would cut off itself, with a warning.
const MAX_DELAY_MS: i64 = 500;

/// The C++ object, owned.
struct Library(NonNull<sys::AudioProcessing>);

// SAFETY: the object has no tie to the thread that made it; whoever owns this alone calls it.
unsafe impl Send for Library {}

impl Library {
    fn new() -> Result<Self, ApmError> {
        let mut code = 0;
        // SAFETY: a null pointer asks for the default canceller; `code` outlives the call.
        let made = unsafe { sys::create_audio_processing(std::ptr::null_mut(), &mut code) };
        NonNull::new(made).map(Self).ok_or(ApmError::Create { code })
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: the pointer came from create_audio_processing and is deleted once.
        unsafe { sys::delete_audio_processing(self.0.as_ptr()) }
    }
}

/// One direction's 10 ms as the library wants them.
struct Planes {
    format: Format,
    shape: sys::StreamConfig,
    samples: [[f32; MAX_SAMPLE_FRAMES]; MAX_CHANNELS],
}

impl Planes {
    fn new(format: Format) -> Self {
        Self {
            format,
            shape: sys::StreamConfig::new(format.rate_hz(), format.channels()),
            samples: [[0.0; MAX_SAMPLE_FRAMES]; MAX_CHANNELS],
        }
    }

    fn load(&mut self, samples: &[i16]) {
        to_planes(samples, &mut self.samples, self.format.channels());
    }

    fn store(&self, samples: &mut [i16]) {
        from_planes(&self.samples, samples, self.format.channels());
    }

    fn silence(&mut self) {
        self.samples = [[0.0; MAX_SAMPLE_FRAMES]; MAX_CHANNELS];
    }
}

/// The library's instance, primed: no frame makes it allocate, but for a loudspeaker whose two channels
/// begin to differ: AEC3 then builds filters for both, once.
pub(crate) struct Engine {
    library: Library,
    near: Planes,
    far: Planes,
    config: ApmConfig,
    stats: VoiceStats,
}

impl Engine {
    /// Both formats must have passed `check_format`. Allocates.
    pub(crate) fn new(near: Format, far: Format, config: ApmConfig) -> Result<Box<Self>, ApmError> {
        let library = Library::new()?;
        let mut engine = Box::new(Self {
            library,
            near: Planes::new(near),
            far: Planes::new(far),
            config,
            stats: VoiceStats::default(),
        });
        engine.set_library_config();
        engine.restart()?;
        Ok(engine)
    }

    pub(crate) fn config(&self) -> ApmConfig {
        self.config
    }

    /// Allocates and locks inside the library, so never called between two frames of a worker.
    pub(crate) fn apply(&mut self, config: ApmConfig) -> Result<(), ApmError> {
        let restarts = self.config.restarts_for(&config);
        self.config = config;
        self.stats = VoiceStats::default();
        self.set_library_config();
        if restarts { self.restart() } else { Ok(()) }
    }

    /// Forgets what was learned. Allocates inside the library.
    pub(crate) fn forget(&mut self) {
        // SAFETY: the instance is alive and `&mut self` makes this the only call into it.
        unsafe { sys::initialize(self.library.0.as_ptr()) }
        self.read_stats();
        self.stats = VoiceStats::default();
    }

    /// Takes 10 ms of the loudspeaker; `samples` must have the far format's length.
    pub(crate) fn hear(&mut self, samples: &[i16]) -> Result<(), ProcessError> {
        if self.config == ApmConfig::BYPASS {
            return Ok(());
        }
        self.far.load(samples);
        self.hear_planes()
    }

    /// Cleans 10 ms of the microphone; `samples` must have the near format's length. On an error they
    /// are as they were.
    pub(crate) fn clean(&mut self, samples: &mut [i16], delay: Duration) -> Result<(), ProcessError> {
        // The library resamples below 16 kHz even when it changes nothing.
        if self.config == ApmConfig::BYPASS {
            return Ok(());
        }
        self.near.load(samples);
        // SAFETY: the instance is alive and `&mut self` makes this the only call into it.
        unsafe { sys::set_stream_delay_ms(self.library.0.as_ptr(), whole_delay_ms(delay)) };
        self.clean_planes()?;
        self.near.store(samples);
        self.read_stats();
        Ok(())
    }

    /// What the library said about the last frame that it cleaned.
    pub(crate) fn stats(&self) -> VoiceStats {
        self.stats
    }

    /// The library keeps the figures of one frame until they are read and drops those of later frames, so
    /// who reads seldom reads old ones.
    fn read_stats(&mut self) {
        // SAFETY: the instance is alive and `&mut self` makes this the only call into it.
        let stats = unsafe { sys::get_stats(self.library.0.as_ptr()) };
        let float = |value: sys::OptionalDouble| value.has_value.then_some(value.value as f32);
        self.stats = VoiceStats {
            erl_db: float(stats.echo_return_loss),
            erle_db: float(stats.echo_return_loss_enhancement),
            delay_ms: stats.delay_ms.has_value.then_some(stats.delay_ms.value),
            residual_echo_likelihood: float(stats.residual_echo_likelihood),
        };
    }

    fn set_library_config(&mut self) {
        let config = self.config.to_library(self.near.format, self.far.format);
        // SAFETY: the instance is alive, `&mut self` makes this the only call into it, and `config`
        // outlives the call, which copies it.
        unsafe { sys::set_config(self.library.0.as_ptr(), &config) }
    }

    /// Lets the library take up its formats and parts and allocate what a first frame allocates, then
    /// forgets that frame: the canceller reads the delay at its first frame, which must be a real one.
    fn restart(&mut self) -> Result<(), ApmError> {
        if self.config == ApmConfig::BYPASS {
            return Ok(());
        }
        let code_of = |error| match error {
            ProcessError::Backend { code } => ApmError::Backend { code },
            _ => ApmError::Backend { code: 0 },
        };
        self.far.silence();
        self.near.silence();
        self.hear_planes().map_err(code_of)?;
        if self.config.echo_cancellation == EchoCancellation::Mobile {
            // SAFETY: as in `clean`. The mobile canceller refuses a frame without a delay.
            unsafe { sys::set_stream_delay_ms(self.library.0.as_ptr(), 0) };
        }
        self.clean_planes().map_err(code_of)?;
        self.forget();
        Ok(())
    }

    fn hear_planes(&mut self) -> Result<(), ProcessError> {
        let planes = self.far.samples.each_ref().map(|plane| plane.as_ptr());
        // SAFETY: the instance is alive and `&mut self` makes this the only call into it; `shape` names
        // at most MAX_CHANNELS planes of at most MAX_SAMPLE_FRAMES, and the call only reads them.
        let code =
            unsafe { sys::analyze_render_frame(self.library.0.as_ptr(), &self.far.shape, planes.as_ptr()) };
        outcome(code)
    }

    fn clean_planes(&mut self) -> Result<(), ProcessError> {
        let planes = self.near.samples.each_mut().map(|plane| plane.as_mut_ptr());
        // SAFETY: as in `hear_planes`; the call writes within the same planes.
        let code =
            unsafe { sys::process_capture_frame(self.library.0.as_ptr(), &self.near.shape, planes.as_ptr()) };
        outcome(code)
    }
}

fn outcome(code: i32) -> Result<(), ProcessError> {
    if code == 0 { Ok(()) } else { Err(ProcessError::Backend { code }) }
}

/// To the nearest millisecond that the library takes.
fn whole_delay_ms(delay: Duration) -> i32 {
    let rounded_ms = (delay.as_micros().max(0) + 500) / 1_000;
    rounded_ms.min(MAX_DELAY_MS) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_rounded_and_bounded() {
        for (delay, ms) in [
            (Duration::from_micros(0), 0),
            (Duration::from_micros(1_499), 1),
            (Duration::from_micros(1_500), 2),
            (Duration::from_millis(-40), 0),
            (Duration::from_millis(900), 500),
            (Duration::from_nanos(i64::MAX), 500),
            (Duration::from_nanos(i64::MIN), 0),
        ] {
            assert_eq!(whole_delay_ms(delay), ms, "{delay:?}");
        }
    }
}
