//! What more tracks, sinks, a longer tail and a longer history cost: the cost must grow linearly.

use handsfree_core::canceller::FullStorage;
use handsfree_core::capture::FrameSink;
use handsfree_core::tee::{TapFilter, Tee, TeeSink};
use handsfree_core::{Format, Frame, Session};

use crate::measure::{Side, median, repeated};
use crate::mixing::{Gains, mixer};
use crate::pipelines::{FRAME, direct};

/// Least coefficient of determination of the straight line.
const LEAST_R2: f64 = 0.99;
const ROUNDS: usize = 41;
/// Width of a bar in the table.
const BAR: f64 = 40.0;

/// A cost at several sizes.
struct Growth {
    name: &'static str,
    /// What the sizes count.
    of: &'static str,
    unit: &'static str,
    points: Vec<(f64, f64)>,
}

impl Growth {
    /// Returns the coefficient of determination of the straight line with the least squared error. A cost that does not grow has
    /// none.
    fn r2(&self) -> f64 {
        let n = self.points.len() as f64;
        let mean = |value: fn(&(f64, f64)) -> f64| self.points.iter().map(value).sum::<f64>() / n;
        let (x, y) = (mean(|point| point.0), mean(|point| point.1));
        let sum = |term: &dyn Fn(f64, f64) -> f64| {
            self.points.iter().map(|&(a, b)| term(a - x, b - y)).sum::<f64>()
        };
        sum(&|a, b| a * b).powi(2) / (sum(&|a, _| a * a) * sum(&|_, b| b * b))
    }

    fn print(&self) {
        let most = self.points.iter().map(|point| point.1).fold(0.0, f64::max);
        println!("\n{}: R2 {:.4}\n\n| {} | {} | |\n|---|---|---|", self.name, self.r2(), self.of, self.unit);
        for &(size, cost) in &self.points {
            println!("| {size} | {cost:.2} | {} |", "#".repeat((cost / most * BAR).round() as usize));
        }
    }
}

/// Returns the microseconds of each side, measured in turns. They are medians of the shares of a round's time, because the
/// machine's speed changes between rounds more than within one.
fn times(mut sides: Vec<(f64, Side)>, rounds: usize) -> Vec<(f64, f64)> {
    let mut totals = Vec::new();
    let mut shares = vec![Vec::new(); sides.len()];
    for _ in 0..rounds {
        let round: Vec<f64> = sides.iter_mut().map(|(_, side)| side() / 1e3).collect();
        let total: f64 = round.iter().sum();
        round.iter().zip(&mut shares).for_each(|(time, shares)| shares.push(time / total));
        totals.push(total);
    }
    let total = median(totals);
    sides.iter().zip(shares).map(|((size, _), shares)| (*size, median(shares) * total)).collect()
}

/// Measures the tee with a number of sinks, each with a reader that takes all.
fn tee<const SINKS: usize>() -> (f64, Side) {
    let sinks: &'static mut [TeeSink<FRAME, 8>; SINKS] =
        Box::leak(Box::new([const { TeeSink::new() }; SINKS]));
    let (mut control, mut feed) = Box::leak(Box::new(Tee::<FRAME, SINKS>::new())).split();
    let mut readers = Vec::new();
    for sink in sinks {
        let (writer, reader) = sink.split();
        control.add(writer, TapFilter::All).map_err(|refused| refused.error).expect("a slot for each sink");
        readers.push(reader);
    }
    feed.poll();
    let frame = Frame::<FRAME>::silence(Format::new(48_000, 1).expect("a rate")).expect("10 ms");
    let side = repeated(200, move || {
        FrameSink::on_frame(&mut feed, &frame);
        readers.iter_mut().for_each(|reader| assert!(reader.pop().is_some()));
    });
    (SINKS as f64, side)
}

macro_rules! cancellers {
    ($($tail:literal),*) => { vec![$({
        handsfree_core::echo_canceller! { type Canceller = EchoCanceller<FullStorage> { rate_hz: 16_000, tail_ms: $tail }; }
        (f64::from($tail), direct(16_000, Canceller::new(), |voice| voice))
    }),*] };
}

macro_rules! histories {
    ($($ms:literal),*) => {
        vec![$((f64::from($ms), size_of::<Session<FRAME, 1, 8, 8, 16, 8, { $ms * 48 }>>() as f64 / 1_024.0)),*]
    };
}

/// Prints all growths and returns whether all are linear.
pub(crate) fn print(only_once: bool) -> bool {
    let rounds = if only_once { 1 } else { ROUNDS };
    let track = |slots: u16, side| (f64::from(slots), side);
    let tracks = vec![
        track(1, mixer::<1>(Gains::Unity)),
        track(8, mixer::<8>(Gains::Unity)),
        track(16, mixer::<16>(Gains::Unity)),
        track(32, mixer::<32>(Gains::Unity)),
        track(48, mixer::<48>(Gains::Unity)),
        track(64, mixer::<64>(Gains::Unity)),
    ];
    let sinks = vec![tee::<1>(), tee::<2>(), tee::<4>(), tee::<8>(), tee::<12>(), tee::<16>()];
    let growths = [
        Growth { name: "Mixer, 48 kHz", of: "tracks", unit: "us in 10 ms", points: times(tracks, rounds) },
        Growth { name: "Tee, 48 kHz", of: "sinks", unit: "us in 10 ms", points: times(sinks, rounds) },
        Growth {
            name: "Echo canceller, 16 kHz",
            of: "ms of tail",
            unit: "us in 10 ms",
            points: times(cancellers!(64, 128, 256, 384, 512), rounds),
        },
        Growth {
            name: "A session's memory, 48 kHz",
            of: "ms of echo history",
            unit: "KB",
            points: histories!(250, 500, 1_000, 2_000, 3_000),
        },
    ];
    growths.iter().for_each(Growth::print);
    growths.iter().all(|growth| growth.r2() > LEAST_R2) || only_once
}
