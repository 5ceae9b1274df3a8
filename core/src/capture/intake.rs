//! Interrupt side: cuts device periods of any length into 10 ms frames for the capture ring.

use crate::audio_io::Direction;
use crate::devices::{self, ClockDomains};
use crate::error::ConfigError;
use crate::format::{ChannelMap, Format, SampleRate};
use crate::frame::Frame;
use crate::limits::MAPPED_SAMPLES;
use crate::position::{Continuity, PositionTracker};
use crate::recorder::HalfRecorder;
use crate::ring::FrameProducer;
use crate::sample::{DeviceSample, Gain};
use crate::stall::StallDetector;
use crate::stats::IntakeCounters;
use crate::time::{Duration, Instant, PeriodTime};

/// Configuration of an [`Intake`]: how a capture device's periods become frames.
///
/// ```
/// use handsfree_core::capture::IntakeConfig;
/// use handsfree_core::{ChannelMap, SampleRate};
///
/// // A stereo codec that shares its clock with the loudspeaker: both microphones are averaged into one channel.
/// let config = IntakeConfig {
///     map: ChannelMap::natural(2, 1)?,
///     clock_domain: 1,
///     ..IntakeConfig::new(SampleRate::new(16_000)?)
/// };
/// assert_eq!(config.max_period_sample_frames, 160);
/// # Ok::<(), handsfree_core::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct IntakeConfig {
    /// Sample rate of the device; frames in the ring have the same rate.
    pub rate: SampleRate,
    /// Channel map from the device's channels to the frame's.
    pub map: ChannelMap,
    /// Gain applied before the conversion to 16 bits, for quiet microphones with more bits.
    pub gain: Gain,
    /// Longest period that the device will deliver, in sample frames.
    pub max_period_sample_frames: u32,
    /// Number of the clock that drives the device, 0 for a clock of its own. Equal numbers other than 0 in
    /// both directions state that one clock drives both, so that the echo reference is a bit-exact copy.
    pub clock_domain: u32,
}

impl IntakeConfig {
    /// Returns the configuration of a mono device at `rate`: periods of at most 10 ms, unity gain, and a
    /// clock of its own (clock domain 0).
    #[must_use]
    pub const fn new(rate: SampleRate) -> Self {
        Self {
            rate,
            map: ChannelMap::MONO,
            gain: Gain::UNITY,
            max_period_sample_frames: rate.sample_frames() as u32,
            clock_domain: 0,
        }
    }
}

/// The interrupt half of capture.
///
/// A host configures it while no stream runs, then calls only [`on_period`](Self::on_period) from the audio
/// callback.
#[derive(Debug)]
pub struct Intake<'a, const CAP: usize> {
    pub(crate) ring: FrameProducer<'a, CAP>,
    pending: &'a mut Frame<CAP>,
    counters: &'a IntakeCounters,
    clocks: &'a ClockDomains,
    terminal: SampleRate,
    config: Option<(IntakeConfig, Format)>,
    tracker: PositionTracker,
    stall_detector: StallDetector,
    /// Stream position of the next sample frame.
    position: u64,
    /// Sample frames lost since a frame was last pushed or begun.
    lost: u32,
    /// Whether the timeline restarts with the next frame.
    fresh: bool,
    pub(crate) recorder: HalfRecorder<'a>,
}

impl<'a, const CAP: usize> Intake<'a, CAP> {
    pub(crate) fn new(
        ring: FrameProducer<'a, CAP>,
        pending: &'a mut Frame<CAP>,
        counters: &'a IntakeCounters,
        clocks: &'a ClockDomains,
        terminal: SampleRate,
    ) -> Self {
        Self {
            ring,
            pending,
            counters,
            clocks,
            terminal,
            config: None,
            tracker: PositionTracker::new(),
            stall_detector: StallDetector::new(Direction::Capture),
            position: 0,
            lost: 0,
            fresh: true,
            recorder: HalfRecorder::default(),
        }
    }

    /// Prepares for a stream. Control side, while no stream runs; allocates nothing.
    ///
    /// Samples of an earlier stream that did not fill a frame count as lost. The stream position continues
    /// where it was.
    ///
    /// # Errors
    /// Names a format that does not fit a frame, a rate other than the session's if the feature
    /// `rate-conversion` is off, an empty period, and a period longer than the capture ring. The intake is
    /// unchanged then.
    pub fn configure(&mut self, config: IntakeConfig) -> Result<(), ConfigError> {
        let channels = u32::try_from(config.map.to_channels()).unwrap_or(u32::MAX);
        let format = Format::with_rate(config.rate, channels)?.fitting(CAP)?;
        devices::check_rate(config.rate, self.terminal)?;
        devices::check_period(config.max_period_sample_frames, format, self.ring.capacity())?;
        self.lost = self.lost.saturating_add(self.pending.sample_frames() as u32);
        self.pending.begin(format);
        self.config = Some((config, format));
        self.tracker = PositionTracker::new();
        self.stall_detector.reset();
        self.fresh = true;
        self.clocks.set_capture(config.clock_domain);
        self.recorder.record_capture_config(&config);
        Ok(())
    }

    /// Returns the format of the frames it makes, once configured.
    #[must_use]
    pub fn format(&self) -> Option<Format> {
        self.config.map(|(_, format)| format)
    }

    /// Takes one period, interleaved, of any length, and returns how many frames it completed, so that a host
    /// knows whether to wake the worker.
    ///
    /// Interrupt side: wait-free, no allocation, no system call. Costs a conversion and a store a sample plus
    /// one frame copy every 10 ms. Before [`configure`](Self::configure) it does nothing. If the worker is
    /// late, the newest frame is dropped and counted, and the stamp of the next one states the loss.
    pub fn on_period<S: DeviceSample>(&mut self, samples: &[S], time: PeriodTime) -> u32 {
        let Some((config, format)) = self.config else {
            return 0;
        };
        let device_channels = config.map.from_channels().max(1);
        let sample_frames = samples.len() / device_channels;
        let ragged = samples.len() % device_channels;
        self.counters.periods.add(1);
        if ragged > 0 {
            self.counters.ragged_samples.add(ragged as u32);
        }
        match self.tracker.advance(time.position, sample_frames, config.rate) {
            Continuity::Follows => {}
            Continuity::Fault => {
                self.counters.position_faults.add(1);
                self.fresh = true;
                self.stall_detector.reset();
            }
            Continuity::Gap(gap) => self.bridge_gap(gap, format, time),
        }
        if let Some(span) = self.stall_detector.observe(time, sample_frames, config.rate) {
            self.counters.stalls.add(1);
            self.counters.stalled_sample_frames.add(span.in_sample_frames(config.rate));
        }
        let end = time.converter + Duration::of_sample_frames(sample_frames as u64, config.rate);
        let latency = time.called - end;
        let mut rest = samples;
        let mut done = 0;
        let mut frames = 0;
        while done < sample_frames {
            if self.pending.sample_frames() == 0 {
                let into = Duration::of_sample_frames(done as u64, config.rate);
                self.begin(format, time.converter + into);
            }
            let taken = self.pending.missing().min(sample_frames - done);
            let (now, later) = rest.split_at_checked(taken * device_channels).unwrap_or((rest, &[]));
            rest = later;
            let scrubbed = convert(now, self.pending.extend(taken), &config);
            if scrubbed > 0 {
                self.counters.scrubbed_samples.add(scrubbed);
            }
            done += taken;
            self.position += taken as u64;
            if self.pending.missing() == 0 {
                frames += self.complete(format, latency);
            }
        }
        self.recorder.record_capture_period(samples, time);
        frames
    }

    fn begin(&mut self, format: Format, time: Instant) {
        self.pending.begin(format);
        self.pending.stamp.position = self.position;
        self.pending.stamp.time = time;
        self.pending.stamp.lost = self.lost;
        self.pending.stamp.fresh = core::mem::take(&mut self.fresh);
        self.lost = 0;
    }

    #[inline(never)]
    fn complete(&mut self, format: Format, latency: Duration) -> u32 {
        self.pending.stamp.latency = latency;
        let pushed = self.recorder.may_push() && self.ring.push_copy(self.pending);
        self.recorder.record_push(pushed);
        if pushed {
            self.counters.frames.add(1);
        } else {
            self.counters.overrun_frames.add(1);
            self.lost = self.pending.stamp.lost.saturating_add(self.pending.sample_frames() as u32);
            self.fresh |= self.pending.stamp.fresh;
        }
        self.pending.begin(format);
        u32::from(pushed)
    }

    /// Keeps the timeline across lost samples: fills a frame that was begun with silence, and states the rest
    /// of the gap in the next frame's stamp.
    #[cold]
    fn bridge_gap(&mut self, gap: u32, format: Format, time: PeriodTime) {
        self.counters.gaps.add(1);
        self.counters.gap_sample_frames.add(gap);
        self.stall_detector.reset();
        self.position += u64::from(gap);
        let mut left = gap;
        if self.pending.sample_frames() > 0 {
            left -= self.pending.extend_silence(gap as usize) as u32;
            if self.pending.missing() == 0 {
                self.complete(format, time.called - time.converter);
            }
        }
        self.lost = self.lost.saturating_add(left);
        self.fresh = true;
    }
}

/// Converts samples without a channel map and returns how many were scrubbed.
#[inline(never)]
fn convert_each<S: DeviceSample>(from: &[S], to: &mut [i16], gain: Gain) -> u32 {
    let mut scrubbed = 0;
    for (out, sample) in to.iter_mut().zip(from) {
        let (sample, flawed) = sample.to_pcm(gain);
        scrubbed += u32::from(flawed);
        *out = sample;
    }
    scrubbed
}

/// Converts and maps whole sample frames and returns how many samples were scrubbed.
fn convert<S: DeviceSample>(from: &[S], to: &mut [i16], config: &IntakeConfig) -> u32 {
    if config.map.is_identity() {
        return convert_each(from, to, config.gain);
    }
    convert_and_map(from, to, config)
}

// Not inlined, so that a device whose channels need no map does not need this stack.
#[inline(never)]
fn convert_and_map<S: DeviceSample>(from: &[S], to: &mut [i16], config: &IntakeConfig) -> u32 {
    let mut scrubbed = 0;
    let mut device = [0; MAPPED_SAMPLES];
    let device_channels = config.map.from_channels().max(1);
    let block_sample_frames = (device.len() / device_channels).max(1);
    let blocks = to.chunks_mut(block_sample_frames * config.map.to_channels().max(1));
    for (samples, out) in from.chunks(block_sample_frames * device_channels).zip(blocks) {
        scrubbed += convert_each(samples, &mut device, config.gain);
        config.map.apply(device.get(..samples.len()).unwrap_or(&device), out);
    }
    scrubbed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::{FrameConsumer, FrameRing};

    const RATE_HZ: u32 = 8_000;

    /// Calls `test` with an intake whose ring holds three frames of 80 samples, and with the ring's other end.
    fn with_intake(test: impl FnOnce(&mut Intake<'_, 80>, &mut FrameConsumer<'_, 80>)) {
        let mut ring = FrameRing::<80, 0, 4>::new();
        let (producer, mut frames) = ring.split();
        let (mut pending, counters, clocks) = (Frame::EMPTY, IntakeCounters::new(), ClockDomains::new());
        let rate = SampleRate::new(RATE_HZ).unwrap();
        let mut intake = Intake::new(producer, &mut pending, &counters, &clocks, rate);
        intake.configure(IntakeConfig::new(rate)).unwrap();
        test(&mut intake, &mut frames);
    }

    /// Gives a period whose first sample is at the converter at its position's time, and which arrives
    /// `late_us` after its last one.
    fn give(intake: &mut Intake<'_, 80>, position: u64, sample_frames: usize, late_us: i64) -> u32 {
        let rate = SampleRate::new(RATE_HZ).unwrap();
        let converter = Instant::ORIGIN + Duration::of_sample_frames(position, rate);
        let end = converter + Duration::of_sample_frames(sample_frames as u64, rate);
        let called = end + Duration::from_micros(late_us);
        intake.on_period(&[7i16; 80][..sample_frames], PeriodTime { position, converter, called })
    }

    #[test]
    fn latency_is_the_time_since_the_last_sample() {
        with_intake(|intake, frames| {
            assert_eq!(give(intake, 0, 80, 3_000), 1);
            assert_eq!(frames.pop().unwrap().stamp.latency, Duration::from_micros(3_000));
            // The frame that a gap completes was there 5 ms before the period that shows the gap.
            assert_eq!(give(intake, 80, 40, 0), 0);
            assert_eq!(give(intake, 160, 40, 0), 0);
            assert_eq!(frames.pop().unwrap().stamp.latency, Duration::from_micros(5_000));
        });
    }

    #[test]
    fn a_frame_starts_at_its_own_sample_of_the_period() {
        with_intake(|intake, frames| {
            give(intake, 0, 60, 0);
            give(intake, 60, 60, 0);
            give(intake, 120, 40, 0);
            let rate = SampleRate::new(RATE_HZ).unwrap();
            for position in [0, 80] {
                let stamp = frames.pop().unwrap().stamp;
                assert_eq!((stamp.position, stamp.lost), (position, 0));
                assert_eq!(stamp.time, Instant::ORIGIN + Duration::of_sample_frames(position, rate));
            }
        });
    }

    #[test]
    fn time_restarts_after_a_gap_a_fault_and_a_configuration() {
        with_intake(|intake, frames| {
            let mut next = |intake: &mut Intake<'_, 80>, position| {
                assert_eq!(give(intake, position, 80, 0), 1);
                let stamp = frames.pop().unwrap().stamp;
                (stamp.fresh, stamp.lost)
            };
            assert_eq!(next(intake, 0), (true, 0), "the first frame");
            assert_eq!(next(intake, 80), (false, 0));
            assert_eq!(next(intake, 260), (true, 100), "after a gap of 100");
            assert_eq!(next(intake, 340), (false, 0));
            assert_eq!(next(intake, 0), (true, 0), "after a fault of the position");
            assert_eq!(next(intake, 80), (false, 0));
            intake.configure(IntakeConfig::new(SampleRate::new(RATE_HZ).unwrap())).unwrap();
            assert_eq!(next(intake, 9_000), (true, 0), "after a configuration, whatever the position");
            assert_eq!(next(intake, 9_080), (false, 0));
        });
    }

    #[test]
    fn a_reconfigured_intake_counts_the_begun_frame_as_lost() {
        with_intake(|intake, frames| {
            give(intake, 0, 30, 0);
            intake.configure(IntakeConfig::new(SampleRate::new(RATE_HZ).unwrap())).unwrap();
            give(intake, 0, 80, 0);
            let stamp = frames.pop().unwrap().stamp;
            assert_eq!((stamp.position, stamp.lost, stamp.fresh), (30, 30, true));
        });
    }

    #[test]
    fn a_gap_that_a_begun_frame_hides_is_not_lost_too() {
        with_intake(|intake, frames| {
            give(intake, 0, 50, 0);
            // 30 of the 100 lost sample frames are the silent end of the begun frame.
            assert_eq!(give(intake, 150, 80, 0), 1);
            let (first, second) = (frames.pop().unwrap(), frames.pop().unwrap());
            assert_eq!(first.samples()[50..], [0; 30]);
            assert_eq!((second.stamp.position, second.stamp.lost), (150, 70));
        });
    }

    #[test]
    fn flawed_and_surplus_samples_are_counted() {
        let mut ring = FrameRing::<160, 0, 4>::new();
        let (mut pending, counters, clocks) = (Frame::EMPTY, IntakeCounters::new(), ClockDomains::new());
        let rate = SampleRate::new(RATE_HZ).unwrap();
        let mut intake = Intake::new(ring.split().0, &mut pending, &counters, &clocks, rate);
        let map = ChannelMap::natural(2, 2).unwrap();
        intake.configure(IntakeConfig { map, ..IntakeConfig::new(rate) }).unwrap();
        let time = PeriodTime { position: 0, converter: Instant::ORIGIN, called: Instant::ORIGIN };
        intake.on_period(&[0.5, f32::NAN, f32::NAN, 0.5, 0.5], time);
        assert_eq!((counters.ragged_samples.get(), counters.scrubbed_samples.get()), (1, 2));
    }

    #[test]
    fn frames_without_space_are_stated_by_the_next_one() {
        with_intake(|intake, frames| {
            let completed: u32 = (0..3).map(|k| give(intake, k * 80, 80, 0)).sum();
            assert_eq!(completed, 3);
            // A gap makes the lost frame fresh, and the next one must be fresh in its place.
            assert_eq!(give(intake, 340, 80, 0), 0);
            assert_eq!(give(intake, 420, 80, 0), 0);
            (0..3).for_each(|_| _ = frames.pop());
            assert_eq!(give(intake, 500, 80, 0), 1);
            let stamp = frames.pop().unwrap().stamp;
            assert_eq!((stamp.position, stamp.lost, stamp.fresh), (500, 260, true));
        });
    }
}
