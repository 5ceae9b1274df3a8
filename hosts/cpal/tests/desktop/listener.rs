//! A signal whose every sample names its position, and what came back of it.

/// The sample that a position has: never silent, and no stretch is like another.
pub(crate) fn sample(position: u64) -> i16 {
    let mut x = position.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D;
    x ^= x >> 29;
    x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x ^= x >> 32;
    (x as i16 >> 2) | 1
}

/// Samples by which a place in the signal is known beyond doubt.
const NEEDLE: usize = 4;
/// How far ahead or behind the signal is looked for.
const REACH: u64 = 400_000;

/// What was heard, sample by sample.
#[derive(Debug, Default)]
pub(crate) struct Listener {
    /// Samples that were heard where they belong.
    pub(crate) found: u64,
    /// Samples of the signal that never came, though later ones did.
    pub(crate) lost: u64,
    /// Samples that came twice.
    pub(crate) repeated: u64,
    /// Silence within the signal.
    pub(crate) silence: u64,
    /// Places where something was lost or came again.
    pub(crate) breaks: u32,
    next: Option<u64>,
    quiet: u64,
    recent: Vec<i16>,
}

impl Listener {
    pub(crate) fn hear(&mut self, value: i16) {
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
        if self.recent.len() < NEEDLE {
            return;
        }
        let near = self.next.unwrap_or(0);
        let place = (near.saturating_sub(REACH)..near + REACH)
            .find(|&start| self.recent.iter().zip(start..).all(|(&value, at)| value == sample(at)));
        let Some(place) = place else {
            self.recent.remove(0);
            return;
        };
        if let Some(next) = self.next {
            self.lost += place.saturating_sub(next);
            self.repeated += next.saturating_sub(place);
            self.breaks += u32::from(place != next);
        }
        self.silence += std::mem::take(&mut self.quiet);
        self.next = Some(place + NEEDLE as u64);
        self.found += NEEDLE as u64;
        self.recent.clear();
    }

    /// What comes from now on may begin anywhere.
    pub(crate) fn start_anew(&mut self) {
        *self = Self { recent: Vec::new(), next: self.next, ..Self::default() };
    }
}

#[test]
fn the_listener_tells_what_is_missing() {
    let mut ears = Listener::default();
    let mut hear = |range: std::ops::Range<u64>| range.for_each(|position| ears.hear(sample(position)));
    hear(0..100);
    hear(110..200);
    hear(195..300);
    for _ in 0..7 {
        ears.hear(0);
    }
    (300..400).for_each(|position| ears.hear(sample(position)));
    assert_eq!((ears.lost, ears.repeated, ears.silence, ears.breaks), (10, 5, 7, 2));
    assert_eq!(ears.found, 100 + 90 + 105 + 100);
}
