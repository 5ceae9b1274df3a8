//! Pauses of the whole machine, as a virtual one has them while its host does something else. No priority prevents
//! them, and sound that passes a server in real time is interrupted by each.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration as Span, Instant as Moment};

/// Priority of the measuring thread, above that of everything it measures for.
const PRIORITY: u8 = 90;
/// Time for which the measuring thread sleeps again and again.
const SLEEP: Span = Span::from_millis(1);
/// Half a frame: a pause of this length delays the next period.
const MIN_PAUSE: Span = Span::from_millis(5);
/// Number of times that a measurement may be made.
const ATTEMPTS: u32 = 3;

/// Runs a measurement in real time, and repeats one whose figures are too low if the machine paused during it. Panics
/// with the text of the error if the machine did not pause, and after the last attempt.
pub(crate) fn repeat_while_machine_pauses(mut measure: impl FnMut() -> Result<(), String>) {
    for attempt in 1..=ATTEMPTS {
        let (result, pauses) = with_pauses(&mut measure);
        let longest_ms = pauses.iter().max().map_or(0.0, |pause| 1e3 * pause.as_secs_f64());
        let text = format!("the machine paused {} times, for at most {longest_ms:.1} ms", pauses.len());
        println!("attempt {attempt}: {text}");
        match result {
            Ok(()) => return,
            Err(error) if pauses.is_empty() || attempt == ATTEMPTS => panic!("{error}; {text}"),
            Err(error) => println!("repeated: {error}"),
        }
    }
}

struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Returns the result and the pauses of the machine meanwhile: how much too late a thread with real-time priority woke.
fn with_pauses<T>(run: impl FnOnce() -> T) -> (T, Vec<Span>) {
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let pauses = scope.spawn(|| {
            // Without the permission the thread also counts the delays by other programs, which are no less harmful.
            _ = handsfree_host::realtime::schedule_fifo(PRIORITY);
            let mut pauses = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                let slept = Moment::now();
                std::thread::sleep(SLEEP);
                pauses.extend(slept.elapsed().checked_sub(SLEEP).filter(|&late| late > MIN_PAUSE));
            }
            pauses
        });
        // Also a measurement that panics ends the thread, for which the scope waits.
        let guard = EndOnDrop(&ended);
        let result = run();
        drop(guard);
        (result, pauses.join().unwrap())
    })
}
