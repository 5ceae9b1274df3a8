//! Application side: the thread that writes the cleaned microphone to a WAV file.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration as WallDuration, Instant as WallInstant};

use handsfree_core::{Frame, SampleRate};

use handsfree::background::WriterThread;
use handsfree::failure::Failure;
use handsfree::recording::{OutputFile, WavRecording};
use handsfree::terminal::CAP;

/// Interval at which the queue of cleaned frames is emptied: short beside the 2.5 s that the queue holds.
const POLL_INTERVAL: WallDuration = WallDuration::from_millis(20);

/// Longest time for which a recorded sample is not in the file: what a killed process loses of its recording.
const FLUSH_INTERVAL: WallDuration = WallDuration::from_millis(500);

/// Largest number of segments: 114 years of an hour each.
const MAX_SEGMENTS: u32 = 1_000_000;

/// Length of a finished recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Number of sample frames in the file.
    pub sample_frames: u64,
    /// Number of sample frames in the file that are silence in place of lost samples.
    pub silent_sample_frames: u64,
}

/// File of a recording, or the present one of its segments. Dropping it before the recording begins leaves the disk as it
/// was.
#[derive(Debug)]
pub struct RecordingFile {
    wav: WavRecording<OutputFile>,
    rate: SampleRate,
    segments: Option<Segments>,
}

/// Numbered files of a recording.
#[derive(Debug)]
struct Segments {
    /// Path without the number.
    path: PathBuf,
    /// Length of each file, in sample frames.
    sample_frames: u64,
    /// Sample frames that the present file still takes.
    left: u64,
}

impl RecordingFile {
    /// Creates the file beside `path`, which stays as it is until the recording is finished. With `segment_s` the recording
    /// consists of files with this number of seconds, numbered from the first number without a file: `clean-0001.wav` for `clean.wav`.
    ///
    /// # Errors
    /// Returns an error that names the file if it cannot be written or if another process is recording to it.
    pub fn create(path: &Path, rate: SampleRate, segment_s: Option<u32>) -> Result<Self, Failure> {
        let Some(seconds) = segment_s else {
            return Ok(Self { wav: new_wav(path, rate)?, rate, segments: None });
        };
        let sample_frames = u64::from(rate.hz()) * u64::from(seconds.max(1));
        let wav = new_wav(&free_segment(path, None)?, rate)?;
        let segments = Segments { path: path.to_owned(), sample_frames, left: sample_frames };
        Ok(Self { wav, rate, segments: Some(segments) })
    }

    /// Returns the path under which the recording of a killed process was kept, if there was one.
    #[must_use]
    pub fn recovered(&self) -> Option<PathBuf> {
        self.wav.get_ref().recovered().map(Path::to_owned)
    }

    fn write(&mut self, samples: &[i16]) -> Result<(), Failure> {
        let mut rest = samples;
        while !rest.is_empty() {
            let count = usize::try_from(self.room()?).unwrap_or(usize::MAX).min(rest.len());
            let (now, later) = rest.split_at(count);
            self.wav.write(now).map_err(|error| self.wav.get_ref().cannot(&error))?;
            self.count(count as u64);
            rest = later;
        }
        Ok(())
    }

    fn write_silence(&mut self, samples: u64) -> Result<(), Failure> {
        let mut left = samples;
        while left > 0 {
            let count = self.room()?.min(left);
            self.wav.write_silence(count).map_err(|error| self.wav.get_ref().cannot(&error))?;
            self.count(count);
            left -= count;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.wav.flush().map_err(|error| self.wav.get_ref().cannot(&error))
    }

    fn finish(mut self) -> Result<(), Failure> {
        self.flush()?;
        self.wav.into_output().commit()
    }

    /// Returns how many sample frames the present file takes, after beginning the next one if the present one is full.
    fn room(&mut self) -> Result<u64, Failure> {
        let Some(segments) = &mut self.segments else { return Ok(u64::MAX) };
        if segments.left == 0 {
            segments.left = segments.sample_frames;
            let path = segments.path.clone();
            self.flush()?;
            let mut next = new_wav(&free_segment(&path, Some(self.wav.get_ref().path()))?, self.rate)?;
            next.get_mut().keep_part();
            std::mem::replace(&mut self.wav, next).into_output().commit()?;
        }
        Ok(self.segments.as_ref().map_or(u64::MAX, |segments| segments.left))
    }

    fn count(&mut self, sample_frames: u64) {
        if let Some(segments) = &mut self.segments {
            segments.left -= sample_frames;
        }
    }
}

fn new_wav(path: &Path, rate: SampleRate) -> Result<WavRecording<OutputFile>, Failure> {
    let cannot = |error| Failure::run(format!("{}: cannot be written: {error}", path.display()));
    WavRecording::new(OutputFile::create(path)?, rate.hz(), 1).map_err(cannot)
}

/// Returns the path of a segment.
fn segment(path: &Path, number: u32) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{number:04}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// Returns the path of the first segment that does not exist and is not `present`, which is being written.
fn free_segment(path: &Path, present: Option<&Path>) -> Result<PathBuf, Failure> {
    let mut segments = (1..=MAX_SEGMENTS).map(|number| segment(path, number));
    segments.find(|path| Some(path.as_path()) != present && !path.exists()).ok_or_else(|| {
        Failure::run(format!("{}: there are {MAX_SEGMENTS} segments; expected fewer", path.display()))
    })
}

/// Recorder of the cleaned microphone to a WAV file.
#[derive(Debug)]
pub struct Recorder(WriterThread<Recorded>);

impl Recorder {
    /// Starts to record. Silence replaces lost samples, so that positions in the recording stay correct in time. `next`
    /// returns the oldest waiting frame. The samples and the file's header are written at least once a second, so that
    /// the file beside the recording's path is valid up to then if the process is killed.
    ///
    /// # Errors
    /// Returns an error when the thread cannot be started.
    pub fn start(
        mut file: RecordingFile,
        next: impl FnMut() -> Option<Frame<CAP>> + Send + 'static,
    ) -> Result<Self, Failure> {
        file.wav.get_mut().keep_part();
        let write = move |is_stopping: &AtomicBool| {
            let recorded = record(&mut file, next, is_stopping)?;
            file.finish()?;
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
fn record(
    file: &mut RecordingFile,
    mut next: impl FnMut() -> Option<Frame<CAP>>,
    is_stopping: &AtomicBool,
) -> Result<Recorded, Failure> {
    let half_a_second = u64::from(file.rate.hz()) / 2;
    let mut recorded = Recorded::default();
    let (mut flushed, mut flushed_at) = (0, WallInstant::now());
    loop {
        let is_last_round = is_stopping.load(Ordering::Relaxed);
        while let Some(frame) = next() {
            // Samples lost before the first frame are not part of the recording.
            if recorded.sample_frames > 0 {
                file.write_silence(u64::from(frame.stamp.lost))?;
                recorded.sample_frames += u64::from(frame.stamp.lost);
                recorded.silent_sample_frames += u64::from(frame.stamp.lost);
            }
            file.write(frame.samples())?;
            recorded.sample_frames += frame.sample_frames() as u64;
        }
        if is_last_round {
            return Ok(recorded);
        }
        let is_due =
            recorded.sample_frames - flushed >= half_a_second || flushed_at.elapsed() >= FLUSH_INTERVAL;
        if is_due && recorded.sample_frames > flushed {
            file.flush()?;
            (flushed, flushed_at) = (recorded.sample_frames, WallInstant::now());
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use handsfree_core::Format;

    fn samples(path: &Path) -> Vec<i16> {
        hound::WavReader::open(path).unwrap().samples().map(Result::unwrap).collect()
    }

    /// Records three frames of a value each, with lost samples before the first and the last.
    fn record_frames(path: &Path, segment_s: Option<u32>, scale: usize) {
        let rate = SampleRate::new(8_000).unwrap();
        let frame = |sample: i16, lost: u32| {
            let mut frame = Frame::silence(Format::with_rate(rate, 1).unwrap()).unwrap();
            frame.samples_mut().fill(sample);
            frame.stamp.lost = lost;
            frame
        };
        let mut frames = vec![frame(1, 7)];
        frames.extend(std::iter::repeat_n(frame(2, 0), scale));
        frames.push(frame(3, 5));
        let (count, mut frames) = (80 * (scale as u64 + 2) + 5, frames.into_iter());
        let mut file = RecordingFile::create(path, rate, segment_s).unwrap();
        let recorded = record(&mut file, || frames.next(), &AtomicBool::new(true)).unwrap();
        assert_eq!(recorded, Recorded { sample_frames: count, silent_sample_frames: 5 });
        file.finish().unwrap();
    }

    fn expected(scale: usize) -> Vec<i16> {
        [(1, 80), (2, 80 * scale), (0, 5), (3, 80)]
            .iter()
            .flat_map(|&(sample, count)| std::iter::repeat_n(sample, count))
            .collect()
    }

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("handsfree-recorder-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn lost_samples_become_silence_after_the_first_frame() {
        let folder = folder("lost");
        record_frames(&folder.join("clean.wav"), None, 1);
        assert_eq!(samples(&folder.join("clean.wav")), expected(1));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn segments_follow_each_other_without_a_missing_sample() {
        let folder = folder("segments");
        // 250 frames are 2.5 s and some samples; the second recording continues the numbers.
        for first in [1, 4] {
            record_frames(&folder.join("clean.wav"), Some(1), 250);
            let parts: Vec<Vec<i16>> = (first..first + 3)
                .map(|number| samples(&folder.join(format!("clean-{number:04}.wav"))))
                .collect();
            assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [8_000, 8_000, 4_165]);
            assert!(parts.concat() == expected(250));
        }
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 6, "no other file is left");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
