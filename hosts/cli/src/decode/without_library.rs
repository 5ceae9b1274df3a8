//! Application side: takes the place of the decoding library in a build without the feature `formats`.

use std::fs::File;
use std::io::Read;

use super::Decoded;

/// Decoder that does not exist in this build.
pub(super) enum LibraryDecoder {}

const MISSING: &str = "this build reads only plain WAV files and samples without a header: expected one of these, or a build of the \
                       command with the feature `formats`, which is on by default";

impl LibraryDecoder {
    /// Returns an error that says what this build reads.
    pub(super) fn of_file(_: File, _: Option<&str>) -> Result<Self, String> {
        Err(MISSING.into())
    }

    /// Returns the same error.
    pub(super) fn of_stream(_: Box<dyn Read + Send>) -> Result<Self, String> {
        Err(MISSING.into())
    }

    pub(super) fn rate_hz(&self) -> u32 {
        match *self {}
    }

    pub(super) fn channels(&self) -> u32 {
        match *self {}
    }

    pub(super) fn next(&mut self, _: &mut Vec<f32>) -> Decoded {
        match *self {}
    }
}
