//! Measures two sides in turns.

use std::time::Instant;

/// Times that each side is made anew, because a place in memory can make a part faster or slower.
const MADE: usize = 5;
/// Rounds of each side so made. The ratio is the median of all rounds' ratios, because the machine's speed changes between
/// rounds more than within one.
const ROUNDS: usize = 41;

/// Returns the nanoseconds that 10 ms of audio took in one round.
pub(crate) type Side = Box<dyn FnMut() -> f64>;

/// A part of ours, what it is compared with, and the ratio that was promised.
pub(crate) struct Comparison {
    pub(crate) name: String,
    pub(crate) peer: &'static str,
    pub(crate) limit: Option<f64>,
    ours: Box<dyn Fn() -> Side>,
    theirs: Box<dyn Fn() -> Side>,
}

impl Comparison {
    pub(crate) fn new(
        name: impl Into<String>,
        peer: &'static str,
        limit: Option<f64>,
        ours: impl Fn() -> Side + 'static,
        theirs: impl Fn() -> Side + 'static,
    ) -> Self {
        Self { name: name.into(), peer, limit, ours: Box::new(ours), theirs: Box::new(theirs) }
    }

    /// Measures both sides in turns, or only runs them once.
    pub(crate) fn measure(&self, only_once: bool) -> Measured {
        let (made, rounds) = if only_once { (1, 1) } else { (MADE, ROUNDS) };
        let mut times = Vec::new();
        for _ in 0..made {
            let (mut ours, mut theirs) = ((self.ours)(), (self.theirs)());
            // The first round only warms the caches.
            ours();
            theirs();
            for _ in 0..rounds {
                times.push((ours(), theirs()));
            }
        }
        let median_of = |value: fn(&(f64, f64)) -> f64| median(times.iter().map(value).collect());
        Measured {
            ours_ns: median_of(|(ours, _)| *ours),
            theirs_ns: median_of(|(_, theirs)| *theirs),
            ratio: median_of(|(ours, theirs)| ours / theirs),
        }
    }
}

/// Medians over all rounds.
#[derive(Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) ours_ns: f64,
    pub(crate) theirs_ns: f64,
    pub(crate) ratio: f64,
}

pub(crate) fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Adds up the time of stretches of work.
#[derive(Default)]
pub(crate) struct Stopwatch {
    total_ns: f64,
}

impl Stopwatch {
    pub(crate) fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let result = work();
        self.total_ns += began.elapsed().as_nanos() as f64;
        result
    }

    pub(crate) fn ns_of_each(&self, frames: usize) -> f64 {
        self.total_ns / frames as f64
    }
}

/// Returns a side whose round does the work of 10 ms `frames` times.
pub(crate) fn repeated(frames: usize, mut work: impl FnMut() + 'static) -> Side {
    Box::new(move || {
        let mut watch = Stopwatch::default();
        watch.time(|| (0..frames).for_each(|_| work()));
        watch.ns_of_each(frames)
    })
}
