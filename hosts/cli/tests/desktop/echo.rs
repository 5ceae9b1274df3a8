//! Whole terminal on the sound server's default devices: it plays speech in a loop and records the levels of the microphone
//! and of the cleaned signal.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration as Span, Instant as Moment};

use handsfree::terminal::{CAP, CleanedFrames, Parts, SLOTS, Terminal, TerminalConfig, Track};
use handsfree_apm::{ApmConfig, GainControl, NoiseSuppression};
use handsfree_core::SampleRate;
use handsfree_cpal::{CpalConfig, CpalIo};
use handsfree_host::clock;
use handsfree_host::supervisor::{DirectionConfig, Notice, StreamSupervisor};

/// Polling interval: short beside the 125 ms over which levels are averaged.
const POLL_INTERVAL: Span = Span::from_millis(5);

/// Mean squares of both signals at one moment, relative to full scale.
struct PowerSample {
    at: Moment,
    microphone: f64,
    cleaned: f64,
}

/// Running terminal that plays speech and measures the echo reduction.
pub(crate) struct EchoRig {
    pub(crate) supervisor: StreamSupervisor<'static, CpalIo<CAP, SLOTS>, CAP, SLOTS>,
    pub(crate) terminal: Terminal,
    pub(crate) notices: Vec<(Moment, Notice)>,
    frames: CleanedFrames,
    track: Track,
    speech: Vec<i16>,
    /// Number of speech samples pushed in the current repetition.
    position: usize,
    power_samples: Vec<PowerSample>,
}

impl EchoRig {
    /// Starts both directions on the default devices at the given rate, with only the echo canceller and the high-pass on.
    pub(crate) fn start(rate_hz: u32, speech: &Path) -> Self {
        let rate = SampleRate::new(rate_hz).unwrap();
        let voice = ApmConfig {
            noise_suppression: NoiseSuppression::Off,
            gain_control: GainControl::Off,
            ..ApmConfig::default()
        };
        let config = TerminalConfig { voice, ..TerminalConfig::new(rate) };
        let Parts { mut terminal, halves, work } = config.build(Arc::new(clock::now)).unwrap();
        let io = handsfree_cpal::open(CpalConfig::default(), work).unwrap();
        let mut supervisor = StreamSupervisor::new(io, halves);
        let config = DirectionConfig::new(rate);
        supervisor.open(Some(&config), Some(&config), clock::now()).unwrap();
        let clip = handsfree_sim::wav::read(speech).unwrap();
        let speech = clip.to_mono_at(rate_hz).iter().map(|value| (value * 32_767.0) as i16).collect();
        let (track, frames) = (terminal.tracks().open().unwrap(), terminal.take_cleaned().unwrap());
        Self {
            supervisor,
            terminal,
            notices: Vec::new(),
            frames,
            track,
            speech,
            position: 0,
            power_samples: Vec::new(),
        }
    }

    /// Runs for the given time.
    pub(crate) fn run_for(&mut self, seconds: f64) {
        let started = Moment::now();
        while started.elapsed().as_secs_f64() < seconds {
            loop {
                self.position %= self.speech.len();
                match self.track.push(&self.speech[self.position..]) {
                    Ok(0) | Err(_) => break,
                    Ok(taken) => self.position += taken,
                }
            }
            self.terminal.tracks().dispatch();
            while self.frames.pop().is_some() {}
            while let Some(notice) = self.supervisor.poll(clock::now()) {
                self.terminal.handle_notice(&notice).unwrap();
                self.notices.push((Moment::now(), notice));
            }
            while self.terminal.poll_event().unwrap().is_some() {}
            let meters = self.terminal.meters();
            let power = |dbfs: f32| 10_f64.powf(f64::from(dbfs) / 10.0);
            self.power_samples.push(PowerSample {
                at: Moment::now(),
                microphone: power(meters.microphone.read().rms_dbfs),
                cleaned: power(meters.cleaned.read().rms_dbfs),
            });
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Returns the echo reduction between two times after `since`, in dB.
    pub(crate) fn reduction_db(&self, since: Moment, from_s: f64, to_s: f64) -> f64 {
        let is_within = |power: &&PowerSample| {
            let at_s = power.at.saturating_duration_since(since).as_secs_f64();
            power.at >= since && (from_s..to_s).contains(&at_s)
        };
        let (mut microphone, mut cleaned) = (0.0, 0.0);
        for power in self.power_samples.iter().filter(is_within) {
            microphone += power.microphone;
            cleaned += power.cleaned;
        }
        assert!(microphone > 0.0, "the microphone was silent from {from_s} to {to_s} s: expected an echo");
        10.0 * (microphone / cleaned.max(1e-12)).log10()
    }

    /// Returns the time after `since` and before `until_s` at which the reduction first fell below `below_db`, in seconds.
    pub(crate) fn reduction_drop_s(
        &self,
        below_db: f64,
        since: Moment,
        until_s: f64,
        step_s: f64,
    ) -> Option<f64> {
        let steps = (until_s / step_s).round() as u32;
        let begin_s = |step: u32| f64::from(step) * step_s;
        (0..steps).map(begin_s).find(|&from_s| self.reduction_db(since, from_s, from_s + step_s) < below_db)
    }

    /// Returns the reductions in consecutive steps after `since`, in dB, as text for the test's output.
    pub(crate) fn reductions_text(&self, since: Moment, steps: u32, step_s: f64) -> String {
        let reduction_text = |step: u32| {
            let from_s = f64::from(step) * step_s;
            format!("{:.0}", self.reduction_db(since, from_s, from_s + step_s))
        };
        (0..steps).map(reduction_text).collect::<Vec<_>>().join(" ")
    }
}
