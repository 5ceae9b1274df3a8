//! Application side: one client that reads the cleaned microphone, at its own rate and with its own queue.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::connection::POLL;
use super::protocol::{Hello, MessageReader, PROTOCOL, ProtocolError, Received, Reply, write_message};
use super::service::{ClientCounters, ClientKind, NewClient, ServiceState};
use crate::pcm::format::PcmFormat;
use crate::pcm::mic_hub::{MicBlock, MicNext, MicReader};

/// Length of the queue that a client may ask for, in ms: two blocks to 10 s, which is 1 MB at 48 kHz.
const QUEUE_MS: std::ops::RangeInclusive<u32> = 20..=10_000;
/// Length of one block of the microphone, in ms.
const BLOCK_MS: u32 = 10;

/// Serves the client until it leaves or the service ends.
pub(crate) fn serve(
    hello: &Hello,
    stream: io::Result<UnixStream>,
    mut reader: MessageReader,
    state: &Arc<ServiceState>,
) -> Result<(), ProtocolError> {
    let Hello::Mic { rate_hz, channels, queue_ms, name } = hello else { return Ok(()) };
    let failed = |error: &dyn std::fmt::Display| ProtocolError::new("failed", error.to_string());
    let format = PcmFormat::new(*rate_hz, *channels)
        .map_err(|failure| ProtocolError::new("bad_format", failure.to_string()))?;
    if !QUEUE_MS.contains(queue_ms) {
        return Err(ProtocolError::new(
            "bad_queue",
            format!("queue_ms {queue_ms}: expected {} to {}", QUEUE_MS.start(), QUEUE_MS.end()),
        ));
    }
    if !state.has_microphone {
        return Err(ProtocolError::new("no_microphone", "the service has no microphone (--input none)"));
    }
    let mut stream = stream.map_err(|error| failed(&error))?;
    let closing = stream.try_clone().map_err(|error| failed(&error))?;
    // A stopped client may go on when it wants, until another needs its place; what it misses is counted.
    stream.set_write_timeout(None).map_err(|error| failed(&error))?;
    let blocks =
        state.hub.subscribe(*rate_hz, (queue_ms / BLOCK_MS) as usize).map_err(|error| failed(&error))?;
    let counters =
        Arc::new(ClientCounters { dropped: blocks.dropped_counter(), ..ClientCounters::default() });
    let client = NewClient {
        kind: ClientKind::Mic,
        name: name.clone(),
        rate_hz: *rate_hz,
        channels: *channels,
        counters: Arc::clone(&counters),
        speaker: None,
    };
    let id = state.add_client(client, closing);
    let outcome = MicClient { format, counters, end: None, position: 0 }.run(
        &mut stream,
        id,
        &blocks,
        &mut reader,
        state,
    );
    let reason = match &outcome {
        Ok(reason) => (*reason).to_owned(),
        Err(error) => error.message.clone(),
    };
    state.remove_client(id, &reason);
    outcome.map(|_| ())
}

struct MicClient {
    format: PcmFormat,
    counters: Arc<ClientCounters>,
    /// Position behind the last block; `None` before the first one.
    end: Option<u64>,
    /// Number of the client's sample frames so far, including lost ones.
    position: u64,
}

impl MicClient {
    fn run(
        mut self,
        stream: &mut UnixStream,
        id: u64,
        blocks: &MicReader,
        reader: &mut MessageReader,
        state: &ServiceState,
    ) -> Result<&'static str, ProtocolError> {
        let opened = Reply::Opened { protocol: PROTOCOL, id, terminal_rate_hz: state.rate_hz, limit: None };
        if write_message(stream, &opened, &[]).is_err() {
            return Ok("it left");
        }
        loop {
            match blocks.next(POLL) {
                MicNext::Block(block) => {
                    self.counters.unread_since_ms.store(state.at_ms(), Ordering::Relaxed);
                    if self.send(stream, &block).is_err() {
                        return Ok("it left");
                    }
                    self.counters.unread_since_ms.store(0, Ordering::Relaxed);
                }
                // Only while no samples flow, because otherwise writing them notices a client that left.
                MicNext::Nothing => match reader.poll(Duration::from_millis(1))? {
                    Received::End => return Ok("it left"),
                    Received::Nothing => {}
                    Received::Message(..) => {
                        return Err(ProtocolError::new(
                            "bad_message",
                            "a microphone's client sends no messages",
                        ));
                    }
                },
                MicNext::End => return Ok("the service ends"),
            }
        }
    }

    fn send(&mut self, stream: &mut UnixStream, block: &MicBlock) -> io::Result<()> {
        let lost = self.end.map_or(0, |end| block.position.saturating_sub(end));
        self.end = Some(block.end());
        self.position += lost;
        self.write(stream, &block.samples, lost)
    }

    fn write(&mut self, stream: &mut UnixStream, samples: &[i16], lost: u64) -> io::Result<()> {
        if samples.is_empty() && lost == 0 {
            return Ok(());
        }
        let mut payload = Vec::new();
        self.format.append_mono(samples, &mut payload);
        let message = Reply::Audio { position: self.position, lost, bytes: payload.len() };
        self.position += samples.len() as u64;
        self.counters.position.store(self.position, Ordering::Relaxed);
        write_message(stream, &message, &payload)
    }
}
