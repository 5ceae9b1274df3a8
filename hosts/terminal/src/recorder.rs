//! Application side: a thread that writes the cleaned microphone into a WAV file.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration as WallDuration;

use handsfree_core::SampleRate;
use hound::{SampleFormat, WavSpec, WavWriter};

use crate::failure::Failure;
use crate::terminal::{CleanedFrames, MAX_WAITING};

/// How often the queue of 2.5 s is emptied.
const LOOK_INTERVAL: WallDuration = WallDuration::from_millis(20);

/// What was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Sample frames in the file.
    pub sample_frames: u64,
    /// Of those, silence in place of what was lost between microphone and file.
    pub silent_sample_frames: u64,
}

/// Writes frames as they come until it is finished.
#[derive(Debug)]
pub struct Recorder {
    thread: Option<JoinHandle<Result<Recorded, Failure>>>,
    leave: Arc<AtomicBool>,
}

impl Recorder {
    /// Creates the file and records from now on. What is lost on the way becomes silence, so that the
    /// recording keeps its time; the file is complete on the disk up to the last second.
    ///
    /// # Errors
    /// Names the file when it cannot be created.
    pub fn start(path: &Path, rate: SampleRate, mut frames: CleanedFrames) -> Result<Self, Failure> {
        let spec = WavSpec {
            channels: 1,
            sample_rate: rate.hz(),
            bits_per_sample: 16,
            sample_format: SampleFormat::Int,
        };
        let cannot = {
            let path = path.to_owned();
            move |error: hound::Error| Failure::run(format!("{}: cannot be written: {error}", path.display()))
        };
        let writer = WavWriter::create(path, spec).map_err(&cannot)?;
        let leave = Arc::new(AtomicBool::new(false));
        let leaving = Arc::clone(&leave);
        frames.listen(MAX_WAITING);
        let thread = std::thread::Builder::new()
            .name("recorder".into())
            .spawn(move || record(writer, frames, rate, &leaving).map_err(cannot))
            .map_err(|error| Failure::run(format!("the recorder's thread could not be started: {error}")))?;
        Ok(Self { thread: Some(thread), leave })
    }

    /// Whether it ended by itself, which is a failure that [`finish`](Self::finish) tells.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Writes what is still on its way and closes the file.
    ///
    /// # Errors
    /// Names the file, and what happened to it.
    pub fn finish(mut self) -> Result<Recorded, Failure> {
        self.leave.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return Err(Failure::run("the recorder has ended")) };
        thread.join().map_err(|_| Failure::run("the recorder panicked"))?
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.leave.store(true, Ordering::Relaxed);
    }
}

fn record(
    mut writer: WavWriter<BufWriter<File>>,
    mut frames: CleanedFrames,
    rate: SampleRate,
    leave: &AtomicBool,
) -> Result<Recorded, hound::Error> {
    let mut recorded = Recorded::default();
    let mut flushed = 0;
    loop {
        let last = leave.load(Ordering::Relaxed);
        while let Some(frame) = frames.pop() {
            // What was lost before the first frame is not missing in between.
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
        if last {
            writer.finalize()?;
            return Ok(recorded);
        }
        if recorded.sample_frames - flushed >= u64::from(rate.hz()) {
            writer.flush()?;
            flushed = recorded.sample_frames;
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}
