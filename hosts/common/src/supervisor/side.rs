//! Control side: how one direction fares, and when it is tried again.

use handsfree_core::audio_io::DirectionInfo;
use handsfree_core::{Duration, Instant};

use super::{DirectionConfig, FIRST_RETRY, LONGEST_RETRY};

/// A device that ran for so long counts as well: a later loss is retried quickly again.
const STEADY: Duration = Duration::from_millis(2_000);

#[derive(Debug)]
pub(super) enum State {
    Closed,
    Running { since: Instant, info: DirectionInfo },
    Waiting { tried: Instant, retry_at: Instant },
}

/// One direction without its half.
#[derive(Debug)]
pub(super) struct Side<E> {
    pub(super) plan: Option<DirectionConfig>,
    pub(super) state: State,
    /// The interval before the next try.
    pub(super) patience: Duration,
    pub(super) last_error: Option<E>,
}

impl<E> Side<E> {
    pub(super) const fn new() -> Self {
        Self { plan: None, state: State::Closed, patience: FIRST_RETRY, last_error: None }
    }

    pub(super) fn runs(&mut self, info: DirectionInfo, now: Instant) {
        self.state = State::Running { since: now, info };
        self.last_error = None;
    }

    pub(super) fn lose(&mut self, since: Instant, now: Instant) {
        if now - since >= STEADY {
            self.patience = FIRST_RETRY;
        }
        // As if tried now: at once it would rarely be back.
        self.state = State::Waiting { tried: now, retry_at: now + self.patience };
        self.lengthen();
    }

    pub(super) fn fails(&mut self, error: Option<E>, now: Instant) {
        self.state = State::Waiting { tried: now, retry_at: now + self.patience };
        self.lengthen();
        if error.is_some() {
            self.last_error = error;
        }
    }

    fn lengthen(&mut self) {
        self.patience = (self.patience + self.patience).min(LONGEST_RETRY);
    }

    pub(super) fn hurry(&mut self, now: Instant) {
        if let State::Waiting { tried, retry_at } = &mut self.state {
            *retry_at = (*retry_at).min((*tried + FIRST_RETRY).max(now));
        }
    }
}
