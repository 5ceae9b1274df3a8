//! Application side: the thread that writes the cleaned microphone to another program.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use handsfree::failure::Failure;

use super::endpoint::{ByteSink, Endpoint};
use super::format::PcmFormat;
use super::mic_hub::{MicNext, MicReader};
use super::rate_converter::RateConverter;
use super::stream_header::stream_header;

/// Time that the end of a run waits for a reader to take what is queued. A reader that has stopped must not hang it.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);
/// Interval at which the thread looks whether it has to end.
const POLL: Duration = Duration::from_millis(50);

/// Form of the written stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputForm {
    /// Rate and channels of the written samples.
    pub format: PcmFormat,
    /// Whether a WAV header comes first.
    pub has_header: bool,
    /// Whether silence replaces lost samples, so that positions stay correct in time.
    pub fills_gaps: bool,
}

/// Figures of an output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Number of sample frames written, at the output's rate.
    pub sample_frames: u64,
    /// Number of sample frames among them that are silence in place of lost ones.
    pub silent_sample_frames: u64,
}

#[derive(Debug, Default)]
struct Progress {
    sample_frames: AtomicU64,
    silent_sample_frames: AtomicU64,
    has_ended: AtomicBool,
    is_closed: AtomicBool,
}

/// Writer of the cleaned microphone to a pipe, a file or a descriptor.
#[derive(Debug)]
pub struct PcmOutput {
    progress: Arc<Progress>,
    dropped: Arc<AtomicU64>,
    outcome: Receiver<Result<(), Failure>>,
}

impl PcmOutput {
    /// Opens the place and starts the thread, which writes until the reader's hub is closed.
    ///
    /// # Errors
    /// Returns an error that names the place if it cannot be opened.
    pub fn start(
        place: &Endpoint,
        form: OutputForm,
        rate_hz: u32,
        reader: MicReader,
    ) -> Result<Self, Failure> {
        let header = if form.has_header { stream_header(form.format).to_vec() } else { Vec::new() };
        let sink = place.open_sink(&header)?;
        let converter = RateConverter::new(rate_hz, form.format.rate_hz)?;
        let (progress, dropped) = (Arc::new(Progress::default()), reader.dropped_counter());
        let (sender, outcome) = channel();
        let writer = PcmWriter { sink, form, rate_hz, converter, progress: Arc::clone(&progress), end: None };
        let name = place.to_string();
        std::thread::Builder::new()
            .name("pcm output".into())
            .spawn(move || {
                let progress = Arc::clone(&writer.progress);
                let outcome = match writer.run(&reader) {
                    // A reader that closes a pipe has what it wants.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                        progress.is_closed.store(true, Ordering::Relaxed);
                        Ok(())
                    }
                    Err(error) => Err(Failure::run(format!("{name}: cannot be written: {error}"))),
                    Ok(()) => Ok(()),
                };
                progress.has_ended.store(true, Ordering::Relaxed);
                // The receiver is gone if the run has ended.
                _ = sender.send(outcome);
            })
            .map_err(|error| Failure::run(format!("the pcm output thread could not be started: {error}")))?;
        Ok(Self { progress, dropped, outcome })
    }

    /// Returns whether writing failed or the reader closed the output.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.progress.has_ended.load(Ordering::Relaxed)
    }

    /// Returns the number of sample frames, at the terminal's rate, dropped so far because the reader was slow.
    #[must_use]
    pub fn dropped_sample_frames(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Returns what was written so far.
    #[must_use]
    pub fn written(&self) -> Written {
        Written {
            sample_frames: self.progress.sample_frames.load(Ordering::Relaxed),
            silent_sample_frames: self.progress.silent_sample_frames.load(Ordering::Relaxed),
        }
    }

    /// Waits until everything queued is written, at most 2 s. The hub must be closed before.
    ///
    /// # Errors
    /// Returns an error that names the place if writing failed.
    pub fn finish(&self) -> Result<Written, Failure> {
        match self.outcome.recv_timeout(FINISH_TIMEOUT) {
            Ok(outcome) => outcome.map(|()| self.written()),
            // A reader that does not read keeps the thread; it ends with the process.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Ok(self.written()),
        }
    }
}

struct PcmWriter {
    sink: ByteSink,
    form: OutputForm,
    rate_hz: u32,
    converter: RateConverter,
    progress: Arc<Progress>,
    /// Position behind the last written block; `None` before the first one.
    end: Option<u64>,
}

impl PcmWriter {
    fn run(mut self, reader: &MicReader) -> io::Result<()> {
        loop {
            match reader.next(POLL) {
                MicNext::Block(block) => {
                    let mut samples = Vec::new();
                    let missing = self.end.map_or(0, |end| block.position.saturating_sub(end));
                    if missing > 0 && self.form.fills_gaps {
                        self.silence(missing)?;
                    }
                    self.converter.push(&block.samples, &mut samples);
                    self.write(&samples)?;
                    self.end = Some(block.end());
                }
                MicNext::Nothing => {}
                MicNext::End => {
                    let mut samples = Vec::new();
                    self.converter.flush(&mut samples);
                    return self.write(&samples);
                }
            }
        }
    }

    /// Writes silence in place of lost samples, in pieces of 1 s.
    fn silence(&mut self, sample_frames: u64) -> io::Result<()> {
        let mut left = sample_frames;
        while left > 0 {
            let now = left.min(u64::from(self.rate_hz));
            let mut samples = Vec::new();
            self.converter.push(&vec![0; now as usize], &mut samples);
            self.progress.silent_sample_frames.fetch_add(samples.len() as u64, Ordering::Relaxed);
            self.write(&samples)?;
            left -= now;
        }
        Ok(())
    }

    fn write(&mut self, samples: &[i16]) -> io::Result<()> {
        let mut bytes = Vec::new();
        self.form.format.append_mono(samples, &mut bytes);
        self.sink.write_all(&bytes)?;
        self.sink.flush()?;
        self.progress.sample_frames.fetch_add(samples.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}
