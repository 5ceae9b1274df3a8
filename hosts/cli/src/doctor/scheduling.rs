//! Control side: measures how punctually this machine runs a thread.

use std::time::{Duration, Instant};

use handsfree_core::time::Duration as Span;
use serde::Serialize;

/// Number of sleeps that are measured.
const NAPS: u32 = 1_000;
/// Length of each sleep.
const NAP: Duration = Duration::from_millis(1);

/// Permissions for real time, and the lateness of threads.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scheduling {
    /// Reason why real-time scheduling was refused.
    pub real_time_refused: Option<String>,
    /// Reason why locking memory was refused.
    pub locked_memory_refused: Option<String>,
    /// Latest wake-up of a thread of a thousand sleeps of one millisecond, in milliseconds.
    pub latest_wake_ms: f64,
    /// Latest wake-up without the ten latest, in milliseconds.
    pub usual_wake_ms: f64,
}

/// Measures on a thread that asks for real-time scheduling like an audio thread. Takes a second.
#[must_use]
pub fn measure() -> Scheduling {
    std::thread::spawn(nap_often).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn nap_often() -> Scheduling {
    let (real_time_refused, locked_memory_refused) = ask();
    let mut late: Vec<Duration> = (0..NAPS)
        .map(|_| {
            let begun = Instant::now();
            std::thread::sleep(NAP);
            begun.elapsed().saturating_sub(NAP)
        })
        .collect();
    late.sort_unstable();
    let ms = |from_the_end: usize| {
        let at = late.len().saturating_sub(from_the_end);
        late.get(at).map_or(0.0, |late| (late.as_secs_f64() * 1e5).round() / 100.0)
    };
    Scheduling { real_time_refused, locked_memory_refused, latest_wake_ms: ms(1), usual_wake_ms: ms(11) }
}

#[cfg(target_os = "linux")]
fn ask() -> (Option<String>, Option<String>) {
    use handsfree_host::realtime;
    let refused = |result: Result<(), realtime::RealtimeError>| result.err().map(|error| error.to_string());
    (refused(realtime::schedule_fifo(70)), refused(realtime::lock_memory()))
}

#[cfg(not(target_os = "linux"))]
fn ask() -> (Option<String>, Option<String>) {
    (None, None)
}

/// Returns milliseconds rounded to a hundredth.
#[must_use]
pub fn ms(span: Span) -> f64 {
    (span.as_millis_f64() * 100.0).round() / 100.0
}
