//! Control side: signals that are read part by part, from memory or from a temporary file, because a recording of an hour does not
//! have to fit into memory.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use handsfree::failure::Failure;
use handsfree::pcm::to_i16;
use handsfree_sim::interpolate::Interpolator;

/// Length of the parts in which whole signals are read and written, in samples.
pub const PART: usize = 65_536;
/// Bytes of one sample in a file.
const SAMPLE_BYTES: usize = size_of::<f32>();

/// Signal of one channel, full scale at ±1.0.
pub trait Signal {
    /// Returns the number of samples.
    fn length(&self) -> usize;

    /// Fills `out` with the samples from the number `from` on, and with silence where there are none.
    ///
    /// # Errors
    /// Returns an error if a temporary file cannot be read.
    fn read(&self, from: i64, out: &mut [f32]) -> Result<(), Failure>;
}

impl<S: Signal + ?Sized> Signal for &S {
    fn length(&self) -> usize {
        (**self).length()
    }

    fn read(&self, from: i64, out: &mut [f32]) -> Result<(), Failure> {
        (**self).read(from, out)
    }
}

impl Signal for Vec<f32> {
    fn length(&self) -> usize {
        self.len()
    }

    fn read(&self, from: i64, out: &mut [f32]) -> Result<(), Failure> {
        let (inside, first) = overlap(from, out, self.len());
        inside.copy_from_slice(&self[first..first + inside.len()]);
        Ok(())
    }
}

/// Silences what lies outside a signal of `length` samples, and returns the part of `out` inside it with the number of its first
/// sample.
fn overlap(from: i64, out: &mut [f32], length: usize) -> (&mut [f32], usize) {
    let begin = usize::try_from(-from).unwrap_or(0).min(out.len());
    let first = usize::try_from(from).unwrap_or(0).min(length);
    let end = begin + (length - first).min(out.len() - begin);
    out[..begin].fill(0.0);
    out[end..].fill(0.0);
    (&mut out[begin..end], first)
}

/// Signal in a temporary file, which has no name and disappears with this value.
#[derive(Debug)]
pub struct SignalFile {
    file: RefCell<File>,
    folder: PathBuf,
    length: usize,
    energy: f64,
}

impl SignalFile {
    /// Returns the mean power; 0 for an empty signal.
    #[must_use]
    pub fn power(&self) -> f64 {
        self.energy / self.length.max(1) as f64
    }
}

impl Signal for SignalFile {
    fn length(&self) -> usize {
        self.length
    }

    fn read(&self, from: i64, out: &mut [f32]) -> Result<(), Failure> {
        let (inside, first) = overlap(from, out, self.length);
        let mut file = self.file.borrow_mut();
        let mut bytes = vec![0; inside.len() * SAMPLE_BYTES];
        file.seek(SeekFrom::Start((first * SAMPLE_BYTES) as u64))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|error| unusable(&self.folder, "read", &error))?;
        for (sample, bytes) in inside.iter_mut().zip(bytes.as_chunks().0) {
            *sample = f32::from_le_bytes(*bytes);
        }
        Ok(())
    }
}

/// Writer of a [`SignalFile`].
#[derive(Debug)]
pub struct SignalWriter {
    out: BufWriter<File>,
    folder: PathBuf,
    length: usize,
    energy: f64,
}

impl SignalWriter {
    /// Creates an empty signal in `folder`.
    ///
    /// # Errors
    /// Returns an error if no file can be created there.
    pub fn create(folder: &Path) -> Result<Self, Failure> {
        let file = tempfile::tempfile_in(folder).map_err(|error| unusable(folder, "created", &error))?;
        Ok(Self { out: BufWriter::new(file), folder: folder.to_owned(), length: 0, energy: 0.0 })
    }

    /// Appends samples.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn push(&mut self, samples: &[f32]) -> Result<(), Failure> {
        for sample in samples {
            self.energy += f64::from(*sample) * f64::from(*sample);
            self.out
                .write_all(&sample.to_le_bytes())
                .map_err(|error| unusable(&self.folder, "written", &error))?;
        }
        self.length += samples.len();
        Ok(())
    }

    /// Returns the number of samples so far.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Returns the signal.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn finish(self) -> Result<SignalFile, Failure> {
        let Self { out, folder, length, energy } = self;
        let file = out.into_inner().map_err(|error| unusable(&folder, "written", &error.into_error()))?;
        Ok(SignalFile { file: RefCell::new(file), folder, length, energy })
    }
}

fn unusable(folder: &Path, done: &str, error: &io::Error) -> Failure {
    Failure::run(format!("{}: a temporary file cannot be {done} there: {error}", folder.display()))
}

/// Returns the folder for the temporary files of a command that writes `out`: that of the file, which has room for the result, or
/// the system's if `out` is no regular file.
#[must_use]
pub fn temporary_folder(out: &Path) -> PathBuf {
    if std::fs::metadata(out).is_ok_and(|existing| !existing.is_file()) {
        return std::env::temp_dir();
    }
    match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Mean of several channels of one length.
#[derive(Clone, Copy, Debug)]
pub struct ChannelMean<'a>(pub &'a [SignalFile]);

impl Signal for ChannelMean<'_> {
    fn length(&self) -> usize {
        self.0.first().map_or(0, Signal::length)
    }

    fn read(&self, from: i64, out: &mut [f32]) -> Result<(), Failure> {
        let mut one = vec![0.0; out.len()];
        out.fill(0.0);
        for channel in self.0 {
            channel.read(from, &mut one)?;
            out.iter_mut().zip(&one).for_each(|(sum, sample)| *sum += sample);
        }
        let count = self.0.len().max(1) as f32;
        out.iter_mut().for_each(|sum| *sum /= count);
        Ok(())
    }
}

/// Interleaved 16-bit samples that come part by part.
pub trait SampleSource {
    /// Returns the next samples, at least one; none at the end.
    ///
    /// # Errors
    /// Returns an error if a temporary file cannot be read.
    fn next_samples(&mut self) -> Result<&[i16], Failure>;

    /// Passes over the first `count` of the next samples.
    fn pass(&mut self, count: usize);
}

impl SampleSource for &[i16] {
    fn next_samples(&mut self) -> Result<&[i16], Failure> {
        Ok(self)
    }

    fn pass(&mut self, count: usize) {
        *self = self.get(count..).unwrap_or_default();
    }
}

/// Fills `out` with the next samples, and with silence behind the last one. Returns the number of samples.
///
/// # Errors
/// Returns the error of the source.
pub fn fill(source: &mut dyn SampleSource, out: &mut [i16]) -> Result<usize, Failure> {
    let mut filled = 0;
    while filled < out.len() {
        let next = source.next_samples()?;
        if next.is_empty() {
            break;
        }
        let count = next.len().min(out.len() - filled);
        out[filled..filled + count].copy_from_slice(&next[..count]);
        source.pass(count);
        filled += count;
    }
    out[filled..].fill(0);
    Ok(filled)
}

/// Samples of several signals of one length, interleaved.
#[derive(Debug)]
pub struct Interleaved<'a> {
    signals: &'a [SignalFile],
    /// Number of the first sample frame behind `part`.
    at: usize,
    part: Vec<i16>,
    passed: usize,
}

impl<'a> Interleaved<'a> {
    /// Makes a source of all samples.
    #[must_use]
    pub fn new(signals: &'a [SignalFile]) -> Self {
        Self { signals, at: 0, part: Vec::new(), passed: 0 }
    }
}

impl SampleSource for Interleaved<'_> {
    fn next_samples(&mut self) -> Result<&[i16], Failure> {
        if self.passed == self.part.len() {
            let length = self.signals.first().map_or(0, Signal::length);
            let count = PART.min(length - self.at);
            let mut channel = vec![0.0; count];
            self.part.clear();
            self.part.resize(count * self.signals.len(), 0);
            self.passed = 0;
            for (index, signal) in self.signals.iter().enumerate() {
                signal.read(self.at as i64, &mut channel)?;
                let places = self.part.iter_mut().skip(index).step_by(self.signals.len());
                places.zip(to_i16(&channel)).for_each(|(place, sample)| *place = sample);
            }
            self.at += count;
        }
        Ok(&self.part[self.passed..])
    }

    fn pass(&mut self, count: usize) {
        self.passed = (self.passed + count).min(self.part.len());
    }
}

/// Does the same as [`Interpolator::read_run`] with a signal that is read part by part. The whole run is read at once.
///
/// # Errors
/// Returns the signal's error.
pub fn read_run(
    signal: &dyn Signal,
    interpolator: &Interpolator,
    (whole, fraction): (i64, f64),
    step: f64,
    out: &mut [f32],
) -> Result<(), Failure> {
    let reach = interpolator.reach() as i64;
    let first = whole - reach;
    let last = whole + (fraction + out.len() as f64 * step).ceil() as i64 + reach;
    let mut part = vec![0.0; usize::try_from(last - first + 1).unwrap_or(0)];
    signal.read(first, &mut part)?;
    interpolator.read_run(&part, (reach, fraction), step, out);
    Ok(())
}

/// Calls `take` with the parts of a signal, `part` samples long, more than 0, the last one shorter.
///
/// # Errors
/// Returns the signal's error and that of `take`.
pub fn for_each_part(
    signal: &dyn Signal,
    part: usize,
    mut take: impl FnMut(&[f32]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut samples = vec![0.0; part];
    for from in (0..signal.length()).step_by(part) {
        let count = part.min(signal.length() - from);
        signal.read(from as i64, &mut samples[..count])?;
        take(&samples[..count])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(samples: &[f32]) -> SignalFile {
        let mut writer = SignalWriter::create(&std::env::temp_dir()).unwrap();
        samples.chunks(7).for_each(|part| writer.push(part).unwrap());
        writer.finish().unwrap()
    }

    #[test]
    fn a_file_returns_what_was_written_and_silence_around_it() {
        let samples: Vec<f32> = (1..=100u8).map(|n| f32::from(n) / 128.0).collect();
        let file = file(&samples);
        assert_eq!(file.length(), 100);
        for (from, count) in
            [(0, 100), (-5, 10), (95, 20), (-300, 100), (100, 3), (400, 5), (-20, 200), (7, 0)]
        {
            let expected: Vec<f32> = (from..from + count)
                .map(|at| usize::try_from(at).ok().and_then(|at| samples.get(at)).copied().unwrap_or(0.0))
                .collect();
            for signal in [&file as &dyn Signal, &samples] {
                let mut out = vec![9.0; count as usize];
                signal.read(from, &mut out).unwrap();
                assert_eq!(out, expected, "{count} from {from}");
            }
        }
    }

    #[test]
    fn several_signals_are_interleaved_to_their_end() {
        let signals = [0.25, -0.5].map(|gain| {
            let samples: Vec<f32> = (0..40_000).map(|n| (n % 128) as f32 / 128.0 * gain).collect();
            file(&samples)
        });
        let mut source = Interleaved::new(&signals);
        let mut frame = [0; 2 * 441];
        let mut all = Vec::new();
        loop {
            let count = fill(&mut source, &mut frame).unwrap();
            assert!(frame[count..].iter().all(|&sample| sample == 0));
            all.extend_from_slice(&frame[..count]);
            if count == 0 {
                break;
            }
        }
        let expected: Vec<i16> =
            (0..40_000).flat_map(|n| [n % 128 * 64, -(n % 128 * 128)]).map(|x| x as i16).collect();
        assert!(all == expected, "{} samples", all.len());
    }

    #[test]
    fn a_run_from_a_file_is_that_from_memory() {
        let samples: Vec<f32> = (0..5_000).map(|n| (f64::from(n) * 0.3).sin() as f32).collect();
        let file = file(&samples);
        for (step, from) in [(1.0, (-30, 0.0)), (1.01, (4_000, 0.25)), (3.0, (-100, 0.5)), (0.5, (20, 0.0))] {
            let interpolator = Interpolator::new(step);
            let (mut found, mut expected) = ([0.0; 600], [0.0; 600]);
            read_run(&file, &interpolator, from, step, &mut found).unwrap();
            interpolator.read_run(&samples, from, step, &mut expected);
            let differs = found.iter().zip(&expected).any(|(a, b)| (a - b).abs() > 1e-6);
            assert!(!differs, "steps of {step}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let message = SignalWriter::create(Path::new("/nowhere")).unwrap_err().to_string();
        assert!(message.contains("/nowhere: a temporary file cannot be created there"), "{message}");
    }
}
