//! Control side: writes a stream of frames to WAV files, with a new file for each change of format.

use std::path::{Path, PathBuf};

use handsfree_core::{Duration, Format, Frame, Instant};

use crate::failure::Failure;
use crate::recording::{OutputFile, WavRecording};

/// Longest silence written for one absence of a device: ten minutes, so that a long absence does not fill the disk.
const MAX_GAP: Duration = Duration::from_millis(600_000);
/// Longest silence written for all gaps of a stream together, in seconds. An invalid journal could claim any gap.
const MAX_SILENCE_S: u32 = 3_600;
/// Largest number of samples in a WAV file: 2 GB, which every reader of WAV files takes.
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
    format: Format,
    writer: WavRecording<OutputFile>,
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
            part.put_silence(u64::from(missing) * format.channels() as u64)?;
        }
        let Some(part) = &mut self.open else { return Ok(()) };
        part.end = stamp.time + Duration::of_sample_frames(frame.sample_frames() as u64, format.rate());
        part.put(frame.samples())
    }

    fn next_part(&mut self, format: Format) -> Result<Part, Failure> {
        self.parts += 1;
        let path = self.folder.join(match self.parts {
            1 => format!("{}.wav", self.name),
            part => format!("{}-{part}.wav", self.name),
        });
        let file = OutputFile::create(&path)?;
        let writer = WavRecording::new(file, format.rate_hz(), format.channels() as u16)
            .map_err(|error| Failure::run(format!("{}: cannot be written: {error}", path.display())))?;
        Ok(Part { format, writer, end: Instant::ORIGIN, samples: 0 })
    }

    /// Completes the open file.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        let Some(part) = self.open.take() else { return Ok(()) };
        let mut writer = part.writer;
        writer.flush().map_err(|error| writer.get_ref().cannot(&error))?;
        writer.into_output().commit()
    }
}

impl Part {
    fn put(&mut self, samples: &[i16]) -> Result<(), Failure> {
        self.samples += samples.len() as u64;
        self.writer.write(samples).map_err(|error| self.writer.get_ref().cannot(&error))
    }

    fn put_silence(&mut self, samples: u64) -> Result<(), Failure> {
        self.samples += samples;
        self.writer.write_silence(samples).map_err(|error| self.writer.get_ref().cannot(&error))
    }
}
