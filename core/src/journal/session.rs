//! Interrupt and worker side: how the parts of a session are recorded and replayed.

use super::JournalWriter;
use crate::capture::{FrameProcessor, Intake, Pipeline, VoiceProcessor};
use crate::devices::DeviceSnapshot;
use crate::playback::Outlet;
use crate::ring::{FrameConsumer, FrameProducer};

/// Recording and replay, with the feature `journal`.
impl<'a, const CAP: usize> Intake<'a, CAP> {
    /// Records its configuration and every period in `journal` from now on. To be called before the intake is
    /// first configured. Costs a copy of each period.
    pub fn write_journal(&mut self, journal: JournalWriter<'a>) {
        self.recorder.start(journal);
    }

    /// Puts completed frames into `ring` instead of the session's own from now on, for a replay. `ring` must
    /// have space for as many frames as [`replay_accepted`](Self::replay_accepted) lets through.
    pub fn replay_into(&mut self, ring: FrameProducer<'a, CAP>) {
        self.ring = ring;
        self.replay_accepted(0);
    }

    /// Sets which of the next completed frames the ring accepts in a replay: one bit for each frame, the
    /// lowest for the first. All others are refused as if the ring were full.
    pub fn replay_accepted(&mut self, accepted: u64) {
        self.recorder.replay_accepted(accepted);
    }
}

/// Recording and replay, with the feature `journal`.
impl<'a, const CAP: usize, const SLOTS: usize> Outlet<'a, CAP, SLOTS> {
    /// Records its configuration, the frames it takes and the periods it fills in `journal` from now on. To
    /// be called before the outlet is first configured. Costs a copy of each frame.
    pub fn write_journal(&mut self, journal: JournalWriter<'a>) {
        self.recorder.start(journal);
    }

    /// Takes frames from `ring` and puts what it played into `reference` instead of the session's own rings
    /// from now on, for a replay.
    pub fn replay_between(
        &mut self,
        ring: FrameConsumer<'a, CAP, SLOTS>,
        reference: FrameProducer<'a, CAP, SLOTS>,
    ) {
        self.ring = ring;
        self.reference = reference;
        self.replay_accepted(0);
    }

    /// Sets which of the next completed reference frames the ring accepts in a replay: one bit for each
    /// frame, the lowest for the first. All others are refused as if the ring were full.
    pub fn replay_accepted(&mut self, accepted: u64) {
        self.recorder.replay_accepted(accepted);
    }
}

/// Recording and replay, with the feature `journal`.
impl<'a, const CAP: usize, const SLOTS: usize, V: VoiceProcessor, P: FrameProcessor>
    Pipeline<'a, CAP, SLOTS, V, P>
{
    /// Records what it takes from its rings, reads from the clock and gives to the sink in `journal` from now
    /// on. To be called before the first poll. Costs a copy of each frame. Worker side.
    pub fn write_journal(&mut self, journal: JournalWriter<'a>) {
        self.recorder.start(journal);
    }

    /// Records two words of the application's own, as [`Record::Note`](super::Record::Note). Worker side,
    /// between two polls.
    pub fn note(&mut self, words: [u64; 2]) {
        self.recorder.record_note(words);
    }

    /// Takes frames from these rings instead of the session's own from now on, for a replay.
    pub fn replay_from(&mut self, capture: FrameConsumer<'a, CAP>, reference: FrameConsumer<'a, CAP, SLOTS>) {
        self.capture = capture;
        self.reference_ring = reference;
    }

    /// Sets for a replay what the devices report in the next round, instead of what they report then: whether a
    /// loudspeaker runs, and whether one clock drives both directions.
    pub fn replay_round(&mut self, plays: bool, one_clock: bool) {
        self.recorder.replay_round(DeviceSnapshot { plays, one_clock });
    }
}
