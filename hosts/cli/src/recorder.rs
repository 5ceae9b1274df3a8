//! Application side: the thread that writes the cleaned microphone to a WAV file.

use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration as WallDuration, Instant as WallInstant};

use handsfree_core::{Frame, SampleRate};

use handsfree::background::WriterThread;
use handsfree::failure::Failure;
use handsfree::recording::{OutputFile, WavRecording};
use handsfree::terminal::{CAP, CleanedFrames, MAX_WAITING};

/// Interval at which the queue of cleaned frames is emptied: short beside the 2.5 s that the queue holds.
const POLL_INTERVAL: WallDuration = WallDuration::from_millis(20);

/// Longest time for which a recorded sample is not in the file: what a killed process loses of its recording.
const FLUSH_INTERVAL: WallDuration = WallDuration::from_millis(500);

/// Length of a finished recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Number of sample frames in the file.
    pub sample_frames: u64,
    /// Number of sample frames in the file that are silence in place of lost samples.
    pub silent_sample_frames: u64,
}

/// File of a recording that has not begun. Dropping it leaves the disk as it was.
#[derive(Debug)]
pub struct NewRecording {
    wav: WavRecording<OutputFile>,
    rate: SampleRate,
}

impl NewRecording {
    /// Creates the file beside `path`, which stays as it is until the recording is finished.
    ///
    /// # Errors
    /// Returns an error that names the file if it cannot be written or if another process is recording to it.
    pub fn create(path: &Path, rate: SampleRate) -> Result<Self, Failure> {
        let file = OutputFile::create(path)?;
        let cannot = |error| Failure::run(format!("{}: cannot be written: {error}", path.display()));
        Ok(Self { wav: WavRecording::new(file, rate.hz(), 1).map_err(cannot)?, rate })
    }

    /// Returns the path under which the recording of a killed process was kept, if there was one.
    #[must_use]
    pub fn recovered(&self) -> Option<PathBuf> {
        self.wav.get_ref().recovered().map(Path::to_owned)
    }
}

/// Recorder of the cleaned microphone to a WAV file.
#[derive(Debug)]
pub struct Recorder(WriterThread<Recorded>);

impl Recorder {
    /// Starts to record. Silence replaces lost samples, so that positions in the recording stay correct in time. The
    /// samples and the file's header are written at least once a second, so that the file beside the recording's path
    /// is valid up to then if the process is killed.
    ///
    /// # Errors
    /// Returns an error when the thread cannot be started.
    pub fn start(recording: NewRecording, mut frames: CleanedFrames) -> Result<Self, Failure> {
        let NewRecording { mut wav, rate } = recording;
        wav.get_mut().keep_part();
        frames.listen(MAX_WAITING);
        let write = move |is_stopping: &AtomicBool| {
            let recorded = record(&mut wav, || frames.pop(), rate, is_stopping);
            let recorded = recorded.map_err(|error| wav.get_ref().cannot(&error))?;
            wav.into_output().commit()?;
            Ok(recorded)
        };
        WriterThread::spawn("recorder", write).map(Self)
    }

    /// Returns whether writing failed and the recording has stopped. [`finish`](Self::finish) returns the error.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.0.has_failed()
    }

    /// Writes all queued frames and closes the file.
    ///
    /// # Errors
    /// Returns an error that names the file and the reason if writing failed.
    pub fn finish(self) -> Result<Recorded, Failure> {
        self.0.finish()
    }
}

/// Writes frames until `is_stopping`, and then those that wait.
fn record<W: Write + Seek>(
    wav: &mut WavRecording<W>,
    mut next: impl FnMut() -> Option<Frame<CAP>>,
    rate: SampleRate,
    is_stopping: &AtomicBool,
) -> io::Result<Recorded> {
    let mut recorded = Recorded::default();
    let (mut flushed, mut flushed_at) = (0, WallInstant::now());
    loop {
        let is_last_round = is_stopping.load(Ordering::Relaxed);
        while let Some(frame) = next() {
            // Samples lost before the first frame are not part of the recording.
            if recorded.sample_frames > 0 {
                wav.write_silence(u64::from(frame.stamp.lost))?;
                recorded.sample_frames += u64::from(frame.stamp.lost);
                recorded.silent_sample_frames += u64::from(frame.stamp.lost);
            }
            wav.write(frame.samples())?;
            recorded.sample_frames += frame.sample_frames() as u64;
        }
        if is_last_round {
            wav.flush()?;
            return Ok(recorded);
        }
        let is_due = recorded.sample_frames - flushed >= u64::from(rate.hz()) / 2
            || flushed_at.elapsed() >= FLUSH_INTERVAL;
        if is_due && recorded.sample_frames > flushed {
            wav.flush()?;
            (flushed, flushed_at) = (recorded.sample_frames, WallInstant::now());
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use handsfree_core::Format;
    use std::io::Cursor;

    #[test]
    fn lost_samples_become_silence_after_the_first_frame() {
        let rate = SampleRate::new(8_000).unwrap();
        let frame = |sample: i16, lost: u32| {
            let mut frame = Frame::silence(Format::with_rate(rate, 1).unwrap()).unwrap();
            frame.samples_mut().fill(sample);
            frame.stamp.lost = lost;
            frame
        };
        let mut frames = vec![frame(1, 7), frame(2, 0), frame(3, 5)].into_iter();
        let mut wav = WavRecording::new(Cursor::new(Vec::new()), 8_000, 1).unwrap();
        let recorded = record(&mut wav, || frames.next(), rate, &AtomicBool::new(true)).unwrap();
        assert_eq!(recorded, Recorded { sample_frames: 245, silent_sample_frames: 5 });
        let samples: Vec<i16> = hound::WavReader::new(Cursor::new(wav.into_output().into_inner()))
            .unwrap()
            .samples()
            .map(Result::unwrap)
            .collect();
        let expected: Vec<i16> = [(1, 80), (2, 80), (0, 5), (3, 80)]
            .iter()
            .flat_map(|&(sample, count)| std::iter::repeat_n(sample, count))
            .collect();
        assert_eq!(samples, expected);
    }
}
