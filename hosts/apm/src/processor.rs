//! Worker side: the voice processor that the capture pipeline calls.

use std::fmt;
use std::sync::Arc;

use handsfree_core::audio_io::Direction;
use handsfree_core::capture::{ProcessError, VoiceProcessor, VoiceStats};
use handsfree_core::{Duration, Format, PcmMut, PcmRef};

use crate::config::{ApmConfig, check_format};
use crate::control::{ApmControl, ApmShared};
use crate::engine::ApmEngine;
use crate::error::ApmError;

/// WebRTC's audio processing as a [`VoiceProcessor`].
///
/// Between construction and drop, processing a frame allocates nothing and waits for no lock, in Rust or in
/// C++: only the thread that has the library's instance takes the library's own mutexes.
pub struct ApmProcessor {
    near: Format,
    far: Format,
    /// The library's instance; `None` while a control has it.
    engine: Option<Box<ApmEngine>>,
    shared: Arc<ApmShared>,
    /// Whether a reverse frame was processed since the last capture frame.
    reverse_came_first: bool,
    /// Whether a reset was requested while a control had the engine.
    reset_on_return: bool,
    last_stats: VoiceStats,
}

impl ApmProcessor {
    /// Creates a processor for a microphone of format `near` and a loudspeaker of format `far`. The rates and
    /// channel counts of the two may differ. Allocates, and takes a few milliseconds.
    ///
    /// # Errors
    /// [`ApmError::Rate`] or [`ApmError::Channels`] for a value that the processor does not accept.
    pub fn new(near: Format, far: Format, config: ApmConfig) -> Result<Self, ApmError> {
        check_format(near, Direction::Capture)?;
        check_format(far, Direction::Playback)?;
        Ok(Self {
            near,
            far,
            engine: Some(ApmEngine::new(near, far, config)?),
            shared: Arc::new(ApmShared::new(config)),
            reverse_came_first: false,
            reset_on_return: false,
            last_stats: VoiceStats::default(),
        })
    }

    /// Returns a handle that changes the settings from another thread while frames flow.
    #[must_use]
    pub fn control(&self) -> ApmControl {
        ApmControl::new(Arc::clone(&self.shared))
    }

    /// Returns the microphone's format.
    #[must_use]
    pub fn near(&self) -> Format {
        self.near
    }

    /// Returns the loudspeaker's format.
    #[must_use]
    pub fn far(&self) -> Format {
        self.far
    }

    /// Replaces all settings at once. Allocates, so call it before the stream starts or in a simulator; while a
    /// worker processes frames, change settings through [`control`](Self::control).
    ///
    /// # Errors
    /// [`ApmError::Busy`] while a control is changing the settings.
    pub fn set_config(&mut self, config: ApmConfig) -> Result<(), ApmError> {
        let shared = Arc::clone(&self.shared);
        let mut in_force = shared.try_lock_config().ok_or(ApmError::Busy)?;
        self.take_engine_back();
        let engine = self.engine.as_deref_mut().ok_or(ApmError::Busy)?;
        let result = engine.apply(config);
        *in_force = engine.config();
        result
    }

    /// Returns the number of capture frames that passed unprocessed because a control was changing settings.
    #[must_use]
    pub fn passed_frames(&self) -> u64 {
        self.shared.handover.passed_frames()
    }

    /// Between two frames, lends the engine to a control that requests it or takes it back.
    fn exchange_engine(&mut self) {
        match self.engine.take() {
            None => self.take_engine_back(),
            Some(engine) if !self.shared.handover.is_requested() => self.engine = Some(engine),
            Some(engine) => {
                self.last_stats = engine.stats();
                self.engine = self.shared.handover.lend(engine);
            }
        }
    }

    fn take_engine_back(&mut self) {
        if self.engine.is_some() {
            return;
        }
        self.engine = self.shared.handover.take_back();
        if let Some(engine) = &mut self.engine
            && std::mem::take(&mut self.reset_on_return)
        {
            engine.reinitialize();
        }
    }
}

/// Longest lag of the echo at which AEC3 still cancels. Measured with speech: at 500 ms it converges as at 2 ms.
const REACH: Duration = Duration::from_millis(450);

impl VoiceProcessor for ApmProcessor {
    fn process_reverse(&mut self, far: PcmRef<'_>) -> Result<(), ProcessError> {
        check_frame(self.far, far.format, far.samples.len())?;
        self.exchange_engine();
        self.reverse_came_first = true;
        match &mut self.engine {
            Some(engine) => engine.process_reverse(far.samples),
            None => Ok(()),
        }
    }

    fn process_capture(&mut self, near: PcmMut<'_>, delay: Duration) -> Result<(), ProcessError> {
        check_frame(self.near, near.format, near.samples.len())?;
        // Lending the engine between a reverse frame and its capture frame would shift one signal against the
        // other for good, so a pair of frames is either processed or passed as a whole.
        if !std::mem::take(&mut self.reverse_came_first) {
            self.exchange_engine();
        }
        match &mut self.engine {
            Some(engine) => engine.process_capture(near.samples, delay),
            None => {
                self.shared.handover.count_passed_frame();
                Ok(())
            }
        }
    }

    /// Returns the statistics of the last capture frame; while a control has the library's instance, those from
    /// before.
    fn stats(&self) -> VoiceStats {
        self.engine.as_ref().map_or(self.last_stats, |engine| engine.stats())
    }

    /// AEC3 finds an echo that comes up to half a second late by itself.
    fn reach(&self) -> Duration {
        REACH
    }

    /// Recreates the library's parts, which allocates: meant for a new device, not for every gap.
    fn reset(&mut self) {
        self.take_engine_back();
        match &mut self.engine {
            Some(engine) => engine.reinitialize(),
            None => self.reset_on_return = true,
        }
    }
}

impl Drop for ApmProcessor {
    fn drop(&mut self) {
        self.shared.handover.close();
    }
}

impl fmt::Debug for ApmProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApmProcessor")
            .field("near", &self.near)
            .field("far", &self.far)
            .field("lent", &self.engine.is_none())
            .finish_non_exhaustive()
    }
}

fn check_frame(expected: Format, found: Format, samples: usize) -> Result<(), ProcessError> {
    if found != expected {
        return Err(ProcessError::Format { expected, found });
    }
    if samples != expected.samples() {
        return Err(ProcessError::Length { expected: expected.samples(), found: samples });
    }
    Ok(())
}
