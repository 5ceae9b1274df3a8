//! Control side: `handsfree process`, which removes the echo from a recording, faster than real time.

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree::failure::Failure;
use handsfree::pcm::{from_i16, to_i16};
use handsfree_core::capture::{IntakeConfig, VoiceProcessor};
use handsfree_core::playback::{OutletConfig, Track};
use handsfree_core::time::{Duration, Instant, PeriodTime};
use handsfree_core::timing::AcousticMemory;
use handsfree_core::{ChannelMap, Format, Frame, Gain, SampleRate, SessionFormat, Stats};
use handsfree_sim::measure;
use handsfree_sim::report::{ComparedCanceller, FrameCounts, Summary, TrueAndEstimated};
use handsfree_sim::scenario::{CAP, SLOTS, SimSession};

use crate::args::ProcessArgs;
use crate::compare;
use crate::echo_report::{EchoReport, EchoResult};
use crate::evaluate::{advanced, copy_padded, direct_with_channels, processor_delay_samples};
use crate::far_alignment::{aligned, delay_samples, is_aligned};
use crate::publish::check_not_read;
use crate::recordings::Recordings;
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
    pub clean: Vec<i16>,
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

/// Processes the recordings that `args` name. Writes no file.
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
            recordings.mix_far();
            switches.voice(format, far_format(&recordings)?)?
        }
        voice => voice?,
    };
    let far_format = far_format(&recordings)?;
    let channels = recordings.far.len() as u32;
    let started = std::time::Instant::now();
    let mic = to_i16(&recordings.mic);
    let (search, line) = find_echo(&mut recordings, args.mic_ppm);
    let far_as_recorded = loudness_of(&recordings.far);
    let far: Vec<Vec<f32>> = match &line {
        Some(line) if !is_aligned(line) => {
            recordings.far.iter().map(|channel| aligned(channel, line, rate.hz(), mic.len())).collect()
        }
        _ => std::mem::take(&mut recordings.far),
    };
    let far_samples = to_i16(&interleaved(&far));
    // A far end that was moved is on the microphone's clock.
    let mic_ppm = if line.is_some() { None } else { args.mic_ppm };
    let far_end = FarEnd { samples: &far_samples, channels };
    let Duplex { clean: raw, stats, drift_ppm } = duplex_of(rate, far_end, &mic, mic_ppm, voice.as_dyn())?;
    let seconds = mic.len() as f64 / f64::from(rate.hz());
    let realtime_factor = seconds / started.elapsed().as_secs_f64().max(1e-9);
    let delay = processor_delay_samples(&switches, rate)?;
    let clean = advanced(&raw, delay);
    let mut oracle_voice = switches.voice(format, far_format)?;
    let oracle = direct_with_channels(oracle_voice.as_dyn(), rate, &far_samples, channels, &mic)?;
    let oracle = advanced(&oracle, delay);
    let mut far_loudness = loudness_of(&far);
    far_loudness.resize(mic.len(), 0.0);
    let mic = from_i16(&mic);
    let windows =
        |signal: &[i16]| measure::erle_windows(&mic, &from_i16(signal), &far_loudness, &[], rate.hz(), 10.0);
    let remaining_drift_ppm = drift_ppm.unwrap_or(0.0);
    let summary = Summary {
        seconds,
        rate_hz: rate.hz(),
        erle_db: Summary::erle_windows(&windows(&clean), &windows(&oracle)),
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
    let result = EchoResult::new(search, &far_as_recorded, &mic, rate.hz());
    let moved = line.map_or(0, |line| delay_samples(&line, rate.hz()));
    let moved_s = moved as f64 / f64::from(rate.hz());
    let echo = EchoReport::new(result, line.as_ref(), moved_s, reduction_db, far.len());
    Ok(Processed { clean, summary, echo, notices: recordings.notices })
}

/// Processes the recordings with each echo canceller.
pub fn compare(args: &ProcessArgs) -> Vec<ComparedCanceller> {
    compare::compare(args.switches, |switches| {
        run(&ProcessArgs { switches, ..args.clone() }).map(|processed| processed.summary)
    })
}

/// Searches for the echo in the recordings. Returns the search's result and the line by which the far end is moved. Adds a notice
/// if a given drift contradicts what was found.
fn find_echo(recordings: &mut Recordings, given_ppm: Option<f64>) -> (SearchResult, Option<EchoLine>) {
    let (rate_hz, mic) = (recordings.rate_hz, &recordings.mic);
    let mut result = SearchResult::NotFound;
    for far in recordings.search_signals() {
        let searched = start_search::search(&far, mic, rate_hz, given_ppm);
        if let SearchResult::Found(found) = searched {
            let Some(given_ppm) = given_ppm else { return (searched, Some(found)) };
            let limit_ppm = CONTRADICTION_PPM.max(CONTRADICTION_ERRORS * found.ppm_error);
            if (found.mic_ppm - given_ppm).abs() > limit_ppm {
                recordings.notices.push(format!(
                    "--mic-ppm {given_ppm}: the echo shows {:.1} ppm; the given value is used",
                    found.mic_ppm
                ));
            }
            let line = start_search::with_slope(&far, mic, rate_hz, found, given_ppm)
                .unwrap_or(EchoLine { mic_ppm: given_ppm, ..found });
            return (searched, Some(line));
        }
        if searched == SearchResult::Ambiguous {
            result = searched;
        }
    }
    (result, None)
}

/// Returns a signal with the mean power of all channels at each moment.
fn loudness_of(channels: &[Vec<f32>]) -> Vec<f32> {
    if let [only] = channels {
        return only.clone();
    }
    let length = channels.first().map_or(0, Vec::len);
    let power = |at: usize| channels.iter().filter_map(|channel| channel.get(at)).map(|x| x * x).sum::<f32>();
    (0..length).map(|at| (power(at) / channels.len() as f32).sqrt()).collect()
}

fn interleaved(channels: &[Vec<f32>]) -> Vec<f32> {
    let length = channels.first().map_or(0, Vec::len);
    (0..length)
        .flat_map(|at| channels.iter().map(move |channel| channel.get(at).copied().unwrap_or(0.0)))
        .collect()
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

/// Output of the terminal for two recordings.
#[derive(Debug)]
pub struct Duplex {
    /// Output samples of the terminal; the count equals that of the microphone recording.
    pub clean: Vec<i16>,
    /// Counters of the session at the end.
    pub stats: Stats,
    /// Rate of the loudspeaker's clock relative to the microphone's, in ppm; `None` if it was not measured.
    pub drift_ppm: Option<f64>,
}

/// Passes both recordings through intake, outlet and pipelines, as on a board with periods of 10 ms and no latency.
/// `mic_ppm` is the rate of the microphone's clock relative to the loudspeaker's; with `None` acoustic delay estimation
/// measures it.
///
/// # Errors
/// Returns an error when the session does not support the rate.
pub fn duplex(
    rate: SampleRate,
    far: &[i16],
    mic: &[i16],
    mic_ppm: Option<f64>,
    voice: &mut dyn VoiceProcessor,
) -> Result<Duplex, Failure> {
    duplex_of(rate, FarEnd { samples: far, channels: 1 }, mic, mic_ppm, voice)
}

/// Far-end recording with interleaved channels.
#[derive(Clone, Copy, Debug)]
struct FarEnd<'a> {
    samples: &'a [i16],
    channels: u32,
}

fn duplex_of(
    rate: SampleRate,
    far: FarEnd<'_>,
    mic: &[i16],
    mic_ppm: Option<f64>,
    voice: &mut dyn VoiceProcessor,
) -> Result<Duplex, Failure> {
    let mut session = Box::new(SimSession::new());
    let terminal = SessionFormat { rate, near_channels: 1, far_channels: far.channels };
    let mut acoustic_memory = Box::new(AcousticMemory::new());
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal, voice, ())?;
    let length = rate.sample_frames();
    let (map, period) = (ChannelMap::natural(1, 1)?, length as u32);
    halves.intake.configure(IntakeConfig {
        rate,
        map,
        gain: Gain::UNITY,
        max_period_sample_frames: period,
        clock_domain: 1,
    })?;
    halves.outlet.configure(OutletConfig {
        rate,
        map: ChannelMap::natural(far.channels, far.channels)?,
        max_period_sample_frames: period,
        worker_slack_sample_frames: 0,
        latency: Duration::ZERO,
        clock_domain: if mic_ppm.is_some() { 2 } else { 1 },
    })?;
    if mic_ppm.is_none() {
        // Two recordings carry no timestamps, so only the echo shows whether both clocks ran equally fast.
        halves.capture.use_acoustic_delay(&mut acoustic_memory);
    }
    let mut track = halves.tracks.open().ok();
    let mut remaining_far = far.samples;
    let mut clean = Vec::with_capacity(mic.len() + length);
    let mut period = vec![0i16; length];
    let mut playback_period = vec![0i16; length * far.channels as usize];
    let mut periods = mic.chunks(length);
    let mic_hz = f64::from(rate.hz()) * (1.0 + mic_ppm.unwrap_or(0.0) * 1e-6);
    let (mut played, mut captured) = (0u64, 0u64);
    while clean.len() < mic.len() {
        let playback_at = clock_time(played, f64::from(rate.hz()));
        let capture_at = clock_time(captured + length as u64, mic_hz);
        let now = playback_at.min(capture_at);
        if playback_at <= capture_at {
            feed(&mut track, &mut remaining_far);
            halves.playback.poll();
            let time = PeriodTime { position: played, converter: now, called: now };
            halves.outlet.on_period(&mut playback_period, time);
            played += length as u64;
        }
        if capture_at <= playback_at {
            // Silence after the recording flushes the frames that still wait for their reference.
            copy_padded(periods.next().unwrap_or(&[]), &mut period);
            let time =
                PeriodTime { position: captured, converter: clock_time(captured, mic_hz), called: now };
            halves.intake.on_period(&period, time);
            captured += length as u64;
        }
        halves.capture.poll(&|| now, &mut |frame: &Frame<CAP>| clean.extend_from_slice(frame.samples()));
    }
    clean.truncate(mic.len());
    Ok(Duplex { clean, stats: halves.stats.read(), drift_ppm: halves.capture.drift_ppm() })
}

/// Returns the time at which a clock with a rate of `hz` reaches the sample position `position`.
fn clock_time(position: u64, hz: f64) -> Instant {
    Instant::from_nanos((position as f64 * 1e9 / hz).round() as i64)
}

/// Pushes as much of `rest` as the track accepts, and finishes the track at the end.
fn feed(track: &mut Option<Track<'_, '_, NoopRawMutex, CAP, SLOTS>>, rest: &mut &[i16]) {
    let Some(mut open) = track.take() else { return };
    let taken = open.push(rest).expect("the track is open");
    *rest = rest.get(taken..).unwrap_or(&[]);
    *track = if rest.is_empty() { open.finish().err() } else { Some(open) };
}
