//! Synchronization of video with the heard audio: drifting clocks, inexact reports, pauses, seeks and late polls. The
//! audio's media time is a known function of time here; the synchronizer learns of it only by reports.

use handsfree_core::av_sync::{AvSyncConfig, AvSynchronizer, WhenLate};
use handsfree_core::{Duration, Instant};
use handsfree_sim::noise::Rng;
use handsfree_tests::{for_seeds, one_in, pick};

const QUEUE: usize = 16;

type FrameSynchronizer = AvSynchronizer<u64, QUEUE>;

const FPS: [f64; 7] = [10.0, 15.0, 24_000.0 / 1_001.0, 25.0, 30_000.0 / 1_001.0, 30.0, 60.0];

fn ms(millis: f64) -> Duration {
    Duration::from_nanos((millis * 1e6).round() as i64)
}

fn after(millis: f64) -> Instant {
    // An offset from the clock's origin reveals code that forgets it.
    Instant::from_nanos(987_654_321_000) + ms(millis)
}

fn between(rng: &mut Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * rng.uniform()
}

/// The true media time: pieces of (host time, media time, media time per host time), in milliseconds.
struct AudioTimeline(Vec<(f64, f64, f64)>);

impl AudioTimeline {
    fn from(start_ms: f64, rate: f64) -> Self {
        Self(vec![(start_ms, 0.0, rate)])
    }

    fn heard_ms(&self, now_ms: f64) -> f64 {
        let &(at, media, rate) = self.0.iter().rev().find(|piece| piece.0 <= now_ms).unwrap_or(&self.0[0]);
        media + (now_ms - at) * rate
    }

    /// Changes the rate at `at_ms` and shifts the media time by `by_ms`.
    fn change_rate(&mut self, at_ms: f64, by_ms: f64, rate: f64) {
        let media = self.heard_ms(at_ms) + by_ms;
        self.0.push((at_ms, media, rate));
    }
}

/// An application that reports audio times, pushes and polls frames, and records the results.
struct VideoPlayer<'r> {
    rng: &'r mut Rng,
    synchronizer: FrameSynchronizer,
    fps: f64,
    interval_ms: f64,
    scatter_ms: f64,
    lateness_ms: f64,
    next_report_ms: f64,
    last_report: (f64, f64),
    next_frame: u64,
    /// Media time at which the current sequence of frames begins, in milliseconds, and its first frame.
    origin: (f64, u64),
    discarded: Vec<u64>,
    /// Shown frames: frame, host time and lateness against the heard audio, both in milliseconds.
    shown: Vec<(u64, f64, f64)>,
}

impl<'r> VideoPlayer<'r> {
    fn new(rng: &'r mut Rng, change: impl FnOnce(&mut AvSyncConfig)) -> Self {
        let fps = pick(rng, &FPS);
        let mut config = AvSyncConfig::new(fps);
        config.video_queue_ms = pick(rng, &[0, 50, 100, 250]);
        change(&mut config);
        Self {
            synchronizer: FrameSynchronizer::new(config).unwrap(),
            fps,
            interval_ms: pick(rng, &[10.0, 10.0, 20.0, 100.0]),
            scatter_ms: pick(rng, &[0.0, 0.5, 5.0]),
            lateness_ms: pick(rng, &[0.0, 0.1, 2.0]),
            next_report_ms: 0.0,
            last_report: (0.0, 0.0),
            next_frame: 0,
            origin: (0.0, 0),
            discarded: Vec::new(),
            shown: Vec::new(),
            rng,
        }
    }

    fn timestamp_ms(&self, frame: u64) -> f64 {
        self.origin.0 + (frame - self.origin.1) as f64 * 1e3 / self.fps
    }

    /// Pushes as many frames as the queue accepts, like a file player.
    fn fill(&mut self) {
        loop {
            let timestamp = ms(self.timestamp_ms(self.next_frame));
            if self.synchronizer.push(self.next_frame, Some(timestamp)).is_err() {
                break;
            }
            self.next_frame += 1;
        }
        assert_eq!(self.synchronizer.queued_frames(), self.synchronizer.queue_frames());
    }

    fn report(&mut self, audio: &AudioTimeline) {
        let now_ms = self.next_report_ms;
        let heard_ms = audio.heard_ms(now_ms);
        // Stopped audio is reported without scatter, as is audio that has not begun.
        let stands = heard_ms == self.last_report.1 && now_ms > self.last_report.0;
        let scatter = if stands { 0.0 } else { between(self.rng, -self.scatter_ms, self.scatter_ms) };
        let seen = if stands { self.synchronizer.last_audio_time() } else { None };
        self.synchronizer.audio_at(seen.unwrap_or(ms(heard_ms + scatter)), after(now_ms));
        self.last_report = (now_ms, heard_ms);
        self.next_report_ms += self.interval_ms * between(self.rng, 0.8, 1.2);
    }

    fn poll(&mut self, audio: &AudioTimeline, now_ms: f64) -> bool {
        let now = after(now_ms);
        let discarded = &mut self.discarded;
        let Some(frame) = self.synchronizer.poll(now, |frame| discarded.push(frame)) else { return false };
        let timestamp = self.timestamp_ms(frame);
        assert!(ms(timestamp) <= self.synchronizer.audio_time(now).unwrap(), "frame {frame} is early");
        assert_eq!(self.synchronizer.last_video_time(), Some(ms(timestamp)));
        self.shown.push((frame, now_ms, audio.heard_ms(now_ms) - timestamp));
        true
    }

    /// Sleeps and polls from `from_ms` to `to_ms`, as the documentation prescribes.
    fn run(&mut self, audio: &AudioTimeline, from_ms: f64, to_ms: f64) {
        let mut now_ms = from_ms;
        loop {
            self.fill();
            let now = after(now_ms);
            let wake = self.synchronizer.next_due(now).map(|due| {
                // The scheduler wakes late, never early; a nanosecond covers the rounding of floating point.
                let late_ms = if due > now { 1e-6 + self.rng.uniform() * self.lateness_ms } else { 0.0 };
                now_ms + (due - now).as_millis_f64() + late_ms
            });
            match wake {
                Some(wake_ms) if wake_ms < self.next_report_ms.min(to_ms) => {
                    now_ms = wake_ms;
                    assert!(self.poll(audio, now_ms), "no frame was delivered at the announced time");
                }
                _ if self.next_report_ms < to_ms => {
                    now_ms = f64::max(now_ms, self.next_report_ms);
                    self.report(audio);
                }
                _ => break,
            }
        }
        self.check();
    }

    /// Checks that every frame was shown or discarded once, in order, or is still queued.
    fn check(&self) {
        let stats = self.synchronizer.stats();
        assert_eq!(stats.delivered, self.shown.len() as u64);
        assert_eq!(stats.discarded, self.discarded.len() as u64);
        assert_eq!(stats.pushed, self.next_frame);
        let mut left: Vec<u64> = self.shown.iter().map(|shown| shown.0).collect();
        assert!(left.is_sorted() && self.discarded.is_sorted());
        left.extend(&self.discarded);
        left.sort_unstable();
        assert!(left.iter().copied().eq(0..left.len() as u64), "each frame once");
        assert_eq!(stats.pushed - left.len() as u64, self.synchronizer.queued_frames() as u64);
    }

    fn assert_in_sync(&self, from_ms: f64, to_ms: f64, most_ms: f64) {
        for &(frame, at, error) in self.shown.iter().filter(|shown| (from_ms..to_ms).contains(&shown.1)) {
            assert!(
                error > -most_ms && error < self.lateness_ms + most_ms,
                "frame {frame} at {at} ms is {error} ms late; reports every {} ms, scatter {} ms, {} fps",
                self.interval_ms,
                self.scatter_ms,
                self.fps
            );
        }
    }
}

#[test]
fn video_stays_in_sync_with_a_drifting_audio_clock() {
    for_seeds(60, |rng| {
        let slow = one_in(rng, 4);
        let mut player = VideoPlayer::new(rng, |_| ());
        if slow {
            player.interval_ms = 1_000.0;
        }
        let ppm = between(player.rng, -1_000.0, 1_000.0);
        let rate = 1.0 + ppm * 1e-6;
        let audio = AudioTimeline::from(0.0, rate);
        let seconds = 120.0;
        player.run(&audio, 0.0, seconds * 1e3);
        // At first a single report is known, and unknown drift adds 1 ms between slow reports. Half a frame period is at
        // least 8.3 ms.
        let learned_ms = if slow { 60e3 } else { 20e3 };
        player.assert_in_sync(0.0, learned_ms, player.scatter_ms + 3.0);
        player.assert_in_sync(learned_ms, seconds * 1e3, if slow { 3.0 } else { 2.0 });
        let expected = (seconds * rate * player.fps) as i64 + 1;
        assert!(
            (player.shown.len() as i64 - expected).abs() <= 1,
            "{} frames, not {expected}",
            player.shown.len()
        );
        assert_eq!(player.discarded, [] as [u64; 0]);
        let off_ppm = player.synchronizer.audio_rate_ppm() - ppm;
        assert!(off_ppm.abs() < 100.0, "{off_ppm} ppm off");
        let now = after(seconds * 1e3);
        let off = player.synchronizer.actual_fps(now) / (player.fps * rate) - 1.0;
        let bound = (player.lateness_ms + 3.0) / 1e3;
        assert!(off.abs() < bound, "{} fps, not {}", player.synchronizer.actual_fps(now), player.fps * rate);
    });
}

#[test]
fn video_stops_when_audio_stops_and_follows_its_jumps() {
    for_seeds(60, |rng| {
        let mut player = VideoPlayer::new(rng, |_| ());
        // A change is noticed with the first or second report after it.
        let unknown_ms = 3.0 * player.interval_ms;
        let rate = 1.0 + between(player.rng, -1_000.0, 1_000.0) * 1e-6;
        let mut audio = AudioTimeline::from(0.0, rate);
        let mut now_ms = 5_000.0;
        player.run(&audio, 0.0, now_ms);
        for _ in 0..20 {
            let from_ms = now_ms;
            let shown = player.shown.len();
            match player.rng.range(0, 4) {
                // Starvation, which is not announced.
                0 => {
                    audio.change_rate(now_ms, 0.0, 0.0);
                    let stands_ms = between(player.rng, 0.0, 3_000.0);
                    player.run(&audio, now_ms, now_ms + stands_ms);
                    now_ms += stands_ms;
                    // Two frames may be shown before it is noticed.
                    let most = (unknown_ms * player.fps / 1e3).ceil() as usize + 1;
                    assert!(player.shown.len() - shown <= most, "video continued without audio");
                    audio.change_rate(now_ms, 0.0, rate);
                }
                // An announced pause.
                1 => {
                    player.synchronizer.audio_paused(after(now_ms));
                    audio.change_rate(now_ms, 0.0, 0.0);
                    let stands_ms = between(player.rng, 0.0, 3_000.0);
                    player.run(&audio, now_ms, now_ms + stands_ms);
                    now_ms += stands_ms;
                    player.synchronizer.audio_resumed(after(now_ms));
                    assert!(player.shown.len() - shown <= 1, "video continued without audio");
                    audio.change_rate(now_ms, 0.0, rate);
                }
                // A seek that the video's source follows.
                2 => {
                    let by_ms = between(player.rng, -5_000.0, 5_000.0);
                    audio.change_rate(now_ms, by_ms, rate);
                    player.synchronizer.audio_at(ms(audio.heard_ms(now_ms)), after(now_ms));
                    let mut cleared = Vec::new();
                    player.synchronizer.clear(|frame| cleared.push(frame));
                    player.discarded.extend(cleared);
                    player.origin = (audio.heard_ms(now_ms), player.next_frame);
                }
                // Samples were never played; the video's source does not follow.
                _ => {
                    let by_ms = between(player.rng, 0.0, 250.0);
                    audio.change_rate(now_ms, by_ms, rate);
                }
            }
            let settled_ms = now_ms + unknown_ms + 1_000.0;
            player.run(&audio, now_ms, settled_ms);
            player.run(&audio, settled_ms, settled_ms + 3_000.0);
            now_ms = settled_ms + 3_000.0;
            // A step within the reports' scatter cannot be distinguished from it and is absorbed gradually.
            let most_ms = if player.interval_ms > 50.0 { 20.0 } else { 12.0 };
            player.assert_in_sync(settled_ms, now_ms, most_ms);
            assert!(
                player.shown.iter().any(|shown| shown.1 > settled_ms),
                "video stopped after {from_ms} ms"
            );
        }
    });
}

#[test]
fn after_a_late_poll_video_is_in_sync_again_at_once() {
    for_seeds(60, |rng| {
        let when_late = pick(rng, &[WhenLate::Skip, WhenLate::Deliver]);
        let mut player = VideoPlayer::new(rng, |config| config.when_late = when_late);
        let rate = 1.0 + between(player.rng, -1_000.0, 1_000.0) * 1e-6;
        let audio = AudioTimeline::from(0.0, rate);
        let mut now_ms = 5_000.0;
        player.run(&audio, 0.0, now_ms);
        for _ in 0..20 {
            let restarts = player.synchronizer.stats().restarts;
            let slept_ms = between(player.rng, 0.0, 1_500.0);
            let late_ms = now_ms + slept_ms
                - player.timestamp_ms(player.shown.len() as u64 + player.discarded.len() as u64) / rate;
            while player.next_report_ms < now_ms + slept_ms {
                player.report(&audio);
            }
            now_ms += slept_ms;
            // Frames that the source pushes now are late as well, until it has caught up.
            while player.poll(&audio, now_ms) {
                player.fill();
            }
            let restarted = player.synchronizer.stats().restarts - restarts;
            assert!(restarted <= 1, "{restarted} restarts");
            // Within half a frame period plus the reports' scatter of the tolerance, both outcomes are valid.
            if !(280.0..=320.0).contains(&late_ms) {
                assert_eq!(restarted == 1, late_ms > 300.0, "late by {late_ms} ms");
            }
            if when_late == WhenLate::Deliver && late_ms < 280.0 {
                assert_eq!(player.synchronizer.stats().restarts, restarts);
            }
            player.run(&audio, now_ms, now_ms + 2_000.0);
            player.assert_in_sync(now_ms + 1e-3, now_ms + 2_000.0, player.scatter_ms + 2.0);
            now_ms += 2_000.0;
        }
        player.check();
    });
}

#[test]
fn a_camera_without_timestamps_is_shown_frame_by_frame() {
    for_seeds(20, |rng| {
        let fps = pick(rng, &FPS);
        let audio_rate = 1.0 + between(rng, -1_000.0, 1_000.0) * 1e-6;
        let camera_rate = 1.0 + between(rng, -10_000.0, 10_000.0) * 1e-6;
        let mut config = AvSyncConfig::new(fps);
        config.when_late = WhenLate::Deliver;
        let mut synchronizer = FrameSynchronizer::new(config).unwrap();
        let (mut taken, mut refused, mut shown) = (0u64, 0u64, 0u64);
        let (step_ms, seconds) = (2.0, 300.0);
        let mut now_ms = 0.0;
        while now_ms < seconds * 1e3 {
            let now = after(now_ms);
            if (now_ms % 20.0) < step_ms {
                synchronizer.audio_at(ms(now_ms * audio_rate), now);
            }
            while ((taken + refused) as f64) < now_ms * fps * camera_rate / 1e3 {
                match synchronizer.push(taken, None) {
                    Ok(()) => taken += 1,
                    Err(_) => refused += 1,
                }
            }
            if let Some(frame) = synchronizer.poll(now, |frame| panic!("frame {frame} discarded")) {
                assert_eq!(frame, shown);
                shown += 1;
            }
            now_ms += step_ms;
        }
        // A camera that is too fast fills the queue, and its frames are refused; one that is too slow repeatedly falls
        // behind by the tolerance.
        let gained_s = seconds * (camera_rate - audio_rate);
        let restarts = synchronizer.stats().restarts as f64;
        assert!((restarts - (-gained_s / 0.3).max(0.0)).abs() <= 1.5, "{restarts} restarts for {gained_s} s");
        let queue = synchronizer.queue_frames() as f64;
        assert!(
            (refused as f64 - (gained_s * fps - queue).max(0.0)).abs() <= 2.0,
            "{refused} for {gained_s} s"
        );
        assert_eq!(taken, shown + synchronizer.queued_frames() as u64);
    });
}

/// Returns a random timestamp, sometimes none and sometimes an extreme one.
fn any_timestamp(rng: &mut Rng, near_ms: f64) -> Option<Duration> {
    match rng.range(0, 10) {
        0..=2 => None,
        3 => Some(Duration::from_nanos(pick(rng, &[i64::MIN, -1, 0, i64::MAX]))),
        _ => Some(ms(near_ms + between(rng, -500.0, 500.0))),
    }
}

#[test]
fn random_calls_never_lose_reorder_or_show_frames_early() {
    for_seeds(400, |rng| {
        let mut config = AvSyncConfig::new(pick(rng, &FPS));
        config.video_queue_ms = pick(rng, &[0, 100, 250]);
        config.when_late = pick(rng, &[WhenLate::Skip, WhenLate::Deliver]);
        let mut synchronizer = FrameSynchronizer::new(config).unwrap();
        let most = synchronizer.queue_frames();
        let mut queued: std::collections::VecDeque<(u64, Option<Duration>)> = Default::default();
        let (mut frame, mut now_ms, mut closed) = (0u64, 0.0, false);
        for _ in 0..500 {
            now_ms += pick(rng, &[0.0, 0.1, 7.0, 40.0, 400.0]) * rng.uniform();
            let now = after(now_ms);
            let mut gone = Vec::new();
            match rng.range(0, 24) {
                0 => synchronizer.audio_paused(now),
                1 => synchronizer.audio_resumed(now),
                2 => synchronizer.run_without_audio(now),
                3 if one_in(rng, 4) => synchronizer.clear(|frame| gone.push(frame)),
                4 if one_in(rng, 10) => {
                    synchronizer.close(|frame| gone.push(frame));
                    closed = true;
                }
                5 if one_in(rng, 10) => {
                    synchronizer.reset(|frame| gone.push(frame));
                    closed = false;
                    assert_eq!(synchronizer.stats().pushed, 0);
                }
                6 => {
                    let media = any_timestamp(rng, now_ms).unwrap_or(Duration::ZERO);
                    synchronizer.audio_at(media, now);
                }
                7..=9 => synchronizer.audio_at(ms(now_ms), now),
                10..=15 => {
                    let timestamp = any_timestamp(rng, now_ms);
                    let full = queued.len() == most;
                    let pushed = synchronizer.push(frame, timestamp);
                    assert_eq!(pushed.is_ok(), !closed && !full);
                    if pushed.is_ok() {
                        queued.push_back((frame, timestamp));
                    }
                    frame += 1;
                }
                _ => {
                    let promised = synchronizer.next_due(now);
                    let shown = synchronizer.poll(now, |frame| gone.push(frame));
                    assert_eq!(shown.is_some(), promised == Some(now), "{promised:?}");
                    let heard = synchronizer.audio_time(now);
                    for &gone in &gone {
                        assert_eq!(queued.pop_front().map(|queued| queued.0), Some(gone));
                    }
                    if let Some(shown) = shown {
                        let (frame, timestamp) = queued.pop_front().unwrap();
                        assert_eq!(frame, shown);
                        let early = timestamp.is_some_and(|timestamp| Some(timestamp) > heard);
                        // A frame may be early only after a later frame restarted the timing.
                        assert!(!early || config.when_late == WhenLate::Deliver);
                    }
                    gone.clear();
                }
            }
            for gone in gone {
                assert_eq!(queued.pop_front().map(|queued| queued.0), Some(gone));
            }
            assert_eq!(synchronizer.queued_frames(), queued.len());
            let stats = synchronizer.stats();
            assert_eq!(stats.pushed, stats.delivered + stats.discarded + queued.len() as u64);
            if let Some(due) = synchronizer.next_due(now) {
                assert!(due >= now && synchronizer.clone().poll(due, drop).is_some(), "nothing at {due:?}");
            }
        }
    });
}
