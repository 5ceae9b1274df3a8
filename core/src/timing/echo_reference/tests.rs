//! Tests how steadily the reference is read when the timestamps jitter.

use super::*;
use crate::dsp::fractional::FullReader;

const RATE_HZ: u32 = 48_000;
const FRAME: usize = 480;
/// Time from the start of the microphone's clock to the first sample played.
const LATENCY_NS: f64 = 50e6;

struct TimestampNoise(u64);

impl TimestampNoise {
    /// Returns a nearly normal number with standard deviation 1: the sum of twelve uniform ones.
    fn normal(&mut self) -> f64 {
        let mut sum = 0.0;
        for _ in 0..12 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            sum += (self.0 >> 11) as f64 / (1u64 << 53) as f64 - 0.5;
        }
        sum
    }
}

/// Reads for 60 s with a loudspeaker clock that is `ppm(second)` fast and times of both clocks that jitter by
/// `jitter_ns`. Returns the position error in sample frames, once per second.
fn position_errors(seed: u64, jitter_ns: f64, ppm: impl Fn(usize) -> f64) -> Vec<f64> {
    let far = Format::new(RATE_HZ, 1).unwrap();
    let mut memory = Box::new(ReferenceMemory::<FRAME>::new());
    let mut history = vec![0; 48_000];
    let mut reference = EchoReference::new(&mut memory, &mut history, far, Duration::ZERO);
    let mut capture = StreamClock::new(far.rate());
    let mut noise = TimestampNoise(seed);
    let mut out = Frame::EMPTY;
    let mut played = Frame::<FRAME>::silence(far).unwrap();
    let mut play_ns = LATENCY_NS;
    let (mut index, mut truth) = (0.0, 0.0);
    let mut errors = Vec::new();
    for k in 0..6_000usize {
        let step_ns = 10e6 / (1.0 + ppm(k / 100) * 1e-6);
        played.stamp.time = Instant::from_nanos((play_ns + noise.normal() * jitter_ns) as i64);
        reference.push(&played);
        play_ns += step_ns;
        // The microphone hears a sample 100 ms after it was played.
        let heard_ns = k as f64 * 10e6 - 50e6;
        let position = (k * FRAME) as u64;
        let time = Instant::from_nanos((heard_ns + noise.normal() * jitter_ns) as i64);
        capture.observe(position, time);
        if let ReadHead::Free(position) = reference.head {
            index = position.index as f64 + f64::from(position.fraction_q32) / Q32;
        }
        truth = truth_at(heard_ns, play_ns, step_ns, k).unwrap_or(truth);
        if k % 100 == 99 {
            errors.push(index - truth);
        }
        reference.read::<FullReader>(&capture, position, false, false, &mut out, far);
    }
    errors
}

/// Returns the index that is played at `at_ns`; `next_ns` is the time of the frame after frame `k`.
fn truth_at(at_ns: f64, next_ns: f64, step_ns: f64, k: usize) -> Option<f64> {
    (at_ns >= 0.0).then(|| ((k + 1) * FRAME) as f64 - (next_ns - at_ns) / step_ns * FRAME as f64)
}

/// From 20 s on the reading speed varies by a few ppm, where the clocks' times vary by tens. The rest is the
/// uncertainty of the clocks' ratio.
#[test]
fn reads_steadily_despite_jittering_times() {
    let mut squares = 0.0;
    let mut count = 0;
    for seed in 1..=20 {
        let errors = position_errors(seed, 1e6, |_| -200.0);
        let settled = errors.get(20..).unwrap();
        let worst = settled.iter().fold(0.0f64, |worst, error| worst.max(error.abs()));
        assert!(worst < 12.0, "seed {seed}: {worst} sample frames from the truth");
        for pair in settled.windows(2) {
            squares += ((pair[1] - pair[0]) * 1e6 / f64::from(RATE_HZ)).powi(2);
            count += 1;
        }
    }
    let deviation_ppm = (squares / f64::from(count)).sqrt();
    println!("speed varies by {deviation_ppm:.2} ppm");
    assert!(deviation_ppm < 5.0, "{deviation_ppm} ppm");
}

/// Follows a rate that jumps by 200 ppm at 30 s, at any jitter that lets it show.
#[test]
fn reading_follows_a_changed_clock() {
    for jitter_ns in [0.0, 29e3, 115e3] {
        for seed in 1..=5 {
            let errors = position_errors(seed, jitter_ns, |second| if second < 30 { 0.0 } else { 200.0 });
            let worst = |from: usize, to: usize| {
                errors[from..to].iter().fold(0.0f64, |worst, error| worst.max(error.abs()))
            };
            let (before, during, after) = (worst(20, 30), worst(30, 34), worst(34, 60));
            println!("jitter {jitter_ns} ns, seed {seed}: errors {before:.2}, {during:.2}, {after:.2}");
            assert!(before < 2.0 && during < 48.0 && after < 8.0, "jitter {jitter_ns} ns, seed {seed}");
        }
    }
}

/// A search for a lost echo may go no further than that: behind the history there is only silence, in which nothing is found.
#[cfg(feature = "sound-server")]
#[test]
fn the_longest_shift_reads_what_the_history_still_holds() {
    let far = Format::new(RATE_HZ, 1).unwrap();
    let mut memory = Box::new(ReferenceMemory::<FRAME>::new());
    // 3 s.
    let mut history = vec![0; 3 * RATE_HZ as usize];
    let mut reference = EchoReference::new(&mut memory, &mut history, far, Duration::ZERO);
    let mut capture = StreamClock::new(far.rate());
    let mut out = Frame::EMPTY;
    let mut played = Frame::<FRAME>::silence(far).unwrap();
    played.samples_mut().fill(1_000);
    let mut shifted = Duration::ZERO;
    for k in 0..1_000u64 {
        played.stamp.time = Instant::from_nanos(k as i64 * 10_000_000);
        reference.push(&played);
        // The microphone hears what was played 0.6 s ago.
        let (position, time) = (k * FRAME as u64, Instant::from_nanos(k as i64 * 10_000_000 - 600_000_000));
        capture.observe(position, time);
        reference.read::<FullReader>(&capture, position, false, false, &mut out, far);
        if k == 500 {
            shifted = reference.longest_shift();
            reference.correct(Correction { shift: shifted, slower_ppm: 0.0 });
        }
        if k > 520 {
            assert!(out.samples().iter().all(|&sample| (990..=1_010).contains(&sample)), "frame {k}");
        }
    }
    assert!((2_100.0..2_400.0).contains(&shifted.as_millis_f64()), "{shifted:?}");
}

/// Plays with times that jitter by 0.5 ms to a loudspeaker that is 40 ms later from 20 s on, and is heard `wait_ns` after it
/// played. Returns the position error in sample frames at the first frame after the jump that is read.
#[cfg(feature = "sound-server")]
fn error_after_a_jump(seed: u64, wait_ns: i64) -> f64 {
    const JUMP_AT: u64 = 2_000;
    const LATER_NS: i64 = 40_000_000;
    let far = Format::new(RATE_HZ, 1).unwrap();
    let mut memory = Box::new(ReferenceMemory::<FRAME>::new());
    let mut history = vec![0; 5 * RATE_HZ as usize];
    let mut reference = EchoReference::new(&mut memory, &mut history, far, Duration::ZERO);
    let mut capture = StreamClock::new(far.rate());
    let mut noise = TimestampNoise(seed);
    let (mut out, mut played) = (Frame::EMPTY, Frame::<FRAME>::silence(far).unwrap());
    for k in 0.. {
        let sent_ns = k as i64 * 10_000_000;
        let jump_ns = if k < JUMP_AT { 0 } else { LATER_NS };
        played.stamp.time = Instant::from_nanos(sent_ns + jump_ns + (noise.normal() * 0.5e6) as i64);
        reference.push(&played);
        if let Some(by) = reference.take_undecided_jump() {
            reference.jump(by);
        }
        let (position, heard_ns) = (k * FRAME as u64, sent_ns - wait_ns);
        capture.observe(position, Instant::from_nanos(heard_ns));
        reference.read::<FullReader>(&capture, position, false, false, &mut out, far);
        // The history holds silence for the length of the jump as it was noticed. The head is at the end of the frame.
        let silence = reference.history.end() as f64 - ((k + 1) * FRAME as u64) as f64;
        let truth = (heard_ns + 10_000_000 - LATER_NS) as f64 * 1e-9 * f64::from(RATE_HZ) + silence;
        if heard_ns >= JUMP_AT as i64 * 10_000_000 + LATER_NS + 20_000_000 {
            let ReadHead::Free(position) = reference.head else { panic!("{:?}", reference.head) };
            return position.index as f64 + f64::from(position.fraction_q32) / Q32 - truth;
        }
    }
    unreachable!()
}

/// The longer the samples after a jump wait until they are heard, the more times tell how far the loudspeaker jumped.
#[cfg(feature = "sound-server")]
#[test]
fn a_jump_is_read_where_all_times_until_then_tell() {
    let [short, long] = [300_000_000, 2_000_000_000].map(|wait_ns| {
        let squares: f64 = (1..=20).map(|seed| error_after_a_jump(seed, wait_ns).powi(2)).sum();
        (squares / 20.0).sqrt()
    });
    println!("{short:.1} sample frames after 0.3 s, {long:.1} after 2 s");
    assert!(long < short / 2.0);
}

/// Plays `sample` for 3 s on one clock whose times scatter by `jitter_ns`. Returns the lead after that, and the number of the last frame
/// at which reading jumped.
fn lead_and_last_jump(seed: u64, jitter_ns: f64, sample: i16) -> (Duration, u64) {
    let far = Format::new(RATE_HZ, 1).unwrap();
    let mut memory = Box::new(ReferenceMemory::<FRAME>::new());
    let mut history = vec![0; 48_000];
    let mut reference = EchoReference::new(&mut memory, &mut history, far, Duration::from_millis(2));
    let mut capture = StreamClock::new(far.rate());
    let mut noise = TimestampNoise(seed);
    let (mut out, mut played) = (Frame::EMPTY, Frame::<FRAME>::silence(far).unwrap());
    played.samples_mut().fill(sample);
    let mut last_jump = 0;
    for k in 0..300u64 {
        let mut jittery = |ns: i64| Instant::from_nanos(ns + (noise.normal() * jitter_ns) as i64);
        let sent_ns = k as i64 * 10_000_000;
        played.stamp.time = jittery(sent_ns);
        reference.push(&played);
        let position = k * FRAME as u64;
        capture.observe(position, jittery(sent_ns - 100_000_000));
        if reference.read::<FullReader>(&capture, position, true, false, &mut out, far) == Reading::Jumped {
            last_jump = k;
        }
    }
    (reference.lead(), last_jump)
}

/// A jump later on costs a canceller what it has learned.
#[cfg(feature = "sound-server")]
#[test]
fn one_clock_with_scattering_times_soon_has_its_lead() {
    for seed in 1..=20 {
        let (lead, last_jump) = lead_and_last_jump(seed, 300e3, 1_000);
        assert!(
            lead == Duration::from_millis(2) && last_jump < 10,
            "seed {seed}: {lead:?}, frame {last_jump}"
        );
    }
}

/// A jump in a silence costs nothing, and 100 times tell the place better than four.
#[cfg(feature = "sound-server")]
#[test]
fn one_clock_that_played_nothing_is_placed_again_after_a_second() {
    for seed in 1..=20 {
        let (lead, last_jump) = lead_and_last_jump(seed, 300e3, 0);
        assert!(
            lead == Duration::from_millis(2) && (95..110).contains(&last_jump),
            "seed {seed}: frame {last_jump}"
        );
    }
}

#[test]
fn one_clock_with_exact_times_needs_no_lead() {
    for seed in 1..=20 {
        assert_eq!(lead_and_last_jump(seed, 20e3, 1_000), (Duration::ZERO, 0), "seed {seed}");
        assert_eq!(lead_and_last_jump(seed, 20e3, 0), (Duration::ZERO, 0), "seed {seed}, silence");
    }
}
