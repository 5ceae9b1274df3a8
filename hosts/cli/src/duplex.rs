//! Control side: a session that processes two recordings as if they were live.

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree::failure::Failure;
use handsfree_core::capture::{IntakeConfig, VoiceProcessor};
use handsfree_core::playback::{OutletConfig, Track};
use handsfree_core::time::{Duration, Instant, PeriodTime};
use handsfree_core::timing::AcousticMemory;
use handsfree_core::{ChannelMap, Frame, Gain, SampleRate, SessionFormat, Stats};
use handsfree_sim::scenario::{CAP, SLOTS, SimSession};

use crate::signal::{SampleSource, fill};

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
    mut far: &[i16],
    mut mic: &[i16],
    mic_ppm: Option<f64>,
    voice: &mut dyn VoiceProcessor,
) -> Result<Duplex, Failure> {
    let mic_length = mic.len();
    let mut clean = Vec::with_capacity(mic_length + rate.sample_frames());
    let session = RecordedSession { rate, channels: 1, mic_ppm, mic_length };
    let (stats, drift_ppm) = session.run(&mut far, &mut mic, voice, &mut |frame| {
        clean.extend_from_slice(frame);
        Ok(())
    })?;
    clean.truncate(mic_length);
    Ok(Duplex { clean, stats, drift_ppm })
}

/// Session that processes two recordings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordedSession {
    pub(crate) rate: SampleRate,
    /// Channels of the far end.
    pub(crate) channels: u32,
    /// Rate of the microphone's clock, as in [`duplex`].
    pub(crate) mic_ppm: Option<f64>,
    /// Samples of the microphone recording.
    pub(crate) mic_length: usize,
}

impl RecordedSession {
    /// Runs the session to the end of the microphone recording and calls `take` with each frame of its output, the last one whole.
    /// Returns the counters and the measured drift.
    pub(crate) fn run(
        &self,
        far: &mut dyn SampleSource,
        mic: &mut dyn SampleSource,
        voice: &mut dyn VoiceProcessor,
        take: &mut dyn FnMut(&[i16]) -> Result<(), Failure>,
    ) -> Result<(Stats, Option<f64>), Failure> {
        let Self { rate, channels, mic_ppm, mic_length } = *self;
        let mut session = Box::new(SimSession::new());
        let terminal = SessionFormat { rate, near_channels: 1, far_channels: channels };
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
            map: ChannelMap::natural(channels, channels)?,
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
        let mut returned = 0;
        let mut period = vec![0i16; length];
        let mut playback_period = vec![0i16; length * channels as usize];
        let mic_hz = f64::from(rate.hz()) * (1.0 + mic_ppm.unwrap_or(0.0) * 1e-6);
        let (mut played, mut captured) = (0u64, 0u64);
        while returned < mic_length {
            let playback_at = clock_time(played, f64::from(rate.hz()));
            let capture_at = clock_time(captured + length as u64, mic_hz);
            let now = playback_at.min(capture_at);
            if playback_at <= capture_at {
                feed(&mut track, far)?;
                halves.playback.poll();
                let time = PeriodTime { position: played, converter: now, called: now };
                halves.outlet.on_period(&mut playback_period, time);
                played += length as u64;
            }
            if capture_at <= playback_at {
                // Silence after the recording flushes the frames that still wait for their reference.
                fill(mic, &mut period)?;
                let time =
                    PeriodTime { position: captured, converter: clock_time(captured, mic_hz), called: now };
                halves.intake.on_period(&period, time);
                captured += length as u64;
            }
            let mut outcome = Ok(());
            halves.capture.poll(&|| now, &mut |frame: &Frame<CAP>| {
                returned += frame.samples().len();
                if outcome.is_ok() {
                    outcome = take(frame.samples());
                }
            });
            outcome?;
        }
        Ok((halves.stats.read(), halves.capture.drift_ppm()))
    }
}

/// Returns the time at which a clock with a rate of `hz` reaches the sample position `position`.
fn clock_time(position: u64, hz: f64) -> Instant {
    Instant::from_nanos((position as f64 * 1e9 / hz).round() as i64)
}

/// Pushes as many samples as the track accepts, and finishes the track at the end.
fn feed(
    track: &mut Option<Track<'_, '_, NoopRawMutex, CAP, SLOTS>>,
    samples: &mut dyn SampleSource,
) -> Result<(), Failure> {
    let Some(mut open) = track.take() else { return Ok(()) };
    loop {
        let next = samples.next_samples()?;
        if next.is_empty() {
            *track = open.finish().err();
            return Ok(());
        }
        let (count, taken) = (next.len(), open.push(next).expect("the track is open"));
        samples.pass(taken);
        if taken < count {
            *track = Some(open);
            return Ok(());
        }
    }
}
