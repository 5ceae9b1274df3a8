//! Application side: a thread that plays files, each on its own track.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration as WallDuration;

use handsfree_core::playback::SourceConfig;

use crate::decode::{Decoded, Decoder};
use handsfree::failure::Failure;
use handsfree::terminal::{SOURCE_MEMORY, SOURCE_QUALITY, SharedClock, Track, Tracks};

/// Interval at which the tracks' queues of one second are filled.
const FILL_INTERVAL: WallDuration = WallDuration::from_millis(20);

/// Source to play.
#[derive(Clone, Debug)]
pub enum Source {
    /// Audio file.
    File(PathBuf),
    /// Mono samples in memory.
    Clip {
        /// For people.
        name: String,
        /// Rate of the samples, in hertz.
        rate_hz: u32,
        /// Samples.
        samples: Arc<[i16]>,
    },
}

impl Source {
    /// For people.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Clip { name, .. } => name.clone(),
        }
    }
}

/// Event of the player.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlayerEvent {
    /// All of a source has left the loudspeaker.
    Played {
        /// Name of the source.
        name: String,
    },
    /// A source could not be played to its end, with its name and the reason.
    Broken {
        /// Its name, and what is wrong.
        message: String,
    },
}

/// Player of several sources at the same time, to their ends or repeatedly.
#[derive(Debug)]
pub struct Player {
    thread: Option<JoinHandle<()>>,
    leave: Arc<AtomicBool>,
    playing: Arc<AtomicUsize>,
    events: Receiver<PlayerEvent>,
}

impl Player {
    /// Opens all sources and starts to play them.
    ///
    /// # Errors
    /// Names the file that cannot be played. Then nothing is played.
    pub fn start(
        sources: &[Source],
        repeat: bool,
        tracks: &'static Tracks,
        clock: SharedClock,
    ) -> Result<Self, Failure> {
        let mut voices = Vec::new();
        for source in sources {
            voices.push(PlayingSource::open(source, repeat, tracks)?);
        }
        let leave = Arc::new(AtomicBool::new(false));
        let playing = Arc::new(AtomicUsize::new(voices.len()));
        let (tell, events) = channel();
        let (leaving, left) = (Arc::clone(&leave), Arc::clone(&playing));
        let thread = std::thread::Builder::new()
            .name("player".into())
            .spawn(move || {
                while !leaving.load(Ordering::Relaxed) && !voices.is_empty() {
                    let now = clock.now();
                    voices.retain_mut(|voice| voice.go_on(now, &tell));
                    left.store(voices.len(), Ordering::Relaxed);
                    std::thread::sleep(FILL_INTERVAL);
                }
            })
            .map_err(|error| Failure::run(format!("the player's thread could not be started: {error}")))?;
        Ok(Self { thread: Some(thread), leave, playing, events })
    }

    /// Returns the number of sources that were not yet heard to their ends.
    #[must_use]
    pub fn playing(&self) -> usize {
        self.playing.load(Ordering::Relaxed)
    }

    /// Takes the oldest event.
    pub fn poll_event(&self) -> Option<PlayerEvent> {
        self.events.try_recv().ok()
    }
}

impl Drop for Player {
    /// Fades out what is playing.
    fn drop(&mut self) {
        self.leave.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed when it happened.
            _ = thread.join();
        }
    }
}

enum SampleReader {
    File(Box<Decoder>),
    Clip { samples: Arc<[i16]>, at: usize },
}

/// Source with its track.
struct PlayingSource {
    source: Source,
    repeat: bool,
    reader: SampleReader,
    track: Box<Track<SOURCE_MEMORY>>,
    /// Decoded samples, of which those before `at` are taken.
    chunk: Vec<i16>,
    at: usize,
    ended: bool,
}

impl PlayingSource {
    fn open(source: &Source, repeat: bool, tracks: &'static Tracks) -> Result<Self, Failure> {
        let (reader, rate_hz, channels) = open(source)?;
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
            at: 0,
            ended: false,
        })
    }

    /// Fills the queue. Returns false when nothing is left to do.
    fn go_on(&mut self, now: handsfree_core::Instant, tell: &Sender<PlayerEvent>) -> bool {
        let broken = |found: String| {
            // There is no receiver once the player is dropped.
            _ = tell.send(PlayerEvent::Broken { message: format!("{}: {found}", self.source.name()) });
        };
        while !self.ended {
            match self.track.push(self.chunk.get(self.at..).unwrap_or(&[])) {
                Ok(taken) => self.at += taken,
                Err(error) => {
                    broken(error.to_string());
                    return false;
                }
            }
            if self.at < self.chunk.len() {
                return true;
            }
            (self.at, self.ended) = (0, false);
            match more(&mut self.reader, &mut self.chunk) {
                Decoded::Samples => {}
                Decoded::Broken(found) => {
                    broken(found);
                    self.ended = true;
                }
                Decoded::End if !self.repeat => self.ended = true,
                Decoded::End => match open(&self.source) {
                    Ok((reader, ..)) => self.reader = reader,
                    Err(failure) => {
                        broken(failure.to_string());
                        self.ended = true;
                    }
                },
            }
        }
        if self.track.flush().is_err() || !self.track.is_played_out(now) {
            return true;
        }
        _ = tell.send(PlayerEvent::Played { name: self.source.name() });
        false
    }
}

fn open(source: &Source) -> Result<(SampleReader, u32, u32), Failure> {
    match source {
        Source::File(path) => {
            let decoder = Box::new(Decoder::open(Path::new(path))?);
            let (rate_hz, channels) = (decoder.rate_hz(), decoder.channels());
            Ok((SampleReader::File(decoder), rate_hz, channels))
        }
        Source::Clip { rate_hz, samples, .. } => {
            Ok((SampleReader::Clip { samples: Arc::clone(samples), at: 0 }, *rate_hz, 1))
        }
    }
}

fn more(reader: &mut SampleReader, chunk: &mut Vec<i16>) -> Decoded {
    match reader {
        SampleReader::File(decoder) => match decoder.next(chunk) {
            Decoded::Samples => Decoded::Samples,
            end => {
                chunk.clear();
                end
            }
        },
        SampleReader::Clip { samples, at } => {
            chunk.clear();
            let end = samples.len().min(*at + 4_800);
            chunk.extend_from_slice(samples.get(*at..end).unwrap_or(&[]));
            *at = end;
            if chunk.is_empty() { Decoded::End } else { Decoded::Samples }
        }
    }
}
