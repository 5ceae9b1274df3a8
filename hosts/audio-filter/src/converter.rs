//! Worker side: runs frames through a filter that also changes the sample rate.

use std::fmt;

use handsfree_core::capture::ProcessError;
use handsfree_core::dsp::FrameConverter;
use handsfree_core::{Format, Frame, PcmMut, PcmRef};

use crate::control::FilterControl;
use crate::engine::{FilterEngine, check_frame};
use crate::sessions::BUFFER_SAMPLES;

/// Loaded filter that reads frames at one rate and writes them at another, made by
/// [`AudioFilter::converter`](crate::AudioFilter::converter).
///
/// Frames that a [`FilterProcessor`](crate::FilterProcessor) would pass unfiltered are converted to the output rate by
/// the core's own converter here. That converter runs with every frame, so that its history is complete when it is
/// needed. The delay of the two conversions may differ, so a switch between them may be audible.
pub struct FilterConverter {
    engine: FilterEngine,
    bypass: Option<Box<BypassConverter>>,
}

/// Conversion without the filter.
struct BypassConverter {
    converter: FrameConverter<BUFFER_SAMPLES>,
    input: Frame<BUFFER_SAMPLES>,
    output: Frame<BUFFER_SAMPLES>,
}

impl FilterConverter {
    pub(crate) fn new(engine: FilterEngine) -> Self {
        // No frame is larger than BUFFER_SAMPLES, so both can always be made.
        let frames = (Frame::silence(engine.input()), Frame::silence(engine.output()));
        let bypass = match frames {
            (Ok(input), Ok(output)) => {
                Some(Box::new(BypassConverter { converter: FrameConverter::new(), input, output }))
            }
            _ => None,
        };
        Self { engine, bypass }
    }

    /// Returns a handle for other threads.
    #[must_use]
    pub fn control(&self) -> FilterControl {
        self.engine.control()
    }

    /// Returns the format of the input frames.
    #[must_use]
    pub fn input(&self) -> Format {
        self.engine.input()
    }

    /// Returns the format of the output frames.
    #[must_use]
    pub fn output(&self) -> Format {
        self.engine.output()
    }

    /// Converts 10 ms. Neither allocates nor blocks.
    ///
    /// # Errors
    /// Returns an error for frames of a different format or length; `output` is unchanged then. Returns each fault of the
    /// filter as [`ProcessError::Backend`]; `output` then holds the unfiltered input at the output rate.
    pub fn convert(&mut self, input: PcmRef<'_>, output: PcmMut<'_>) -> Result<(), ProcessError> {
        check_frame(self.engine.input(), input.format, input.samples.len())?;
        check_frame(self.engine.output(), output.format, output.samples.len())?;
        if let Some(bypass) = &mut self.bypass {
            bypass.input.samples_mut().copy_from_slice(input.samples);
            bypass.converter.convert(&bypass.input, output.format.rate(), &mut bypass.output);
            output.samples.copy_from_slice(bypass.output.samples());
        }
        if let Some(filtered) = self.engine.filter(input.samples)? {
            output.samples.copy_from_slice(filtered);
        }
        Ok(())
    }

    /// Destroys the sessions; dropping the converter does the same. Must not be called on an audio thread.
    pub fn close(&mut self) {
        self.engine.shared().close();
    }
}

impl fmt::Debug for FilterConverter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilterConverter")
            .field("input", &self.input())
            .field("output", &self.output())
            .field("control", &self.control())
            .finish_non_exhaustive()
    }
}
