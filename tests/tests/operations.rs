//! A million random operations on tracks, compared with a simple model: the mixed samples, the events and the played
//! position of each track.

use std::collections::VecDeque;

use handsfree_core::playback::TrackError;
use handsfree_core::{Duration, Gain, SessionEvent};
use handsfree_sim::noise::Rng;
use handsfree_tests::playback_rig::{
    PlaybackRig, QUEUE_FRAMES, RigTrack, RigTracks, any_gain, any_samples, q16, with_playback_rig,
};
use handsfree_tests::{for_seeds, one_in, pick};

const SLOTS: usize = 6;

/// A gain that changes linearly.
#[derive(Clone, Copy)]
struct ModelRamp {
    now: f64,
    target: f64,
    step: f64,
    left: u32,
}

impl ModelRamp {
    fn at(gain: f64) -> Self {
        Self { now: gain, target: gain, step: 0.0, left: 0 }
    }

    fn move_to(&mut self, target: f64, sample_frames: u32) {
        if sample_frames == 0 {
            *self = Self::at(target);
        } else {
            let step = (target - self.now) / f64::from(sample_frames);
            *self = Self { now: self.now, target, step, left: sample_frames };
        }
    }

    fn next(&mut self) -> f64 {
        if self.left > 0 {
            self.left -= 1;
            self.now = if self.left == 0 { self.target } else { self.now + self.step };
        }
        self.now
    }
}

/// One frame in a track's queue.
struct QueuedFrame {
    samples: Vec<i16>,
    position: u64,
    /// Number of interruptions of the track before the frame was pushed.
    epoch: u32,
}

/// A model of one track.
struct TrackModel {
    id: u32,
    channels: usize,
    frame: usize,
    queue: VecDeque<QueuedFrame>,
    pending: Vec<i16>,
    pushed: u64,
    commands: VecDeque<(f32, u32)>,
    own: ModelRamp,
    fade: ModelRamp,
    fade_frames: u32,
    pause_fade: u32,
    wants_pause: Option<u32>,
    paused: bool,
    sounding: bool,
    epoch: u32,
    mixed_epoch: u32,
    cut_at: Option<u64>,
    started: bool,
    starving: bool,
    mixed: u64,
    /// True if a part of the first queued frame was played before a pause.
    paused_inside: bool,
    closing: Option<ModelClosing>,
}

#[derive(Clone, Copy, PartialEq)]
enum ModelClosing {
    Finished,
    Dropped,
}

impl TrackModel {
    fn new(id: u32, rate_hz: u32, channels: usize) -> Self {
        Self {
            id,
            channels,
            frame: rate_hz as usize / 100,
            queue: VecDeque::new(),
            pending: Vec::new(),
            pushed: 0,
            commands: VecDeque::new(),
            own: ModelRamp::at(1.0),
            fade: ModelRamp::at(1.0),
            fade_frames: rate_hz * 5 / 1_000,
            pause_fade: 0,
            wants_pause: None,
            paused: false,
            sounding: false,
            epoch: 0,
            mixed_epoch: 0,
            cut_at: None,
            started: false,
            starving: false,
            mixed: 0,
            paused_inside: false,
            closing: None,
        }
    }

    fn push(&mut self, samples: &[i16]) -> usize {
        let whole = self.frame * self.channels;
        let mut taken = 0;
        loop {
            if self.pending.len() == whole && !self.queue_pending() {
                return taken;
            }
            if taken == samples.len() {
                return taken;
            }
            let more = (whole - self.pending.len()).min(samples.len() - taken);
            self.pending.extend(&samples[taken..taken + more]);
            self.pushed += (more / self.channels) as u64;
            taken += more;
        }
    }

    fn queue_pending(&mut self) -> bool {
        if self.queue.len() == QUEUE_FRAMES {
            return false;
        }
        let samples = std::mem::take(&mut self.pending);
        let position = self.pushed - (samples.len() / self.channels) as u64;
        self.queue.push_back(QueuedFrame { samples, position, epoch: self.epoch });
        true
    }

    fn flush(&mut self) -> bool {
        self.pending.is_empty() || self.queue_pending()
    }

    fn cut(&mut self) {
        self.pending.clear();
        self.epoch += 1;
        self.cut_at = None;
    }

    /// Plays up to `limit` sample frames of the first queued frame. The rest of a partly played frame is placed at the end
    /// of its 10 ms.
    fn play(&mut self, sum: &mut [f64], limit: usize, events: &mut Vec<SessionEvent>) -> bool {
        self.sounding = false;
        let Some(front) = self.queue.front_mut().filter(|front| front.epoch == self.mixed_epoch) else {
            return false;
        };
        if !self.started {
            self.started = true;
            events.push(SessionEvent::TrackStarted { track: self.id });
        }
        let rest = front.samples.len() / self.channels;
        let is_rest = self.paused_inside;
        let offset = if is_rest { self.frame - rest } else { 0 };
        let count = rest.min(limit);
        for (sums, samples) in sum
            .chunks_exact_mut(self.channels)
            .skip(offset)
            .zip(front.samples.chunks_exact(self.channels).take(count))
        {
            let gain = self.own.next() * self.fade.next();
            for (sum, &sample) in sums.iter_mut().zip(samples) {
                *sum += f64::from(sample) * gain;
            }
        }
        self.mixed = front.position + count as u64;
        self.sounding = offset + count == self.frame;
        front.samples.drain(..count * self.channels);
        front.position += count as u64;
        self.paused_inside = count < rest;
        if count == rest {
            self.queue.pop_front();
        }
        true
    }

    fn fade_out(&mut self, sum: &mut [f64], fade: u32, events: &mut Vec<SessionEvent>) -> bool {
        let front = self.queue.front().filter(|front| front.epoch == self.mixed_epoch);
        let Some(front) = front.filter(|_| self.sounding) else {
            self.sounding = false;
            return false;
        };
        let count = (front.samples.len() / self.channels).min(fade as usize);
        self.fade.move_to(0.0, count as u32);
        self.play(sum, count, events);
        self.sounding = false;
        count > 0
    }

    /// Adds the next 10 ms to the sum; returns true when the track has ended.
    fn mix(&mut self, sum: &mut [f64], events: &mut Vec<SessionEvent>) -> bool {
        while let Some((gain, ramp)) = self.commands.pop_front() {
            self.own.move_to(q16(gain) as f64 / 65_536.0, ramp);
        }
        if self.closing == Some(ModelClosing::Dropped) {
            self.fade_out(sum, u32::MAX, events);
            self.report_end(events);
            return true;
        }
        if self.epoch != self.mixed_epoch {
            let faded = self.fade_out(sum, self.fade_frames, events);
            while self.queue.front().is_some_and(|front| front.epoch < self.epoch) {
                self.queue.pop_front();
                self.paused_inside = false;
            }
            self.mixed_epoch = self.epoch;
            self.paused = self.wants_pause.is_some() && self.started;
            self.fade = ModelRamp::at(1.0);
            self.starving = false;
            self.cut_at = Some(self.mixed);
            if self.started {
                events.push(SessionEvent::TrackInterrupted { track: self.id, position: self.mixed });
            }
            if faded {
                return false;
            }
        }
        match self.wants_pause {
            Some(_) if !self.started => return false,
            Some(fade) if !self.paused => {
                self.pause_fade = fade;
                self.fade_out(sum, fade, events);
                self.fade = ModelRamp::at(0.0);
                self.paused = true;
                events.push(SessionEvent::TrackPaused { track: self.id, position: self.mixed });
                return false;
            }
            Some(_) => return false,
            None if self.paused => {
                self.paused = false;
                self.fade.move_to(1.0, self.pause_fade);
                events.push(SessionEvent::TrackResumed { track: self.id });
            }
            None => {}
        }
        if self.play(sum, usize::MAX, events) {
            self.starving = false;
            return false;
        }
        if self.closing.is_some() {
            self.report_end(events);
            return true;
        }
        if self.started && !self.starving {
            self.starving = true;
            events.push(SessionEvent::TrackStarved { track: self.id });
        }
        false
    }

    fn report_end(&self, events: &mut Vec<SessionEvent>) {
        if self.started {
            events.push(SessionEvent::TrackEnded { track: self.id, position: self.mixed });
        }
    }
}

fn key(event: &SessionEvent) -> String {
    format!("{event:?}")
}

/// The open tracks, and the models of all tracks that are open or still playing.
struct OpenTracks<'p, 'a> {
    handles: Vec<RigTrack<'p, 'a, SLOTS>>,
    model: Vec<TrackModel>,
    rate_hz: u32,
    channels: usize,
}

impl<'p, 'a> OpenTracks<'p, 'a> {
    fn any(&self, rng: &mut Rng) -> Option<usize> {
        (!self.handles.is_empty()).then(|| rng.range(0, self.handles.len() as u64) as usize)
    }

    fn model_of(&mut self, id: u32) -> &mut TrackModel {
        self.model.iter_mut().find(|track| track.id == id).unwrap()
    }

    fn open(&mut self, pool: &'p RigTracks<'a, SLOTS>) {
        match pool.open() {
            Ok(track) => {
                assert!(self.model.len() < SLOTS);
                self.model.push(TrackModel::new(track.id(), self.rate_hz, self.channels));
                self.handles.push(track);
            }
            Err(error) => {
                assert_eq!(error, TrackError::NoSlot { slots: SLOTS });
                assert_eq!(self.model.len(), SLOTS);
            }
        }
    }

    fn push(&mut self, rng: &mut Rng, at: usize) {
        let frame = u64::from(self.rate_hz / 100);
        let length = rng.range(0, 3 * frame) as usize * self.channels;
        let samples = any_samples(rng, length);
        let taken = self.handles[at].push(&samples).unwrap();
        let model = self.model_of_handle(at);
        assert_eq!(taken, model.push(&samples));
        let (queued, pushed) = (model.queue.len(), model.pushed);
        assert_eq!(self.handles[at].queued_frames(), queued);
        assert_eq!(self.handles[at].position(), pushed);
    }

    fn model_of_handle(&mut self, at: usize) -> &mut TrackModel {
        let id = self.handles[at].id();
        self.model_of(id)
    }

    fn set_gain(&mut self, rng: &mut Rng, at: usize) {
        let gain = any_gain(rng).min(4.0);
        let ramp_ms = rng.range(0, 30);
        let outcome =
            self.handles[at].set_gain(Gain::linear(gain).unwrap(), Duration::from_millis(ramp_ms as i64));
        let ramp = ramp_ms as u32 * self.rate_hz / 1_000;
        let model = self.model_of_handle(at);
        if model.commands.len() == 7 {
            assert_eq!(outcome, Err(TrackError::Full), "a queue of 8 holds 7");
        } else {
            assert_eq!(outcome, Ok(()));
            model.commands.push_back((gain, ramp));
        }
    }

    fn close(&mut self, rng: &mut Rng, at: usize) {
        let handle = self.handles.swap_remove(at);
        let model = self.model_of(handle.id());
        if one_in(rng, 2) {
            model.closing = Some(ModelClosing::Dropped);
            drop(handle);
            return;
        }
        match handle.finish() {
            Ok(()) => {
                assert!(model.flush());
                model.wants_pause = None;
                model.closing = Some(ModelClosing::Finished);
            }
            Err(handle) => {
                assert!(!model.flush());
                self.handles.push(handle);
            }
        }
    }

    fn control(&mut self, rng: &mut Rng, at: usize) {
        match rng.range(0, 6) {
            0 => {
                self.handles[at].pause();
                let model = self.model_of_handle(at);
                model.wants_pause = model.wants_pause.or(Some(model.fade_frames));
            }
            1 | 2 => {
                self.handles[at].resume();
                self.model_of_handle(at).wants_pause = None;
            }
            3 => {
                self.handles[at].interrupt();
                let model = self.model_of_handle(at);
                model.cut();
                model.wants_pause = None;
            }
            4 => {
                self.handles[at].clear();
                self.model_of_handle(at).cut();
            }
            _ => {
                let flushed = self.handles[at].flush();
                let done = self.model_of_handle(at).flush();
                assert_eq!(flushed.is_ok(), done);
            }
        }
    }

    fn frame(&mut self, rig: &mut PlaybackRig<'_, SLOTS>, pool: &RigTracks<'_, SLOTS>) {
        let mut sum = vec![0.0; self.rate_hz as usize / 100 * self.channels];
        let mut expected = Vec::new();
        let sources = self.model.len() as f64;
        self.model.retain_mut(|track| !track.mix(&mut sum, &mut expected));
        for (at, (&sample, &wide)) in rig.frame().iter().zip(&sum).enumerate() {
            let ideal = wide.clamp(-32_768.0, 32_767.0);
            // Both ramps' gains are truncated to 1/65536, and their product and the sample are rounded: together up to
            // four steps for a full-scale sample at the largest gain used here.
            assert!((f64::from(sample) - ideal).abs() <= 4.0 * sources, "{at}: {sample}, model {ideal}");
        }
        let mut events = rig.events();
        events.sort_by_key(key);
        expected.sort_by_key(key);
        assert_eq!(events, expected);
        assert_eq!(pool.free(), SLOTS - self.model.len());
        let now = rig.now();
        for at in 0..self.handles.len() {
            let (mixed, cut_at, epoch) = {
                let model = self.model_of_handle(at);
                (model.mixed, model.cut_at, model.epoch)
            };
            assert_eq!(self.handles[at].played_position(now), mixed);
            if epoch > 0 {
                assert_eq!(
                    self.handles[at].interrupted_at(now),
                    cut_at,
                    "the position of an interruption is wrong"
                );
            }
        }
    }
}

fn operations(rng: &mut Rng, count: usize) {
    let (rate_hz, channels) = pick(rng, &[(8_000, 1), (8_000, 2), (16_000, 1)]);
    with_playback_rig::<SLOTS>(rate_hz, channels, |rig, pool| {
        let mut open_tracks = OpenTracks { handles: Vec::new(), model: Vec::new(), rate_hz, channels };
        for _ in 0..count {
            let operation = rng.range(0, 16);
            match (operation, open_tracks.any(rng)) {
                (0, _) => open_tracks.open(pool),
                (1..=4, Some(at)) => open_tracks.push(rng, at),
                (5, Some(at)) => open_tracks.set_gain(rng, at),
                (6, Some(at)) if one_in(rng, 3) => open_tracks.close(rng, at),
                (7 | 8, Some(at)) => open_tracks.control(rng, at),
                (9.., _) => open_tracks.frame(rig, pool),
                _ => {}
            }
        }
        assert_eq!(rig.stats().dropped_events, 0);
        assert_eq!(rig.stats().foreign_frames, 0);
        drop(open_tracks);
        // Finished tracks are played to their end.
        (0..=QUEUE_FRAMES).for_each(|_| drop(rig.frame()));
        assert_eq!(pool.free(), SLOTS, "a slot was not freed");
    });
}

#[test]
fn a_million_random_operations_agree_with_a_simple_model() {
    for_seeds(20, |rng| operations(rng, 50_000));
}
