//! Application side: adds sinks to a tee and takes them away.

use crate::atomics::{AtomicBool, AtomicU32, Ordering};
use core::fmt;

use super::{AttachedSink, RefusedSink, SinkId, TapFilter, TeeError, TeeWriter};
use crate::queue;

pub(super) struct ControlSlot<'a, 's, const CAP: usize> {
    pub(super) arriving: queue::QueueWriter<'a, AttachedSink<'s, CAP>>,
    pub(super) left: queue::QueueReader<'a, TeeWriter<'s, CAP>>,
    pub(super) removed: &'a AtomicU32,
    /// Identity of the sink that was added and whose writer was not reclaimed.
    pub(super) id: Option<SinkId>,
}

/// The application's end of a tee. When it is dropped, attached sinks stay attached.
pub struct TeeControl<'a, 's, const CAP: usize, const SINKS: usize> {
    pub(super) slots: heapless::Vec<ControlSlot<'a, 's, CAP>, SINKS>,
    pub(super) indirect: &'a AtomicBool,
    pub(super) last_id: u32,
}

impl<const CAP: usize, const SINKS: usize> fmt::Debug for TeeControl<'_, '_, CAP, SINKS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TeeControl").field("slots", &SINKS).field("free", &self.free()).finish()
    }
}

impl<'s, const CAP: usize, const SINKS: usize> TeeControl<'_, 's, CAP, SINKS> {
    /// Attaches a sink, also while audio runs. The sink receives what follows the worker's next
    /// [poll](super::TeeFeed::poll).
    ///
    /// # Errors
    /// Returns [`TeeError::NoSlot`] or [`TeeError::ReaderDropped`], together with the writer.
    // The writer is the error on purpose: it goes back to its owner, and boxing it would allocate.
    #[allow(clippy::result_large_err)]
    pub fn add(
        &mut self,
        writer: TeeWriter<'s, CAP>,
        filter: TapFilter,
    ) -> Result<SinkId, RefusedSink<'s, CAP>> {
        if writer.is_abandoned() {
            return Err(RefusedSink { writer, error: TeeError::ReaderDropped });
        }
        let no_slot = TeeError::NoSlot { sinks: SINKS };
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.id.is_none()) else {
            return Err(RefusedSink { writer, error: no_slot });
        };
        // Never 0, which means that no sink is to be detached.
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        let id = SinkId(self.last_id);
        match slot.arriving.push(AttachedSink { writer, filter, id }) {
            Ok(()) => {
                slot.id = Some(id);
                Ok(id)
            }
            Err(AttachedSink { writer, .. }) => Err(RefusedSink { writer, error: no_slot }),
        }
    }

    /// Detaches a sink, also while audio runs. What it received stays with its reader. Its writer can be taken
    /// back with [`reclaim`](Self::reclaim) after the worker's next [poll](super::TeeFeed::poll).
    ///
    /// # Errors
    /// Returns [`TeeError::NoSuchSink`] for an identity that was never given or whose writer was reclaimed.
    pub fn remove(&mut self, id: SinkId) -> Result<(), TeeError> {
        let slot = self.slots.iter().find(|slot| slot.id == Some(id));
        let slot = slot.ok_or(TeeError::NoSuchSink { id })?;
        // Relaxed: no other memory depends on the word. The writer returns through a queue.
        slot.removed.store(id.0, Ordering::Relaxed);
        Ok(())
    }

    /// Takes back the writer of a sink that was removed or whose reader was dropped, which frees its slot. The
    /// writer can be added again, and its reader continues where it is.
    pub fn reclaim(&mut self) -> Option<(SinkId, TeeWriter<'s, CAP>)> {
        self.slots.iter_mut().find_map(|slot| {
            let writer = slot.left.pop()?;
            Some((slot.id.take()?, writer))
        })
    }

    /// Switches the direct path, the playing of tracks on the loudspeaker, which is on by default. While it is
    /// off, a track that at least one attached sink receives is silent in the mix; its state and events stay
    /// the same.
    pub fn set_direct(&mut self, on: bool) {
        // Relaxed: the worker needs nothing else with it.
        self.indirect.store(!on, Ordering::Relaxed);
    }

    /// Returns how many slots are free.
    #[must_use]
    pub fn free(&self) -> usize {
        self.slots.iter().filter(|slot| slot.id.is_none()).count()
    }
}
