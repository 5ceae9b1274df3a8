//! Application side: a voice over a background.

use embassy_sync::blocking_mutex::raw::RawMutex;

use crate::playback::ducking::Ducking;
use crate::playback::track::{Track, TrackError};

/// A voice over a background that fades down while the voice speaks, controlled together.
///
/// The two are ordinary tracks of one pool and can do everything that a [`Track`] can. [`voice`](Self::voice)
/// and [`background`](Self::background) are for what concerns one of them alone.
///
/// ```
/// # use embassy_sync::blocking_mutex::raw::NoopRawMutex;
/// # use handsfree_core::capture::Bypass;
/// # use handsfree_core::{SampleRate, Session, SessionFormat};
/// use handsfree_core::playback::{Ducking, MixingTrack};
///
/// # let mut session = Box::new(Session::<480, 2, 8, 8, 16, 101, 48_000>::new());
/// # let terminal = SessionFormat { rate: SampleRate::new(48_000)?, near_channels: 1, far_channels: 1 };
/// # let halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ())?;
/// let tracks = &halves.tracks;
/// let mut both = MixingTrack::new(tracks.open()?, tracks.open()?, Ducking::default())?;
/// both.background.push(&[300; 4_800])?;
/// both.voice.push(&[9_000; 960])?;
/// both.interrupt();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct MixingTrack<
    'p,
    'a,
    M: RawMutex,
    const CAP: usize,
    const SLOTS: usize,
    const VOICE: usize = 0,
    const BACKGROUND: usize = 0,
> {
    /// Track of the voice.
    pub voice: Track<'p, 'a, M, CAP, SLOTS, VOICE>,
    /// Track of the background.
    pub background: Track<'p, 'a, M, CAP, SLOTS, BACKGROUND>,
}

impl<'p, 'a, M: RawMutex, const CAP: usize, const SLOTS: usize, const VOICE: usize, const BACKGROUND: usize>
    MixingTrack<'p, 'a, M, CAP, SLOTS, VOICE, BACKGROUND>
{
    /// Puts a background under a voice.
    ///
    /// # Errors
    /// Returns [`TrackError::Full`] while the mixer has not yet taken earlier commands of the background.
    pub fn new(
        voice: Track<'p, 'a, M, CAP, SLOTS, VOICE>,
        mut background: Track<'p, 'a, M, CAP, SLOTS, BACKGROUND>,
        ducking: Ducking,
    ) -> Result<Self, TrackError> {
        background.set_ducking(Some(ducking))?;
        Ok(Self { voice, background })
    }

    /// Pauses both tracks.
    pub fn pause(&mut self) {
        self.voice.pause();
        self.background.pause();
    }

    /// Resumes both tracks.
    pub fn resume(&mut self) {
        self.voice.resume();
        self.background.resume();
    }

    /// Interrupts both tracks.
    pub fn interrupt(&mut self) {
        self.voice.interrupt();
        self.background.interrupt();
    }

    /// Lets both tracks take audio, see [`Track::enable_input`].
    pub fn enable_input(&mut self, manual: bool) {
        self.voice.enable_input(manual);
        self.background.enable_input(manual);
    }
}
