//! A signal in which every sample identifies its position, and a checker of the samples that return.

/// Returns the signal's sample at a position. It is never 0, and every stretch of four samples is unique.
pub(crate) fn sample(position: u64) -> i16 {
    let mut x = position.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D;
    x ^= x >> 29;
    x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x ^= x >> 32;
    (x as i16 >> 2) | 1
}

/// Number of samples that identify a position in the signal.
const MATCH_SAMPLES: usize = 4;
/// Distance in samples, ahead and behind, within which the signal is searched for.
const SEARCH_SAMPLES: u64 = 400_000;

/// Result of comparing recorded samples with the signal.
#[derive(Debug, Default)]
pub(crate) struct SignalChecker {
    /// Number of samples found at their position.
    pub(crate) found: u64,
    /// Number of samples that are missing before a later sample.
    pub(crate) lost: u64,
    /// Number of samples that were repeated.
    pub(crate) repeated: u64,
    /// Number of silent samples within the signal.
    pub(crate) silence: u64,
    /// Number of positions at which samples are missing or repeated.
    pub(crate) breaks: u32,
    next: Option<u64>,
    quiet: u64,
    recent: Vec<i16>,
}

impl SignalChecker {
    pub(crate) fn check(&mut self, value: i16) {
        if value == 0 {
            self.quiet += u64::from(self.next.is_some());
            self.recent.clear();
            return;
        }
        if let Some(next) = self.next
            && self.recent.is_empty()
            && value == sample(next)
        {
            self.next = Some(next + 1);
            self.found += 1;
            self.silence += std::mem::take(&mut self.quiet);
            return;
        }
        self.recent.push(value);
        if self.recent.len() < MATCH_SAMPLES {
            return;
        }
        let near = self.next.unwrap_or(0);
        let found = (near.saturating_sub(SEARCH_SAMPLES)..near + SEARCH_SAMPLES)
            .find(|&start| self.recent.iter().zip(start..).all(|(&value, at)| value == sample(at)));
        let Some(position) = found else {
            self.recent.remove(0);
            return;
        };
        if let Some(next) = self.next {
            self.lost += position.saturating_sub(next);
            self.repeated += next.saturating_sub(position);
            self.breaks += u32::from(position != next);
        }
        self.silence += std::mem::take(&mut self.quiet);
        self.next = Some(position + MATCH_SAMPLES as u64);
        self.found += MATCH_SAMPLES as u64;
        self.recent.clear();
    }

    /// Resets the counts but keeps the position at which the search for the next samples begins.
    pub(crate) fn restart(&mut self) {
        *self = Self { recent: Vec::new(), next: self.next, ..Self::default() };
    }
}

#[test]
fn the_checker_counts_missing_and_repeated_samples() {
    let mut checker = SignalChecker::default();
    let mut check = |range: std::ops::Range<u64>| range.for_each(|position| checker.check(sample(position)));
    check(0..100);
    check(110..200);
    check(195..300);
    for _ in 0..7 {
        checker.check(0);
    }
    (300..400).for_each(|position| checker.check(sample(position)));
    assert_eq!((checker.lost, checker.repeated, checker.silence, checker.breaks), (10, 5, 7, 2));
    assert_eq!(checker.found, 100 + 90 + 105 + 100);
}
