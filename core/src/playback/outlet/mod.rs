//! Interrupt side: puts frames from the playback ring into device periods of any length, and exactly what was
//! written into the reference ring.

mod config;

use crate::audio_io::Direction;
use crate::devices::{self, DeviceState, PlaybackTarget};
use crate::error::ConfigError;
use crate::format::{ChannelMap, Format, SampleRate};
use crate::frame::{Frame, Stamp};
use crate::limits::{MAPPED_SAMPLES, MAX_FOREIGN_PER_PERIOD};
use crate::position::{Continuity, PositionTracker};
use crate::recorder::HalfRecorder;
use crate::ring::{FrameConsumer, FrameProducer};
use crate::sample::DeviceSample;
use crate::stall::StallDetector;
use crate::stats::OutletCounters;
use crate::time::{Duration, Instant, PeriodTime};

pub use config::OutletConfig;

/// The interrupt half of playback: fills device periods from the playback ring and reports what was played to
/// the reference ring.
///
/// A host calls [`configure`](Self::configure) while no stream runs, then only [`on_period`](Self::on_period)
/// from the audio callback.
#[derive(Debug)]
pub struct Outlet<'a, const CAP: usize, const SLOTS: usize> {
    pub(crate) ring: FrameConsumer<'a, CAP, SLOTS>,
    pub(crate) reference: FrameProducer<'a, CAP, SLOTS>,
    current: &'a mut Frame<CAP, SLOTS>,
    counters: &'a OutletCounters,
    device_state: &'a DeviceState,
    terminal: SampleRate,
    history: Duration,
    config: Option<(OutletConfig, Format)>,
    tracker: PositionTracker,
    stall_detector: StallDetector,
    /// Stream position of the next sample frame to write.
    position: u64,
    /// Number of sample frames of `current` that were written to the device.
    written: usize,
    /// Number of sample frames missing from the reference before its next frame.
    lost: u32,
    /// Number of sample frames that were written, never played, and not yet reported to the reference.
    unplayed: u32,
    /// Stamp of the silence that was written and not yet pushed to the reference.
    silence: Stamp<SLOTS>,
    /// Whether a frame was played since the stream began, so that silence from here on is an underrun.
    has_played: bool,
    starving: bool,
    /// Whether the next reference frame begins a new relation between stream positions and time.
    fresh: bool,
    pub(crate) recorder: HalfRecorder<'a>,
}

impl<'a, const CAP: usize, const SLOTS: usize> Outlet<'a, CAP, SLOTS> {
    pub(crate) fn new(
        ring: FrameConsumer<'a, CAP, SLOTS>,
        reference: FrameProducer<'a, CAP, SLOTS>,
        current: &'a mut Frame<CAP, SLOTS>,
        counters: &'a OutletCounters,
        device_state: &'a DeviceState,
        terminal: SampleRate,
        history: Duration,
    ) -> Self {
        Self {
            ring,
            reference,
            current,
            counters,
            device_state,
            terminal,
            history,
            config: None,
            tracker: PositionTracker::new(),
            stall_detector: StallDetector::new(Direction::Playback),
            position: 0,
            written: 0,
            lost: 0,
            unplayed: 0,
            silence: Stamp::ZERO,
            has_played: false,
            starving: false,
            fresh: true,
            recorder: HalfRecorder::default(),
        }
    }

    /// Pushes a copy of the current frame to the reference ring and returns whether the ring had space.
    fn push_reference(&mut self) -> bool {
        let pushed = self.recorder.may_push() && self.reference.push_copy(self.current);
        self.recorder.record_push(pushed);
        pushed
    }

    /// Prepares the outlet for a stream and sets what the playback worker makes. Control side, while no stream
    /// runs; allocates nothing. Frames of an earlier format that are still in the ring are dropped during
    /// playback.
    ///
    /// # Errors
    /// Returns an error that names the value for a format that does not fit a frame, for a rate other than the
    /// session's where the feature `rate-conversion` is off, for an empty period, for a period longer than the
    /// playback or reference ring, and for a latency longer than the reference history. The outlet is unchanged
    /// then.
    pub fn configure(&mut self, config: OutletConfig) -> Result<(), ConfigError> {
        let channels = u32::try_from(config.map.from_channels()).unwrap_or(u32::MAX);
        let format = Format::with_rate(config.rate, channels)?.fitting(CAP)?;
        devices::check_rate(config.rate, self.terminal)?;
        let shorter_ring = self.ring.capacity().min(self.reference.capacity());
        devices::check_period(config.max_period_sample_frames, format, shorter_ring)?;
        devices::check_latency(config.latency, self.history)?;
        self.end();
        let wanted = config.max_period_sample_frames.saturating_add(config.worker_slack_sample_frames);
        let frames = wanted.div_ceil(format.sample_frames().max(1) as u32).max(1) as usize;
        let ring_frames = u8::try_from(frames.min(self.ring.capacity())).unwrap_or(u8::MAX);
        self.config = Some((config, format));
        self.tracker = PositionTracker::new();
        self.stall_detector.reset();
        self.fresh = true;
        self.device_state.clock_domains.set_playback(config.clock_domain);
        self.device_state.playback_target.set(PlaybackTarget { format, ring_frames });
        self.recorder.record_playback_config(&config);
        Ok(())
    }

    /// Ends the stream. What was written of the last frame goes to the reference, and the worker stops filling
    /// the ring. Control side, after the last period.
    pub fn stop(&mut self) {
        self.end();
        self.recorder.record_playback_stop();
    }

    fn end(&mut self) {
        self.device_state.playback_target.clear();
        self.push_silence();
        self.cut_current();
        self.config = None;
        self.has_played = false;
        self.starving = false;
    }

    /// Returns the format of the frames that the outlet plays, or `None` before it is configured.
    #[must_use]
    pub fn format(&self) -> Option<Format> {
        self.config.map(|(_, format)| format)
    }

    /// Reports that the last `sample_frames` written were never played, such as what a device still held when
    /// it was stopped or lost. No track counts them as played. A begun frame is cut off. Control side or the
    /// interrupt itself, before the outlet is configured again.
    pub fn discarded(&mut self, sample_frames: u32) {
        // The reference must have received the samples before they are taken back.
        self.push_silence();
        self.cut_current();
        self.counters.discarded_sample_frames.add(sample_frames);
        self.unplayed = self.unplayed.saturating_add(sample_frames);
        // An empty frame carries only the report.
        self.current.begin(self.current.format());
        self.current.stamp = Stamp { position: self.position, unplayed: self.unplayed, ..Stamp::ZERO };
        if self.push_reference() {
            self.unplayed = 0;
        }
        self.recorder.record_discard(sample_frames);
    }

    /// Fills one period of any length with interleaved samples and returns how many reference frames that
    /// completed, so that a host knows whether to wake the worker.
    ///
    /// Interrupt side: wait-free, no allocation, no system call. Writes silence first, then what the playback
    /// ring holds, and pushes what it wrote to the reference ring. Costs a conversion and two stores a sample
    /// plus two frame copies every 10 ms. Before [`configure`](Self::configure) it writes silence only.
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
                self.stall_detector.reset();
            }
            Continuity::Gap(gap) => self.skip_gap(gap),
        }
        if let Some(span) = self.stall_detector.observe(time, sample_frames, config.rate) {
            self.counters.stalls.add(1);
            self.counters.stalled_sample_frames.add(span.in_sample_frames(config.rate));
        }
        let mut rest = &mut *out;
        let mut done = 0;
        let mut foreign = 0;
        let mut frames = 0;
        while done < sample_frames {
            let cursor = OutletCursor { time, done, rate: config.rate };
            if self.written == 0 && !self.next_frame(format, cursor, &mut foreign) {
                frames += self.play_silence(format, cursor, sample_frames - done);
                break;
            }
            let left = self.current.sample_frames() - self.written;
            let taken = left.min(sample_frames - done);
            let (now, later) =
                rest.split_at_mut_checked(taken * device_channels).unwrap_or((&mut [], &mut []));
            rest = later;
            self.write_to_device(now, &config, format);
            done += taken;
            self.written += taken;
            self.position += taken as u64;
            if self.written == self.current.sample_frames() {
                frames += self.finish_frame();
            }
        }
        self.recorder.record_playback_period(out, time);
        frames
    }

    /// Copies the next frame of the right format from the ring to `current` and returns whether there was one.
    fn next_frame(&mut self, format: Format, cursor: OutletCursor, foreign: &mut usize) -> bool {
        while *foreign < MAX_FOREIGN_PER_PERIOD {
            let Some(frame) = self.ring.peek() else {
                return false;
            };
            self.recorder.record_playback_frame(frame);
            if frame.format() != format || frame.sample_frames() == 0 {
                *foreign += 1;
                self.counters.foreign_frames.add(1);
                self.ring.discard();
                continue;
            }
            self.push_silence();
            if let Some(frame) = self.ring.peek() {
                self.current.clone_from(frame);
            }
            self.ring.discard();
            self.stamp_current(cursor);
            self.counters.frames.add(1);
            self.has_played = true;
            self.starving = false;
            return true;
        }
        false
    }

    fn stamp_current(&mut self, cursor: OutletCursor) {
        let stamp = &mut self.current.stamp;
        stamp.position = self.position;
        stamp.time = cursor.time();
        stamp.latency = cursor.time.converter - cursor.time.called;
        stamp.lost = self.lost;
        stamp.silence = 0;
        stamp.fresh = core::mem::take(&mut self.fresh);
        self.lost = 0;
    }

    /// Leaves the rest of the period silent and reports it to the reference in runs of at most 10 ms. Returns
    /// how many reference frames that completed.
    fn play_silence(&mut self, format: Format, cursor: OutletCursor, sample_frames: usize) -> u32 {
        if self.has_played {
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
                let start = OutletCursor { done: cursor.done + done, ..cursor };
                self.silence.position = self.position;
                self.silence.time = start.time();
                self.silence.latency = cursor.time.converter - cursor.time.called;
                self.silence.lost = self.lost;
                self.silence.fresh = core::mem::take(&mut self.fresh);
                self.lost = 0;
            }
            let free = format.sample_frames() - usize::from(self.silence.silence);
            let taken = free.min(sample_frames - done);
            self.silence.silence += taken as u16;
            self.position += taken as u64;
            done += taken;
            if usize::from(self.silence.silence) == format.sample_frames() {
                frames += self.push_silence();
            }
        }
        frames
    }

    /// Pushes the run of silence so far to the reference and returns how many frames the ring took.
    #[inline(never)]
    fn push_silence(&mut self) -> u32 {
        let stamp = self.silence;
        if stamp.silence == 0 {
            return 0;
        }
        self.silence = Stamp::ZERO;
        let Some((_, format)) = self.config else {
            return 0;
        };
        // `current` is free: no frame is begun while silence is written.
        self.current.clear(format, usize::from(stamp.silence));
        self.current.stamp = stamp;
        self.finish_frame()
    }

    /// Pushes the current frame to the reference and returns how many frames the ring took. A frame without
    /// space counts as lost before the next one.
    #[inline(never)]
    fn finish_frame(&mut self) -> u32 {
        self.written = 0;
        self.current.stamp.unplayed = self.unplayed;
        let pushed = self.push_reference();
        if pushed {
            self.unplayed = 0;
        } else {
            let Frame { stamp, .. } = &*self.current;
            self.counters.reference_overrun_frames.add(1);
            self.lost =
                self.lost.saturating_add(stamp.lost).saturating_add(self.current.sample_frames() as u32);
            self.fresh |= stamp.fresh;
        }
        u32::from(pushed)
    }

    /// Skips a gap in the device's position. What the device played then is unknown and counts as lost.
    #[cold]
    fn skip_gap(&mut self, gap: u32) {
        self.counters.gaps.add(1);
        self.counters.gap_sample_frames.add(gap);
        self.stall_detector.reset();
        self.push_silence();
        self.cut_current();
        self.position += u64::from(gap);
        self.lost = self.lost.saturating_add(gap);
        self.fresh = true;
    }

    /// Cuts off a begun frame. What was played of it goes to the reference.
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

    /// Fills `out` from the current frame in the device's sample format and channels.
    fn write_to_device<S: DeviceSample>(&self, out: &mut [S], config: &OutletConfig, format: Format) {
        let channels = format.channels().max(1);
        let from = self.current.samples().get(self.written * channels..).unwrap_or(&[]);
        if config.map.is_identity() {
            return convert_each(from, out);
        }
        map_and_convert(from, channels, out, &config.map);
    }
}

// Not inlined, so that a device whose channels need no map does not need this stack.
#[inline(never)]
fn map_and_convert<S: DeviceSample>(from: &[i16], channels: usize, out: &mut [S], map: &ChannelMap) {
    let mut device = [0; MAPPED_SAMPLES];
    let device_channels = map.to_channels().max(1);
    let together = (device.len() / device_channels).max(1);
    let blocks = out.chunks_mut(together * device_channels);
    for (samples, pcm) in blocks.zip(from.chunks(together * channels)) {
        map.apply(pcm, device.get_mut(..samples.len()).unwrap_or(&mut []));
        convert_each(&device, samples);
    }
}

/// Converts as many samples as fit both slices.
#[inline(never)]
fn convert_each<S: DeviceSample>(from: &[i16], to: &mut [S]) {
    for (sample, &pcm) in to.iter_mut().zip(from) {
        *sample = S::from_pcm(pcm);
    }
}

/// A position within a period.
#[derive(Clone, Copy)]
struct OutletCursor {
    time: PeriodTime,
    done: usize,
    rate: SampleRate,
}

impl OutletCursor {
    fn time(&self) -> Instant {
        self.time.converter + Duration::of_sample_frames(self.done as u64, self.rate)
    }
}

#[cfg(test)]
mod tests;
