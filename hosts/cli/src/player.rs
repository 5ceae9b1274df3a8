//! Application side: the thread that plays files, each on its own track.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration as WallDuration;

use handsfree_core::playback::SourceConfig;

use crate::decode::{Decoded, Decoder, RawFormat};
use handsfree::failure::Failure;
use handsfree::terminal::{SOURCE_MEMORY, SOURCE_QUALITY, SharedClock, Track, Tracks};

/// Interval at which the tracks' queues are filled: short beside the second of audio that a queue holds.
const FILL_INTERVAL: WallDuration = WallDuration::from_millis(20);
/// Number of samples read from a clip at once: 100 ms at 48 kHz, so that the buffer stays small.
const CLIP_CHUNK: usize = 4_800;

/// Audio source that the player can play.
#[derive(Clone, Debug)]
pub enum Source {
    /// Audio file.
    File {
        /// Path of the file.
        path: PathBuf,
        /// Format of its samples if it has no header.
        raw: Option<RawFormat>,
    },
    /// Mono samples in memory.
    Clip {
        /// Display name.
        name: String,
        /// Sample rate, in hertz.
        rate_hz: u32,
        /// Mono samples.
        samples: Arc<[i16]>,
    },
}

impl Source {
    /// Returns the display name: the file's path or the clip's name.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::File { path, .. } => path.display().to_string(),
            Self::Clip { name, .. } => name.clone(),
        }
    }
}

/// Event of the player.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlayerEvent {
    /// The last sample of a source has left the loudspeaker.
    Played {
        /// Display name of the source.
        name: String,
    },
    /// A source could not be played to its end.
    Failed {
        /// Display name of the source and the reason, as one sentence.
        message: String,
    },
}

/// Player of several sources at the same time, each once or repeatedly.
#[derive(Debug)]
pub struct Player {
    thread: Option<JoinHandle<()>>,
    is_stopping: Arc<AtomicBool>,
    playing: Arc<AtomicUsize>,
    events: Receiver<PlayerEvent>,
}

impl Player {
    /// Opens all sources and starts to play them.
    ///
    /// # Errors
    /// Returns an error that names a file that cannot be played. No source is played in this case.
    pub fn start(
        sources: &[Source],
        repeat: bool,
        tracks: &'static Tracks,
        clock: SharedClock,
    ) -> Result<Self, Failure> {
        let mut playing_sources = Vec::new();
        for source in sources {
            playing_sources.push(PlayingSource::open(source, repeat, tracks)?);
        }
        let is_stopping = Arc::new(AtomicBool::new(false));
        let playing = Arc::new(AtomicUsize::new(playing_sources.len()));
        let (event_sender, events) = channel();
        let (thread_is_stopping, thread_playing) = (Arc::clone(&is_stopping), Arc::clone(&playing));
        let thread = std::thread::Builder::new()
            .name("player".into())
            .spawn(move || {
                while !thread_is_stopping.load(Ordering::Relaxed) && !playing_sources.is_empty() {
                    let now = clock.now();
                    playing_sources.retain_mut(|source| source.fill_track(now, &event_sender));
                    thread_playing.store(playing_sources.len(), Ordering::Relaxed);
                    std::thread::sleep(FILL_INTERVAL);
                }
            })
            .map_err(|error| Failure::run(format!("the player's thread could not be started: {error}")))?;
        Ok(Self { thread: Some(thread), is_stopping, playing, events })
    }

    /// Returns the number of sources that have not been played to their ends.
    #[must_use]
    pub fn playing(&self) -> usize {
        self.playing.load(Ordering::Relaxed)
    }

    /// Returns the oldest event that was not yet returned.
    pub fn poll_event(&self) -> Option<PlayerEvent> {
        self.events.try_recv().ok()
    }
}

impl Drop for Player {
    /// Stops the thread; its tracks fade out.
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in the thread has already been printed.
            _ = thread.join();
        }
    }
}

/// Reader of a source's samples.
enum SampleReader {
    File(Box<Decoder>),
    Clip { samples: Arc<[i16]>, position: usize },
}

/// Source that is playing, with its track.
struct PlayingSource {
    source: Source,
    repeat: bool,
    reader: SampleReader,
    track: Box<Track<SOURCE_MEMORY>>,
    /// Decoded samples; the track has taken those before `taken`.
    chunk: Vec<i16>,
    taken: usize,
    is_at_end: bool,
}

impl PlayingSource {
    fn open(source: &Source, repeat: bool, tracks: &'static Tracks) -> Result<Self, Failure> {
        let (reader, rate_hz, channels) = open_reader(source)?;
        let config = SourceConfig { rate_hz, channels, quality: SOURCE_QUALITY, matching: None };
        let track = tracks
            .open_source::<SOURCE_MEMORY>(config)
            .map_err(|error| Failure::run(format!("{}: {error}", source.name())))?;
        Ok(Self {
            source: source.clone(),
            repeat,
            reader,
            track: Box::new(track),
            chunk: Vec::new(),
            taken: 0,
            is_at_end: false,
        })
    }

    /// Fills the track's queue. Returns false when the source has been played to its end or has failed.
    fn fill_track(&mut self, now: handsfree_core::Instant, events: &Sender<PlayerEvent>) -> bool {
        let report_failure = |reason: String| {
            // Sending fails once the player is dropped, when the event is no longer needed.
            _ = events.send(PlayerEvent::Failed { message: format!("{}: {reason}", self.source.name()) });
        };
        while !self.is_at_end {
            match self.track.push(self.chunk.get(self.taken..).unwrap_or(&[])) {
                Ok(taken) => self.taken += taken,
                Err(error) => {
                    report_failure(error.to_string());
                    return false;
                }
            }
            if self.taken < self.chunk.len() {
                return true;
            }
            self.taken = 0;
            match read_chunk(&mut self.reader, &mut self.chunk) {
                Decoded::Samples => {}
                Decoded::Broken(reason) => {
                    report_failure(reason);
                    self.is_at_end = true;
                }
                Decoded::End if !self.repeat => self.is_at_end = true,
                Decoded::End => match open_reader(&self.source) {
                    Ok((reader, ..)) => self.reader = reader,
                    Err(failure) => {
                        report_failure(failure.to_string());
                        self.is_at_end = true;
                    }
                },
            }
        }
        if self.track.flush().is_err() || !self.track.is_played_out(now) {
            return true;
        }
        _ = events.send(PlayerEvent::Played { name: self.source.name() });
        false
    }
}

/// Opens a source, and returns its reader, sample rate in hertz and number of channels.
fn open_reader(source: &Source) -> Result<(SampleReader, u32, u32), Failure> {
    match source {
        Source::File { path, raw } => {
            // Before the file is opened, because opening a pipe waits for its writer.
            let special = std::fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir());
            if special {
                // The player would wait for it while other files play.
                let path = path.display();
                return Err(Failure::run(format!("{path}: is a pipe or a device: expected an audio file")));
            }
            let decoder = Box::new(Decoder::open(Path::new(path), *raw)?);
            let (rate_hz, channels) = (decoder.rate_hz(), decoder.channels());
            Ok((SampleReader::File(decoder), rate_hz, channels))
        }
        Source::Clip { rate_hz, samples, .. } => {
            Ok((SampleReader::Clip { samples: Arc::clone(samples), position: 0 }, *rate_hz, 1))
        }
    }
}

/// Replaces the content of `chunk` with the next samples; leaves it empty at the end.
fn read_chunk(reader: &mut SampleReader, chunk: &mut Vec<i16>) -> Decoded {
    match reader {
        SampleReader::File(decoder) => match decoder.next(chunk) {
            Decoded::Samples => Decoded::Samples,
            end => {
                chunk.clear();
                end
            }
        },
        SampleReader::Clip { samples, position } => {
            chunk.clear();
            let end = samples.len().min(*position + CLIP_CHUNK);
            chunk.extend_from_slice(samples.get(*position..end).unwrap_or(&[]));
            *position = end;
            if chunk.is_empty() { Decoded::End } else { Decoded::Samples }
        }
    }
}
