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
use handsfree_sim::report::{FrameCounts, Summary, TrueAndEstimated};
use handsfree_sim::scenario::{CAP, SLOTS, SimSession};
use handsfree_sim::wav;

use crate::args::ProcessArgs;
use crate::evaluate::{advanced, copy_padded, direct, processor_delay_samples};

/// Result of processing two recordings.
#[derive(Debug)]
pub struct Processed {
    /// Cleaned microphone signal, with the processing delay removed.
    pub clean: Vec<i16>,
    /// Measured figures.
    pub summary: Summary,
    /// Messages for the user about the recordings.
    pub notices: Vec<String>,
}

/// Processes the recordings that `args` name. Writes no file.
///
/// # Errors
/// Returns an error that names the file that cannot be read or the value that cannot be used.
pub fn run(args: &ProcessArgs) -> Result<Processed, Failure> {
    let (far_clip, mic_clip) = (wav::read(&args.far)?, wav::read(&args.mic)?);
    let rate = SampleRate::new(args.rate.unwrap_or_else(|| default_rate_hz(mic_clip.rate_hz)))?;
    let (far, mic) = (to_i16(&far_clip.to_mono_at(rate.hz())), to_i16(&mic_clip.to_mono_at(rate.hz())));
    let format = Format::with_rate(rate, 1)?;
    let mut voice = args.switches.voice(format, format)?;
    let started = std::time::Instant::now();
    let Duplex { clean: raw, stats, drift_ppm } = duplex(rate, &far, &mic, args.mic_ppm, voice.as_dyn())?;
    let seconds = mic.len() as f64 / f64::from(rate.hz());
    let realtime_factor = seconds / started.elapsed().as_secs_f64().max(1e-9);
    let delay = processor_delay_samples(&args.switches, rate)?;
    let clean = advanced(&raw, delay);
    let mut oracle_voice = args.switches.voice(format, format)?;
    let oracle = advanced(&direct(oracle_voice.as_dyn(), rate, &far, &mic)?, delay);
    let mut padded_far = far;
    padded_far.resize(mic.len(), 0);
    let windows = |signal: &[i16]| {
        measure::erle_windows(
            &from_i16(&mic),
            &from_i16(signal),
            &from_i16(&padded_far),
            &[],
            rate.hz(),
            10.0,
        )
    };
    let summary = Summary {
        seconds,
        rate_hz: rate.hz(),
        erle_db: Summary::erle_windows(&windows(&clean), &windows(&oracle)),
        drift_ppm: TrueAndEstimated { truth: args.mic_ppm.map(|ppm| -ppm), estimated: drift_ppm },
        processing_delay_samples: delay as u64,
        frames: frame_counts(&stats, rate),
        xruns: u64::from(stats.xruns()),
        realtime_factor,
        ..Summary::default()
    };
    let notices = [far_clip.notice, mic_clip.notice].into_iter().flatten().collect();
    Ok(Processed { clean, summary, notices })
}

/// Returns the recording's rate if the voice processor supports it, and otherwise 48 kHz.
fn default_rate_hz(rate_hz: u32) -> u32 {
    if handsfree_apm::RATES_HZ.contains(&rate_hz) { rate_hz } else { 48_000 }
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
    let mut session = Box::new(SimSession::new());
    let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
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
        map,
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
    let mut remaining_far = far;
    let mut clean = Vec::with_capacity(mic.len() + length);
    let mut period = vec![0i16; length];
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
            halves.outlet.on_period(&mut period, time);
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
