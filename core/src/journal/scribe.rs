//! Interrupt and worker side: what the halves tell their journals. Without the feature `journal` the
//! file beside this one stands in its place and says nothing.

use core::cell::RefCell;

use super::lines::JournalWriter;
use super::record::{MAX_CLOCK_READS, Payload, RawSamples, Record, digest};
use crate::capture::IntakeConfig;
use crate::frame::Frame;
use crate::playback::{OutletConfig, SharedPlan};
use crate::sample::{DeviceSample, SampleKind};
use crate::time::{Clock, Instant, PeriodTime};

const NO_SAMPLES: RawSamples<'static> = RawSamples::none();

/// A half's pen; it writes once a journal is given.
#[derive(Debug, Default)]
pub(crate) struct Scribe<'a> {
    writer: Option<JournalWriter<'a>>,
    /// Frames pushed into the ring behind the half since the last record that says so.
    accepted_frames: u32,
    /// In a replay, for how many more that ring has room.
    room_frames: Option<u32>,
}

impl<'a> Scribe<'a> {
    pub(crate) fn begin(&mut self, writer: JournalWriter<'a>) {
        self.writer = Some(writer);
    }

    fn write(&mut self, record: impl FnOnce(u32) -> Record<'static>) {
        self.write_with(record, &Payload::<i16>::None);
    }

    fn write_with<S: DeviceSample>(
        &mut self,
        record: impl FnOnce(u32) -> Record<'static>,
        payload: &Payload<'_, S>,
    ) {
        let accepted_frames = core::mem::take(&mut self.accepted_frames);
        if let Some(writer) = &mut self.writer {
            record(accepted_frames).write(writer, payload);
        }
    }

    pub(crate) fn make_room(&mut self, frames: u32) {
        self.room_frames = Some(frames);
    }

    /// Whether the ring behind may take another frame.
    #[inline]
    pub(crate) fn admits(&mut self) -> bool {
        match &mut self.room_frames {
            None => true,
            Some(0) => false,
            Some(room) => {
                *room -= 1;
                true
            }
        }
    }

    /// A frame went into the ring behind.
    #[inline]
    pub(crate) fn accepted(&mut self) {
        self.accepted_frames += 1;
    }

    pub(crate) fn capture_configured(&mut self, plan: &SharedPlan, config: &IntakeConfig) {
        plan.changes.capture.add(1);
        let record = |_| Record::CaptureConfigured { config: *config };
        self.write_with(record, &Payload::<i16>::Sources(&config.map));
    }

    pub(crate) fn captured<S: DeviceSample>(&mut self, samples: &[S], time: PeriodTime) {
        let record = |accepted_frames| Record::CapturePeriod { samples: NO_SAMPLES, time, accepted_frames };
        self.write_with(record, &Payload::Samples(samples));
    }

    pub(crate) fn playback_configured(&mut self, plan: &SharedPlan, config: &OutletConfig) {
        plan.changes.playback.add(1);
        let record = |accepted_frames| Record::PlaybackConfigured { config: *config, accepted_frames };
        self.write_with(record, &Payload::<i16>::Sources(&config.map));
    }

    /// The outlet took a frame from its ring.
    pub(crate) fn took<const CAP: usize, const SLOTS: usize>(&mut self, frame: &Frame<CAP, SLOTS>) {
        let Some(writer) = &mut self.writer else { return };
        let record = Record::PlaybackFrame { format: frame.format(), samples: NO_SAMPLES };
        record.write(writer, &Payload::Samples(frame.samples()));
    }

    pub(crate) fn played<S: DeviceSample>(&mut self, out: &[S], time: PeriodTime) {
        self.write(|accepted_frames| Record::PlaybackPeriod {
            kind: S::KIND,
            samples: u32::try_from(out.len()).unwrap_or(u32::MAX),
            digest: digest(out),
            time,
            accepted_frames,
        });
    }

    pub(crate) fn stopped(&mut self, plan: &SharedPlan) {
        plan.changes.playback.add(1);
        self.write(|accepted_frames| Record::PlaybackStopped { accepted_frames });
    }

    pub(crate) fn discarded(&mut self, sample_frames: u32) {
        self.write(|accepted_frames| Record::PlaybackDiscarded { sample_frames, accepted_frames });
    }
}

/// The capture worker's pen.
#[derive(Debug, Default)]
pub(crate) struct WorkerScribe<'a> {
    writer: Option<JournalWriter<'a>>,
    captured_frames: u32,
    reference_frames: u32,
    changes: (u32, u32),
    /// There is something to tell of this turn.
    has_news: bool,
}

impl<'a> WorkerScribe<'a> {
    pub(crate) fn begin(&mut self, writer: JournalWriter<'a>) {
        self.writer = Some(writer);
    }

    /// A turn begins.
    pub(crate) fn turn(&mut self, plan: &SharedPlan) {
        self.changes = (plan.changes.capture.get(), plan.changes.playback.get());
    }

    #[inline]
    pub(crate) fn took_captured(&mut self) {
        self.captured_frames += 1;
        self.has_news = true;
    }

    #[inline]
    pub(crate) fn took_reference(&mut self) {
        self.reference_frames += 1;
        self.has_news = true;
    }

    /// A frame is done.
    pub(crate) fn cleaned<const CAP: usize, C>(&mut self, frame: &Frame<CAP>, clock: &Witness<'_, C>) {
        self.tell_clock(clock);
        self.has_news = true;
        let Some(writer) = &mut self.writer else { return };
        let record = Record::Cleaned {
            format: frame.format(),
            samples: NO_SAMPLES,
            position: frame.stamp.position,
            lost: frame.stamp.lost,
        };
        record.write(writer, &Payload::Samples(frame.samples()));
    }

    /// The turn is over.
    pub(crate) fn polled<C>(&mut self, clock: &Witness<'_, C>) {
        self.tell_clock(clock);
        if !core::mem::take(&mut self.has_news) {
            return;
        }
        let record = Record::Polled {
            captured_frames: core::mem::take(&mut self.captured_frames),
            reference_frames: core::mem::take(&mut self.reference_frames),
            changes: self.changes,
        };
        if let Some(writer) = &mut self.writer {
            record.write(writer, &Payload::<i16>::None);
        }
    }

    pub(crate) fn note(&mut self, words: [u64; 2]) {
        if let Some(writer) = &mut self.writer {
            Record::Note { words }.write(writer, &Payload::<i16>::None);
        }
    }

    fn tell_clock<C>(&mut self, clock: &Witness<'_, C>) {
        let mut reads = clock.reads.borrow_mut();
        if reads.is_empty() {
            return;
        }
        self.has_news = true;
        if let Some(writer) = &mut self.writer {
            for some in reads.chunks(MAX_CLOCK_READS) {
                let mut times = [Instant::ORIGIN; MAX_CLOCK_READS];
                times.iter_mut().zip(some).for_each(|(to, &from)| *to = from);
                Record::ClockRead { count: some.len(), times }.write(writer, &Payload::<i16>::None);
            }
        }
        reads.clear();
    }
}

/// A clock whose readings are remembered until they are told.
pub(crate) struct Witness<'c, C> {
    clock: &'c C,
    /// A frame takes four at most, of which those that begin and end its waiting may be of another turn.
    reads: RefCell<heapless::Vec<Instant, { 2 * MAX_CLOCK_READS }>>,
}

impl<'c, C: Clock> Witness<'c, C> {
    pub(crate) fn new(clock: &'c C) -> Self {
        Self { clock, reads: RefCell::new(heapless::Vec::new()) }
    }
}

impl<C: Clock> Clock for Witness<'_, C> {
    fn now(&self) -> Instant {
        let now = self.clock.now();
        // One too many would be missing in the replay, which says so.
        _ = self.reads.borrow_mut().push(now);
        now
    }
}

impl RawSamples<'static> {
    const fn none() -> Self {
        Self::of_bytes(SampleKind::I16, &[])
    }
}
