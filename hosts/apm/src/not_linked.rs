//! Worker side: the processor's type in a build without WebRTC's audio processing, of which no value exists.

use std::convert::Infallible;

use handsfree_core::audio_io::Direction;
use handsfree_core::capture::{ProcessError, VoiceProcessor, VoiceStats};
use handsfree_core::{Duration, Format, PcmMut, PcmRef};

use crate::config::{ApmConfig, check_format};
use crate::error::ApmError;

/// Voice processor of a build that does not link WebRTC's audio processing. It cannot be made.
#[derive(Debug)]
pub struct ApmProcessor(Infallible);

impl ApmProcessor {
    /// Returns the error that says what this build lacks.
    ///
    /// # Errors
    /// [`ApmError::Rate`] or [`ApmError::Channels`] for a value that WebRTC's processor would not accept either, and
    /// otherwise [`ApmError::NotLinked`].
    pub fn new(near: Format, far: Format, _config: ApmConfig) -> Result<Self, ApmError> {
        check_format(near, Direction::Capture)?;
        check_format(far, Direction::Playback)?;
        Err(ApmError::NotLinked)
    }
}

impl VoiceProcessor for ApmProcessor {
    fn process_reverse(&mut self, _far: PcmRef<'_>) -> Result<(), ProcessError> {
        match self.0 {}
    }

    fn process_capture(&mut self, _near: PcmMut<'_>, _delay: Duration) -> Result<(), ProcessError> {
        match self.0 {}
    }

    fn stats(&self) -> VoiceStats {
        match self.0 {}
    }

    fn reset(&mut self) {
        match self.0 {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_that_is_not_linked_is_an_error() {
        let mono = Format::new(48_000, 1).unwrap();
        let error = ApmProcessor::new(mono, mono, ApmConfig::default()).unwrap_err();
        assert_eq!(error, ApmError::NotLinked);
        assert!(error.to_string().contains("feature `apm`"), "{error}");
        let odd = Format::new(96_000, 1).unwrap();
        assert!(matches!(
            ApmProcessor::new(mono, odd, ApmConfig::default()),
            Err(ApmError::Rate { rate_hz: 96_000, .. })
        ));
    }
}
