//! A whole terminal on the server's default devices: speech plays without an end, and the levels of what the microphone
//! hears and of what is left of it are taken down.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration as Span, Instant as Moment};

use handsfree::terminal::{CAP, CleanedFrames, Parts, SLOTS, Terminal, TerminalConfig, Track};
use handsfree_apm::{ApmConfig, GainControl, NoiseSuppression};
use handsfree_core::SampleRate;
use handsfree_cpal::{CpalConfig, CpalIo};
use handsfree_host::clock;
use handsfree_host::supervisor::{DirectionConfig, Notice, StreamSupervisor};

const TICK: Span = Span::from_millis(5);

/// Mean squares at a moment, full scale at 1.
struct Power {
    at: Moment,
    microphone: f64,
    cleaned: f64,
}

pub(crate) struct Echo {
    pub(crate) supervisor: StreamSupervisor<'static, CpalIo<CAP, SLOTS>, CAP, SLOTS>,
    pub(crate) terminal: Terminal,
    pub(crate) notices: Vec<(Moment, Notice)>,
    frames: CleanedFrames,
    track: Track,
    speech: Vec<i16>,
    said: usize,
    powers: Vec<Power>,
}

impl Echo {
    /// Both directions run on the default devices, at this rate; nothing but the echo canceller is on.
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
        let plan = DirectionConfig::new(rate);
        supervisor.open(Some(&plan), Some(&plan), clock::now()).unwrap();
        let clip = handsfree_sim::wav::read(speech).unwrap();
        let speech = clip.to_mono_at(rate_hz).iter().map(|value| (value * 32_767.0) as i16).collect();
        let (track, frames) = (terminal.tracks().open().unwrap(), terminal.take_cleaned().unwrap());
        Self { supervisor, terminal, notices: Vec::new(), frames, track, speech, said: 0, powers: Vec::new() }
    }

    /// Lets the given time pass.
    pub(crate) fn pass(&mut self, seconds: f64) {
        let began = Moment::now();
        while began.elapsed().as_secs_f64() < seconds {
            loop {
                self.said %= self.speech.len();
                match self.track.push(&self.speech[self.said..]) {
                    Ok(0) | Err(_) => break,
                    Ok(taken) => self.said += taken,
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
            self.powers.push(Power {
                at: Moment::now(),
                microphone: power(meters.microphone.read().rms_dbfs),
                cleaned: power(meters.cleaned.read().rms_dbfs),
            });
            std::thread::sleep(TICK);
        }
    }

    /// By how many decibels the microphone was made quieter between two times after a moment.
    pub(crate) fn reduction_db(&self, since: Moment, from_s: f64, to_s: f64) -> f64 {
        let is_within = |power: &&Power| {
            let at_s = power.at.saturating_duration_since(since).as_secs_f64();
            power.at >= since && (from_s..to_s).contains(&at_s)
        };
        let (mut microphone, mut cleaned) = (0.0, 0.0);
        for power in self.powers.iter().filter(is_within) {
            microphone += power.microphone;
            cleaned += power.cleaned;
        }
        assert!(microphone > 0.0, "nothing was heard from {from_s} to {to_s} s");
        10.0 * (microphone / cleaned.max(1e-12)).log10()
    }

    /// Returns when the reduction first fell below a level in dB, in seconds after a moment and before `until_s`.
    pub(crate) fn falls_s(&self, below_db: f64, since: Moment, until_s: f64, step_s: f64) -> Option<f64> {
        let steps = (until_s / step_s).round() as u32;
        let begin_s = |step: u32| f64::from(step) * step_s;
        (0..steps).map(begin_s).find(|&from_s| self.reduction_db(since, from_s, from_s + step_s) < below_db)
    }

    /// The reduction in steps, for whoever reads what was measured.
    pub(crate) fn story(&self, since: Moment, steps: u32, step_s: f64) -> String {
        let one = |step: u32| {
            let from_s = f64::from(step) * step_s;
            format!("{:.0}", self.reduction_db(since, from_s, from_s + step_s))
        };
        (0..steps).map(one).collect::<Vec<_>>().join(" ")
    }
}
