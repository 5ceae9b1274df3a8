//! Worker side: the processor that the capture pipeline calls.

use std::fmt;
use std::sync::Arc;

use handsfree_core::capture::{ProcessError, VoiceProcessor, VoiceStats};
use handsfree_core::{Duration, Format, PcmMut, PcmRef};

use crate::config::{ApmConfig, check_format};
use crate::control::{ApmControl, Shared};
use crate::engine::Engine;
use crate::error::{ApmError, Direction};

/// WebRTC's audio processing as a [`VoiceProcessor`].
///
/// Between construction and drop a frame costs no allocation and waits for no lock, in Rust or in C++;
/// the library's own mutexes are only ever taken by the thread that has the instance.
pub struct ApmProcessor {
    near: Format,
    far: Format,
    /// None while a control has it.
    engine: Option<Box<Engine>>,
    shared: Arc<Shared>,
    heard_since_capture: bool,
    forget_on_return: bool,
    last_stats: VoiceStats,
}

impl ApmProcessor {
    /// A processor for a microphone of format `near` and a loudspeaker of format `far`; rates and channel
    /// counts of the two may differ. Allocates, and takes some milliseconds.
    ///
    /// # Errors
    /// [`ApmError::Rate`] and [`ApmError::Channels`] name a value that the library does not take.
    pub fn new(near: Format, far: Format, config: ApmConfig) -> Result<Self, ApmError> {
        check_format(near, Direction::Capture)?;
        check_format(far, Direction::Playback)?;
        Ok(Self {
            near,
            far,
            engine: Some(Engine::new(near, far, config)?),
            shared: Arc::new(Shared::new(config)),
            heard_since_capture: false,
            forget_on_return: false,
            last_stats: VoiceStats::default(),
        })
    }

    /// A handle that changes settings from another thread while frames flow.
    #[must_use]
    pub fn control(&self) -> ApmControl {
        ApmControl::new(Arc::clone(&self.shared))
    }

    /// The microphone's format.
    #[must_use]
    pub fn near(&self) -> Format {
        self.near
    }

    /// The loudspeaker's format.
    #[must_use]
    pub fn far(&self) -> Format {
        self.far
    }

    /// Changes settings at once, for whoever owns the processor and may let it allocate: before the
    /// stream starts, or in a simulator. A worker's settings change through [`control`](Self::control).
    ///
    /// # Errors
    /// [`ApmError::Busy`] while a control is changing them.
    pub fn set_config(&mut self, config: ApmConfig) -> Result<(), ApmError> {
        let shared = Arc::clone(&self.shared);
        let mut in_force = shared.try_lock_config().ok_or(ApmError::Busy)?;
        self.fetch();
        let engine = self.engine.as_deref_mut().ok_or(ApmError::Busy)?;
        let outcome = engine.apply(config);
        *in_force = engine.config();
        outcome
    }

    /// Capture frames that passed unprocessed because a control was changing settings.
    #[must_use]
    pub fn passed_frames(&self) -> u64 {
        self.shared.handover.passed_frames()
    }

    /// Lends the engine or fetches it, between two frames.
    fn hand_over(&mut self) {
        match self.engine.take() {
            None => self.fetch(),
            Some(engine) if !self.shared.handover.is_wanted() => self.engine = Some(engine),
            Some(engine) => {
                self.last_stats = engine.stats();
                self.engine = self.shared.handover.lend(engine);
            }
        }
    }

    fn fetch(&mut self) {
        if self.engine.is_some() {
            return;
        }
        self.engine = self.shared.handover.take_back();
        if let Some(engine) = &mut self.engine
            && std::mem::take(&mut self.forget_on_return)
        {
            engine.forget();
        }
    }
}

impl VoiceProcessor for ApmProcessor {
    fn process_reverse(&mut self, far: PcmRef<'_>) -> Result<(), ProcessError> {
        check_frame(self.far, far.format, far.samples.len())?;
        self.hand_over();
        self.heard_since_capture = true;
        match &mut self.engine {
            Some(engine) => engine.hear(far.samples),
            None => Ok(()),
        }
    }

    fn process_capture(&mut self, near: PcmMut<'_>, delay: Duration) -> Result<(), ProcessError> {
        check_frame(self.near, near.format, near.samples.len())?;
        // A loan that began between a reverse frame and its capture frame would shift the one against the
        // other for good, so a pair is processed or passed as a whole.
        if !std::mem::take(&mut self.heard_since_capture) {
            self.hand_over();
        }
        match &mut self.engine {
            Some(engine) => engine.clean(near.samples, delay),
            None => {
                self.shared.handover.count_passed_frame();
                Ok(())
            }
        }
    }

    /// While a control has the instance these are the figures from before.
    fn stats(&self) -> VoiceStats {
        self.engine.as_ref().map_or(self.last_stats, |engine| engine.stats())
    }

    /// Makes the library's parts anew, which allocates: for a new device, not for each gap.
    fn reset(&mut self) {
        self.fetch();
        match &mut self.engine {
            Some(engine) => engine.forget(),
            None => self.forget_on_return = true,
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
