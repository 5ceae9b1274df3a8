//! Interrupt side: frames from the playback ring out in device periods of any length, and exactly
//! what was written into the reference ring.

use crate::capture::check_period;
use crate::error::ConfigError;
use crate::format::{ChannelMap, Format, SampleRate};
use crate::frame::{Frame, Stamp};
#[cfg(feature = "journal")]
use crate::journal::JournalWriter;
use crate::limits::{MAX_DEVICE_CHANNELS, MAX_FOREIGN_PER_PERIOD, MAX_REFERENCE_WAIT};
use crate::playback::plan::{Plan, SharedPlan};
use crate::position::{Continuity, PositionTracker};
use crate::ring::{FrameConsumer, FrameProducer};
use crate::sample::DeviceSample;
use crate::scribe::Scribe;
use crate::stats::OutletCounters;
use crate::time::{Duration, Instant, PeriodTime};

/// How frames become a playback device's periods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct OutletConfig {
    /// The device's rate; the playback worker makes frames of it.
    pub rate: SampleRate,
    /// Which frame channel each device channel plays.
    pub map: ChannelMap,
    /// The longest period the device will ask for, in sample frames.
    pub max_period_sample_frames: u32,
    /// How long the worker may be late, in sample frames, before silence is heard; it sets the
    /// ring's target fill together with the period, and so the latency.
    pub worker_slack_sample_frames: u32,
    /// The device's latency as far as it is known before it runs; the reference history must reach
    /// across it.
    pub latency: Duration,
    /// Which clock drives the device; equal numbers other than 0 in both directions say that it is
    /// one clock, so that the echo reference is a bit-exact copy.
    pub clock_domain: u32,
}

/// The interrupt half of playback.
///
/// A host configures it while no stream runs, then calls [`on_period`](Self::on_period) from the
/// audio callback and nothing else.
#[derive(Debug)]
pub struct Outlet<'a, const CAP: usize, const SLOTS: usize> {
    ring: FrameConsumer<'a, CAP, SLOTS>,
    reference: FrameProducer<'a, CAP, SLOTS>,
    current: &'a mut Frame<CAP, SLOTS>,
    counters: &'a OutletCounters,
    plan: &'a SharedPlan,
    history: Duration,
    config: Option<(OutletConfig, Format)>,
    tracker: PositionTracker,
    /// Stream position of the next sample frame to write.
    position: u64,
    /// Sample frames of `current` that were written.
    written: usize,
    /// Sample frames missing from the reference before its next frame.
    lost: u32,
    /// Written, never played, and not yet told to the reference.
    unplayed: u32,
    /// Silence written and not yet told to the reference.
    silence: Stamp<SLOTS>,
    /// Whether anything was played, so that silence from here on is an underrun.
    primed: bool,
    starving: bool,
    /// Whether times start anew with the next frame.
    fresh: bool,
    scribe: Scribe<'a>,
}

impl<'a, const CAP: usize, const SLOTS: usize> Outlet<'a, CAP, SLOTS> {
    pub(crate) fn new(
        ring: FrameConsumer<'a, CAP, SLOTS>,
        reference: FrameProducer<'a, CAP, SLOTS>,
        current: &'a mut Frame<CAP, SLOTS>,
        counters: &'a OutletCounters,
        plan: &'a SharedPlan,
        history: Duration,
    ) -> Self {
        Self {
            ring,
            reference,
            current,
            counters,
            plan,
            history,
            config: None,
            tracker: PositionTracker::new(),
            position: 0,
            written: 0,
            lost: 0,
            unplayed: 0,
            silence: Stamp::ZERO,
            primed: false,
            starving: false,
            fresh: true,
            scribe: Scribe::default(),
        }
    }

    /// Writes down from now on what it takes and gives. Before it is first configured; costs a copy of
    /// each frame.
    #[cfg(feature = "journal")]
    pub fn write_journal(&mut self, journal: JournalWriter<'a>) {
        self.scribe.begin(journal);
    }

    /// Takes frames from another ring than the session's from now on and puts what it played into
    /// another, for a replay.
    #[cfg(feature = "journal")]
    pub fn replay_between(
        &mut self,
        ring: FrameConsumer<'a, CAP, SLOTS>,
        reference: FrameProducer<'a, CAP, SLOTS>,
    ) {
        self.ring = ring;
        self.reference = reference;
        self.make_room(0);
    }

    /// For a replay: of the reference frames that it completes from now on, the ring takes those whose bit is
    /// set, the first one's lowest.
    #[cfg(feature = "journal")]
    pub fn make_room(&mut self, accepted: u64) {
        self.scribe.make_room(accepted);
    }

    /// Puts a copy of the current frame into the reference ring, if there is room.
    fn push_reference(&mut self) -> bool {
        let pushed = self.scribe.admits() && self.reference.push_copy(self.current);
        self.scribe.pushed(pushed);
        pushed
    }

    /// Makes ready for a stream and tells the playback worker what to make. Control side, while no
    /// stream runs; allocates nothing. Frames of an earlier format are dropped when they come.
    ///
    /// # Errors
    /// Names a format that does not fit a frame, a rate that is not the terminal's where the feature
    /// `rate-conversion` is off, a period of no length, one that is longer than the
    /// playback or reference ring, and a latency that the reference history does not reach across.
    /// The outlet is then as it was.
    pub fn configure(&mut self, config: OutletConfig) -> Result<(), ConfigError> {
        let channels = u32::try_from(config.map.from_channels()).unwrap_or(u32::MAX);
        let format = Format::with_rate(config.rate, channels)?.fitting(CAP)?;
        self.plan.check_rate(config.rate)?;
        let ring_frames = self.ring.capacity().min(self.reference.capacity());
        check_period(config.max_period_sample_frames, format, ring_frames)?;
        check_latency(config.latency, self.history)?;
        self.end();
        let wanted = config.max_period_sample_frames.saturating_add(config.worker_slack_sample_frames);
        let frames = wanted.div_ceil(format.sample_frames().max(1) as u32).max(1) as usize;
        let target_frames = u8::try_from(frames.min(self.ring.capacity())).unwrap_or(u8::MAX);
        self.config = Some((config, format));
        self.tracker = PositionTracker::new();
        self.fresh = true;
        self.plan.set(Plan { format, target_frames }, config.clock_domain);
        self.scribe.playback_configured(&config);
        Ok(())
    }

    /// Ends the stream: the reference hears what was written of the last frame, the worker stops
    /// filling the ring. Control side, after the last period.
    pub fn stop(&mut self) {
        self.end();
        self.scribe.stopped();
    }

    fn end(&mut self) {
        self.plan.clear();
        self.tell_silence();
        self.cut_current();
        self.config = None;
        self.primed = false;
        self.starving = false;
    }

    /// The format of the frames it plays, once configured.
    #[must_use]
    pub fn format(&self) -> Option<Format> {
        self.config.map(|(_, format)| format)
    }

    /// Tells that the last `sample_frames` written were never played, such as what a device still
    /// held when it was stopped or lost; no track counts them as heard. A frame that was begun is
    /// given up. Control side, or the interrupt itself, before the outlet is configured anew.
    pub fn discarded(&mut self, sample_frames: u32) {
        // What is told back must have been told before.
        self.tell_silence();
        self.cut_current();
        self.counters.discarded_sample_frames.add(sample_frames);
        self.unplayed = self.unplayed.saturating_add(sample_frames);
        // A frame of no length: it only tells.
        self.current.begin(self.current.format());
        self.current.stamp = Stamp { position: self.position, unplayed: self.unplayed, ..Stamp::ZERO };
        if self.push_reference() {
            self.unplayed = 0;
        }
        self.scribe.discarded(sample_frames);
    }

    /// Fills one period, interleaved, of any length; returns how many reference frames it
    /// completed, so that a host knows whether to wake the worker.
    ///
    /// Interrupt side: wait-free, no allocation, no system call. Writes silence first, then what
    /// the playback ring holds; what it wrote goes to the reference ring. Costs a conversion and
    /// two stores a sample plus two frame copies every 10 ms. Before
    /// [`configure`](Self::configure) it writes silence only.
    pub fn on_period<S: DeviceSample>(&mut self, out: &mut [S], time: PeriodTime) -> u32 {
        out.fill(S::SILENCE);
        let Some((config, format)) = self.config else {
            return 0;
        };
        let device_channels = config.map.to_channels().max(1);
        let sample_frames = out.len() / device_channels;
        let ragged = out.len() % device_channels;
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
            Continuity::Gap(gap) => self.skip(gap),
        }
        let mut rest = &mut *out;
        let mut done = 0;
        let mut foreign = 0;
        let mut frames = 0;
        while done < sample_frames {
            let at = Place { time, done, rate: config.rate };
            if self.written == 0 && !self.next_frame(format, at, &mut foreign) {
                frames += self.play_silence(format, at, sample_frames - done);
                break;
            }
            let left = self.current.sample_frames() - self.written;
            let taken = left.min(sample_frames - done);
            let (now, later) =
                rest.split_at_mut_checked(taken * device_channels).unwrap_or((&mut [], &mut []));
            rest = later;
            self.spread(now, &config, format);
            done += taken;
            self.written += taken;
            self.position += taken as u64;
            if self.written == self.current.sample_frames() {
                frames += self.finish_frame();
            }
        }
        self.scribe.played(out, time);
        frames
    }

    /// Takes the next frame of the right format from the ring, if there is one.
    fn next_frame(&mut self, format: Format, at: Place, foreign: &mut usize) -> bool {
        while *foreign < MAX_FOREIGN_PER_PERIOD {
            let Some(frame) = self.ring.peek() else {
                return false;
            };
            self.scribe.took(frame);
            if frame.format() != format || frame.sample_frames() == 0 {
                *foreign += 1;
                self.counters.foreign_frames.add(1);
                self.ring.discard();
                continue;
            }
            self.tell_silence();
            if let Some(frame) = self.ring.peek() {
                self.current.clone_from(frame);
            }
            self.ring.discard();
            self.stamp_current(at);
            self.counters.frames.add(1);
            self.primed = true;
            self.starving = false;
            return true;
        }
        false
    }

    fn stamp_current(&mut self, at: Place) {
        let stamp = &mut self.current.stamp;
        stamp.position = self.position;
        stamp.time = at.time();
        stamp.latency = at.time.converter - at.time.called;
        stamp.lost = self.lost;
        stamp.silence = 0;
        stamp.fresh = core::mem::take(&mut self.fresh);
        self.lost = 0;
    }

    /// The period's rest stays silent; the reference hears of it in runs of at most 10 ms.
    fn play_silence(&mut self, format: Format, at: Place, sample_frames: usize) -> u32 {
        if self.primed {
            if !self.starving {
                self.counters.underruns.add(1);
                self.starving = true;
            }
            self.counters.underrun_sample_frames.add(sample_frames as u32);
        }
        let mut frames = 0;
        let mut done = 0;
        while done < sample_frames {
            if self.silence.silence == 0 {
                let start = Place { done: at.done + done, ..at };
                self.silence.position = self.position;
                self.silence.time = start.time();
                self.silence.latency = at.time.converter - at.time.called;
                self.silence.lost = self.lost;
                self.silence.fresh = core::mem::take(&mut self.fresh);
                self.lost = 0;
            }
            let room = format.sample_frames() - usize::from(self.silence.silence);
            let taken = room.min(sample_frames - done);
            self.silence.silence += taken as u16;
            self.position += taken as u64;
            done += taken;
            if usize::from(self.silence.silence) == format.sample_frames() {
                frames += self.tell_silence();
            }
        }
        frames
    }

    /// Hands the run of silence so far to the reference.
    #[inline(never)]
    fn tell_silence(&mut self) -> u32 {
        let stamp = self.silence;
        if stamp.silence == 0 {
            return 0;
        }
        self.silence = Stamp::ZERO;
        let Some((_, format)) = self.config else {
            return 0;
        };
        // No frame is begun while silence is written.
        self.current.clear(format, usize::from(stamp.silence));
        self.current.stamp = stamp;
        self.finish_frame()
    }

    /// Hands the current frame to the reference; what that does not take is said to be lost with the next one.
    #[inline(never)]
    fn finish_frame(&mut self) -> u32 {
        self.written = 0;
        self.current.stamp.unplayed = self.unplayed;
        let told = self.push_reference();
        if told {
            self.unplayed = 0;
        } else {
            let Frame { stamp, .. } = &*self.current;
            self.counters.reference_overrun_frames.add(1);
            self.lost =
                self.lost.saturating_add(stamp.lost).saturating_add(self.current.sample_frames() as u32);
            self.fresh |= stamp.fresh;
        }
        u32::from(told)
    }

    /// The device went on without us: what it played then is unknown and counts as lost.
    #[cold]
    fn skip(&mut self, gap: u32) {
        self.counters.gaps.add(1);
        self.counters.gap_sample_frames.add(gap);
        self.tell_silence();
        self.cut_current();
        self.position += u64::from(gap);
        self.lost = self.lost.saturating_add(gap);
        self.fresh = true;
    }

    /// Gives up the rest of a frame that was begun; the reference hears of what was played of it.
    #[cold]
    #[inline(never)]
    fn cut_current(&mut self) {
        if self.written > 0 {
            let rest = self.current.sample_frames() - self.written;
            self.counters.discarded_sample_frames.add(rest as u32);
            self.current.truncate(self.written);
            self.finish_frame();
        }
    }

    /// Fills `out` from the current frame in the device's format and channels.
    fn spread<S: DeviceSample>(&self, out: &mut [S], config: &OutletConfig, format: Format) {
        let channels = format.channels().max(1);
        let from = self.current.samples().get(self.written * channels..).unwrap_or(&[]);
        if config.map.is_identity() {
            return convert_each(from, out);
        }
        let mut device = [0i16; MAX_DEVICE_CHANNELS as usize];
        let device_channels = config.map.to_channels().max(1);
        let together = (device.len() / device_channels).max(1);
        let blocks = out.chunks_mut(together * device_channels);
        for (samples, pcm) in blocks.zip(from.chunks(together * channels)) {
            config.map.apply(pcm, device.get_mut(..samples.len()).unwrap_or(&mut []));
            convert_each(&device, samples);
        }
    }
}

/// Converts as many samples as both have.
#[inline(never)]
fn convert_each<S: DeviceSample>(from: &[i16], to: &mut [S]) {
    for (sample, &pcm) in to.iter_mut().zip(from) {
        *sample = S::from_pcm(pcm);
    }
}

/// The history must hold what is under way, and what a late capture frame may still ask for.
fn check_latency(latency: Duration, history: Duration) -> Result<(), ConfigError> {
    let longest = (history - MAX_REFERENCE_WAIT).max(Duration::ZERO);
    if latency > longest {
        return Err(ConfigError::LatencyTooLong {
            latency_ms: latency.as_micros() / 1_000,
            longest_ms: longest.as_micros() / 1_000,
        });
    }
    Ok(())
}

/// A place within a period.
#[derive(Clone, Copy)]
struct Place {
    time: PeriodTime,
    done: usize,
    rate: SampleRate,
}

impl Place {
    fn time(&self) -> Instant {
        self.time.converter + Duration::of_sample_frames(self.done as u64, self.rate)
    }
}

#[cfg(test)]
#[path = "outlet_tests.rs"]
mod tests;
