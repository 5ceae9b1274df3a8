//! Interrupt and worker side: what the halves tell their journals. Without the feature `journal` the
//! file beside this one stands in its place and says nothing.

use core::cell::RefCell;

use super::bytes::Payload;
use super::lines::JournalWriter;
use super::record::{MAX_CLOCK_READS, RawSamples, Record, digest};
use crate::capture::IntakeConfig;
use crate::frame::Frame;
use crate::playback::{OutletConfig, RoundPlan};
use crate::sample::{DeviceSample, SampleKind};
use crate::time::{Clock, Instant, PeriodTime};

const NO_SAMPLES: RawSamples<'static> = RawSamples::none();

/// A half's pen; it writes once a journal is given.
#[derive(Debug, Default)]
pub(crate) struct Scribe<'a> {
    writer: Option<JournalWriter<'a>>,
    /// Which of the frames that were pushed into the ring behind the half since the last record found room.
    accepted: u64,
    /// So many.
    pushes: u32,
    /// In a replay, which of those to come will.
    room: Option<u64>,
}

impl<'a> Scribe<'a> {
    pub(crate) fn begin(&mut self, writer: JournalWriter<'a>) {
        self.writer = Some(writer);
    }

    fn write(&mut self, record: impl FnOnce(u64) -> Record<'static>) {
        self.write_with(record, &Payload::<i16>::None);
    }

    fn write_with<S: DeviceSample>(
        &mut self,
        record: impl FnOnce(u64) -> Record<'static>,
        payload: &Payload<'_, S>,
    ) {
        let accepted = core::mem::take(&mut self.accepted);
        self.pushes = 0;
        if let Some(writer) = &mut self.writer {
            record(accepted).write(writer, payload);
        }
    }

    pub(crate) fn make_room(&mut self, room: u64) {
        self.room = Some(room);
    }

    /// Whether the ring behind may take another frame.
    #[inline]
    pub(crate) fn admits(&mut self) -> bool {
        let Some(room) = &mut self.room else { return true };
        let admits = *room & 1 == 1;
        *room >>= 1;
        admits
    }

    /// A frame went into the ring behind, or found no room. More than 64 of them are in no period.
    #[inline]
    pub(crate) fn pushed(&mut self, accepted: bool) {
        self.accepted |= u64::from(accepted).checked_shl(self.pushes).unwrap_or(0);
        self.pushes += 1;
    }

    pub(crate) fn capture_configured(&mut self, config: &IntakeConfig) {
        let record = |_| Record::CaptureConfigured { config: *config };
        self.write_with(record, &Payload::<i16>::Sources(&config.map));
    }

    pub(crate) fn captured<S: DeviceSample>(&mut self, samples: &[S], time: PeriodTime) {
        let record = |accepted| Record::CapturePeriod { samples: NO_SAMPLES, time, accepted };
        self.write_with(record, &Payload::Samples(samples));
    }

    pub(crate) fn playback_configured(&mut self, config: &OutletConfig) {
        let record = |accepted| Record::PlaybackConfigured { config: *config, accepted };
        self.write_with(record, &Payload::<i16>::Sources(&config.map));
    }

    /// The outlet took a frame from its ring.
    pub(crate) fn took<const CAP: usize, const SLOTS: usize>(&mut self, frame: &Frame<CAP, SLOTS>) {
        let Some(writer) = &mut self.writer else { return };
        let record = Record::PlaybackFrame { format: frame.format(), samples: NO_SAMPLES };
        record.write(writer, &Payload::Samples(frame.samples()));
    }

    pub(crate) fn played<S: DeviceSample>(&mut self, out: &[S], time: PeriodTime) {
        self.write(|accepted| Record::PlaybackPeriod {
            kind: S::KIND,
            samples: u32::try_from(out.len()).unwrap_or(u32::MAX),
            digest: digest(out),
            time,
            accepted,
        });
    }

    pub(crate) fn stopped(&mut self) {
        self.write(|accepted| Record::PlaybackStopped { accepted });
    }

    pub(crate) fn discarded(&mut self, sample_frames: u32) {
        self.write(|accepted| Record::PlaybackDiscarded { sample_frames, accepted });
    }
}

/// The capture worker's pen.
#[derive(Debug, Default)]
pub(crate) struct WorkerScribe<'a> {
    writer: Option<JournalWriter<'a>>,
    captured_frames: u32,
    reference_frames: u32,
    plan: RoundPlan,
    /// In a replay, what the next turn's was.
    replayed: Option<RoundPlan>,
    /// There is something to tell of this turn.
    has_news: bool,
}

impl<'a> WorkerScribe<'a> {
    pub(crate) fn begin(&mut self, writer: JournalWriter<'a>) {
        self.writer = Some(writer);
    }

    /// A turn begins: what it goes by.
    pub(crate) fn turn(&mut self, plan: RoundPlan) -> RoundPlan {
        self.plan = self.replayed.take().unwrap_or(plan);
        self.plan
    }

    pub(crate) fn replay_turn(&mut self, plan: RoundPlan) {
        self.replayed = Some(plan);
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
            plays: self.plan.plays,
            one_clock: self.plan.one_clock,
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
