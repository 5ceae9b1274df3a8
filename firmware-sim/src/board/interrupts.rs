//! The board's event loop: what is due next, the two interrupts, and the microphone's conversion.

use handsfree_core::audio_io::Direction;
use handsfree_core::time::{Duration, Instant, PeriodTime};

use super::bare::PendingPeriod;
use super::{PlayedRead, SimulatedBoard, Step};
use crate::device::{DeviceClock, DeviceSampleFormat, serve_capture, serve_playback};

impl<const CAP: usize, const SLOTS: usize> SimulatedBoard<'_, CAP, SLOTS> {
    /// Advances the virtual time to the next event and serves it if it is an interrupt.
    pub fn step(&mut self) -> Step {
        self.finish_pending();
        let capture = self.capture_due();
        let playback = self.playback_due();
        let worker = self.worker_due.map(|due| due.max(self.worker_stalled_until));
        let soonest = [capture, playback, worker].into_iter().flatten().min();
        let Some(due) = soonest else {
            return Step::Idle;
        };
        self.clock.advance_to(due);
        if capture == Some(due) {
            self.capture_interrupt();
            self.wake_worker();
            return Step::Capture;
        }
        if playback == Some(due) {
            self.playback_interrupt();
            self.wake_worker();
            return Step::Playback;
        }
        self.worker_due = None;
        Step::Worker
    }

    /// Returns a period time as the host's clock shows it.
    fn on_host_clock(&self, time: PeriodTime) -> PeriodTime {
        let jumped = self.clock.jumped();
        PeriodTime { converter: time.converter + jumped, called: time.called + jumped, ..time }
    }

    fn wake_worker(&mut self) {
        if self.worker_due.is_none() {
            let spread = self.config.worker_spread.as_nanos() as f64 * self.rng.uniform();
            let delay = self.config.worker_delay + Duration::from_nanos(spread as i64);
            self.worker_due = Some(self.now() + delay);
        }
    }

    fn capture_due(&self) -> Option<Instant> {
        let stream = self.capture.as_ref()?;
        Some(stream.clock.capture_due(&self.config.capture) + self.config.capture.latency)
    }

    fn playback_due(&self) -> Option<Instant> {
        let stream = self.playback.as_ref()?;
        Some(stream.clock.playback_due())
    }

    fn capture_interrupt(&mut self) {
        let Some(mut stream) = self.capture.take() else {
            return;
        };
        let length = stream.clock.period(&self.config.capture);
        let from = stream.clock.done;
        let mut mic = std::mem::take(&mut self.buffers.mic);
        mic.clear();
        mic.resize(length as usize, 0.0);
        self.convert_from(&stream.clock, from, &mut mic);
        let truth = stream.clock.at(from);
        let config = &self.config.capture;
        let time = self.on_host_clock(stream.clock.stamp(config, truth, self.now()));
        let channels = config.device_channels as usize;
        let guard = self.guard;
        let buffers = &mut self.buffers.device;
        match (config.format, &mut stream.intake) {
            (_, None) => {
                serve_capture(&mut buffers.i16, &mic, channels, guard, |_| 0);
                self.pending = Some(PendingPeriod { direction: Direction::Capture, time });
            }
            (DeviceSampleFormat::I16, Some(intake)) => {
                serve_capture(&mut buffers.i16, &mic, channels, guard, |p| intake.on_period(p, time))
            }
            (DeviceSampleFormat::I24, Some(intake)) => {
                serve_capture(&mut buffers.i24, &mic, channels, guard, |p| intake.on_period(p, time))
            }
            (DeviceSampleFormat::I32, Some(intake)) => {
                serve_capture(&mut buffers.i32, &mic, channels, guard, |p| intake.on_period(p, time))
            }
            (DeviceSampleFormat::F32, Some(intake)) => {
                serve_capture(&mut buffers.f32, &mic, channels, guard, |p| intake.on_period(p, time))
            }
        }
        self.buffers.mic = mic;
        stream.clock.advance(length, &self.config.capture);
        self.capture = Some(stream);
    }

    fn playback_interrupt(&mut self) {
        let Some(mut stream) = self.playback.take() else {
            return;
        };
        let config = &self.config.playback;
        let length = stream.clock.period(config);
        let from = stream.clock.done;
        let first_played = from + config.latency_sample_frames().max(0) as u64;
        let truth = stream.clock.at(first_played);
        let time = self.on_host_clock(stream.clock.stamp(config, truth, self.now()));
        stream.played.cut_to(first_played);
        let gap = first_played - stream.played.end();
        stream.played.extend(gap as usize);
        let period = stream.played.extend(length as usize);
        let channels = config.device_channels as usize;
        let guard = self.guard;
        let buffers = &mut self.buffers.device;
        match (config.format, &mut stream.outlet) {
            (_, None) => {
                serve_playback(&mut buffers.i16, period, channels, guard, |_| 0);
                self.pending = Some(PendingPeriod { direction: Direction::Playback, time });
            }
            (DeviceSampleFormat::I16, Some(outlet)) => {
                serve_playback(&mut buffers.i16, period, channels, guard, |p| outlet.on_period(p, time))
            }
            (DeviceSampleFormat::I24, Some(outlet)) => {
                serve_playback(&mut buffers.i24, period, channels, guard, |p| outlet.on_period(p, time))
            }
            (DeviceSampleFormat::I32, Some(outlet)) => {
                serve_playback(&mut buffers.i32, period, channels, guard, |p| outlet.on_period(p, time))
            }
            (DeviceSampleFormat::F32, Some(outlet)) => {
                serve_playback(&mut buffers.f32, period, channels, guard, |p| outlet.on_period(p, time))
            }
        }
        stream.clock.advance(length, &self.config.playback);
        self.playback = Some(stream);
    }

    /// Converts the microphone's signal from sample frame `from` of its running stream on.
    pub(super) fn convert_microphone(&mut self, from: u64, mic: &mut [f32]) {
        if let Some(stream) = self.capture.take() {
            self.convert_from(&stream.clock, from, mic);
            self.capture = Some(stream);
        }
    }

    /// Fills `mic` with what the microphone converts from sample frame `from` of the stream with this `clock`
    /// on.
    fn convert_from(&mut self, clock: &DeviceClock, from: u64, mic: &mut [f32]) {
        let mut loudspeaker = std::mem::take(&mut self.buffers.loudspeaker);
        loudspeaker.clear();
        loudspeaker.resize(mic.len(), 0.0);
        if let Some(playing) = &mut self.playback {
            let (position, step) = playing.clock.position_of(clock, from);
            if self.recording.is_some() {
                self.played_reads.push(PlayedRead { position, step, length: mic.len() });
            }
            let exact = step == 1.0 && !self.separate_clocks;
            // Between two clocks the interpolator needs samples that are not played yet, so the acoustic path
            // is longer by its reach.
            let reach = if exact { 0 } else { self.interpolator.reach() as i64 };
            let start = (position.0 - reach, position.1);
            playing.played.read_run(&self.interpolator, start, step, &mut loudspeaker);
            if self.recording.is_none() {
                let unneeded = start.0 - 2 * self.interpolator.reach() as i64;
                playing.played.drop_before(u64::try_from(unneeded).unwrap_or(0));
            }
        }
        self.acoustics.carry(&loudspeaker, mic, self.converted);
        self.converted += mic.len() as u64;
        if let Some(recording) = &mut self.recording {
            recording.mic.extend_from_slice(mic);
        }
        self.buffers.loudspeaker = loudspeaker;
    }

    /// Resamples what was played to the microphone's clock, once all of it is known.
    pub(super) fn finish_far_recording(&mut self) {
        let (Some(recording), Some(playing)) = (&mut self.recording, &self.playback) else { return };
        for read in self.played_reads.drain(..) {
            let from = recording.far.len();
            recording.far.resize(from + read.length, 0.0);
            playing.played.read_run(&self.interpolator, read.position, read.step, &mut recording.far[from..]);
        }
    }
}
