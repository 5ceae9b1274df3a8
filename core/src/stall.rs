//! Interrupt side: finds the times at which a device stood still without reporting it, from the moments at which it took or
//! delivered its periods. The worker side reports them.

use crate::audio_io::Direction;
use crate::event::{EventSender, SessionEvent};
use crate::format::SampleRate;
use crate::stats::Counter;
use crate::time::{Duration, PeriodTime};

/// Length of a window, in microseconds of the device, as a power of two: half a second, longer than the pauses between the
/// bursts of a sound server.
const WINDOW_US_BITS: u32 = 19;
/// Shortest stall that is reported, in microseconds: shorter than most that were seen on a sound server, and longer than
/// the scheduling delay that all callbacks of two windows have in common.
const LEAST_US: i32 = 5_000;
/// Longest time between two calls, in microseconds. After a longer one the host's clock jumped or the computer slept.
const LONGEST_PAUSE_US: i64 = 10_000_000;
/// Number of windows whose growth shows the rate of the device (4 s).
const WINDOWS: usize = 8;
/// Index of the growth that counts as the rate's, from the smallest: below the median, because stalls in most of the
/// windows must not look like a rate.
const QUARTILE: usize = 2;
/// Largest growth in a window that a rate explains, in microseconds: 3 %, beyond which a device is not at its rate at all.
const LARGEST_GROWTH_US: i32 = 15_000;
/// Smallest step from one call to the next that a stall makes, in microseconds. A rate that changes has no steps.
const LEAST_STEP_US: i32 = 2_000;
/// Divisor of the growth that is forgotten in a window because the rate is not exact.
const FORGETTING: i32 = 4;

/// Detects the stalls of one device: its position stands still while time goes on, and afterwards continues at its rate, so
/// that as much sound is lost.
///
/// A device that delivers in bursts catches up, so only the earliest call of each window counts, and only if the next
/// window's is as late. Calls that are late although the device still has samples are no stall: then the latency that it
/// reports shrinks by as much. A clock error makes each window later than the one before by the same time. Costs two dozen
/// integer operations a period, and a sort of eight numbers twice a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StallDetector {
    direction: Direction,
    /// Position and time of the last call.
    last: Option<(u64, PeriodTime)>,
    /// How much later than the level the last call was, in microseconds.
    late_us: i32,
    /// The least of them in this window.
    least_us: i32,
    /// Length of the samples since the call that was the least late.
    since_least_us: i64,
    /// Largest step between two calls in the windows before and in this one.
    step_us: [i32; 2],
    /// Length of this window so far.
    window_us: i64,
    /// Largest latency in this window, which is that of the calls that are not late.
    latency_us: i64,
    /// Largest latency in the window before.
    last_latency_us: i64,
    /// Largest latencies of the last two windows in which the device was not late. The larger one counts, because calls
    /// may have begun to be late in one of them.
    known_latency_us: [i64; 2],
    /// How much later than the level the last window was.
    pending_us: i32,
    /// Growth of the last windows, in a ring.
    growth_us: [i32; WINDOWS],
    /// How much later a window is than the one before because of the device's rate.
    slope_us: i32,
    /// Number of windows so far, below twice the ring's length.
    windows: u8,
}

impl StallDetector {
    pub(crate) const fn new(direction: Direction) -> Self {
        Self {
            direction,
            last: None,
            late_us: 0,
            least_us: i32::MAX,
            since_least_us: 0,
            step_us: [0; 2],
            window_us: 0,
            latency_us: i64::MIN,
            last_latency_us: i64::MAX,
            known_latency_us: [0; 2],
            pending_us: 0,
            growth_us: [0; WINDOWS],
            slope_us: 0,
            windows: 0,
        }
    }

    /// Begins anew, after a gap that was reported and at the start of a stream.
    #[cold]
    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.direction);
    }

    /// Takes a period of a device with the nominal rate `rate`. Returns the length of a stall once it is certain, half a
    /// second to a second and a half after it.
    pub(crate) fn observe(
        &mut self,
        time: PeriodTime,
        sample_frames: usize,
        rate: SampleRate,
    ) -> Option<Duration> {
        // A captured period is delivered when it is complete, and a played one is asked for before it begins.
        let (position, into) = match self.direction {
            Direction::Capture => (
                time.position.wrapping_add(sample_frames as u64),
                Duration::of_sample_frames(sample_frames as u64, rate),
            ),
            Direction::Playback => (time.position, Duration::ZERO),
        };
        let latency_us = (time.converter + into - time.called).as_micros();
        let Some((samples_us, step_us)) = self.step(position, time, rate) else {
            self.reset();
            (self.last, self.known_latency_us) = (Some((position, time)), [latency_us; 2]);
            return None;
        };
        self.last = Some((position, time));
        let by_rate_us = (samples_us * i64::from(self.slope_us)) >> WINDOW_US_BITS;
        self.late_us = self.late_us.saturating_add(step_us - by_rate_us as i32);
        self.since_least_us += samples_us;
        if self.late_us < self.least_us {
            (self.least_us, self.since_least_us) = (self.late_us, 0);
        }
        let [_, largest] = &mut self.step_us;
        *largest = step_us.max(*largest);
        self.latency_us = self.latency_us.max(latency_us);
        self.window_us += samples_us;
        if self.window_us < 1 << WINDOW_US_BITS {
            return None;
        }
        self.finish_window()
    }

    /// Returns the length of the samples since the last call, and by how much longer it took, in microseconds.
    fn step(&self, position: u64, time: PeriodTime, rate: SampleRate) -> Option<(i64, i32)> {
        let (last_position, last) = self.last?;
        let samples = Duration::of_sample_frames(position.checked_sub(last_position)?, rate);
        let passed = time.called - last.called;
        if passed.abs().as_micros().max(samples.as_micros()) > LONGEST_PAUSE_US {
            return None;
        }
        Some((samples.as_micros(), (passed - samples).as_micros() as i32))
    }

    #[inline(never)]
    fn finish_window(&mut self) -> Option<Duration> {
        let [older_latency_us, newer_latency_us] = self.known_latency_us;
        let latency_before_us = older_latency_us.max(newer_latency_us);
        let growth_us = self.least_us - self.pending_us;
        // Calls that come earlier because the device has more samples say nothing about its rate.
        let is_early = growth_us <= -LEAST_US
            && self.latency_us.saturating_sub(self.last_latency_us) >= i64::from(LEAST_US);
        self.last_latency_us = self.latency_us;
        if let Some(oldest) = self.growth_us.get_mut(usize::from(self.windows) % WINDOWS) {
            *oldest = self.slope_us + if is_early { 0 } else { growth_us };
        }
        let slope_us = self.new_slope_us();
        let steeper_us = i64::from(slope_us - self.slope_us);
        self.slope_us = slope_us;
        self.late_us -= ((self.since_least_us * steeper_us) >> WINDOW_US_BITS) as i32;
        let is_learned = usize::from(self.windows) >= WINDOWS;
        self.windows =
            if usize::from(self.windows) + 1 == 2 * WINDOWS { WINDOWS as u8 } else { self.windows + 1 };
        let (before_us, late_us) = (self.pending_us, self.least_us);
        // Latency that shrank by as much as the calls are late: the device had samples left.
        let without_supply_us =
            i64::from(late_us).saturating_add(self.latency_us.saturating_sub(latency_before_us));
        let lost_us = i64::from(late_us.min(before_us)).min(without_supply_us) as i32;
        let [step_before_us, step_now_us] = self.step_us;
        let has_step = step_before_us.max(step_now_us) >= LEAST_STEP_US;
        let is_stall = is_learned && has_step && lost_us >= LEAST_US;
        let mut level_us = 0;
        if is_stall {
            level_us = lost_us;
        } else if late_us < 0 || before_us >= LEAST_US && late_us >= LEAST_US {
            // Earlier than ever counts at once. What stays late without being a stall becomes the level too.
            level_us = late_us;
        } else if late_us < LEAST_US {
            level_us = late_us / FORGETTING;
        }
        self.pending_us = late_us - level_us;
        self.late_us -= level_us;
        let is_late = self.pending_us >= LEAST_US;
        if !is_late {
            self.known_latency_us = [newer_latency_us, self.latency_us];
        }
        self.step_us = [if is_late { step_before_us.max(step_now_us) } else { step_now_us }, 0];
        (self.least_us, self.window_us, self.latency_us) = (i32::MAX, 0, i64::MIN);
        is_stall.then_some(Duration::from_micros(i64::from(lost_us)))
    }

    fn new_slope_us(&self) -> i32 {
        let mut sorted = self.growth_us;
        sorted.sort_unstable();
        sorted.get(QUARTILE).map_or(0, |&growth_us| growth_us.clamp(-LARGEST_GROWTH_US, LARGEST_GROWTH_US))
    }
}

/// Worker side: reports the stalls that an interrupt half counted to the application.
#[derive(Debug)]
pub(crate) struct StallReporter<'a> {
    direction: Direction,
    /// Sample frames that were lost in all stalls.
    counter: &'a Counter,
    reported: u32,
}

impl<'a> StallReporter<'a> {
    pub(crate) const fn new(direction: Direction, counter: &'a Counter) -> Self {
        Self { direction, counter, reported: 0 }
    }

    /// Sends an event if there was a stall since the last call.
    pub(crate) fn poll(&mut self, events: &mut EventSender<'_>) {
        let counted = self.counter.get();
        let sample_frames = counted.wrapping_sub(self.reported);
        if sample_frames > 0 {
            self.reported = counted;
            events.send(SessionEvent::DeviceStalled { direction: self.direction, sample_frames });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Instant;

    /// Device with a clock error that is called in groups of periods.
    struct Device {
        direction: Direction,
        ppm: f64,
        period: u64,
        burst: u64,
        /// Begin and length of each stall.
        stalls_ms: Vec<(f64, f64)>,
    }

    impl Device {
        /// Returns the stalls that are found, in milliseconds. `latency_ms` is the latency that the device reports at each
        /// time, and `late_ms` by how much its calls are late then.
        fn run(&self, latency_ms: impl Fn(f64) -> f64, late_ms: impl Fn(f64) -> f64) -> Vec<f64> {
            let rate = SampleRate::new(48_000).unwrap();
            let mut detector = StallDetector::new(self.direction);
            let (mut position, mut stood_ms, mut told) = (0, 0.0, Vec::new());
            let mut stalls = self.stalls_ms.iter().peekable();
            loop {
                let group = self.period * self.burst;
                let due = match self.direction {
                    Direction::Capture => (position / group + 1) * group,
                    Direction::Playback => (position / group + 1) * group - self.period,
                };
                let due_ms = due as f64 / 48.0 / (1.0 + self.ppm * 1e-6) + stood_ms;
                if due_ms > 16_000.0 {
                    return told;
                }
                if let Some((_, span_ms)) = stalls.next_if(|(at_ms, _)| due_ms >= *at_ms) {
                    stood_ms += span_ms;
                    continue;
                }
                let called = Instant::from_nanos(((due_ms + late_ms(due_ms)) * 1e6) as i64);
                let latency = Duration::from_micros((latency_ms(due_ms) * 1e3) as i64);
                let converter = match self.direction {
                    Direction::Capture => called - latency - Duration::of_sample_frames(self.period, rate),
                    Direction::Playback => called + latency,
                };
                let time = PeriodTime { position, converter, called };
                told.extend(
                    detector.observe(time, self.period as usize, rate).map(|span| span.as_millis_f64()),
                );
                position += self.period;
            }
        }
    }

    fn devices(stalls_ms: &[(f64, f64)], check: impl Fn(&Device, &str)) {
        for direction in [Direction::Capture, Direction::Playback] {
            for ppm in [0.0, 200.0, -20_000.0, 20_000.0] {
                for (period, burst) in [(480, 1), (960, 1), (32, 1), (480, 10)] {
                    let device = Device { direction, ppm, period, burst, stalls_ms: stalls_ms.to_vec() };
                    check(&device, &format!("{direction:?}, {ppm} ppm, {burst} periods of {period}"));
                }
            }
        }
    }

    #[test]
    fn stalls_are_told_with_their_length_at_any_rate() {
        devices(&[(6_200.0, 198.0), (11_700.0, 12.0)], |device, text| {
            let told = device.run(|_| 65.0, |_| 0.0);
            let [long_ms, short_ms] = told[..] else { panic!("{text}: {told:?}") };
            assert!((long_ms - 198.0).abs() < 2.5 && (short_ms - 12.0).abs() < 2.5, "{text}: {told:?}");
        });
    }

    #[test]
    fn no_stall_is_told_of_a_device_that_catches_up() {
        devices(&[], |device, text| {
            let pause = |at_ms: f64| (8_000.0..8_400.0).contains(&at_ms).then_some(8_400.0 - at_ms);
            assert_eq!(device.run(|_| 20.0, |at_ms| pause(at_ms).unwrap_or(0.0)), [], "{text}");
        });
    }

    #[test]
    fn late_calls_that_use_up_the_latency_are_no_stall() {
        devices(&[], |device, text| {
            let late_ms = |at_ms: f64| if (7_000.0..10_000.0).contains(&at_ms) { 8.0 } else { 0.0 };
            let sign = if device.direction == Direction::Playback { -1.0 } else { 1.0 };
            let told = device.run(|at_ms| 20.0 + sign * late_ms(at_ms), late_ms);
            assert_eq!(told, [], "{text}");
        });
    }

    #[test]
    fn stalls_every_second_are_told_nearly_in_full() {
        let stalls_ms: Vec<_> = (5..15).map(|k| (f64::from(k) * 1_000.0, 40.0)).collect();
        devices(&stalls_ms, |device, text| {
            let sum_ms: f64 = device.run(|_| 30.0, |_| 0.0).iter().sum();
            assert!((360.0..=410.0).contains(&sum_ms), "{text}: {sum_ms} of 400 ms");
        });
    }

    #[test]
    fn a_rate_that_changes_is_no_stall() {
        let device =
            Device { direction: Direction::Playback, ppm: 0.0, period: 480, burst: 1, stalls_ms: Vec::new() };
        let late_ms = |at_ms: f64| (at_ms - 7_000.0).max(0.0) * 0.02;
        assert_eq!(device.run(|_| 30.0, late_ms), []);
    }
}
