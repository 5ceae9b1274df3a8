//! Worker side: a filter that also changes the rate, frame by frame.

use std::fmt;

use handsfree_core::capture::ProcessError;
use handsfree_core::dsp::FrameConverter;
use handsfree_core::{Format, Frame, PcmMut, PcmRef};

use crate::control::FilterControl;
use crate::engine::{Engine, check_frame};
use crate::lanes::ROOM;

/// A loaded filter that takes frames at one rate and gives them at another, made by
/// [`AudioFilter::converter`](crate::AudioFilter::converter).
///
/// What passes as it came in a [`FilterProcessor`](crate::FilterProcessor) is brought to the output's rate by the
/// core's own converter here. That one runs along with every frame, so that its filter is warm when it is needed. The
/// delay of the two may differ, so a change between them can be heard.
pub struct FilterConverter {
    engine: Engine,
    plain: Option<Box<Plain>>,
}

/// The way past the filter.
struct Plain {
    converter: FrameConverter<ROOM>,
    input: Frame<ROOM>,
    output: Frame<ROOM>,
}

impl FilterConverter {
    pub(crate) fn new(engine: Engine) -> Self {
        // No frame is larger than ROOM, so both are always there.
        let frames = (Frame::silence(engine.input()), Frame::silence(engine.output()));
        let plain = match frames {
            (Ok(input), Ok(output)) => {
                Some(Box::new(Plain { converter: FrameConverter::new(), input, output }))
            }
            _ => None,
        };
        Self { engine, plain }
    }

    /// A handle for other threads.
    #[must_use]
    pub fn control(&self) -> FilterControl {
        self.engine.control()
    }

    /// The frames that go in.
    #[must_use]
    pub fn input(&self) -> Format {
        self.engine.input()
    }

    /// The frames that come out.
    #[must_use]
    pub fn output(&self) -> Format {
        self.engine.output()
    }

    /// Converts 10 ms. Neither allocates nor blocks.
    ///
    /// # Errors
    /// Frames of another format or length, with `output` left as it was. Each fault of the filter as
    /// [`ProcessError::Backend`], with the input in `output`, unfiltered at the output's rate.
    pub fn convert(&mut self, input: PcmRef<'_>, output: PcmMut<'_>) -> Result<(), ProcessError> {
        check_frame(self.engine.input(), input.format, input.samples.len())?;
        check_frame(self.engine.output(), output.format, output.samples.len())?;
        if let Some(plain) = &mut self.plain {
            plain.input.samples_mut().copy_from_slice(input.samples);
            plain.converter.convert(&plain.input, output.format.rate(), &mut plain.output);
            output.samples.copy_from_slice(plain.output.samples());
        }
        if let Some(filtered) = self.engine.filter(input.samples)? {
            output.samples.copy_from_slice(filtered);
        }
        Ok(())
    }

    /// Destroys the sessions, as dropping it does. Not for an audio thread.
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
