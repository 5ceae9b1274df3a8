//! Worker side: the C++ library's instance with its settings and buffers. Only this file calls the library.

use std::ptr::NonNull;

use webrtc_audio_processing_sys as sys;

use handsfree_core::capture::{ProcessError, VoiceStats};
use handsfree_core::{Duration, Format};

use crate::config::{ApmConfig, EchoCancellation, MAX_CHANNELS, MAX_SAMPLE_FRAMES};
use crate::convert::{from_planes, to_planes};
use crate::error::ApmError;
use crate::flush_to_zero::flush_to_zero;
use crate::gentle;

/// Longest delay that the library accepts. It would clip a longer one itself and log a warning.
const MAX_DELAY_MS: i64 = 500;

/// The owned C++ object.
struct Library(NonNull<sys::AudioProcessing>);

// SAFETY: the object is not bound to the thread that created it, and only the owner of this value calls it.
unsafe impl Send for Library {}

impl Library {
    /// Creates an instance. AEC3 takes its settings only when it is made.
    fn new(echo: EchoCancellation) -> Result<Self, ApmError> {
        let mut code = 0;
        let mut gentle = (echo == EchoCancellation::Gentle).then(gentle::settings);
        let settings = gentle.as_mut().map_or(std::ptr::null_mut(), std::ptr::from_mut);
        // SAFETY: a null pointer selects the default settings; others are copied; both outlive the call.
        let instance = unsafe { sys::create_audio_processing(settings, &mut code) };
        NonNull::new(instance).map(Self).ok_or(ApmError::Create { code })
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: the pointer came from create_audio_processing and is deleted once.
        unsafe { sys::delete_audio_processing(self.0.as_ptr()) }
    }
}

/// A frame of one direction in the library's layout.
struct Planes {
    format: Format,
    stream_config: sys::StreamConfig,
    samples: [[f32; MAX_SAMPLE_FRAMES]; MAX_CHANNELS],
}

impl Planes {
    fn new(format: Format) -> Self {
        Self {
            format,
            stream_config: sys::StreamConfig::new(format.rate_hz(), format.channels()),
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

/// The library's instance with everything allocated that its frames need, with one exception: when the two
/// channels of the loudspeaker begin to differ, AEC3 allocates filters for both, once.
pub(crate) struct ApmEngine {
    library: Library,
    near: Planes,
    far: Planes,
    config: ApmConfig,
    stats: VoiceStats,
}

impl ApmEngine {
    /// Creates an instance. Both formats must have passed `check_format`. Allocates.
    pub(crate) fn new(near: Format, far: Format, config: ApmConfig) -> Result<Box<Self>, ApmError> {
        let library = Library::new(config.echo_cancellation)?;
        let mut engine = Box::new(Self {
            library,
            near: Planes::new(near),
            far: Planes::new(far),
            config,
            stats: VoiceStats::default(),
        });
        engine.set_library_config();
        engine.prime()?;
        Ok(engine)
    }

    pub(crate) fn config(&self) -> ApmConfig {
        self.config
    }

    /// Applies new settings. Allocates and locks inside the library, so the worker must not call it while
    /// frames flow.
    pub(crate) fn apply(&mut self, config: ApmConfig) -> Result<(), ApmError> {
        let restarts = self.config.restarts_for(&config);
        let is_gentle = |config: &ApmConfig| config.echo_cancellation == EchoCancellation::Gentle;
        if is_gentle(&self.config) != is_gentle(&config) {
            self.library = Library::new(config.echo_cancellation)?;
        }
        self.config = config;
        self.stats = VoiceStats::default();
        self.set_library_config();
        if restarts { self.prime() } else { Ok(()) }
    }

    /// Discards what the library has learned. Allocates inside the library.
    pub(crate) fn reinitialize(&mut self) {
        // SAFETY: the instance is alive and `&mut self` makes this the only call into it.
        unsafe { sys::initialize(self.library.0.as_ptr()) }
        self.read_stats();
        self.stats = VoiceStats::default();
    }

    /// Analyzes a frame of the loudspeaker's signal. `samples` must be a frame of the far format.
    pub(crate) fn process_reverse(&mut self, samples: &[i16]) -> Result<(), ProcessError> {
        if self.config == ApmConfig::BYPASS {
            return Ok(());
        }
        self.far.load(samples);
        self.analyze_far_planes()
    }

    /// Processes a frame of the microphone's signal in place. `samples` must be a frame of the near format. An
    /// error leaves them unchanged.
    pub(crate) fn process_capture(
        &mut self,
        samples: &mut [i16],
        delay: Duration,
    ) -> Result<(), ProcessError> {
        // Bypass skips the library, which resamples rates below 16 kHz even with all parts off.
        if self.config == ApmConfig::BYPASS {
            return Ok(());
        }
        self.near.load(samples);
        // SAFETY: the instance is alive and `&mut self` makes this the only call into it.
        unsafe { sys::set_stream_delay_ms(self.library.0.as_ptr(), library_delay_ms(delay)) };
        self.process_near_planes()?;
        self.near.store(samples);
        self.read_stats();
        Ok(())
    }

    /// Returns the library's statistics of the last capture frame that it processed.
    pub(crate) fn stats(&self) -> VoiceStats {
        self.stats
    }

    /// Reads the library's statistics; called after every frame. The library keeps the statistics of one frame
    /// until they are read and drops those of later frames, so reading less often would return old values.
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

    /// Makes the library allocate what its first frame needs by processing a frame of silence, then discards the
    /// effect of that frame: the canceller reads the delay at its first frame, which must be a real one.
    fn prime(&mut self) -> Result<(), ApmError> {
        if self.config == ApmConfig::BYPASS {
            return Ok(());
        }
        let code_of = |error| match error {
            ProcessError::Backend { code } => ApmError::Backend { code },
            _ => ApmError::Backend { code: 0 },
        };
        self.far.silence();
        self.near.silence();
        self.analyze_far_planes().map_err(code_of)?;
        if self.config.echo_cancellation == EchoCancellation::Mobile {
            // SAFETY: as in `process_capture`. The mobile canceller rejects a frame for which no delay was set.
            unsafe { sys::set_stream_delay_ms(self.library.0.as_ptr(), 0) };
        }
        self.process_near_planes().map_err(code_of)?;
        self.reinitialize();
        Ok(())
    }

    fn analyze_far_planes(&mut self) -> Result<(), ProcessError> {
        let planes = self.far.samples.each_ref().map(|plane| plane.as_ptr());
        // SAFETY: the instance is alive and `&mut self` makes this the only call into it; `stream_config`
        // names at most MAX_CHANNELS planes of at most MAX_SAMPLE_FRAMES, and the call only reads them.
        let code = flush_to_zero(|| unsafe {
            sys::analyze_render_frame(self.library.0.as_ptr(), &self.far.stream_config, planes.as_ptr())
        });
        check_code(code)
    }

    fn process_near_planes(&mut self) -> Result<(), ProcessError> {
        let planes = self.near.samples.each_mut().map(|plane| plane.as_mut_ptr());
        // SAFETY: as in `analyze_far_planes`; the call writes within the same planes.
        let code = flush_to_zero(|| unsafe {
            sys::process_capture_frame(self.library.0.as_ptr(), &self.near.stream_config, planes.as_ptr())
        });
        check_code(code)
    }
}

fn check_code(code: i32) -> Result<(), ProcessError> {
    if code == 0 { Ok(()) } else { Err(ProcessError::Backend { code }) }
}

/// Rounds to the nearest millisecond that the library accepts.
fn library_delay_ms(delay: Duration) -> i32 {
    let rounded_ms = (delay.as_micros().max(0) + 500) / 1_000;
    rounded_ms.min(MAX_DELAY_MS) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_rounded_and_clamped() {
        for (delay, ms) in [
            (Duration::from_micros(0), 0),
            (Duration::from_micros(1_499), 1),
            (Duration::from_micros(1_500), 2),
            (Duration::from_millis(-40), 0),
            (Duration::from_millis(900), 500),
            (Duration::from_nanos(i64::MAX), 500),
            (Duration::from_nanos(i64::MIN), 0),
        ] {
            assert_eq!(library_delay_ms(delay), ms, "{delay:?}");
        }
    }
}
