//! Interrupt and worker side: the recorders with the feature `journal`. Each writes once it has a
//! [`JournalWriter`].

use core::cell::RefCell;

use crate::capture::IntakeConfig;
use crate::devices::DeviceSnapshot;
use crate::frame::Frame;
use crate::journal::{JournalWriter, MAX_CLOCK_READS, RawSamples, Record, RecordPayload, digest};
use crate::playback::OutletConfig;
use crate::sample::DeviceSample;
use crate::time::{Clock, Instant, PeriodTime};

const NO_SAMPLES: RawSamples<'static> = RawSamples::EMPTY;

/// The recorder of an intake or outlet.
#[derive(Debug, Default)]
pub(crate) struct HalfRecorder<'a> {
    writer: Option<JournalWriter<'a>>,
    /// Which of the frames completed since the last record the ring accepted: one bit for each, the lowest
    /// for the first.
    accepted: u64,
    /// Number of frames completed since the last record.
    pushes: u32,
    /// In a replay, which of the next frames the ring accepts, one bit for each.
    replay_accepted: Option<u64>,
}

impl<'a> HalfRecorder<'a> {
    pub(crate) fn start(&mut self, writer: JournalWriter<'a>) {
        self.writer = Some(writer);
    }

    fn write(&mut self, record: impl FnOnce(u64) -> Record<'static>) {
        self.write_with(record, &RecordPayload::<i16>::None);
    }

    fn write_with<S: DeviceSample>(
        &mut self,
        record: impl FnOnce(u64) -> Record<'static>,
        payload: &RecordPayload<'_, S>,
    ) {
        let accepted = core::mem::take(&mut self.accepted);
        self.pushes = 0;
        if let Some(writer) = &mut self.writer {
            record(accepted).write(writer, payload);
        }
    }

    pub(crate) fn replay_accepted(&mut self, accepted: u64) {
        self.replay_accepted = Some(accepted);
    }

    /// Returns whether the ring may take the next frame: always, except in a replay of a run in which it was
    /// full.
    #[inline]
    pub(crate) fn may_push(&mut self) -> bool {
        let Some(accepted) = &mut self.replay_accepted else { return true };
        let may_push = *accepted & 1 == 1;
        *accepted >>= 1;
        may_push
    }

    /// Records whether the ring accepted a completed frame. No period completes more than 64 frames; those
    /// beyond are recorded as refused.
    #[inline]
    pub(crate) fn record_push(&mut self, accepted: bool) {
        self.accepted |= u64::from(accepted).checked_shl(self.pushes).unwrap_or(0);
        self.pushes += 1;
    }

    pub(crate) fn record_capture_config(&mut self, config: &IntakeConfig) {
        let record = |_| Record::CaptureConfigured { config: *config };
        self.write_with(record, &RecordPayload::<i16>::Sources(&config.map));
    }

    pub(crate) fn record_capture_period<S: DeviceSample>(&mut self, samples: &[S], time: PeriodTime) {
        let record = |accepted| Record::CapturePeriod { samples: NO_SAMPLES, time, accepted };
        self.write_with(record, &RecordPayload::Samples(samples));
    }

    pub(crate) fn record_playback_config(&mut self, config: &OutletConfig) {
        let record = |accepted| Record::PlaybackConfigured { config: *config, accepted };
        self.write_with(record, &RecordPayload::<i16>::Sources(&config.map));
    }

    /// Records a frame that the outlet took from the playback ring.
    pub(crate) fn record_playback_frame<const CAP: usize, const SLOTS: usize>(
        &mut self,
        frame: &Frame<CAP, SLOTS>,
    ) {
        let Some(writer) = &mut self.writer else { return };
        let record = Record::PlaybackFrame { format: frame.format(), samples: NO_SAMPLES };
        record.write(writer, &RecordPayload::Samples(frame.samples()));
    }

    pub(crate) fn record_playback_period<S: DeviceSample>(&mut self, out: &[S], time: PeriodTime) {
        self.write(|accepted| Record::PlaybackPeriod {
            kind: S::KIND,
            samples: u32::try_from(out.len()).unwrap_or(u32::MAX),
            digest: digest(out),
            time,
            accepted,
        });
    }

    pub(crate) fn record_playback_stop(&mut self) {
        self.write(|accepted| Record::PlaybackStopped { accepted });
    }

    pub(crate) fn record_discard(&mut self, sample_frames: u32) {
        self.write(|accepted| Record::PlaybackDiscarded { sample_frames, accepted });
    }
}

/// The recorder of the capture worker.
#[derive(Debug, Default)]
pub(crate) struct WorkerRecorder<'a> {
    writer: Option<JournalWriter<'a>>,
    captured_frames: u32,
    reference_frames: u32,
    devices: DeviceSnapshot,
    /// In a replay, the plan of the next round.
    replayed_devices: Option<DeviceSnapshot>,
    /// Whether anything happened in this round; a round without events is not recorded.
    has_events: bool,
}

impl<'a> WorkerRecorder<'a> {
    pub(crate) fn start(&mut self, writer: JournalWriter<'a>) {
        self.writer = Some(writer);
    }

    /// Begins a round of the worker and returns the plan that the round follows.
    pub(crate) fn begin_round(&mut self, devices: DeviceSnapshot) -> DeviceSnapshot {
        self.devices = self.replayed_devices.take().unwrap_or(devices);
        self.devices
    }

    pub(crate) fn replay_round(&mut self, devices: DeviceSnapshot) {
        self.replayed_devices = Some(devices);
    }

    /// Counts a frame taken from the capture ring.
    #[inline]
    pub(crate) fn count_captured(&mut self) {
        self.captured_frames += 1;
        self.has_events = true;
    }

    /// Counts a frame taken from the reference ring.
    #[inline]
    pub(crate) fn count_reference(&mut self) {
        self.reference_frames += 1;
        self.has_events = true;
    }

    /// Records a frame that goes to the sink, after the clock readings that led to it.
    pub(crate) fn record_cleaned<const CAP: usize, C>(
        &mut self,
        frame: &Frame<CAP>,
        clock: &RecordingClock<'_, C>,
    ) {
        self.record_clock(clock);
        self.has_events = true;
        let Some(writer) = &mut self.writer else { return };
        let record = Record::Cleaned {
            format: frame.format(),
            samples: NO_SAMPLES,
            position: frame.stamp.position,
            lost: frame.stamp.lost,
        };
        record.write(writer, &RecordPayload::Samples(frame.samples()));
    }

    /// Ends a round and records what it found, unless nothing happened.
    pub(crate) fn end_round<C>(&mut self, clock: &RecordingClock<'_, C>) {
        self.record_clock(clock);
        if !core::mem::take(&mut self.has_events) {
            return;
        }
        let record = Record::Polled {
            captured_frames: core::mem::take(&mut self.captured_frames),
            reference_frames: core::mem::take(&mut self.reference_frames),
            plays: self.devices.plays,
            one_clock: self.devices.one_clock,
        };
        if let Some(writer) = &mut self.writer {
            record.write(writer, &RecordPayload::<i16>::None);
        }
    }

    pub(crate) fn record_note(&mut self, words: [u64; 2]) {
        if let Some(writer) = &mut self.writer {
            Record::Note { words }.write(writer, &RecordPayload::<i16>::None);
        }
    }

    fn record_clock<C>(&mut self, clock: &RecordingClock<'_, C>) {
        let mut reads = clock.reads.borrow_mut();
        if reads.is_empty() {
            return;
        }
        self.has_events = true;
        if let Some(writer) = &mut self.writer {
            for some in reads.chunks(MAX_CLOCK_READS) {
                let mut times = [Instant::ORIGIN; MAX_CLOCK_READS];
                times.iter_mut().zip(some).for_each(|(to, &from)| *to = from);
                Record::ClockRead { count: some.len(), times }.write(writer, &RecordPayload::<i16>::None);
            }
        }
        reads.clear();
    }
}

/// A clock that keeps its readings until the worker's recorder writes them.
pub(crate) struct RecordingClock<'c, C> {
    clock: &'c C,
    /// Readings not yet written. A frame takes at most four; the two that begin and end its wait for the
    /// reference may belong to another round.
    reads: RefCell<heapless::Vec<Instant, { 2 * MAX_CLOCK_READS }>>,
}

impl<'c, C: Clock> RecordingClock<'c, C> {
    pub(crate) fn new(clock: &'c C) -> Self {
        Self { clock, reads: RefCell::new(heapless::Vec::new()) }
    }
}

impl<C> RecordingClock<'_, C> {
    /// Keeps a reading of either kind: a replay asks for both in the same order.
    fn keep(&self, reading: Instant) -> Instant {
        // A reading that does not fit is missing in the replay, which reports that.
        _ = self.reads.borrow_mut().push(reading);
        reading
    }
}

impl<C: Clock> Clock for RecordingClock<'_, C> {
    fn now(&self) -> Instant {
        self.keep(self.clock.now())
    }

    fn thread_time(&self) -> Instant {
        self.keep(self.clock.thread_time())
    }
}
