//! `handsfree doctor`: measures the devices and the machine, and suggests settings.

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

/// Number of chirps that are played.
const CHIRPS: usize = 5;
/// Time from one chirp to the next, in seconds.
const EVERY_S: f64 = 0.8;
/// Longest time to wait for the clocks to settle.
const CLOCKS_S: f64 = 20.0;
/// Time for which each period is tried.
const TRIAL_S: f64 = 3.0;
/// Periods to try, in milliseconds.
const TRIED_MS: [f64; 4] = [2.5, 5.0, 10.0, 20.0];
/// Longest plausible time of sound from loudspeaker to microphone on a table.
const FAR_AWAY_MS: f64 = 15.0;
const TICK: WallDuration = WallDuration::from_millis(5);

type HostSupervisor = StreamSupervisor<'static, AnyIo, CAP, SLOTS>;

/// Results of the examination.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diagnosis {
    /// Name of the host.
    pub io: &'static str,
    /// Figures of the scheduling.
    pub scheduling: Scheduling,
    /// Latency from the interrupt that wrote a sample to the one that read its echo.
    pub round_trip: RoundTrip,
    /// The loudspeaker's clock minus the microphone's, in ppm; `None` if it did not settle in time.
    pub drift_ppm: Option<f64>,
    /// Result of each tried period.
    pub periods: Vec<Trial>,
    /// Safe period: the next longer one than the shortest that ran without a fault, in milliseconds.
    pub safe_period_ms: Option<f64>,
    /// Suggestions in words; empty when nothing is wrong.
    pub advice: Vec<String>,
}

/// Latency from a sample's writing to the reading of its echo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct RoundTrip {
    /// Number of chirps that were played.
    pub chirps: usize,
    /// Number of chirps that were found.
    pub heard: usize,
    /// Latency by the devices' timestamps, in milliseconds.
    pub by_times_ms: f64,
    /// Median latency by the chirps, in milliseconds; `None` if none was found.
    pub by_sound_ms: Option<f64>,
    /// Difference between the earliest and the latest chirp, in milliseconds.
    pub spread_ms: Option<f64>,
}

/// Result of trying a period.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Trial {
    /// Requested period, in milliseconds.
    pub asked_ms: f64,
    /// Longer of the two granted periods, in milliseconds.
    pub granted_ms: f64,
    /// Number of overruns, underruns and gaps.
    pub xruns: u32,
}

/// Examines the devices that `args` name, in half a minute. Calls `on_listening` when they run.
///
/// # Errors
/// Names the device or value that cannot be used.
pub fn examine(args: &RunArgs, on_listening: impl FnOnce()) -> Result<Diagnosis, Failure> {
    let rate = SampleRate::new(args.rate)?;
    let config = run::host_config(args, rate)?;
    let scheduling = scheduling::measure();
    let host = HostChoice::from(args.io).resolve()?;
    let io = host.name();
    let terminal_config =
        TerminalConfig { voice: ApmConfig::BYPASS, acoustic_delay: false, ..TerminalConfig::new(rate) };
    let Parts { mut terminal, halves, work } = terminal_config.build(host.clock())?;
    let frames = terminal.take_cleaned().ok_or_else(|| Failure::run("the terminal's frames are taken"))?;
    let open = host.open(&config, work)?;
    let mut bench = Bench { supervisor: StreamSupervisor::new(open.io, halves), terminal, frames, rate };
    let [Some(capture), Some(playback)] = run::requests::plans(args, rate, &config)? else {
        return Err(Failure::usage(
            "doctor needs a microphone and a loudspeaker: '--input none' leaves nothing to hear",
        ));
    };
    bench.open(&capture, &playback)?;
    on_listening();
    let round_trip = bench.round_trip()?;
    let drift_ppm = bench.drift()?;
    bench.close();
    let periods = TRIED_MS
        .into_iter()
        .map(|asked_ms| bench.try_period(asked_ms, &config, &capture, &playback))
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

struct Bench {
    supervisor: HostSupervisor,
    terminal: Terminal,
    frames: CleanedFrames,
    rate: SampleRate,
}

impl Bench {
    fn open(&mut self, capture: &DirectionConfig, playback: &DirectionConfig) -> Result<f64, Failure> {
        let info = self
            .supervisor
            .open(Some(capture), Some(playback), self.terminal.now())
            .map_err(|error| Failure::run(error.to_string()))?;
        let granted_ms = |end: Option<handsfree_core::audio_io::DirectionInfo>| {
            end.map_or(0.0, |end| f64::from(end.max_period_sample_frames) * 1e3 / f64::from(end.rate.hz()))
        };
        Ok(granted_ms(info.capture).max(granted_ms(info.playback)))
    }

    fn close(&mut self) {
        self.supervisor.close(Direction::Capture);
        self.supervisor.close(Direction::Playback);
    }

    /// Plays chirps and looks for each in the recording behind it.
    fn round_trip(&mut self) -> Result<RoundTrip, Failure> {
        let chirp = Chirp::new(self.rate.hz());
        let gap = (EVERY_S * f64::from(self.rate.hz())) as usize;
        let mut signal = vec![0; gap * CHIRPS];
        for place in signal.chunks_mut(gap) {
            // Silence first, so that the previous chirp has died away.
            place.iter_mut().zip(chirp.samples()).for_each(|(to, &sample)| *to = sample);
        }
        let mut track: Track =
            self.terminal.tracks().open().map_err(|error| Failure::run(error.to_string()))?;
        self.frames.listen(handsfree::terminal::MAX_WAITING);
        let mut recording = MicrophoneSignal::default();
        let mut pushed = 0;
        let mut played_at: Vec<Instant> = Vec::new();
        let deadline = Moment::now() + WallDuration::from_secs_f64(EVERY_S * CHIRPS as f64 + 5.0);
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
                    end = Some(Moment::now() + WallDuration::from_secs_f64(EVERY_S));
                }
            }
            while let Some(frame) = self.frames.pop() {
                recording.push(&frame);
            }
            self.look_after()?;
            std::thread::sleep(TICK);
        }
        self.frames.ignore();
        let by_times = Duration::from_micros(self.terminal.stats().capture.delay_us.into());
        let heard: Vec<Duration> = played_at
            .iter()
            .filter_map(|&played| {
                // A little earlier than the chirp, in case the times are wrong.
                let from = recording.sample_at(played - Duration::from_millis(100), self.rate)?;
                let part = recording.samples.get(from..(from + gap).min(recording.samples.len()))?;
                let at = from as f64 + chirp.find(part)?;
                Some(recording.time_of(at, self.rate)? - played)
            })
            .collect();
        let mut late_ms: Vec<f64> = heard.iter().map(|late| late.as_millis_f64()).collect();
        late_ms.sort_unstable_by(f64::total_cmp);
        let median = late_ms.get(late_ms.len() / 2).copied();
        let hundredth = |value: f64| (value * 100.0).round() / 100.0;
        Ok(RoundTrip {
            chirps: CHIRPS,
            heard: late_ms.len(),
            by_times_ms: ms(by_times),
            by_sound_ms: median.map(|median| hundredth(by_times.as_millis_f64() + median)),
            spread_ms: late_ms.first().zip(late_ms.last()).map(|(first, last)| hundredth(last - first)),
        })
    }

    /// Waits until the clocks have settled.
    fn drift(&mut self) -> Result<Option<f64>, Failure> {
        let deadline = Moment::now() + WallDuration::from_secs_f64(CLOCKS_S);
        while Moment::now() < deadline {
            self.look_after()?;
            std::thread::sleep(TICK);
        }
        Ok(self.terminal.meters().drift_ppm().map(|ppm| (f64::from(ppm) * 10.0).round() / 10.0))
    }

    /// Returns an error when a device was lost or replaced, because the measurement needs the same two devices throughout.
    fn look_after(&mut self) -> Result<(), Failure> {
        while let Some(notice) = self.supervisor.poll(self.terminal.now()) {
            let (direction, what) = match notice {
                Notice::Lost { direction } => (direction, "went away"),
                Notice::Moved { direction, .. } => (direction, "is another one now"),
                _ => continue,
            };
            return Err(Failure::run(format!(
                "the {} device {what} while it was measured: try again when it stays",
                direction_name(direction)
            )));
        }
        Ok(())
    }

    fn try_period(
        &mut self,
        asked_ms: f64,
        config: &HostConfig,
        capture: &DirectionConfig,
        playback: &DirectionConfig,
    ) -> Result<Trial, Failure> {
        let period = (asked_ms * f64::from(config.rate.hz()) / 1e3).round() as u32;
        let with = |plan: &DirectionConfig| DirectionConfig { period_sample_frames: period, ..plan.clone() };
        let granted_ms = self.open(&with(capture), &with(playback))?;
        // Xruns of the start do not count.
        std::thread::sleep(WallDuration::from_millis(300));
        let before = self.terminal.stats().xruns();
        let deadline = Moment::now() + WallDuration::from_secs_f64(TRIAL_S);
        let mut track: Track =
            self.terminal.tracks().open().map_err(|error| Failure::run(error.to_string()))?;
        while Moment::now() < deadline {
            // A track plays, because without one no underrun could be seen.
            while track.push(&[0; 480]).is_ok_and(|taken| taken > 0) {}
            // A device that cannot keep the period may fail, which counts as xruns.
            _ = self.supervisor.poll(self.terminal.now());
            std::thread::sleep(TICK);
        }
        let xruns = self.terminal.stats().xruns().wrapping_sub(before);
        self.close();
        Ok(Trial { asked_ms, granted_ms: (granted_ms * 100.0).round() / 100.0, xruns })
    }
}

/// Samples of the microphone with the converter times of some of them.
#[derive(Default)]
struct MicrophoneSignal {
    samples: Vec<i16>,
    /// Time and position of each frame's first sample.
    frames: Vec<(Instant, usize)>,
}

impl MicrophoneSignal {
    fn push(&mut self, frame: &Frame<CAP>) {
        self.frames.push((frame.stamp.time, self.samples.len()));
        self.samples.extend_from_slice(frame.samples());
    }

    fn sample_at(&self, time: Instant, rate: SampleRate) -> Option<usize> {
        let index = self.frames.partition_point(|(begun, _)| *begun <= time);
        let &(begun, place) = self.frames.get(index.saturating_sub(1))?;
        let into = (time - begun).as_nanos().max(0) as f64 * f64::from(rate.hz()) / 1e9;
        Some(place + into as usize)
    }

    fn time_of(&self, sample: f64, rate: SampleRate) -> Option<Instant> {
        let index = self.frames.partition_point(|(_, place)| *place as f64 <= sample);
        let &(begun, place) = self.frames.get(index.saturating_sub(1))?;
        let into_ns = (sample - place as f64) * 1e9 / f64::from(rate.hz());
        Some(begun + Duration::from_nanos(into_ns.round() as i64))
    }
}

/// Returns the next longer period than the shortest that ran well, or the shortest if there is no longer one.
fn safe_period(periods: &[Trial]) -> Option<f64> {
    // All longer periods must have run well too, or a short one ran well by luck.
    let well = periods.iter().rev().take_while(|trial| trial.xruns == 0).count();
    let good = periods.get(periods.len() - well..)?;
    good.get(1).or(good.first()).map(|trial| trial.granted_ms)
}

fn advice(found: &Diagnosis) -> Vec<String> {
    let mut advice = Vec::new();
    advice.extend(found.scheduling.real_time_refused.clone());
    advice.extend(found.scheduling.locked_memory_refused.clone());
    if found.scheduling.latest_wake_ms > 5.0 {
        advice.push(format!(
            "a thread woke up {} ms late: expected at most 5 ms; look for what keeps the machine busy, set its CPU \
             governor to 'performance', or keep more periods before the loudspeaker (--periods)",
            found.scheduling.latest_wake_ms
        ));
    }
    let trip = &found.round_trip;
    match trip.by_sound_ms {
        None => advice.push(
            "the loudspeaker was not heard by the microphone: turn both up, take them nearer to each other, or \
             choose others (--input, --output)"
                .to_owned(),
        ),
        Some(by_sound_ms) if (by_sound_ms - trip.by_times_ms).abs() > FAR_AWAY_MS => advice.push(format!(
            "the sound takes {:.1} ms, the devices' times say {:.1} ms: they leave out {:.1} ms; the echo search finds \
             that by itself, so leave it on",
            by_sound_ms,
            trip.by_times_ms,
            by_sound_ms - trip.by_times_ms
        )),
        Some(_) => {}
    }
    if found.drift_ppm.is_some_and(|ppm| ppm.abs() > 500.0) {
        advice.push(format!(
            "the clocks differ by {:.0} ppm: expected at most 500 of healthy crystals; it is followed, but one of the \
             devices is off",
            found.drift_ppm.unwrap_or(0.0)
        ));
    }
    match found.safe_period_ms {
        None => advice.push(
            "no period ran without xruns: see scheduling, and keep more periods (--periods)".to_owned(),
        ),
        Some(period_ms) => advice.push(format!("--period-ms {period_ms} is safe on this machine")),
    }
    advice
}

/// Returns the results as text.
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
        "threads wake up late",
        format!("by {} ms, once by {} ms", found.scheduling.usual_wake_ms, found.scheduling.latest_wake_ms),
    );
    line(
        "round trip",
        match trip.by_sound_ms {
            Some(by_sound_ms) => format!(
                "{by_sound_ms} ms by the sound ({} of {} chirps, {} ms apart), {} ms by the devices' times",
                trip.heard,
                trip.chirps,
                trip.spread_ms.unwrap_or(0.0),
                trip.by_times_ms
            ),
            None => format!("not heard; {} ms by the devices' times", trip.by_times_ms),
        },
    );
    line("clocks differ by", found.drift_ppm.map_or("not known in time".into(), |ppm| format!("{ppm} ppm")));
    for trial in &found.periods {
        line(
            "period",
            format!(
                "{} ms asked, {} ms granted: {} xruns in {TRIAL_S} s",
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

    fn trials(xruns: [u32; 4]) -> Vec<Trial> {
        TRIED_MS
            .into_iter()
            .zip(xruns)
            .map(|(asked_ms, xruns)| Trial { asked_ms, granted_ms: asked_ms, xruns })
            .collect()
    }

    #[test]
    fn the_safe_period_is_one_longer_than_the_shortest_good_one() {
        assert_eq!(safe_period(&trials([0, 0, 0, 0])), Some(5.0));
        assert_eq!(safe_period(&trials([1, 0, 0, 0])), Some(10.0));
        assert_eq!(safe_period(&trials([0, 1, 0, 0])), Some(20.0), "2.5 ms was luck");
        assert_eq!(safe_period(&trials([9, 9, 9, 0])), Some(20.0));
        assert_eq!(safe_period(&trials([0, 0, 0, 1])), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
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
        let sick = Diagnosis {
            scheduling: Scheduling { latest_wake_ms: 12.0, ..healthy.scheduling.clone() },
            round_trip: RoundTrip { by_sound_ms: Some(150.0), ..healthy.round_trip },
            drift_ppm: Some(-900.0),
            safe_period_ms: None,
            ..healthy.clone()
        };
        let told = advice(&sick).join("\n");
        for word in ["12 ms late", "leave out 100.0 ms", "-900 ppm", "no period ran"] {
            assert!(told.contains(word), "{word} is not in {told}");
        }
        let deaf = Diagnosis { round_trip: RoundTrip::default(), ..healthy };
        assert!(advice(&deaf).join("\n").contains("was not heard"));
        assert!(page(&deaf).contains("not heard"));
    }
}
