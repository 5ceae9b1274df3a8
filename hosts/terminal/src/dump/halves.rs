//! Control side: replays the interrupt halves (intake and outlet) from their journals.

use std::collections::VecDeque;

use handsfree_core::capture::Intake;
use handsfree_core::journal::{RawSamples, Record, SampleKind, digest};
use handsfree_core::playback::Outlet;
use handsfree_core::time::PeriodTime;
use handsfree_core::{DeviceSample, Frame, FrameConsumer, FrameProducer, I24, Instant, PackedI24};

use super::read::{JournalEnd, Records};
use super::spool::Spool;
use crate::failure::Failure;
use crate::terminal::{CAP, SLOTS};

/// Largest number of samples in a period: more than a second of 64 channels at 192 kHz. An invalid record could
/// name any number.
const MAX_PERIOD_SAMPLES: u32 = 16 << 20;

/// Number of loudspeaker samples that any journal may ask for: a second of 64 channels at 192 kHz, 20 times.
const FREE_SAMPLES: u64 = 1 << 28;
/// Number of loudspeaker samples that a journal may ask for with each of its bytes. Every 10 ms it holds a mixed frame of
/// 224 bytes or more and a period; 64 channels at 192 kHz are 427 samples a byte then. More is no recorded run, and would
/// keep the replay busy for longer than the journal's size suggests.
const SAMPLES_PER_BYTE: u64 = 640;

/// Interrupt half that is driven by its journal.
pub(crate) trait ReplayHalf {
    /// Returns the number of frames that wait for the worker.
    fn waiting(&self) -> usize;

    /// Returns how the journal ended, or `None` before its end.
    fn end(&self) -> Option<JournalEnd>;

    /// Replays the next record. Returns false at the journal's end.
    fn step(&mut self) -> Result<bool, Failure>;

    /// Replays until `frames` frames wait. If the journal ends before that, returns how it ended.
    fn run_to(&mut self, frames: u32) -> Result<Option<JournalEnd>, Failure> {
        while self.waiting() < frames as usize && self.step()? {}
        Ok(self.end().filter(|_| self.waiting() < frames as usize))
    }

    /// Replays the rest of the journal.
    fn run_out(&mut self) -> Result<(), Failure> {
        while self.step()? {}
        Ok(())
    }
}

/// Number of replayed periods of one direction, and of those that differ from the recording.
#[derive(Clone, Copy, Default)]
pub(crate) struct PeriodCount {
    pub(crate) periods: u64,
    pub(crate) differing: u64,
    span: Option<(Instant, Instant)>,
}

impl PeriodCount {
    fn period(&mut self, time: PeriodTime, is_same: bool) {
        self.periods += 1;
        self.differing += u64::from(!is_same);
        let (first, _) = self.span.unwrap_or((time.called, time.called));
        self.span = Some((first, time.called));
    }

    pub(crate) fn seconds(&self) -> Option<f64> {
        self.span.map(|(first, last)| (last - first).as_millis_f64() / 1e3)
    }
}

/// Replay of the intake.
pub(crate) struct MicrophoneReplay<'s> {
    pub(crate) records: Records,
    pub(crate) intake: Intake<'s, CAP>,
    pub(crate) taken: FrameConsumer<'s, CAP>,
    pub(crate) waiting: VecDeque<Frame<CAP>>,
    pub(crate) counted_periods: PeriodCount,
    pub(crate) spool: Option<Spool>,
}

impl ReplayHalf for MicrophoneReplay<'_> {
    fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn end(&self) -> Option<JournalEnd> {
        self.records.end()
    }

    fn step(&mut self) -> Result<bool, Failure> {
        let Some(record) = self.records.next()? else { return Ok(false) };
        let failed = match record {
            Record::CaptureConfigured { config } => {
                self.intake.configure(config).err().map(|error| error.to_string())
            }
            Record::CapturePeriod { samples, time, accepted } => {
                self.intake.replay_accepted(accepted);
                let intake = &mut self.intake;
                match samples.kind {
                    SampleKind::I16 => replay_capture::<i16>(intake, &samples, time),
                    SampleKind::I24 => replay_capture::<I24>(intake, &samples, time),
                    SampleKind::PackedI24 => replay_capture::<PackedI24>(intake, &samples, time),
                    SampleKind::I32 => replay_capture::<i32>(intake, &samples, time),
                    SampleKind::F32 => replay_capture::<f32>(intake, &samples, time),
                }
                let before = self.waiting.len();
                while let Some(frame) = self.taken.pop() {
                    if let Some(spool) = &mut self.spool {
                        spool.write(&frame)?;
                    }
                    self.waiting.push_back(frame);
                }
                self.counted_periods
                    .period(time, self.waiting.len() - before == accepted.count_ones() as usize);
                None
            }
            _ => Some("expected a record of a microphone".to_owned()),
        };
        failed.map_or(Ok(true), |why| Err(self.records.bad(&why)))
    }
}

/// Replays a capture period.
fn replay_capture<S: DeviceSample>(intake: &mut Intake<'_, CAP>, samples: &RawSamples<'_>, time: PeriodTime) {
    let period: Vec<S> = samples.iter().collect();
    intake.on_period(&period, time);
}

/// Replay of the outlet.
pub(crate) struct LoudspeakerReplay<'s> {
    pub(crate) records: Records,
    pub(crate) outlet: Outlet<'s, CAP, SLOTS>,
    pub(crate) mixed: FrameProducer<'s, CAP, SLOTS>,
    pub(crate) played: FrameConsumer<'s, CAP, SLOTS>,
    pub(crate) waiting: VecDeque<Frame<CAP, SLOTS>>,
    pub(crate) counted_periods: PeriodCount,
    /// Number of samples of all periods so far.
    pub(crate) samples: u64,
    pub(crate) spool: Option<Spool>,
}

impl ReplayHalf for LoudspeakerReplay<'_> {
    fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn end(&self) -> Option<JournalEnd> {
        self.records.end()
    }

    fn step(&mut self) -> Result<bool, Failure> {
        let allowed = FREE_SAMPLES + SAMPLES_PER_BYTE * self.records.bytes();
        let Some(record) = self.records.next()? else { return Ok(false) };
        let outlet = &mut self.outlet;
        let (mut failed, mut period, mut accepted) = (None, None, 0);
        match record {
            Record::PlaybackConfigured { config, accepted: taken } => {
                accepted = taken;
                outlet.replay_accepted(taken);
                failed = outlet.configure(config).err().map(|error| error.to_string());
            }
            Record::PlaybackFrame { format, samples } => match samples.to_frame(format) {
                Ok(frame) => {
                    if self.mixed.push(frame).is_err() {
                        failed = Some(
                            "expected a period before the next mixed frame, because the ring is full"
                                .to_owned(),
                        );
                    }
                }
                Err(error) => failed = Some(error.to_string()),
            },
            Record::PlaybackPeriod { samples, .. } if samples > MAX_PERIOD_SAMPLES => {
                failed =
                    Some(format!("a period of {samples} samples, expected at most {MAX_PERIOD_SAMPLES}"));
            }
            Record::PlaybackPeriod { samples, .. } if self.samples + u64::from(samples) > allowed => {
                failed = Some(format!(
                    "{} samples in all periods, expected at most {allowed} in a journal of this size",
                    self.samples + u64::from(samples)
                ));
            }
            Record::PlaybackPeriod { kind, samples, digest, time, accepted: taken } => {
                self.samples += u64::from(samples);
                accepted = taken;
                outlet.replay_accepted(taken);
                let samples = samples as usize;
                let written = match kind {
                    SampleKind::I16 => replay_playback::<i16>(outlet, samples, time),
                    SampleKind::I24 => replay_playback::<I24>(outlet, samples, time),
                    SampleKind::PackedI24 => replay_playback::<PackedI24>(outlet, samples, time),
                    SampleKind::I32 => replay_playback::<i32>(outlet, samples, time),
                    SampleKind::F32 => replay_playback::<f32>(outlet, samples, time),
                };
                period = Some((time, written == digest));
            }
            Record::PlaybackStopped { accepted: taken } => {
                accepted = taken;
                outlet.replay_accepted(taken);
                outlet.stop();
            }
            Record::PlaybackDiscarded { sample_frames, accepted: taken } => {
                accepted = taken;
                outlet.replay_accepted(taken);
                outlet.discarded(sample_frames);
            }
            _ => failed = Some("expected a record of a loudspeaker".to_owned()),
        }
        let before = self.waiting.len();
        while let Some(frame) = self.played.pop() {
            if let Some(spool) = &mut self.spool
                && frame.sample_frames() > 0
            {
                spool.write(&frame)?;
            }
            self.waiting.push_back(frame);
        }
        if let Some((time, is_same)) = period {
            self.counted_periods
                .period(time, is_same && self.waiting.len() - before == accepted.count_ones() as usize);
        }
        failed.map_or(Ok(true), |why| Err(self.records.bad(&why)))
    }
}

/// Replays a playback period and returns the digest of its samples.
fn replay_playback<S: DeviceSample>(
    outlet: &mut Outlet<'_, CAP, SLOTS>,
    samples: usize,
    time: PeriodTime,
) -> u64 {
    let mut period = vec![S::SILENCE; samples];
    outlet.on_period(&mut period, time);
    digest(&period)
}
