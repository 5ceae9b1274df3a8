//! Writes the schedules from seeds: the time of each period, poll and track command, to the nanosecond.
//!
//!     cargo run -p handsfree-vectors --features record --bin record

use std::fmt::Write;
use std::path::Path;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schedules");
    // Steady: periods of 10 ms on clocks that differ. Ragged: changing lengths, gaps and jitter. Stalls: a
    // worker that misses rounds.
    std::fs::write(folder.join("steady.txt"), record(1, 150, false, 0))?;
    std::fs::write(folder.join("ragged.txt"), record(2, -300, true, 0))?;
    std::fs::write(folder.join("stalls.txt"), record(3, 40, false, 60))
}

/// Records three seconds. `ppm` is the clock error of the loudspeaker relative to the microphone, and
/// `stall_percent` the share of rounds that the worker misses.
fn record(seed: u64, ppm: i64, ragged: bool, stall_percent: u64) -> String {
    let mut random = Random(seed);
    let mut text = String::new();
    let (mut played, mut captured) = (0i64, 0i64);
    let (mut play_gap, mut capture_gap) = (0i64, 0i64);
    let time_of = |samples: i64, ppm: i64| samples * 62_500 - samples * 62_500 * ppm / 1_000_000;
    while captured < 48_000 {
        let length = |random: &mut Random| if ragged { 1 + random.below(320) as i64 } else { 160 };
        let (play, capture) = (length(&mut random), length(&mut random));
        let (play_at, capture_at) =
            (time_of(played + play_gap + play, ppm), time_of(captured + capture_gap + capture, 0));
        let jitter = if ragged { random.below(400_000) as i64 } else { random.below(2_000) as i64 };
        let now = if play_at <= capture_at {
            let gap = if ragged && random.below(60) == 0 { random.below(500) as i64 } else { 0 };
            play_gap += gap;
            played += play;
            let _ = writeln!(text, "{} out {play} {gap}", play_at + jitter);
            play_at
        } else {
            let gap = if ragged && random.below(60) == 0 { random.below(500) as i64 } else { 0 };
            capture_gap += gap;
            captured += capture;
            let _ = writeln!(text, "{} in {capture} {gap}", capture_at + jitter);
            capture_at
        };
        if random.below(100) < stall_percent {
            continue;
        }
        let now = now + 500_000;
        let _ = match random.below(80) {
            0 => writeln!(text, "{now} gain {} {}", random.below(200_000), random.below(30)),
            1 => writeln!(text, "{now} pause 0 0"),
            2..=5 => writeln!(text, "{now} resume 0 0"),
            6 => writeln!(text, "{now} interrupt 0 0"),
            _ => writeln!(text, "{now} push {} 0", 40 + random.below(300)),
        };
        let _ = writeln!(text, "{now} poll 0 0");
    }
    text
}
