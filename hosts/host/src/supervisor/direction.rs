//! Control side: the state of one supervised direction, and the time of its next restart.

use handsfree_core::audio_io::DirectionInfo;
use handsfree_core::{Duration, Instant};

use super::{DirectionConfig, FIRST_RETRY_DELAY, MAX_RETRY_DELAY};

/// Running time after which a device counts as reliable: a later loss starts again with the shortest retry delay.
const RELIABLE_AFTER: Duration = Duration::from_millis(2_000);

/// State of a supervised direction.
#[derive(Debug)]
pub(super) enum SupervisedState {
    Closed,
    Running { since: Instant, info: DirectionInfo },
    Waiting { last_attempt: Instant, retry_at: Instant },
}

/// One supervised direction, without its half of the terminal.
#[derive(Debug)]
pub(super) struct SupervisedDirection<E> {
    pub(super) config: Option<DirectionConfig>,
    pub(super) state: SupervisedState,
    /// Delay before the next restart.
    retry_delay: Duration,
    pub(super) last_error: Option<E>,
}

impl<E> SupervisedDirection<E> {
    pub(super) const fn closed() -> Self {
        Self {
            config: None,
            state: SupervisedState::Closed,
            retry_delay: FIRST_RETRY_DELAY,
            last_error: None,
        }
    }

    /// Creates the state of a direction that was started successfully for the first time.
    pub(super) fn opened(config: DirectionConfig, info: DirectionInfo, now: Instant) -> Self {
        let mut direction = Self { config: Some(config), ..Self::closed() };
        direction.record_start(info, now);
        direction
    }

    /// Returns whether the direction follows the system's default device.
    pub(super) fn follows_default(&self) -> bool {
        self.config.as_ref().is_some_and(|config| config.device.is_none())
    }

    pub(super) fn record_start(&mut self, info: DirectionInfo, now: Instant) {
        self.state = SupervisedState::Running { since: now, info };
        self.last_error = None;
    }

    pub(super) fn record_loss(&mut self, running_since: Instant, now: Instant) {
        if now - running_since >= RELIABLE_AFTER {
            self.retry_delay = FIRST_RETRY_DELAY;
        }
        // A device is rarely back at once, so the loss counts as an attempt.
        self.wait_for_retry(now);
    }

    pub(super) fn record_failed_start(&mut self, error: Option<E>, now: Instant) {
        self.wait_for_retry(now);
        if error.is_some() {
            self.last_error = error;
        }
    }

    fn wait_for_retry(&mut self, now: Instant) {
        self.state = SupervisedState::Waiting { last_attempt: now, retry_at: now + self.retry_delay };
        self.retry_delay = (self.retry_delay + self.retry_delay).min(MAX_RETRY_DELAY);
    }

    /// Moves the next restart as close to now as [`FIRST_RETRY_DELAY`] allows.
    pub(super) fn retry_soon(&mut self, now: Instant) {
        if let SupervisedState::Waiting { last_attempt, retry_at } = &mut self.state {
            *retry_at = (*retry_at).min((*last_attempt + FIRST_RETRY_DELAY).max(now));
        }
    }
}
