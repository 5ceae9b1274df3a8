//! Application side: hands the cleaned microphone to any number of readers, each with a queue of its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Part of the cleaned microphone, usually 10 ms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MicBlock {
    /// Number of sample frames before this block since the hub was made, including lost ones.
    pub position: u64,
    /// Mono samples at the hub's rate.
    pub samples: Vec<i16>,
}

impl MicBlock {
    /// Returns the position behind the last sample.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.position + self.samples.len() as u64
    }
}

/// Distributor of the cleaned microphone. Publishing never waits: a reader whose queue is full misses the block, which
/// the positions of its blocks show.
#[derive(Debug, Default)]
pub struct MicHub {
    state: Mutex<HubState>,
}

#[derive(Debug, Default)]
struct HubState {
    position: u64,
    has_begun: bool,
    readers: Vec<ReaderPort>,
}

#[derive(Debug)]
struct ReaderPort {
    blocks: SyncSender<Arc<MicBlock>>,
    dropped: Arc<AtomicU64>,
}

/// One reader's end of a hub.
#[derive(Debug)]
pub struct MicReader {
    blocks: Receiver<Arc<MicBlock>>,
    dropped: Arc<AtomicU64>,
}

impl MicHub {
    /// Gives a block to every reader. `lost` is the number of sample frames that are missing before it; what was lost
    /// before the first block does not count.
    pub fn publish(&self, samples: &[i16], lost: u32) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut state.has_begun, true) {
            state.position += u64::from(lost);
        }
        let block = Arc::new(MicBlock { position: state.position, samples: samples.to_vec() });
        state.position = block.end();
        state.readers.retain(|reader| match reader.blocks.try_send(Arc::clone(&block)) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                reader.dropped.fetch_add(block.samples.len() as u64, Ordering::Relaxed);
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        });
    }

    /// Adds a reader whose queue takes this number of blocks, at least one.
    #[must_use]
    pub fn subscribe(&self, blocks: usize) -> MicReader {
        let (sender, receiver) = sync_channel(blocks.max(1));
        let dropped = Arc::new(AtomicU64::new(0));
        let port = ReaderPort { blocks: sender, dropped: Arc::clone(&dropped) };
        self.state.lock().unwrap_or_else(PoisonError::into_inner).readers.push(port);
        MicReader { blocks: receiver, dropped }
    }

    /// Returns whether the last block had a reader.
    #[must_use]
    pub fn has_readers(&self) -> bool {
        !self.state.lock().unwrap_or_else(PoisonError::into_inner).readers.is_empty()
    }

    /// Removes all readers, which then find the end of the stream.
    pub fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).readers.clear();
    }
}

/// Result of waiting for a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MicNext {
    /// The next block.
    Block(Arc<MicBlock>),
    /// No block came in time.
    Nothing,
    /// The hub was closed, and all its blocks were taken.
    End,
}

impl MicReader {
    /// Waits for the next block, at most for `timeout`.
    #[must_use]
    pub fn next(&self, timeout: Duration) -> MicNext {
        match self.blocks.recv_timeout(timeout) {
            Ok(block) => MicNext::Block(block),
            Err(RecvTimeoutError::Timeout) => MicNext::Nothing,
            Err(RecvTimeoutError::Disconnected) => MicNext::End,
        }
    }

    /// Returns the number of sample frames dropped so far because this reader's queue was full.
    #[must_use]
    pub fn dropped_sample_frames(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Returns the counter of [`dropped_sample_frames`](Self::dropped_sample_frames).
    #[must_use]
    pub fn dropped_counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_loses_blocks_and_the_others_none() {
        let hub = MicHub::default();
        let (fast, slow) = (hub.subscribe(100), hub.subscribe(2));
        hub.publish(&[0; 10], 77);
        for number in 1..10 {
            hub.publish(&[number; 10], u32::from(number == 5) * 3);
        }
        hub.close();
        let all = |reader: &MicReader| {
            let mut positions = Vec::new();
            while let MicNext::Block(block) = reader.next(Duration::ZERO) {
                positions.push(block.position);
            }
            positions
        };
        assert_eq!(all(&fast), [0, 10, 20, 30, 40, 53, 63, 73, 83, 93]);
        assert_eq!((all(&slow), slow.dropped_sample_frames()), (vec![0, 10], 80));
        assert_eq!(slow.next(Duration::ZERO), MicNext::End);
        let late = hub.subscribe(1);
        hub.publish(&[1; 5], 0);
        assert!(matches!(late.next(Duration::ZERO), MicNext::Block(block) if block.position == 103));
    }
}
