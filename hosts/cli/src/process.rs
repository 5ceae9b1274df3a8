//! Control side: `handsfree process`, which removes the echo from a recording, faster than real time.

use std::io::Write as _;
use std::path::Path;

use handsfree::failure::Failure;
use handsfree::pcm::{from_i16, to_i16};
use handsfree::recording::OutputFile;
use handsfree_core::{Format, SampleRate, Stats};
use handsfree_sim::measure;
use handsfree_sim::report::{ComparedCanceller, ErleWindow, FrameCounts, Summary, TrueAndEstimated};
use handsfree_sim::wav;

use crate::args::ProcessArgs;
use crate::compare;
use crate::duplex::RecordedSession;
use crate::echo_report::{EchoReport, EchoResult};
use crate::evaluate::{direct_with_channels, processor_delay_samples};
use crate::far_alignment::{aligned, delay_samples, is_aligned};
use crate::publish::check_not_read;
use crate::recordings::Recordings;
use crate::signal::{Interleaved, PART, Signal, SignalFile, SignalWriter, for_each_part};
use crate::start_search::{self, EchoLine, SearchResult};

/// Largest difference of the clocks that is processed, in ppm.
const MAX_PPM: f64 = start_search::MAX_DRIFT_PPM;
/// Difference between a given and a measured drift that is reported, in ppm: in a minute it moves the echo by more than half a
/// millisecond.
const CONTRADICTION_PPM: f64 = 10.0;
/// Standard errors of the measured drift within which it does not contradict a given one.
const CONTRADICTION_ERRORS: f64 = 5.0;

/// Result of processing two recordings.
#[derive(Debug)]
pub struct Processed {
    /// Cleaned microphone signal, with the processing delay removed.
    pub clean: SignalFile,
    /// Measured figures.
    pub summary: Summary,
    /// What was found out about the echo.
    pub echo: EchoReport,
    /// Messages for the user about the recordings.
    pub notices: Vec<String>,
}

/// Checks the switches, and that the result does not replace one of the recordings.
///
/// # Errors
/// Returns an error that names the file or the switch.
pub fn check(args: &ProcessArgs) -> Result<(), Failure> {
    args.switches.check()?;
    check_not_read("--mic", Some(&args.mic), "--out", &args.out)?;
    check_not_read("--far", args.far.as_deref(), "--out", &args.out)
}

/// Processes the recordings that `args` name. Writes temporary files only.
///
/// # Errors
/// Returns an error that names the file that cannot be read or the value that cannot be used.
pub fn run(args: &ProcessArgs) -> Result<Processed, Failure> {
    if let Some(ppm) = args.mic_ppm
        && !(-MAX_PPM..=MAX_PPM).contains(&ppm)
    {
        return Err(Failure::usage(format!("--mic-ppm {ppm}: expected {} to {MAX_PPM}", -MAX_PPM)));
    }
    let switches = args.switches.for_recordings();
    let mut recordings = Recordings::read(args)?;
    let rate = SampleRate::new(recordings.rate_hz)?;
    let format = Format::with_rate(rate, 1)?;
    let far_format = |recordings: &Recordings| Format::with_rate(rate, recordings.far.len() as u32);
    let mut voice = match switches.voice(format, far_format(&recordings)?) {
        // Not every canceller takes more than one channel.
        Err(failure) if recordings.far.len() > 1 && args.far_channels.is_none() => {
            recordings.notices.push(format!("the far end is mixed to one channel: {failure}"));
            recordings.mix_far()?;
            switches.voice(format, far_format(&recordings)?)?
        }
        voice => voice?,
    };
    let far_format = far_format(&recordings)?;
    let channels = recordings.far.len() as u32;
    let folder = recordings.folder.clone();
    let length = recordings.mic.length();
    let started = std::time::Instant::now();
    let (search, line, notice) = find_echo(&recordings, args.mic_ppm)?;
    recordings.notices.extend(notice);
    let result = EchoResult::new(search, &Loudness(&recordings.far), &Rounded(&recordings.mic), rate.hz())?;
    if let Some(line) = line.filter(|line| !is_aligned(line)) {
        let moved = recordings.far.iter().map(|channel| {
            let mut moved = SignalWriter::create(&folder)?;
            aligned(channel, &line, rate.hz(), length, |part| moved.push(part))?;
            moved.finish()
        });
        recordings.far = moved.collect::<Result<_, Failure>>()?;
    }
    // A far end that was moved is on the microphone's clock.
    let mic_ppm = if line.is_some() { None } else { args.mic_ppm };
    let delay = processor_delay_samples(&switches, rate)?;
    let mic = std::slice::from_ref(&recordings.mic);
    let mut clean = AdvancedWriter::create(&folder, delay, length)?;
    let session = RecordedSession { rate, channels, mic_ppm, mic_length: length };
    let (far_samples, mic_samples) = (&mut Interleaved::new(&recordings.far), &mut Interleaved::new(mic));
    let (stats, drift_ppm) =
        session.run(far_samples, mic_samples, voice.as_dyn(), &mut |frame| clean.push(frame))?;
    let clean = clean.finish()?;
    let seconds = length as f64 / f64::from(rate.hz());
    let realtime_factor = seconds / started.elapsed().as_secs_f64().max(1e-9);
    let mut oracle_voice = switches.voice(format, far_format)?;
    let mut oracle = AdvancedWriter::create(&folder, delay, length)?;
    let far_samples = &mut Interleaved::new(&recordings.far);
    let mic_samples = &mut Interleaved::new(mic);
    direct_with_channels(oracle_voice.as_dyn(), rate, (far_samples, channels), mic_samples, &mut |frame| {
        oracle.push(frame)
    })?;
    let oracle = oracle.finish()?;
    let remaining_drift_ppm = drift_ppm.unwrap_or(0.0);
    let summary = Summary {
        seconds,
        rate_hz: rate.hz(),
        erle_db: erle_db(&recordings, &clean, &oracle)?,
        delay_ms: TrueAndEstimated { truth: None, estimated: line.map(|line| line.lag_s * 1e3) },
        drift_ppm: TrueAndEstimated {
            truth: args.mic_ppm.map(|ppm| -ppm),
            estimated: line.map(|line| remaining_drift_ppm - line.mic_ppm).or(drift_ppm),
        },
        processing_delay_samples: delay as u64,
        frames: frame_counts(&stats, rate),
        xruns: u64::from(stats.xruns()),
        realtime_factor,
        ..Summary::default()
    };
    let (reduction_db, _) = summary.median_erle_db();
    let moved = line.map_or(0, |line| delay_samples(&line, rate.hz()));
    let moved_s = moved as f64 / f64::from(rate.hz());
    let echo = EchoReport::new(result, line.as_ref(), moved_s, reduction_db, recordings.far.len());
    Ok(Processed { clean, summary, echo, notices: recordings.notices })
}

/// Measures the echo reduction of the terminal and of the canceller called directly.
fn erle_db(
    recordings: &Recordings,
    clean: &SignalFile,
    oracle: &SignalFile,
) -> Result<Vec<ErleWindow>, Failure> {
    let rate_hz = recordings.rate_hz;
    let mut meter = measure::ErleMeter::new(rate_hz, 10.0);
    let (far, mut at) = (Loudness(&recordings.far), 0);
    let mut parts = [(); 3].map(|()| vec![0.0; rate_hz as usize]);
    for_each_part(&Rounded(&recordings.mic), rate_hz as usize, |mic| {
        let [far_part, clean_part, oracle_part] = parts.each_mut().map(|part| &mut part[..mic.len()]);
        far.read(at, far_part)?;
        clean.read(at, clean_part)?;
        oracle.read(at, oracle_part)?;
        meter.push(mic, far_part, [clean_part, oracle_part]);
        at += mic.len() as i64;
        Ok(())
    })?;
    let [clean, oracle] = meter.windows();
    Ok(Summary::erle_windows(&clean, &oracle))
}

/// Writes the cleaned signal to `file`.
///
/// # Errors
/// Returns an error that names the file if it cannot be written.
pub fn write(processed: &Processed, mut file: OutputFile) -> Result<(), Failure> {
    let path = file.path().to_owned();
    let cannot =
        |error: std::io::Error| Failure::run(format!("{}: cannot be written: {error}", path.display()));
    let header = wav::mono_header(processed.summary.rate_hz, processed.clean.length());
    file.write_all(&header).map_err(cannot)?;
    for_each_part(&processed.clean, PART, |part| {
        let bytes: Vec<u8> = to_i16(part).into_iter().flat_map(i16::to_le_bytes).collect();
        file.write_all(&bytes).map_err(cannot)
    })?;
    file.commit()
}

/// Processes the recordings with each echo canceller.
pub fn compare(args: &ProcessArgs) -> Vec<ComparedCanceller> {
    compare::compare(args.switches, |switches| {
        run(&ProcessArgs { switches, ..args.clone() }).map(|processed| processed.summary)
    })
}

/// Searches for the echo in the recordings. Returns the search's result, the line by which the far end is moved, and a message for
/// the user if a given drift contradicts what was found.
fn find_echo(
    recordings: &Recordings,
    given_ppm: Option<f64>,
) -> Result<(SearchResult, Option<EchoLine>, Option<String>), Failure> {
    let (rate_hz, mic) = (recordings.rate_hz, &recordings.mic);
    let mut result = SearchResult::NotFound;
    for far in recordings.search_signals()? {
        let searched = start_search::search(&*far, mic, rate_hz, given_ppm)?;
        if let SearchResult::Found(found) = searched {
            let Some(given_ppm) = given_ppm else { return Ok((searched, Some(found), None)) };
            let limit_ppm = CONTRADICTION_PPM.max(CONTRADICTION_ERRORS * found.ppm_error);
            let notice = ((found.mic_ppm - given_ppm).abs() > limit_ppm).then(|| {
                format!(
                    "--mic-ppm {given_ppm}: the echo shows {:.1} ppm; the given value is used",
                    found.mic_ppm
                )
            });
            let line = start_search::with_slope(&*far, mic, rate_hz, found, given_ppm)?
                .unwrap_or(EchoLine { mic_ppm: given_ppm, ..found });
            return Ok((searched, Some(line), notice));
        }
        if searched == SearchResult::Ambiguous {
            result = searched;
        }
    }
    Ok((result, None, None))
}

/// Signal with the mean power of all channels at each moment.
struct Loudness<'a>(&'a [SignalFile]);

impl Signal for Loudness<'_> {
    fn length(&self) -> usize {
        self.0.first().map_or(0, Signal::length)
    }

    fn read(&self, from: i64, out: &mut [f32]) -> Result<(), Failure> {
        if let [only] = self.0 {
            return only.read(from, out);
        }
        let mut channel = vec![0.0; out.len()];
        out.fill(0.0);
        for signal in self.0 {
            signal.read(from, &mut channel)?;
            out.iter_mut().zip(&channel).for_each(|(sum, x)| *sum += x * x);
        }
        let count = self.0.len() as f32;
        out.iter_mut().for_each(|sum| *sum = (*sum / count).sqrt());
        Ok(())
    }
}

/// Signal with samples of 16 bits, as the session receives them.
struct Rounded<'a>(&'a SignalFile);

impl Signal for Rounded<'_> {
    fn length(&self) -> usize {
        self.0.length()
    }

    fn read(&self, from: i64, out: &mut [f32]) -> Result<(), Failure> {
        self.0.read(from, out)?;
        out.copy_from_slice(&from_i16(&to_i16(out)));
        Ok(())
    }
}

/// Writer that makes a signal earlier, and keeps its length with silence at its end.
struct AdvancedWriter {
    writer: SignalWriter,
    /// Number of samples that are left out first.
    skip: usize,
    /// Number of samples of the signal that have not come.
    left: usize,
    length: usize,
}

impl AdvancedWriter {
    fn create(folder: &Path, skip: usize, length: usize) -> Result<Self, Failure> {
        Ok(Self { writer: SignalWriter::create(folder)?, skip, left: length, length })
    }

    fn push(&mut self, samples: &[i16]) -> Result<(), Failure> {
        // What comes behind the end is the rest of the last frame.
        let samples = &samples[..self.left.min(samples.len())];
        self.left -= samples.len();
        let skipped = self.skip.min(samples.len());
        self.skip -= skipped;
        self.writer.push(&from_i16(&samples[skipped..]))
    }

    fn finish(mut self) -> Result<SignalFile, Failure> {
        self.writer.push(&vec![0.0; self.length - self.writer.length()])?;
        self.writer.finish()
    }
}

fn frame_counts(stats: &Stats, rate: SampleRate) -> FrameCounts {
    let frame_length = rate.sample_frames() as u64;
    FrameCounts {
        captured: u64::from(stats.intake.frames) * frame_length,
        played: u64::from(stats.outlet.frames) * frame_length,
        lost: u64::from(stats.intake.overrun_frames) * frame_length
            + u64::from(stats.outlet.underrun_sample_frames)
            + u64::from(stats.intake.gap_sample_frames),
    }
}
