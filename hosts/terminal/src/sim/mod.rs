//! Control side: a simulated room as a host. Its devices run on a virtual clock, in real time or in steps.

mod io;
mod room;

use handsfree_sim::acoustics::{Acoustics, Wire};

pub use self::io::{Pace, SimClock, SimHandle, SimIo, SimIoError};
pub use self::room::{LiveRoom, LivingRoom, SimRoomConfig, Talker};
use crate::host::{AnyIo, ChosenHost, OpenHost};
use crate::terminal::SharedClock;

/// Returns the simulated room as a host in real time.
pub(crate) fn host() -> ChosenHost {
    let clock = SimClock::shared();
    ChosenHost::simulated(clock.clone() as SharedClock, move |config, work| {
        let board = config.sim.board(config.rate, config.period_sample_frames);
        let acoustics: Box<dyn Acoustics + Send> = match config.sim.wire {
            true => Box::new(Wire),
            false => Box::new(LiveRoom::new(board.capture.rate, &config.sim.talker, config.sim.seed)?),
        };
        let (io, handle) = SimIo::spawn(board, acoustics, work, &clock, Pace::RealTime)?;
        Ok(OpenHost { io: AnyIo::new(io), sim: Some(handle) })
    })
}
