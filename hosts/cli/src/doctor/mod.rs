//! Control side: `handsfree doctor`, which measures the devices and the machine and suggests settings.

mod chirp;
pub mod scheduling;

use std::fmt::Write as _;
use std::time::{Duration as WallDuration, Instant as Moment};

use handsfree_apm::ApmConfig;
use handsfree_core::audio_io::Direction;
use handsfree_core::time::{Duration, Instant};
use handsfree_core::{Frame, SampleRate};
use handsfree_host::supervisor::{DirectionConfig, Notice, StreamSupervisor};
use serde::Serialize;

use self::chirp::Chirp;
use self::scheduling::{Scheduling, ms};
use crate::args::RunArgs;
use crate::report::direction_name;
use crate::run;
use handsfree::HostChoice;
use handsfree::failure::Failure;
use handsfree::host::{AnyIo, HostConfig};
use handsfree::terminal::{CAP, CleanedFrames, Parts, SLOTS, Terminal, TerminalConfig, Track};

/// Number of chirps that are played: enough for a median and a spread.
const CHIRPS: usize = 5;
/// Time from one chirp to the next, in seconds: the echo of a chirp ends before the next one.
const CHIRP_INTERVAL_S: f64 = 0.8;
/// Time for the drift estimate to converge, in seconds.
const DRIFT_MEASUREMENT_S: f64 = 20.0;
/// Time for which each period is tried, in seconds.
const TRIAL_S: f64 = 3.0;
/// Periods to try, in milliseconds.
const TRIED_MS: [f64; 4] = [2.5, 5.0, 10.0, 20.0];
/// Longest plausible travel time of sound from the loudspeaker to the microphone, in milliseconds: 5 m.
const MAX_TRAVEL_MS: f64 = 15.0;
/// Polling interval of the measurements: shorter than a period of 10 ms.
const POLL_INTERVAL: WallDuration = WallDuration::from_millis(5);

type HostSupervisor = StreamSupervisor<'static, AnyIo, CAP, SLOTS>;

/// Results of `handsfree doctor`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diagnosis {
    /// Name of the host.
    pub io: &'static str,
    /// Scheduling permissions and wake-up delays.
    pub scheduling: Scheduling,
    /// Latency from writing a sample to reading its echo.
    pub round_trip: RoundTrip,
    /// Rate of the loudspeaker's clock relative to the microphone's, in ppm; `None` if it did not converge in time.
    pub drift_ppm: Option<f64>,
    /// Result of each tried period, the shortest first.
    pub periods: Vec<PeriodTrial>,
    /// Safe period, in milliseconds: the next longer period after the shortest one without xruns; `None` if there is none.
    pub safe_period_ms: Option<f64>,
    /// Findings and suggested settings, one sentence each.
    pub advice: Vec<String>,
}

/// Latency from writing a sample to reading its echo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct RoundTrip {
    /// Number of chirps that were played.
    pub chirps: usize,
    /// Number of chirps that were found in the recording.
    pub heard: usize,
    /// Latency computed from the devices' timestamps, in milliseconds.
    pub by_times_ms: f64,
    /// Median latency measured with the chirps, in milliseconds; `None` if no chirp was found.
    pub by_sound_ms: Option<f64>,
    /// Difference between the longest and the shortest measured latency, in milliseconds; `None` if no chirp was found.
    pub spread_ms: Option<f64>,
}

/// Result of running with one period.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PeriodTrial {
    /// Requested period, in milliseconds.
    pub asked_ms: f64,
    /// Longer of the periods that both devices granted, in milliseconds.
    pub granted_ms: f64,
    /// Number of overruns, underruns and gaps in the trial.
    pub xruns: u32,
}

/// Measures the devices that `args` name, which takes about 40 s. Calls `on_listening` once the devices are running.
///
/// # Errors
/// Returns an error that names the device or value that cannot be used, or a device that is lost during the measurement.
pub fn examine(args: &RunArgs, on_listening: impl FnOnce()) -> Result<Diagnosis, Failure> {
    if let Some(duration_s) = args.duration {
        return Err(Failure::usage(format!(
            "--duration {duration_s}: expected no duration, because a diagnosis ends when everything is measured"
        )));
    }
    let rate = SampleRate::new(args.devices.rate)?;
    let config = run::host_config(&args.devices, rate)?;
    let scheduling = scheduling::measure();
    let host = HostChoice::from(args.devices.io).resolve()?;
    let io = host.name();
    let terminal_config =
        TerminalConfig { voice: ApmConfig::BYPASS, acoustic_delay: false, ..TerminalConfig::new(rate) };
    let Parts { mut terminal, halves, work } = terminal_config.build(host.clock())?;
    let frames = terminal
        .take_cleaned()
        .ok_or_else(|| Failure::run("the cleaned frames of the terminal are already in use"))?;
    let open = host.open(&config, work)?;
    let mut session =
        MeasurementSession { supervisor: StreamSupervisor::new(open.io, halves), terminal, frames, rate };
    let [Some(capture), Some(playback)] = run::requests::direction_configs(&args.devices, rate, &config)?
    else {
        return Err(Failure::usage("--input none or --output none: expected a microphone and a loudspeaker"));
    };
    session.open(&capture, &playback)?;
    on_listening();
    let round_trip = session.measure_round_trip()?;
    let drift_ppm = session.measure_drift()?;
    session.close();
    let periods = TRIED_MS
        .into_iter()
        .map(|asked_ms| session.try_period(asked_ms, &config, &capture, &playback))
        .collect::<Result<Vec<_>, _>>()?;
    let mut diagnosis = Diagnosis {
        io,
        scheduling,
        round_trip,
        drift_ppm,
        safe_period_ms: safe_period(&periods),
        periods,
        advice: Vec::new(),
    };
    diagnosis.advice = advice(&diagnosis);
    Ok(diagnosis)
}

/// Terminal on the measured devices, without voice processing.
struct MeasurementSession {
    supervisor: HostSupervisor,
    terminal: Terminal,
    frames: CleanedFrames,
    rate: SampleRate,
}

impl MeasurementSession {
    /// Opens both devices, and returns the longer of the granted periods, in milliseconds.
    fn open(&mut self, capture: &DirectionConfig, playback: &DirectionConfig) -> Result<f64, Failure> {
        let info = self
            .supervisor
            .open(Some(capture), Some(playback), self.terminal.now())
            .map_err(|error| Failure::run(error.to_string()))?;
        let granted_ms = |info: Option<handsfree_core::audio_io::DirectionInfo>| {
            info.map_or(0.0, |info| {
                f64::from(info.max_period_sample_frames) * 1e3 / f64::from(info.rate.hz())
            })
        };
        Ok(granted_ms(info.capture).max(granted_ms(info.playback)))
    }

    fn close(&mut self) {
        self.supervisor.close(Direction::Capture);
        self.supervisor.close(Direction::Playback);
    }

    /// Plays chirps and searches the recording for each of them.
    fn measure_round_trip(&mut self) -> Result<RoundTrip, Failure> {
        let chirp = Chirp::new(self.rate.hz());
        let gap = (CHIRP_INTERVAL_S * f64::from(self.rate.hz())) as usize;
        let mut signal = vec![0; gap * CHIRPS];
        for slot in signal.chunks_mut(gap) {
            // Silence follows each chirp, so that its echo has decayed before the next one.
            slot.iter_mut().zip(chirp.samples()).for_each(|(to, &sample)| *to = sample);
        }
        let mut track: Track =
            self.terminal.tracks().open().map_err(|error| Failure::run(error.to_string()))?;
        self.frames.listen(handsfree::terminal::MAX_WAITING);
        let mut recording = MicrophoneSignal::default();
        let mut pushed = 0;
        let mut played_at: Vec<Instant> = Vec::new();
        let deadline = Moment::now() + WallDuration::from_secs_f64(CHIRP_INTERVAL_S * CHIRPS as f64 + 5.0);
        let mut end: Option<Moment> = None;
        while end.is_none_or(|end| Moment::now() < end) && Moment::now() < deadline {
            pushed += track
                .push(signal.get(pushed..).unwrap_or_default())
                .map_err(|error| Failure::run(error.to_string()))?;
            self.terminal.tracks().dispatch();
            let now = self.terminal.now();
            let position = track.played_position(now);
            let next = (played_at.len() * gap) as u64;
            if position > next && played_at.len() < CHIRPS {
                played_at.push(now - Duration::of_sample_frames(position - next, self.rate));
                if played_at.len() == CHIRPS {
                    end = Some(Moment::now() + WallDuration::from_secs_f64(CHIRP_INTERVAL_S));
                }
            }
            while let Some(frame) = self.frames.pop() {
                recording.push(&frame);
            }
            self.check_devices()?;
            std::thread::sleep(POLL_INTERVAL);
        }
        self.frames.ignore();
        let computed = Duration::from_micros(self.terminal.stats().capture.delay_us.into());
        let differences: Vec<Duration> = played_at
            .iter()
            .filter_map(|&played| {
                // The search begins 100 ms early, in case the timestamps are wrong.
                let from = recording.sample_at(played - Duration::from_millis(100), self.rate)?;
                let part = recording.samples.get(from..(from + gap).min(recording.samples.len()))?;
                let at = from as f64 + chirp.find(part)?;
                Some(recording.time_of(at, self.rate)? - played)
            })
            .collect();
        let mut differences_ms: Vec<f64> =
            differences.iter().map(|difference| difference.as_millis_f64()).collect();
        differences_ms.sort_unstable_by(f64::total_cmp);
        let median_ms = differences_ms.get(differences_ms.len() / 2).copied();
        let to_hundredths = |value: f64| (value * 100.0).round() / 100.0;
        Ok(RoundTrip {
            chirps: CHIRPS,
            heard: differences_ms.len(),
            by_times_ms: ms(computed),
            by_sound_ms: median_ms.map(|median_ms| to_hundredths(computed.as_millis_f64() + median_ms)),
            spread_ms: differences_ms
                .first()
                .zip(differences_ms.last())
                .map(|(first, last)| to_hundredths(last - first)),
        })
    }

    /// Waits for the drift estimate to converge, and returns it in ppm.
    fn measure_drift(&mut self) -> Result<Option<f64>, Failure> {
        let deadline = Moment::now() + WallDuration::from_secs_f64(DRIFT_MEASUREMENT_S);
        while Moment::now() < deadline {
            self.check_devices()?;
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(self.terminal.meters().drift_ppm().map(|ppm| (f64::from(ppm) * 10.0).round() / 10.0))
    }

    /// Returns an error if a device was lost or replaced, because the measurement needs the same two devices throughout.
    fn check_devices(&mut self) -> Result<(), Failure> {
        while let Some(notice) = self.supervisor.poll(self.terminal.now()) {
            let (direction, change) = match notice {
                Notice::Lost { direction } => (direction, "was lost"),
                Notice::Moved { direction, .. } => (direction, "was replaced by another one"),
                _ => continue,
            };
            return Err(Failure::run(format!(
                "the {} device {change} during the measurement: keep it connected and run doctor again",
                direction_name(direction)
            )));
        }
        Ok(())
    }

    /// Runs with one period and counts its xruns.
    fn try_period(
        &mut self,
        asked_ms: f64,
        config: &HostConfig,
        capture: &DirectionConfig,
        playback: &DirectionConfig,
    ) -> Result<PeriodTrial, Failure> {
        let period = (asked_ms * f64::from(config.rate.hz()) / 1e3).round() as u32;
        let with_period =
            |config: &DirectionConfig| DirectionConfig { period_sample_frames: period, ..config.clone() };
        let granted_ms = self.open(&with_period(capture), &with_period(playback))?;
        // Xruns while the devices start do not count.
        std::thread::sleep(WallDuration::from_millis(300));
        let before = self.terminal.stats().xruns();
        let deadline = Moment::now() + WallDuration::from_secs_f64(TRIAL_S);
        let mut track: Track =
            self.terminal.tracks().open().map_err(|error| Failure::run(error.to_string()))?;
        while Moment::now() < deadline {
            // The track plays silence, because underruns are counted only while a track plays.
            while track.push(&[0; 480]).is_ok_and(|taken| taken > 0) {}
            // A device that fails with this period is reopened; the lost samples count as xruns.
            _ = self.supervisor.poll(self.terminal.now());
            std::thread::sleep(POLL_INTERVAL);
        }
        let xruns = self.terminal.stats().xruns().wrapping_sub(before);
        self.close();
        Ok(PeriodTrial { asked_ms, granted_ms: (granted_ms * 100.0).round() / 100.0, xruns })
    }
}

/// Recorded microphone samples with their converter times.
#[derive(Default)]
struct MicrophoneSignal {
    samples: Vec<i16>,
    /// Converter time of each frame's first sample, and its index in `samples`.
    frames: Vec<(Instant, usize)>,
}

impl MicrophoneSignal {
    fn push(&mut self, frame: &Frame<CAP>) {
        self.frames.push((frame.stamp.time, self.samples.len()));
        self.samples.extend_from_slice(frame.samples());
    }

    /// Returns the index of the sample recorded at `time`.
    fn sample_at(&self, time: Instant, rate: SampleRate) -> Option<usize> {
        let index = self.frames.partition_point(|(frame_time, _)| *frame_time <= time);
        let &(frame_time, first_sample) = self.frames.get(index.saturating_sub(1))?;
        let offset = (time - frame_time).as_nanos().max(0) as f64 * f64::from(rate.hz()) / 1e9;
        Some(first_sample + offset as usize)
    }

    /// Returns the converter time of a sample index, which may have a fraction.
    fn time_of(&self, sample: f64, rate: SampleRate) -> Option<Instant> {
        let index = self.frames.partition_point(|(_, first_sample)| *first_sample as f64 <= sample);
        let &(frame_time, first_sample) = self.frames.get(index.saturating_sub(1))?;
        let offset_ns = (sample - first_sample as f64) * 1e9 / f64::from(rate.hz());
        Some(frame_time + Duration::from_nanos(offset_ns.round() as i64))
    }
}

/// Returns the next longer period after the shortest one without xruns, in milliseconds, or that one if it is the
/// longest.
fn safe_period(periods: &[PeriodTrial]) -> Option<f64> {
    // A period counts only if all longer ones ran without xruns too; otherwise it succeeded by chance.
    let good_count = periods.iter().rev().take_while(|trial| trial.xruns == 0).count();
    let good = periods.get(periods.len() - good_count..)?;
    good.get(1).or(good.first()).map(|trial| trial.granted_ms)
}

/// Returns findings and suggested settings, one sentence each.
fn advice(found: &Diagnosis) -> Vec<String> {
    let mut advice = Vec::new();
    advice.extend(found.scheduling.real_time_refused.clone());
    advice.extend(found.scheduling.locked_memory_refused.clone());
    if found.scheduling.latest_wake_ms > 5.0 {
        advice.push(format!(
            "a thread woke up {} ms late: expected at most 5 ms; reduce the load of the machine, set its CPU governor to \
             'performance', or use more periods for the loudspeaker (--periods)",
            found.scheduling.latest_wake_ms
        ));
    }
    let trip = &found.round_trip;
    match trip.by_sound_ms {
        None => advice.push(
            "the microphone did not record the loudspeaker: turn both up, move them closer together, or \
             select other devices (--input, --output)"
                .to_owned(),
        ),
        Some(by_sound_ms) if (by_sound_ms - trip.by_times_ms).abs() > MAX_TRAVEL_MS => advice.push(format!(
            "the measured latency is {:.1} ms, the devices' timestamps give {:.1} ms: the timestamps are off by {:.1} ms; \
             acoustic delay estimation corrects this, so do not use --no-echo-search",
            by_sound_ms,
            trip.by_times_ms,
            by_sound_ms - trip.by_times_ms
        )),
        Some(_) => {}
    }
    if found.drift_ppm.is_some_and(|ppm| ppm.abs() > 500.0) {
        advice.push(format!(
            "the clocks differ by {:.0} ppm: expected at most 500 ppm; the drift is compensated, but one of the devices \
             has an inaccurate clock",
            found.drift_ppm.unwrap_or(0.0)
        ));
    }
    match found.safe_period_ms {
        None => advice.push(
            "no period ran without xruns: check the scheduling figures, and use more periods (--periods)"
                .to_owned(),
        ),
        Some(period_ms) => advice.push(format!("--period-ms {period_ms} is safe on this machine")),
    }
    advice
}

/// Returns the results as text for people.
#[must_use]
pub fn page(found: &Diagnosis) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| _ = writeln!(text, "  {name:<22}{value}");
    let trip = &found.round_trip;
    line("host", found.io.to_owned());
    let allowed = |refused: &Option<String>| if refused.is_none() { "yes" } else { "no" };
    line("real-time scheduling", allowed(&found.scheduling.real_time_refused).to_owned());
    line("locked memory", allowed(&found.scheduling.locked_memory_refused).to_owned());
    line(
        "wake-up delay",
        format!("{} ms, at most {} ms", found.scheduling.usual_wake_ms, found.scheduling.latest_wake_ms),
    );
    line(
        "round trip",
        match trip.by_sound_ms {
            Some(by_sound_ms) => format!(
                "{by_sound_ms} ms measured ({} of {} chirps, spread {} ms), {} ms from the devices' timestamps",
                trip.heard,
                trip.chirps,
                trip.spread_ms.unwrap_or(0.0),
                trip.by_times_ms
            ),
            None => format!("not measured; {} ms from the devices' timestamps", trip.by_times_ms),
        },
    );
    line("clock drift", found.drift_ppm.map_or("not known after 20 s".into(), |ppm| format!("{ppm} ppm")));
    for trial in &found.periods {
        line(
            "period",
            format!(
                "{} ms requested, {} ms granted: {} xruns in {TRIAL_S} s",
                trial.asked_ms, trial.granted_ms, trial.xruns
            ),
        );
    }
    for advice in &found.advice {
        line("advice", advice.clone());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trials(xruns: [u32; 4]) -> Vec<PeriodTrial> {
        TRIED_MS
            .into_iter()
            .zip(xruns)
            .map(|(asked_ms, xruns)| PeriodTrial { asked_ms, granted_ms: asked_ms, xruns })
            .collect()
    }

    #[test]
    fn the_safe_period_is_one_step_above_the_shortest_good_one() {
        assert_eq!(safe_period(&trials([0, 0, 0, 0])), Some(5.0));
        assert_eq!(safe_period(&trials([1, 0, 0, 0])), Some(10.0));
        assert_eq!(safe_period(&trials([0, 1, 0, 0])), Some(20.0), "2.5 ms succeeded by chance");
        assert_eq!(safe_period(&trials([9, 9, 9, 0])), Some(20.0));
        assert_eq!(safe_period(&trials([0, 0, 0, 1])), None);
    }

    #[test]
    fn advice_names_each_problem() {
        let healthy = Diagnosis {
            io: "sim",
            scheduling: Scheduling {
                real_time_refused: None,
                locked_memory_refused: None,
                latest_wake_ms: 0.1,
                usual_wake_ms: 0.05,
            },
            round_trip: RoundTrip {
                chirps: 5,
                heard: 5,
                by_times_ms: 50.0,
                by_sound_ms: Some(53.0),
                spread_ms: Some(0.1),
            },
            drift_ppm: Some(30.0),
            periods: trials([0, 0, 0, 0]),
            safe_period_ms: Some(5.0),
            advice: Vec::new(),
        };
        assert_eq!(advice(&healthy), ["--period-ms 5 is safe on this machine"]);
        let faulty = Diagnosis {
            scheduling: Scheduling { latest_wake_ms: 12.0, ..healthy.scheduling.clone() },
            round_trip: RoundTrip { by_sound_ms: Some(150.0), ..healthy.round_trip },
            drift_ppm: Some(-900.0),
            safe_period_ms: None,
            ..healthy.clone()
        };
        let text = advice(&faulty).join("\n");
        for word in ["12 ms late", "off by 100.0 ms", "-900 ppm", "no period ran"] {
            assert!(text.contains(word), "{word} is not in {text}");
        }
        let no_echo = Diagnosis { round_trip: RoundTrip::default(), ..healthy };
        assert!(advice(&no_echo).join("\n").contains("did not record"));
        assert!(page(&no_echo).contains("not measured"));
    }
}
