//! What the outlet wrote is what the reference ring got, for any periods, gaps and shortages.

use super::*;
use crate::format::ChannelMap;
use crate::ring::FrameRing;
use crate::sample::I24;

/// Samples in 10 ms at 48 kHz with 2 channels.
const CAP: usize = 960;
const DEPTH: usize = 96;

/// A small random number generator. A failing property prints its seed.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) * below) >> 31
    }
}

struct SeedReport(u64);

impl Drop for SeedReport {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::eprintln!("rerun this case alone with HANDSFREE_SEED={}", self.0);
        }
    }
}

fn for_seeds(cases: u64, property: impl Fn(&mut Random)) {
    let only = std::env::var("HANDSFREE_SEED").ok().map(|text| text.parse().expect("a whole number"));
    for seed in only.map_or(1..=cases, |seed| seed..=seed) {
        let _report = SeedReport(seed);
        property(&mut Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    }
}

/// What a device was given, sample frame by sample frame; `None` where it skipped.
type Written = Vec<Option<Vec<i16>>>;

struct OutletRig<'a> {
    outlet: Outlet<'a, CAP, 2>,
    frames: FrameProducer<'a, CAP, 2>,
    reference: FrameConsumer<'a, CAP, 2>,
    counters: &'a OutletCounters,
    rate: SampleRate,
    channels: usize,
    /// The device's own position, which starts just below 2^32.
    device_position: u64,
    written: Written,
    /// All frames taken from the reference ring so far.
    reference_frames: Vec<Frame<CAP, 2>>,
    /// Value of the next queued sample; runs through all values but 0.
    next_sample: i16,
    queued: Vec<i16>,
}

fn with_rig(rate_hz: u32, channels: usize, test: impl FnOnce(&mut OutletRig<'_>)) {
    let mut playback = Box::new(FrameRing::<CAP, 2, DEPTH>::new());
    let mut reference = Box::new(FrameRing::<CAP, 2, DEPTH>::new());
    let mut current = Box::new(Frame::<CAP, 2>::EMPTY);
    let counters = OutletCounters::new();
    let device_state = DeviceState::new();
    let rate = SampleRate::new(rate_hz).unwrap();
    let (frames, playback_out) = playback.split();
    let (reference_in, reference_out) = reference.split();
    let mut rig = OutletRig {
        outlet: Outlet::new(
            playback_out,
            reference_in,
            &mut current,
            &counters,
            &device_state,
            rate,
            Duration::from_millis(3_000),
        ),
        frames,
        reference: reference_out,
        counters: &counters,
        rate,
        channels,
        device_position: u64::from(u32::MAX) - 5_000,
        written: Vec::new(),
        reference_frames: Vec::new(),
        next_sample: 1,
        queued: Vec::new(),
    };
    rig.configure();
    test(&mut rig);
}

impl OutletRig<'_> {
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

    /// Queues a frame of `sample_frames`, 10 ms or a track's tail, if the ring has space.
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
            self.reference_frames.push(frame);
        }
    }

    /// Checks that each reference frame holds what the device was given at its position, and that frames and losses
    /// follow each other without a hole. Returns the position one past the last frame.
    fn check(&self) -> usize {
        let mut expected_position = 0;
        for frame in &self.reference_frames {
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
                    "the span holds the source's position"
                );
            }
            assert!(frame.sample_frames() <= self.rate.sample_frames());
            expected_position = stamp.position + frame.sample_frames() as u64;
        }
        expected_position as usize
    }

    /// Returns the samples that the device was given, without silence.
    fn played(&self) -> Vec<i16> {
        self.written.iter().flatten().flatten().copied().filter(|&s| s != 0).collect()
    }
}

const LATENCY: Duration = Duration::from_millis(25);

fn any_length(random: &mut Random, rate: SampleRate) -> usize {
    let awkward = [0, 1, 2, 3, 24, 31, 441, 479, 480, 481, 997, 1_024];
    match random.next(3) {
        0 => random.next(3 * rate.sample_frames() as u64) as usize,
        _ => awkward[random.next(awkward.len() as u64) as usize],
    }
}

fn any_rate(random: &mut Random) -> u32 {
    [8_000, 16_000, 24_000, 32_000, 44_100, 48_000][random.next(6) as usize]
}

fn any_format_period(rig: &mut OutletRig<'_>, random: &mut Random, length: usize) {
    match random.next(4) {
        0 => rig.period(length, |s: i16| s),
        1 => rig.period(length, |s: i32| (s >> 16) as i16),
        2 => rig.period(length, |s: I24| (s.0 >> 8) as i16),
        _ => rig.period(length, |s: f32| (s * 32_768.0) as i16),
    }
}

#[test]
fn the_reference_gets_exactly_what_was_written() {
    for_seeds(200, |random| {
        with_rig(any_rate(random), 1 + random.next(2) as usize, |rig| {
            let frame = rig.rate.sample_frames();
            let mut foreign = 0;
            for _ in 0..200 {
                for _ in 0..random.next(4) {
                    match random.next(12) {
                        0 => rig.queue(1 + random.next(frame as u64) as usize),
                        1 => foreign += u32::from(rig.queue_foreign()),
                        _ => rig.queue(frame),
                    }
                }
                let length = any_length(random, rig.rate);
                any_format_period(rig, random, length);
                rig.drain();
            }
            // Play what is queued, and end the stream so that the last piece reaches the reference.
            while !rig.frames.is_empty() {
                any_format_period(rig, random, frame);
                rig.drain();
            }
            rig.outlet.stop();
            rig.drain();
            let end = rig.check();
            let discarded = rig.counters.discarded_sample_frames.get() as usize;
            assert_eq!(end, rig.written.len(), "the reference covers everything written");
            assert_eq!(rig.reference_frames.iter().map(|f| f.stamp.lost).sum::<u32>(), 0);
            let played = rig.played();
            assert_eq!(played, rig.queued[..played.len()], "each sample is played once and in order");
            assert_eq!(played.len() + discarded * rig.channels, rig.queued.len());
            assert_eq!(rig.counters.foreign_frames.get(), foreign);
            assert_eq!(rig.counters.reference_overrun_frames.get(), 0);
        });
    });
}

#[test]
fn underruns_are_counted_as_runs_and_as_sample_frames() {
    for_seeds(100, |random| {
        with_rig(any_rate(random), 1, |rig| {
            let frame = rig.rate.sample_frames();
            for _ in 0..150 {
                if random.next(3) > 0 {
                    rig.queue(frame);
                }
                let length = any_length(random, rig.rate).min(frame * 2);
                rig.period(length, |s: i16| s);
                rig.drain();
            }
            let first = rig.written.iter().position(|s| s.as_ref().is_some_and(|s| s[0] != 0));
            let silent: Vec<bool> = rig.written[first.unwrap_or(rig.written.len())..]
                .iter()
                .flatten()
                .map(|s| s[0] == 0)
                .collect();
            let runs = silent.windows(2).filter(|pair| !pair[0] && pair[1]).count();
            assert_eq!(
                rig.counters.underrun_sample_frames.get() as usize,
                silent.iter().filter(|&&s| s).count()
            );
            assert_eq!(rig.counters.underruns.get() as usize, runs);
        });
    });
}

#[test]
fn a_gap_cuts_the_playing_frame_and_counts_as_a_loss() {
    for_seeds(200, |random| {
        with_rig(any_rate(random), 1 + random.next(2) as usize, |rig| {
            let frame = rig.rate.sample_frames();
            let (mut gaps, mut skipped) = (0, 0);
            for round in 0..150 {
                for _ in 0..random.next(4) {
                    rig.queue(frame);
                }
                if round > 0 && random.next(5) == 0 {
                    let gap = 1 + random.next(2_000) as usize;
                    rig.skip(gap);
                    gaps += 1;
                    skipped += gap as u32;
                }
                let length = any_length(random, rig.rate);
                any_format_period(rig, random, length);
                rig.drain();
            }
            rig.outlet.stop();
            rig.drain();
            let end = rig.check();
            assert_eq!(rig.counters.gaps.get(), gaps);
            assert_eq!(rig.counters.gap_sample_frames.get(), skipped);
            let trailing = rig.written.iter().rev().take_while(|s| s.is_none()).count();
            assert_eq!(end + trailing, rig.written.len());
            // What was cut off is counted, and the rest is played: nothing vanishes.
            let waiting: usize =
                core::iter::from_fn(|| rig.outlet.ring.pop()).map(|f| f.samples().len()).sum();
            let discarded = rig.counters.discarded_sample_frames.get() as usize * rig.channels;
            assert_eq!(rig.played().len() + discarded + waiting, rig.queued.len());
        });
    });
}

#[test]
fn a_full_reference_ring_drops_and_reports_the_newest_frames() {
    for_seeds(100, |random| {
        with_rig(any_rate(random), 1, |rig| {
            let frame = rig.rate.sample_frames();
            for _ in 0..500 {
                if random.next(3) > 0 {
                    rig.queue(frame);
                }
                let length = any_length(random, rig.rate);
                any_format_period(rig, random, length);
                if random.next(120) == 0 {
                    rig.drain();
                }
            }
            rig.drain();
            // Right after the ring is drained the next frames arrive, at their own positions.
            for _ in 0..3 {
                rig.queue(frame);
                any_format_period(rig, random, frame);
            }
            rig.drain();
            let end = rig.check();
            assert!(rig.written.len() - end < frame, "{} of {}", end, rig.written.len());
            let lost: u32 = rig.reference_frames.iter().map(|f| f.stamp.lost).sum();
            let reference_frames: usize = rig.reference_frames.iter().map(Frame::sample_frames).sum();
            assert_eq!(lost as usize + reference_frames, end);
            assert!(rig.counters.reference_overrun_frames.get() > 0);
        });
    });
}

#[test]
fn at_most_four_foreign_frames_are_dropped_in_a_period() {
    with_rig(48_000, 1, |rig| {
        for _ in 0..10 {
            assert!(rig.queue_foreign());
        }
        rig.queue(480);
        for dropped in [4, 8] {
            rig.period(480, |s: i16| s);
            assert_eq!(rig.counters.foreign_frames.get(), dropped);
            assert_eq!(rig.played(), []);
        }
        rig.period(480, |s: i16| s);
        assert_eq!(rig.counters.foreign_frames.get(), 10);
        assert_eq!(rig.played(), rig.queued);
        rig.drain();
        assert_eq!(rig.check(), 1_440);
    });
}

#[test]
fn a_reopened_outlet_finishes_the_old_reference_first() {
    with_rig(48_000, 1, |rig| {
        rig.queue(480);
        rig.period(100, |s: i16| s);
        rig.rate = SampleRate::new(16_000).unwrap();
        rig.configure();
        rig.drain();
        assert_eq!(rig.reference_frames.len(), 1);
        assert_eq!(rig.reference_frames[0].format(), Format::new(48_000, 1).unwrap());
        assert_eq!(rig.reference_frames[0].samples(), &rig.queued[..100]);
        assert_eq!(rig.counters.discarded_sample_frames.get(), 380, "the rest was never played");
        rig.period(160, |s: i16| s);
        rig.drain();
        assert_eq!(rig.reference_frames[1].format(), Format::new(16_000, 1).unwrap());
        assert_eq!(rig.reference_frames[1].stamp.position, 100, "the stream's position continues");
        assert_eq!(rig.reference_frames[1].stamp.silence, 160);
        assert_eq!(
            rig.counters.underruns.get(),
            0,
            "silence before the new stream's first frame is no underrun"
        );
    });
}

#[test]
fn silence_begun_before_a_stop_reaches_the_reference() {
    with_rig(48_000, 2, |rig| {
        rig.period(100, |s: i16| s);
        rig.drain();
        assert_eq!(rig.reference_frames.len(), 0, "the run of silence is shorter than 10 ms");
        rig.outlet.stop();
        rig.drain();
        assert_eq!(rig.check(), 100);
        rig.outlet.discarded(60);
        assert_eq!(rig.counters.discarded_sample_frames.get(), 60);
    });
}

#[test]
fn a_backward_position_is_a_fault_and_not_a_gap() {
    with_rig(48_000, 1, |rig| {
        rig.queue(480);
        rig.queue(480);
        rig.period(480, |s: i16| s);
        rig.device_position -= 10_000;
        rig.period(480, |s: i16| s);
        rig.drain();
        assert_eq!(rig.check(), 960);
        assert_eq!(rig.counters.position_faults.get(), 1);
        assert_eq!(rig.counters.gaps.get(), 0);
    });
}
