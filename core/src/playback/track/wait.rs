//! Application side: waits for a track, in any executor or in a loop.

use core::future::poll_fn;
use core::task::Poll;

use embassy_sync::blocking_mutex::raw::RawMutex;

use crate::playback::track::{Track, TrackError, TrackEvent};
use crate::time::Clock;

/// Futures for any executor. They check again whenever [`TrackPool::dispatch`](super::TrackPool::dispatch) is
/// called. Dropping a future, as a `select` does, loses nothing, except that [`push_all`](Self::push_all) may
/// have queued a part.
///
/// ```
/// # use embassy_sync::blocking_mutex::raw::NoopRawMutex;
/// # use handsfree_core::capture::Bypass;
/// # use handsfree_core::{SampleRate, Session, SessionFormat};
/// use handsfree_core::playback::{Track, TrackError, TrackEvent};
/// use handsfree_core::time::Clock;
///
/// type Voice<'p, 'a> = Track<'p, 'a, NoopRawMutex, 480, 2>;
///
/// async fn say(voice: &mut Voice<'_, '_>, speech: &[i16], clock: &impl Clock) -> Result<(), TrackError> {
///     voice.push_all(speech).await?;
///     voice.mark_synthesis_complete()?;
///     while !matches!(voice.next_event(clock).await, TrackEvent::LastAudio { .. }) {}
///     Ok(())
/// }
/// ```
impl<M: RawMutex, const CAP: usize, const SLOTS: usize, const MEMORY: usize>
    Track<'_, '_, M, CAP, SLOTS, MEMORY>
{
    /// Queues all of `samples`, whole sample frames, and waits while the queue is full. A future that is
    /// dropped has queued a part; [`position`](Self::position) tells which.
    ///
    /// # Errors
    /// Returns the errors of [`push`](Self::push).
    pub async fn push_all(&mut self, samples: &[i16]) -> Result<(), TrackError> {
        let whole = samples.len() - samples.len() % self.channels();
        let mut rest = samples.get(..whole).unwrap_or(&[]);
        self.until(|track| match track.push(rest) {
            Ok(taken) => {
                rest = rest.get(taken..).unwrap_or(&[]);
                rest.is_empty().then_some(Ok(()))
            }
            Err(error) => Some(Err(error)),
        })
        .await
    }

    /// Queues all of `bytes`, any number of them, and waits while the queue is full.
    ///
    /// # Errors
    /// Returns the errors of [`push_bytes`](Self::push_bytes).
    pub async fn push_all_bytes(&mut self, bytes: &[u8]) -> Result<(), TrackError> {
        let mut rest = bytes;
        self.until(|track| match track.push_bytes(rest) {
            Ok(taken) => {
                rest = rest.get(taken..).unwrap_or(&[]);
                rest.is_empty().then_some(Ok(()))
            }
            Err(error) => Some(Err(error)),
        })
        .await
    }

    /// Queues all of `samples` and calls `wait` while the queue is full: a sleep of some milliseconds on a
    /// host, a wait for the next interrupt on a microcontroller, a step of a simulation.
    ///
    /// # Errors
    /// Returns the errors of [`push`](Self::push).
    pub fn push_blocking(&mut self, samples: &[i16], mut wait: impl FnMut()) -> Result<(), TrackError> {
        let whole = samples.len() - samples.len() % self.channels();
        let mut rest = samples.get(..whole).unwrap_or(&[]);
        loop {
            let taken = self.push(rest)?;
            rest = rest.get(taken..).unwrap_or(&[]);
            if rest.is_empty() {
                return Ok(());
            }
            wait();
        }
    }

    /// Waits until everything pushed has left the loudspeaker, including a tail shorter than a frame. While the
    /// track is paused, the wait continues.
    pub async fn wait_for_playout(&mut self, clock: &impl Clock) {
        self.until(|track| track.flush().ok()).await;
        self.until(|track| track.is_played_out(clock.now()).then_some(())).await;
    }

    /// Waits until the last interruption is over and returns the source position at which it stopped: one past
    /// the last sample frame that was played.
    pub async fn interrupted(&mut self, clock: &impl Clock) -> u64 {
        self.until(|track| track.interrupted_at(clock.now())).await
    }

    /// Waits for the next event at the loudspeaker.
    pub async fn next_event(&mut self, clock: &impl Clock) -> TrackEvent {
        self.until(|track| track.poll_event(clock.now())).await
    }

    async fn until<T>(&mut self, mut ready: impl FnMut(&mut Self) -> Option<T>) -> T {
        poll_fn(|context| {
            // Registered before the check, so that a change in between is not missed.
            if let Some(port) = &self.port {
                self.pool.wait(port.index, context.waker());
            }
            ready(self).map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}
