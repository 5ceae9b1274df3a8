//! Control side: writes a stream of frames to WAV files, with a new file for each change of format.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use handsfree_core::{Duration, Format, Frame, Instant};
use hound::{SampleFormat, WavSpec, WavWriter};

use crate::failure::Failure;

/// Longest silence written for one absence of a device: ten minutes, so that a long absence does not fill the disk.
const MAX_GAP: Duration = Duration::from_millis(600_000);
/// Longest silence written for all gaps of a stream together, in seconds. An invalid journal could claim any gap.
const MAX_SILENCE_S: u32 = 3_600;
/// Largest number of samples in a WAV file: 2 GB, because the format counts bytes in 32 bits.
const MAX_FILE_SAMPLES: u64 = 1 << 30;

/// Writer that places frames at their times: lost samples and the time of a device's absence become silence.
pub(crate) struct Spool {
    folder: PathBuf,
    name: &'static str,
    open: Option<Part>,
    parts: u32,
    /// Number of sample frames of silence written so far.
    silence: u32,
}

/// WAV file that is being written.
struct Part {
    path: PathBuf,
    format: Format,
    writer: WavWriter<BufWriter<File>>,
    /// Time of the end of the last sample written.
    end: Instant,
    samples: u64,
}

impl Spool {
    pub(crate) fn new(folder: &Path, name: &'static str) -> Self {
        Self { folder: folder.to_owned(), name, open: None, parts: 0, silence: 0 }
    }

    pub(crate) fn write<const CAP: usize, const SLOTS: usize>(
        &mut self,
        frame: &Frame<CAP, SLOTS>,
    ) -> Result<(), Failure> {
        let (format, stamp) = (frame.format(), &frame.stamp);
        if self.open.as_ref().is_none_or(|part| part.format != format || part.samples > MAX_FILE_SAMPLES) {
            self.finish()?;
            self.open = Some(self.next_part(format)?);
        } else if let Some(part) = &mut self.open {
            let mut missing = stamp.lost;
            if stamp.fresh {
                let away_us = (stamp.time - part.end).min(MAX_GAP).as_micros();
                let away = u64::try_from(away_us).unwrap_or(0) * u64::from(format.rate_hz()) / 1_000_000;
                missing = missing.max(u32::try_from(away).unwrap_or(0));
            }
            let most = (MAX_SILENCE_S * format.rate_hz()).saturating_sub(self.silence);
            missing = missing.min(most);
            self.silence += missing;
            part.put(std::iter::repeat_n(0, missing as usize * format.channels()))?;
        }
        let Some(part) = &mut self.open else { return Ok(()) };
        part.end = stamp.time + Duration::of_sample_frames(frame.sample_frames() as u64, format.rate());
        part.put(frame.samples().iter().copied())
    }

    fn next_part(&mut self, format: Format) -> Result<Part, Failure> {
        self.parts += 1;
        let path = self.folder.join(match self.parts {
            1 => format!("{}.wav", self.name),
            part => format!("{}-{part}.wav", self.name),
        });
        let spec = WavSpec {
            channels: format.channels() as u16,
            sample_rate: format.rate_hz(),
            bits_per_sample: 16,
            sample_format: SampleFormat::Int,
        };
        let writer = WavWriter::create(&path, spec).map_err(|error| cannot(&path, &error))?;
        Ok(Part { path, format, writer, end: Instant::ORIGIN, samples: 0 })
    }

    /// Completes the open file.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        let Some(part) = self.open.take() else { return Ok(()) };
        part.writer.finalize().map_err(|error| cannot(&part.path, &error))
    }
}

impl Part {
    fn put(&mut self, samples: impl Iterator<Item = i16>) -> Result<(), Failure> {
        for sample in samples {
            self.writer.write_sample(sample).map_err(|error| cannot(&self.path, &error))?;
            self.samples += 1;
        }
        Ok(())
    }
}

fn cannot(path: &Path, error: &hound::Error) -> Failure {
    Failure::run(format!("{}: cannot be written: {error}", path.display()))
}
