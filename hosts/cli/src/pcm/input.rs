//! Application side: the threads that play what another program writes, at the pace of the loudspeaker.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration as WallDuration, Instant};

use handsfree::failure::Failure;
use handsfree::terminal::{SOURCE_MEMORY, SOURCE_QUALITY, SharedClock, Track, Tracks};
use handsfree_core::Duration;
use handsfree_core::playback::SourceConfig;

use super::endpoint::{ByteSource, Endpoint};
use super::format::{FrameBytes, PcmFormat};

/// Audio that waits in the track at most. More would not sound any better, and a program that stops speaking is heard
/// for that long.
const MAX_QUEUED: Duration = Duration::from_millis(200);
/// Pause while the track is full: a fraction of what is queued.
const PAUSE: WallDuration = WallDuration::from_millis(5);
/// Time without bytes after which the begin of a frame is played, instead of waiting for the rest of the 10 ms.
const STARVED: WallDuration = WallDuration::from_millis(50);
/// Audio that may still be queued then: what is played until the next look. With more, a program that only pauses its writing
/// would be heard with a hole.
const NEARLY_EMPTY: Duration = Duration::from_millis(20);
/// Interval at which the track is looked at while the begin of a frame waits: one frame.
const LOOK: WallDuration = WallDuration::from_millis(10);
/// Number of bytes that are read at once: 20 ms at 48 kHz in two channels.
const READ_BYTES: usize = 3_840;

/// Player of one stream of plain samples.
#[derive(Debug)]
pub struct PcmInput {
    state: Arc<InputState>,
}

#[derive(Debug, Default)]
struct InputState {
    sample_frames: AtomicU64,
    has_ended: AtomicBool,
    failure: std::sync::Mutex<Option<String>>,
}

impl PcmInput {
    /// Opens the place and starts to play it.
    ///
    /// # Errors
    /// Returns an error that names the place if it cannot be opened, or if no track is free.
    pub fn start(
        place: &Endpoint,
        format: PcmFormat,
        tracks: &'static Tracks,
        clock: SharedClock,
    ) -> Result<Self, Failure> {
        let source = place.open_source()?;
        let config = SourceConfig {
            rate_hz: format.rate_hz,
            channels: format.channels,
            quality: SOURCE_QUALITY,
            matching: None,
        };
        let track = tracks
            .open_source::<SOURCE_MEMORY>(config)
            .map_err(|error| Failure::run(format!("{place}: {error}")))?;
        let state = Arc::new(InputState::default());
        // One piece may wait beside the one that is read, so the writer waits when the track is full.
        let (sender, pieces) = sync_channel(1);
        let failed =
            |error: io::Error| Failure::run(format!("the pcm input thread could not be started: {error}"));
        std::thread::Builder::new()
            .name("pcm reader".into())
            .spawn(move || read_pieces(source, |piece| sender.send(piece).is_ok()))
            .map_err(failed)?;
        let mut player = InputPlayer {
            track: Box::new(track),
            clock,
            frames: FrameBytes::new(format),
            state: Arc::clone(&state),
            format,
        };
        let name = place.to_string();
        std::thread::Builder::new()
            .name("pcm input".into())
            .spawn(move || {
                if let Err(reason) = player.run(&pieces) {
                    *player.state.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                        Some(format!("{name}: {reason}"));
                }
                player.state.has_ended.store(true, Ordering::Release);
            })
            .map_err(failed)?;
        Ok(Self { state })
    }

    /// Returns whether the stream has ended and its last sample has left the loudspeaker, or reading has failed.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        // Acquire: partner of the Release behind the last change of the state.
        self.state.has_ended.load(Ordering::Acquire)
    }

    /// Returns the number of sample frames taken so far, at the input's rate.
    #[must_use]
    pub fn sample_frames(&self) -> u64 {
        self.state.sample_frames.load(Ordering::Relaxed)
    }

    /// Takes the reason why reading failed.
    pub fn take_failure(&self) -> Option<String> {
        self.state.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }
}

/// Reads until the end, and gives each piece to `send`, which returns whether it is still wanted. The end and an error
/// are given as the last piece.
fn read_pieces(mut source: ByteSource, send: impl Fn(io::Result<Vec<u8>>) -> bool) {
    loop {
        let mut piece = vec![0; READ_BYTES];
        let outcome = match source.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(count) => {
                piece.truncate(count);
                Ok(piece)
            }
            Err(error) => Err(error),
        };
        let is_last = outcome.as_ref().map_or(true, Vec::is_empty);
        if !send(outcome) || is_last {
            return;
        }
    }
}

struct InputPlayer {
    track: Box<Track<SOURCE_MEMORY>>,
    clock: SharedClock,
    frames: FrameBytes,
    state: Arc<InputState>,
    format: PcmFormat,
}

impl InputPlayer {
    fn run(&mut self, pieces: &Receiver<io::Result<Vec<u8>>>) -> Result<(), String> {
        let mut is_flushed = true;
        let mut last_piece_at = Instant::now();
        loop {
            match pieces.recv_timeout(if is_flushed { STARVED } else { LOOK }) {
                Ok(Ok(piece)) if piece.is_empty() => break,
                Ok(Ok(piece)) => {
                    let samples = self.frames.take(&piece);
                    self.push(&samples)?;
                    is_flushed = false;
                    last_piece_at = Instant::now();
                }
                Ok(Err(error)) => return Err(format!("cannot be read: {error}")),
                Err(RecvTimeoutError::Timeout) => {
                    let is_starved = last_piece_at.elapsed() >= STARVED;
                    if !is_flushed && is_starved && self.track.queued_duration() <= NEARLY_EMPTY {
                        is_flushed = self.track.flush().is_ok();
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        while self.track.flush().is_err() || !self.track.is_played_out(self.clock.now()) {
            std::thread::sleep(PAUSE);
        }
        match self.frames.incomplete_bytes() {
            0 => Ok(()),
            bytes => Err(format!(
                "ends with {bytes} bytes of an incomplete sample frame: expected a multiple of {}",
                self.format.frame_bytes()
            )),
        }
    }

    fn push(&mut self, samples: &[i16]) -> Result<(), String> {
        let channels = self.format.channels as usize;
        let mut rest = samples;
        while !rest.is_empty() {
            if self.track.queued_duration() >= MAX_QUEUED {
                std::thread::sleep(PAUSE);
                continue;
            }
            let taken = self.track.push(rest).map_err(|error| error.to_string())?;
            self.state.sample_frames.fetch_add((taken / channels) as u64, Ordering::Relaxed);
            rest = rest.get(taken..).unwrap_or(&[]);
            if taken == 0 {
                std::thread::sleep(PAUSE);
            }
        }
        Ok(())
    }
}
