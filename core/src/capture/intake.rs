//! Interrupt side: device periods of any length in, 10 ms frames into the capture ring.

use crate::error::ConfigError;
use crate::format::{ChannelMap, Format, SampleRate};
use crate::frame::Frame;
#[cfg(feature = "journal")]
use crate::journal::JournalWriter;
use crate::limits::MAX_DEVICE_CHANNELS;
use crate::playback::SharedPlan;
use crate::position::{Continuity, PositionTracker};
use crate::ring::FrameProducer;
use crate::sample::{DeviceSample, Gain};
use crate::scribe::Scribe;
use crate::stats::IntakeCounters;
use crate::time::{Duration, Instant, PeriodTime};

/// How a capture device's periods become frames.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct IntakeConfig {
    /// The device's rate; frames in the ring have it too.
    pub rate: SampleRate,
    /// Which device channels become the frame's channels, or their mean.
    pub map: ChannelMap,
    /// Applied before the cut to 16 bits, for quiet microphones with more bits.
    pub gain: Gain,
    /// The longest period the device will deliver, in sample frames.
    pub max_period_sample_frames: u32,
    /// Which clock drives the device; equal numbers other than 0 in both directions say that it is
    /// one clock, so that the echo reference is a bit-exact copy.
    pub clock_domain: u32,
}

/// The interrupt half of capture.
///
/// A host configures it while no stream runs, then calls [`on_period`](Self::on_period) from the
/// audio callback and nothing else.
#[derive(Debug)]
pub struct Intake<'a, const CAP: usize> {
    ring: FrameProducer<'a, CAP>,
    pending: &'a mut Frame<CAP>,
    counters: &'a IntakeCounters,
    plan: &'a SharedPlan,
    config: Option<(IntakeConfig, Format)>,
    tracker: PositionTracker,
    /// Stream position of the next sample frame to come.
    position: u64,
    /// Sample frames lost since the last frame that was pushed or begun.
    lost: u32,
    /// Whether times start anew with the next frame.
    fresh: bool,
    scribe: Scribe<'a>,
}

impl<'a, const CAP: usize> Intake<'a, CAP> {
    pub(crate) fn new(
        ring: FrameProducer<'a, CAP>,
        pending: &'a mut Frame<CAP>,
        counters: &'a IntakeCounters,
        plan: &'a SharedPlan,
    ) -> Self {
        Self {
            ring,
            pending,
            counters,
            plan,
            config: None,
            tracker: PositionTracker::new(),
            position: 0,
            lost: 0,
            fresh: true,
            scribe: Scribe::default(),
        }
    }

    /// Writes down from now on what it is given. Before it is first configured; costs a copy of each
    /// period.
    #[cfg(feature = "journal")]
    pub fn write_journal(&mut self, journal: JournalWriter<'a>) {
        self.scribe.begin(journal);
    }

    /// Puts frames into another ring than the session's from now on, for a replay: `ring` must have room
    /// for what [`make_room`](Self::make_room) says.
    #[cfg(feature = "journal")]
    pub fn replay_into(&mut self, ring: FrameProducer<'a, CAP>) {
        self.ring = ring;
        self.make_room(0);
    }

    /// For a replay: of the frames that it completes from now on, the ring takes those whose bit is set, the
    /// first one's lowest.
    #[cfg(feature = "journal")]
    pub fn make_room(&mut self, accepted: u64) {
        self.scribe.make_room(accepted);
    }

    /// Makes ready for a stream. Control side, while no stream runs; allocates nothing.
    ///
    /// Samples of an earlier stream that did not fill a frame count as lost. The stream position
    /// goes on where it was.
    ///
    /// # Errors
    /// Names a format that does not fit a frame, a rate that is not the terminal's where the feature
    /// `rate-conversion` is off, a period of no length, and one that is longer than
    /// the capture ring. The intake is then as it was.
    pub fn configure(&mut self, config: IntakeConfig) -> Result<(), ConfigError> {
        let channels = u32::try_from(config.map.to_channels()).unwrap_or(u32::MAX);
        let format = Format::with_rate(config.rate, channels)?.fitting(CAP)?;
        self.plan.check_rate(config.rate)?;
        check_period(config.max_period_sample_frames, format, self.ring.capacity())?;
        self.lost = self.lost.saturating_add(self.pending.sample_frames() as u32);
        self.pending.begin(format);
        self.config = Some((config, format));
        self.tracker = PositionTracker::new();
        self.fresh = true;
        self.plan.set_capture_domain(config.clock_domain);
        self.scribe.capture_configured(&config);
        Ok(())
    }

    /// The format of the frames it makes, once configured.
    #[must_use]
    pub fn format(&self) -> Option<Format> {
        self.config.map(|(_, format)| format)
    }

    /// Takes one period, interleaved, of any length; returns how many frames it completed, so that
    /// a host knows whether to wake the worker.
    ///
    /// Interrupt side: wait-free, no allocation, no system call. Costs a conversion and a store a
    /// sample plus one frame copy every 10 ms. Before [`configure`](Self::configure) it does
    /// nothing. When the worker is late the newest frame is dropped and counted, and the next one
    /// says what was lost before it.
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
            }
            Continuity::Gap(gap) => self.bridge(gap, format, time),
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
        self.scribe.captured(samples, time);
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
        let pushed = self.scribe.admits() && self.ring.push_copy(self.pending);
        self.scribe.pushed(pushed);
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

    /// Keeps the timeline across lost samples: a frame that was begun is filled up with silence,
    /// the rest of the gap is said in the next frame's stamp.
    #[cold]
    fn bridge(&mut self, gap: u32, format: Format, time: PeriodTime) {
        self.counters.gaps.add(1);
        self.counters.gap_sample_frames.add(gap);
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

/// Converts samples one by one and returns how many were scrubbed.
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

/// Converts whole sample frames and returns how many samples were scrubbed.
fn convert<S: DeviceSample>(from: &[S], to: &mut [i16], config: &IntakeConfig) -> u32 {
    if config.map.is_identity() {
        return convert_each(from, to, config.gain);
    }
    let mut scrubbed = 0;
    let mut device = [0i16; MAX_DEVICE_CHANNELS as usize];
    let device_channels = config.map.from_channels().max(1);
    let together = (device.len() / device_channels).max(1);
    let blocks = to.chunks_mut(together * config.map.to_channels().max(1));
    for (samples, out) in from.chunks(together * device_channels).zip(blocks) {
        scrubbed += convert_each(samples, &mut device, config.gain);
        config.map.apply(device.get(..samples.len()).unwrap_or(&device), out);
    }
    scrubbed
}

/// A ring must hold one period more than the worker may be late by a frame.
pub(crate) fn check_period(
    period_sample_frames: u32,
    format: Format,
    ring_frames: usize,
) -> Result<(), ConfigError> {
    if period_sample_frames == 0 {
        return Err(ConfigError::EmptyPeriod);
    }
    let longest_sample_frames =
        u32::try_from(ring_frames.saturating_sub(1) * format.sample_frames()).unwrap_or(u32::MAX);
    if period_sample_frames > longest_sample_frames {
        return Err(ConfigError::PeriodTooLong { period_sample_frames, longest_sample_frames });
    }
    Ok(())
}
