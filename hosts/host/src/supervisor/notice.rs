//! Control side: what a supervisor reports about its directions.

use std::fmt;

use handsfree_core::audio_io::{Direction, DirectionInfo, Event};

/// An event that an application may want to react to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A device was lost; the supervisor waits for it to return. Reported once for each loss.
    Lost {
        /// Direction that lost its device.
        direction: Direction,
    },
    /// A direction that had lost its device runs again.
    Returned {
        /// Direction that runs again.
        direction: Direction,
        /// Properties that the device granted; they may differ from those before the loss.
        info: DirectionInfo,
    },
    /// A direction that was opened on the default device now runs on a different device: it followed the system's
    /// default, or it returned to the default device after a loss (reported after [`Returned`](Self::Returned) in
    /// that case). The state of an echo canceller belongs to the old device.
    Moved {
        /// Direction that moved.
        direction: Direction,
        /// Properties that the new device granted; they may differ from those of the old one.
        info: DirectionInfo,
    },
    /// Any other event of the host.
    Host(Event),
}

/// Reason why a direction was not opened.
#[derive(Debug, PartialEq)]
pub enum OpenError<E> {
    /// The direction is open already, or waits for its device; it must be closed first.
    Open {
        /// Direction that is open.
        direction: Direction,
    },
    /// The host has not returned the direction's half of the terminal.
    Missing {
        /// Direction without its half.
        direction: Direction,
    },
    /// The host refused to start the stream.
    Host(E),
}

impl<E: fmt::Display> fmt::Display for OpenError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { direction } => {
                write!(f, "{} is open: expected it to be closed", name(*direction))
            }
            Self::Missing { direction } => {
                write!(f, "the host kept the {} half: expected it to be returned", name(*direction))
            }
            Self::Host(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error> std::error::Error for OpenError<E> {}

const fn name(direction: Direction) -> &'static str {
    match direction {
        Direction::Capture => "capture",
        Direction::Playback => "playback",
    }
}

/// State of a supervised direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectionState {
    /// The direction is not open.
    Closed,
    /// The direction is open and audio flows.
    Running(DirectionInfo),
    /// The direction is open and waits for its device to return.
    Waiting,
}
