//! What the outlet wrote is what the reference ring got, for any periods, gaps and shortages.

use super::*;
use crate::ring::FrameRing;
use crate::sample::I24;

/// 10 ms at 48 kHz with 2 channels.
const CAP: usize = 960;
const DEPTH: usize = 96;

/// A small generator; its seed is printed by the failing property.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) * below) >> 31
    }
}

struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::eprintln!("replay this case alone with HANDSFREE_SEED={}", self.0);
        }
    }
}

fn for_seeds(cases: u64, property: impl Fn(&mut Random)) {
    let only = std::env::var("HANDSFREE_SEED").ok().map(|text| text.parse().expect("a whole number"));
    for seed in only.map_or(1..=cases, |seed| seed..=seed) {
        let _replay = Replay(seed);
        property(&mut Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    }
}

/// What a device was given, sample frame by sample frame; `None` where it skipped.
type Written = Vec<Option<Vec<i16>>>;

struct Bench<'a> {
    outlet: Outlet<'a, CAP, 2>,
    frames: FrameProducer<'a, CAP, 2>,
    reference: FrameConsumer<'a, CAP, 2>,
    counters: &'a OutletCounters,
    rate: SampleRate,
    channels: usize,
    /// The device's own count, from just below 2^32 on.
    device_position: u64,
    written: Written,
    /// All reference frames taken so far.
    told: Vec<Frame<CAP, 2>>,
    /// The next sample to be queued; runs through all values but 0.
    next_sample: i16,
    queued: Vec<i16>,
}

fn with_bench(rate_hz: u32, channels: usize, test: impl FnOnce(&mut Bench<'_>)) {
    let mut playback = Box::new(FrameRing::<CAP, 2, DEPTH>::new());
    let mut reference = Box::new(FrameRing::<CAP, 2, DEPTH>::new());
    let mut current = Box::new(Frame::<CAP, 2>::EMPTY);
    let (counters, plan) = (OutletCounters::new(), SharedPlan::new());
    let (frames, playback_out) = playback.split();
    let (reference_in, reference_out) = reference.split();
    let mut bench = Bench {
        outlet: Outlet::new(
            playback_out,
            reference_in,
            &mut current,
            &counters,
            &plan,
            Duration::from_millis(3_000),
        ),
        frames,
        reference: reference_out,
        counters: &counters,
        rate: SampleRate::new(rate_hz).unwrap(),
        channels,
        device_position: u64::from(u32::MAX) - 5_000,
        written: Vec::new(),
        told: Vec::new(),
        next_sample: 1,
        queued: Vec::new(),
    };
    bench.configure();
    test(&mut bench);
}

impl Bench<'_> {
    fn configure(&mut self) {
        let channels = self.channels as u32;
        let map = ChannelMap::natural(channels, channels).unwrap();
        let config = OutletConfig {
            rate: self.rate,
            map,
            max_period_sample_frames: 4_800.min(self.rate.hz() / 2),
            worker_slack_sample_frames: 0,
            latency: Duration::ZERO,
            clock_domain: 1,
        };
        self.outlet.configure(config).unwrap();
    }

    fn sample(&mut self) -> i16 {
        let sample = self.next_sample;
        self.next_sample = if sample == i16::MAX { i16::MIN } else { sample + 1 };
        if self.next_sample == 0 {
            self.next_sample = 1;
        }
        sample
    }

    /// Queues a frame of `sample_frames`, 10 ms or a track's tail, if there is room.
    fn queue(&mut self, sample_frames: usize) {
        let format = Format::with_rate(self.rate, self.channels as u32).unwrap();
        let mut frame = Frame::EMPTY;
        frame.clear(format, sample_frames);
        let before = (self.next_sample, self.queued.len());
        for i in 0..frame.samples().len() {
            let sample = self.sample();
            frame.samples_mut()[i] = sample;
            self.queued.push(sample);
        }
        frame.stamp.tracks[1] = crate::frame::TrackSpan {
            track: 7,
            offset: 0,
            sample_frames: sample_frames as u16,
            position: before.1 as u64,
        };
        if self.frames.push(frame).is_err() {
            self.next_sample = before.0;
            self.queued.truncate(before.1);
        }
    }

    fn queue_foreign(&mut self) -> bool {
        let format = Format::new(8_000, if self.channels == 1 { 2 } else { 1 }).unwrap();
        let mut frame = Frame::EMPTY;
        frame.clear(format, format.sample_frames());
        frame.samples_mut().fill(i16::MAX);
        self.frames.push(frame).is_ok()
    }

    fn period<S: DeviceSample>(&mut self, sample_frames: usize, to_i16: impl Fn(S) -> i16) {
        let mut out = std::vec![S::from_pcm(i16::MIN); sample_frames * self.channels];
        let at = self.time(self.written.len());
        let time = PeriodTime { position: self.device_position, converter: at, called: at - LATENCY };
        self.outlet.on_period(&mut out, time);
        self.device_position += sample_frames as u64;
        let samples: Vec<i16> = out.into_iter().map(to_i16).collect();
        self.written.extend(samples.chunks_exact(self.channels).map(|frame| Some(frame.to_vec())));
    }

    fn skip(&mut self, sample_frames: usize) {
        self.device_position += sample_frames as u64;
        self.written.extend(std::iter::repeat_n(None, sample_frames));
    }

    fn time(&self, position: usize) -> Instant {
        Instant::ORIGIN + Duration::of_sample_frames(position as u64, self.rate)
    }

    fn drain(&mut self) {
        while let Some(frame) = self.reference.pop() {
            self.told.push(frame);
        }
    }

    /// Each reference frame holds what the device was given at its position, and frames and losses follow each other
    /// without a hole. Returns the position behind the last.
    fn check(&self) -> usize {
        let mut expected_position = 0;
        for frame in &self.told {
            let stamp = frame.stamp;
            assert_eq!(stamp.position, expected_position + u64::from(stamp.lost), "position and losses");
            let from = stamp.position as usize;
            for (offset, samples) in frame.samples().chunks_exact(self.channels).enumerate() {
                let written = self.written.get(from + offset).and_then(Option::as_deref);
                assert_eq!(Some(samples), written, "position {}", from + offset);
            }
            let error_ns = (stamp.time - self.time(from)).as_nanos();
            assert!(error_ns.abs() <= 2, "the frame at {from} is {error_ns} ns off");
            if stamp.silence > 0 {
                assert_eq!(
                    usize::from(stamp.silence),
                    frame.sample_frames(),
                    "a run of silence holds nothing else"
                );
                assert!(frame.samples().iter().all(|&s| s == 0));
                assert_eq!(stamp.tracks, [crate::frame::TrackSpan::default(); 2]);
            } else {
                assert_eq!(stamp.tracks[1].track, 7);
                assert_eq!(usize::from(stamp.tracks[1].sample_frames), frame.sample_frames());
                let source = self.queued[stamp.tracks[1].position as usize..].iter();
                assert!(
                    frame.samples().iter().eq(source.take(frame.samples().len())),
                    "the span names the source"
                );
            }
            assert!(frame.sample_frames() <= self.rate.sample_frames());
            expected_position = stamp.position + frame.sample_frames() as u64;
        }
        expected_position as usize
    }

    /// What the device was given is silence and the queued samples, once and in order.
    fn played(&self) -> Vec<i16> {
        self.written.iter().flatten().flatten().copied().filter(|&s| s != 0).collect()
    }
}

const LATENCY: Duration = Duration::from_millis(25);

fn any_length(random: &mut Random, rate: SampleRate) -> usize {
    let nasty = [0, 1, 2, 3, 24, 31, 441, 479, 480, 481, 997, 1_024];
    match random.next(3) {
        0 => random.next(3 * rate.sample_frames() as u64) as usize,
        _ => nasty[random.next(nasty.len() as u64) as usize],
    }
}

fn any_rate(random: &mut Random) -> u32 {
    [8_000, 16_000, 24_000, 32_000, 44_100, 48_000][random.next(6) as usize]
}

fn any_format_period(bench: &mut Bench<'_>, random: &mut Random, length: usize) {
    match random.next(4) {
        0 => bench.period(length, |s: i16| s),
        1 => bench.period(length, |s: i32| (s >> 16) as i16),
        2 => bench.period(length, |s: I24| (s.0 >> 8) as i16),
        _ => bench.period(length, |s: f32| (s * 32_768.0) as i16),
    }
}

#[test]
fn the_reference_gets_what_was_written_silence_and_short_frames_included() {
    for_seeds(200, |random| {
        with_bench(any_rate(random), 1 + random.next(2) as usize, |bench| {
            let frame = bench.rate.sample_frames();
            let mut foreign = 0;
            for _ in 0..200 {
                for _ in 0..random.next(4) {
                    match random.next(12) {
                        0 => bench.queue(1 + random.next(frame as u64) as usize),
                        1 => foreign += u32::from(bench.queue_foreign()),
                        _ => bench.queue(frame),
                    }
                }
                let length = any_length(random, bench.rate);
                any_format_period(bench, random, length);
                bench.drain();
            }
            // Play out what waits, and end the stream so that the last piece is told.
            while !bench.frames.is_empty() {
                any_format_period(bench, random, frame);
                bench.drain();
            }
            bench.outlet.stop();
            bench.drain();
            let end = bench.check();
            let discarded = bench.counters.discarded_sample_frames.get() as usize;
            assert_eq!(end, bench.written.len(), "all of it was told");
            assert_eq!(bench.told.iter().map(|f| f.stamp.lost).sum::<u32>(), 0);
            let played = bench.played();
            assert_eq!(played, bench.queued[..played.len()], "once and in order");
            assert_eq!(played.len() + discarded * bench.channels, bench.queued.len());
            assert_eq!(bench.counters.foreign_frames.get(), foreign);
            assert_eq!(bench.counters.reference_overrun_frames.get(), 0);
        });
    });
}

#[test]
fn underruns_are_counted_run_by_run_and_sample_by_sample() {
    for_seeds(100, |random| {
        with_bench(any_rate(random), 1, |bench| {
            let frame = bench.rate.sample_frames();
            for _ in 0..150 {
                if random.next(3) > 0 {
                    bench.queue(frame);
                }
                let length = any_length(random, bench.rate).min(frame * 2);
                bench.period(length, |s: i16| s);
                bench.drain();
            }
            let first = bench.written.iter().position(|s| s.as_ref().is_some_and(|s| s[0] != 0));
            let silent: Vec<bool> = bench.written[first.unwrap_or(bench.written.len())..]
                .iter()
                .flatten()
                .map(|s| s[0] == 0)
                .collect();
            let runs = silent.windows(2).filter(|pair| !pair[0] && pair[1]).count();
            assert_eq!(
                bench.counters.underrun_sample_frames.get() as usize,
                silent.iter().filter(|&&s| s).count()
            );
            assert_eq!(bench.counters.underruns.get() as usize, runs);
        });
    });
}

#[test]
fn a_gap_cuts_the_frame_that_was_playing_and_is_a_loss_of_the_reference() {
    for_seeds(200, |random| {
        with_bench(any_rate(random), 1 + random.next(2) as usize, |bench| {
            let frame = bench.rate.sample_frames();
            let (mut gaps, mut skipped) = (0, 0);
            for turn in 0..150 {
                for _ in 0..random.next(4) {
                    bench.queue(frame);
                }
                if turn > 0 && random.next(5) == 0 {
                    let gap = 1 + random.next(2_000) as usize;
                    bench.skip(gap);
                    gaps += 1;
                    skipped += gap as u32;
                }
                let length = any_length(random, bench.rate);
                any_format_period(bench, random, length);
                bench.drain();
            }
            bench.outlet.stop();
            bench.drain();
            let end = bench.check();
            assert_eq!(bench.counters.gaps.get(), gaps);
            assert_eq!(bench.counters.gap_sample_frames.get(), skipped);
            let trailing = bench.written.iter().rev().take_while(|s| s.is_none()).count();
            assert_eq!(end + trailing, bench.written.len());
            // What was cut off is counted, what was not is heard: nothing vanishes.
            let waiting: usize =
                core::iter::from_fn(|| bench.outlet.ring.pop()).map(|f| f.samples().len()).sum();
            let discarded = bench.counters.discarded_sample_frames.get() as usize * bench.channels;
            assert_eq!(bench.played().len() + discarded + waiting, bench.queued.len());
        });
    });
}

#[test]
fn a_full_reference_ring_loses_the_newest_and_says_so() {
    for_seeds(100, |random| {
        with_bench(any_rate(random), 1, |bench| {
            let frame = bench.rate.sample_frames();
            for _ in 0..500 {
                if random.next(3) > 0 {
                    bench.queue(frame);
                }
                let length = any_length(random, bench.rate);
                any_format_period(bench, random, length);
                if random.next(120) == 0 {
                    bench.drain();
                }
            }
            bench.drain();
            // At once after somebody drained, the next frames arrive, at their own places.
            for _ in 0..3 {
                bench.queue(frame);
                any_format_period(bench, random, frame);
            }
            bench.drain();
            let end = bench.check();
            assert!(bench.written.len() - end < frame, "{} of {}", end, bench.written.len());
            let lost: u32 = bench.told.iter().map(|f| f.stamp.lost).sum();
            let told: usize = bench.told.iter().map(Frame::sample_frames).sum();
            assert_eq!(lost as usize + told, end);
            assert!(bench.counters.reference_overrun_frames.get() > 0);
        });
    });
}

#[test]
fn foreign_frames_are_dropped_at_most_four_in_a_period() {
    with_bench(48_000, 1, |bench| {
        for _ in 0..10 {
            assert!(bench.queue_foreign());
        }
        bench.queue(480);
        for dropped in [4, 8] {
            bench.period(480, |s: i16| s);
            assert_eq!(bench.counters.foreign_frames.get(), dropped);
            assert_eq!(bench.played(), []);
        }
        bench.period(480, |s: i16| s);
        assert_eq!(bench.counters.foreign_frames.get(), 10);
        assert_eq!(bench.played(), bench.queued);
        bench.drain();
        assert_eq!(bench.check(), 1_440);
    });
}

#[test]
fn a_reopened_outlet_finishes_the_old_reference_first() {
    with_bench(48_000, 1, |bench| {
        bench.queue(480);
        bench.period(100, |s: i16| s);
        bench.rate = SampleRate::new(16_000).unwrap();
        bench.configure();
        bench.drain();
        assert_eq!(bench.told.len(), 1);
        assert_eq!(bench.told[0].format(), Format::new(48_000, 1).unwrap());
        assert_eq!(bench.told[0].samples(), &bench.queued[..100]);
        assert_eq!(bench.counters.discarded_sample_frames.get(), 380, "the rest was never heard");
        bench.period(160, |s: i16| s);
        bench.drain();
        assert_eq!(bench.told[1].format(), Format::new(16_000, 1).unwrap());
        assert_eq!(bench.told[1].stamp.position, 100, "the stream's position goes on");
        assert_eq!(bench.told[1].stamp.silence, 160);
        assert_eq!(bench.counters.underruns.get(), 0, "silence before the new stream's first frame");
    });
}

#[test]
fn silence_begun_before_a_stop_is_told_too() {
    with_bench(48_000, 2, |bench| {
        bench.period(100, |s: i16| s);
        bench.drain();
        assert_eq!(bench.told.len(), 0, "10 ms are not over");
        bench.outlet.stop();
        bench.drain();
        assert_eq!(bench.check(), 100);
        bench.outlet.discarded(60);
        assert_eq!(bench.counters.discarded_sample_frames.get(), 60);
    });
}

#[test]
fn a_position_that_runs_backwards_is_a_fault_and_no_gap() {
    with_bench(48_000, 1, |bench| {
        bench.queue(480);
        bench.queue(480);
        bench.period(480, |s: i16| s);
        bench.device_position -= 10_000;
        bench.period(480, |s: i16| s);
        bench.drain();
        assert_eq!(bench.check(), 960);
        assert_eq!(bench.counters.position_faults.get(), 1);
        assert_eq!(bench.counters.gaps.get(), 0);
    });
}
