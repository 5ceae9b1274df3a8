//! Application side: the thread that writes the cleaned microphone to a WAV file.

use std::io::{Seek, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration as WallDuration;

use handsfree_core::{Frame, SampleRate};
use hound::{SampleFormat, WavSpec, WavWriter};

use handsfree::background::WriterThread;
use handsfree::failure::Failure;
use handsfree::terminal::CAP;

/// Interval at which the queue of cleaned frames is emptied: short beside the 2.5 s that the queue holds.
const POLL_INTERVAL: WallDuration = WallDuration::from_millis(20);

/// Length of a finished recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Number of sample frames in the file.
    pub sample_frames: u64,
    /// Number of sample frames in the file that are silence in place of lost samples.
    pub silent_sample_frames: u64,
}

/// Recorder of the cleaned microphone to a WAV file.
#[derive(Debug)]
pub struct Recorder(WriterThread<Recorded>);

impl Recorder {
    /// Creates the file and starts to record. Silence replaces lost samples, so that positions in the recording stay correct in
    /// time. `next` returns the oldest waiting frame. The file header is updated every second, so the file is valid up to then if the process is killed.
    ///
    /// # Errors
    /// Returns an error that names the file if it cannot be created.
    pub fn start(
        path: &Path,
        rate: SampleRate,
        next: impl FnMut() -> Option<Frame<CAP>> + Send + 'static,
    ) -> Result<Self, Failure> {
        let spec = WavSpec {
            channels: 1,
            sample_rate: rate.hz(),
            bits_per_sample: 16,
            sample_format: SampleFormat::Int,
        };
        let write_failure = {
            let path = path.to_owned();
            move |error: hound::Error| Failure::run(format!("{}: cannot be written: {error}", path.display()))
        };
        let writer = WavWriter::create(path, spec).map_err(&write_failure)?;
        let write =
            move |is_stopping: &AtomicBool| record(writer, next, rate, is_stopping).map_err(write_failure);
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

fn record<W: Write + Seek>(
    mut writer: WavWriter<W>,
    mut next: impl FnMut() -> Option<Frame<CAP>>,
    rate: SampleRate,
    is_stopping: &AtomicBool,
) -> Result<Recorded, hound::Error> {
    let mut recorded = Recorded::default();
    let mut flushed = 0;
    loop {
        let is_last_round = is_stopping.load(Ordering::Relaxed);
        while let Some(frame) = next() {
            // Samples lost before the first frame are not part of the recording.
            if recorded.sample_frames > 0 {
                for _ in 0..frame.stamp.lost {
                    writer.write_sample(0i16)?;
                }
                recorded.sample_frames += u64::from(frame.stamp.lost);
                recorded.silent_sample_frames += u64::from(frame.stamp.lost);
            }
            for &sample in frame.samples() {
                writer.write_sample(sample)?;
            }
            recorded.sample_frames += frame.sample_frames() as u64;
        }
        if is_last_round {
            writer.finalize()?;
            return Ok(recorded);
        }
        if recorded.sample_frames - flushed >= u64::from(rate.hz()) {
            writer.flush()?;
            flushed = recorded.sample_frames;
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
        let spec = WavSpec {
            channels: 1,
            sample_rate: 8_000,
            bits_per_sample: 16,
            sample_format: SampleFormat::Int,
        };
        let mut file = Cursor::new(Vec::new());
        let writer = WavWriter::new(&mut file, spec).unwrap();
        let recorded = record(writer, || frames.next(), rate, &AtomicBool::new(true)).unwrap();
        assert_eq!(recorded, Recorded { sample_frames: 245, silent_sample_frames: 5 });
        let samples: Vec<i16> = hound::WavReader::new(Cursor::new(file.into_inner()))
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
