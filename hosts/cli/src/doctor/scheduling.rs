//! Control side: measures how late this machine wakes up a thread.

use std::time::{Duration, Instant};

use handsfree_core::time::Duration as Span;
use serde::Serialize;

/// Number of sleeps that are measured; together they take about a second.
const SLEEPS: u32 = 1_000;
/// Length of each sleep: shorter than the shortest tried period.
const SLEEP: Duration = Duration::from_millis(1);

/// Scheduling permissions and wake-up delays of threads.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scheduling {
    /// Reason why real-time scheduling was refused; `None` if it was granted.
    pub real_time_refused: Option<String>,
    /// Reason why locking memory was refused; `None` if it was granted.
    pub locked_memory_refused: Option<String>,
    /// Longest wake-up delay in 1,000 sleeps of 1 ms, in milliseconds.
    pub latest_wake_ms: f64,
    /// Longest wake-up delay apart from the ten longest, in milliseconds.
    pub usual_wake_ms: f64,
}

/// Measures on a new thread that requests real-time scheduling like an audio thread. Takes about a second.
#[must_use]
pub fn measure() -> Scheduling {
    std::thread::spawn(measure_on_this_thread).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn measure_on_this_thread() -> Scheduling {
    let (real_time_refused, locked_memory_refused) = request_permissions();
    let mut delays: Vec<Duration> = (0..SLEEPS)
        .map(|_| {
            let started = Instant::now();
            std::thread::sleep(SLEEP);
            started.elapsed().saturating_sub(SLEEP)
        })
        .collect();
    delays.sort_unstable();
    let ms = |from_the_end: usize| {
        let at = delays.len().saturating_sub(from_the_end);
        delays.get(at).map_or(0.0, |delay| (delay.as_secs_f64() * 1e5).round() / 100.0)
    };
    Scheduling { real_time_refused, locked_memory_refused, latest_wake_ms: ms(1), usual_wake_ms: ms(11) }
}

#[cfg(target_os = "linux")]
fn request_permissions() -> (Option<String>, Option<String>) {
    use handsfree_host::realtime;
    let refused = |result: Result<(), realtime::RealtimeError>| result.err().map(|error| error.to_string());
    (refused(realtime::schedule_fifo(70)), refused(realtime::lock_memory()))
}

#[cfg(not(target_os = "linux"))]
fn request_permissions() -> (Option<String>, Option<String>) {
    (None, None)
}

/// Returns the duration in milliseconds, rounded to a hundredth.
#[must_use]
pub fn ms(span: Span) -> f64 {
    (span.as_millis_f64() * 100.0).round() / 100.0
}
