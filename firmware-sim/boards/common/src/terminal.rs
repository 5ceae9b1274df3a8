//! Task that starts: the parts of a terminal.

use embassy_sync::signal::Signal;
use handsfree_core::capture::{Intake, VoiceProcessor};
use handsfree_core::playback::{Outlet, TrackPool};
use handsfree_core::{ConfigError, SampleRate, Session, SessionFormat};

use crate::periods::{Board, Loudspeaker, Microphone};
use crate::prompt::Prompt;
use crate::worker::Worker;
use crate::{CAP, Mutex, RATE_HZ, SLOTS};

/// Memory of a session at 16 kHz, for a `static`.
pub type BoardSession = Session<CAP, SLOTS, 4, 4, 4, 8, 4_000>;
/// Tracks that the application plays, for a `static`.
pub type Pool = TrackPool<'static, Mutex, CAP, SLOTS>;

/// Tells the worker that a period has completed a frame.
pub static WORK: Signal<Mutex, ()> = Signal::new();

/// A terminal whose parts are handed to their tasks.
pub struct Terminal<V: VoiceProcessor + 'static> {
    /// For the audio interface: [`Microphone`] or `DmaIo`.
    pub intake: Intake<'static, CAP>,
    /// For the audio interface: [`Loudspeaker`] or `DmaIo`.
    pub outlet: Outlet<'static, CAP, SLOTS>,
    /// For the task below it.
    pub worker: Worker<V>,
    /// The application.
    pub prompt: Prompt,
}

impl<V: VoiceProcessor> Terminal<V> {
    /// Returns the parts for a driver that hands over whole periods, configured for the board.
    ///
    /// # Errors
    /// Names a slot that the interface does not have.
    pub fn with_periods(
        self,
        board: &Board,
    ) -> Result<(Microphone, Loudspeaker, Worker<V>, Prompt), ConfigError> {
        let microphone = Microphone::new(self.intake, board)?;
        let loudspeaker = Loudspeaker::new(self.outlet, board)?;
        Ok((microphone, loudspeaker, self.worker, self.prompt))
    }
}

/// Returns the parts of a terminal with the voice processor `voice`. Once, before the tasks are started. `keep` gives the tracks a place
/// for ever, such as `StaticCell::init`.
///
/// # Errors
/// Names a limit of the session.
pub fn terminal<V: VoiceProcessor>(
    session: &'static mut BoardSession,
    keep: impl FnOnce(Pool) -> &'static mut Pool,
    voice: V,
) -> Result<Terminal<V>, ConfigError> {
    let format = SessionFormat { rate: SampleRate::new(RATE_HZ)?, near_channels: 1, far_channels: 1 };
    let halves = session.split::<Mutex, _, _>(format, voice, ())?;
    let pool: &'static Pool = keep(halves.tracks);
    Ok(Terminal {
        intake: halves.intake,
        outlet: halves.outlet,
        worker: Worker::new(halves.capture, halves.playback, pool, halves.events),
        prompt: Prompt::new(pool),
    })
}
