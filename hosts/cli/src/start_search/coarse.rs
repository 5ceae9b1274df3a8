//! Control side: the coarse search over all start offsets and clock rates, at a low sample rate.

use handsfree::failure::Failure;
use handsfree_sim::interpolate::Interpolator;

use super::correlate::Correlator;
use super::line::{Candidate, VotedLine, Votes, best_line};
use super::whiten::whitened;
use super::{MAX_DRIFT_PPM, MAX_OFFSET_S};
use crate::signal::{Signal, read_run};

/// Sample rate of the coarse search, in hertz.
const RATE_HZ: f64 = 4_000.0;
/// Band of the coarse search, in hertz: the part of speech that even small loudspeakers play, below the low rate's Nyquist frequency.
const BAND_HZ: std::ops::Range<f64> = 300.0..1_800.0;
/// Longest part of the microphone recording that the coarse search uses, in seconds.
const REGION_S: f64 = 60.0;
/// Time before and after a block in which its far end is looked for, in seconds: the longest start offset and what the largest
/// drift adds to it within the region.
const REACH_S: f64 = MAX_OFFSET_S + REGION_S * MAX_DRIFT_PPM * 1e-6 + 0.3;
/// Length of a block when the clocks are taken as equal, in seconds.
const LONG_BLOCK_S: f64 = 2.0;
/// Difference of the clocks, in ppm, up to which a long block's correlation does not smear.
const EQUAL_CLOCKS_PPM: f64 = 300.0;
/// Length of a block when a difference of the clocks is tried, in seconds.
const SHORT_BLOCK_S: f64 = 0.5;
/// Step between the tried differences, in ppm: half of it moves the echo by 0.06 ms on each side of a short block's middle.
const STEP_PPM: f64 = 500.0;
/// Number of short blocks that are tried with every difference.
const SHORT_BLOCKS: usize = 20;
/// Candidates of a block.
const CANDIDATES: usize = 10;
/// Shortest distance of two candidates, in seconds: within it lie the reflections of one echo.
const APART_S: f64 = 0.008;
/// Support per block at which no other difference of the clocks needs to be tried.
const CLEAR_SCORE_PER_BLOCK: f64 = 4.0;
/// Support that a line needs. Unrelated speech and noise reach up to 7, an echo in real recordings with double talk 44 to 350.
const MIN_SCORE: f64 = 12.0;
/// Support that a line needs if a single block is all there is.
const MIN_SINGLE_SCORE: f64 = 6.0;
/// Largest support of another line, as a share of the best one's.
const MAX_RIVAL: f64 = 0.7;
/// Correlation of a block of the far end with another place of the far end above which the block is periodic.
const PERIODIC_CORRELATION: f64 = 0.75;
/// Number and share of blocks that must not be periodic. The first and last of a tone may look so.
const MIN_OTHER_BLOCKS: usize = 2;
const MIN_OTHER_SHARE: f64 = 0.2;
/// Level below which a recording counts as silent, as a power relative to full scale (-80 dBFS).
const SILENT_POWER: f64 = 1e-8;

/// Result of the coarse search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Coarse {
    /// Line of the lag: its value at the start of the microphone recording in seconds, and its slope in seconds per second.
    Line(CoarseLine),
    /// Several lines explain the recordings.
    Ambiguous,
    /// No line explains the recordings.
    NotFound,
}

/// Line found by the coarse search, which is exact to about 1 ms within the region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct CoarseLine {
    /// Lag at the start of the microphone recording, in seconds.
    pub lag_s: f64,
    /// Growth of the lag, in seconds per second.
    pub slope: f64,
    /// Part of the microphone recording in which the line was found, in seconds.
    pub region_s: (f64, f64),
}

/// Recordings at the low rate, cut to the region.
struct Region {
    /// Whitened far end; its first sample is `far_start_s` after the start of its recording, which may be negative.
    far: Vec<f32>,
    far_start_s: f64,
    mic: Vec<f32>,
    mic_start_s: f64,
    /// Power of the microphone before whitening, for each short block.
    mic_powers: Vec<f64>,
    /// Interpolator that stretches blocks to another clock.
    stretcher: Interpolator,
}

/// Searches the recordings for the echo: from the first sound of the far end on, and if there is none, around the middle and at the
/// end. `given_ppm` is tried first.
pub(super) fn search(
    far: &dyn Signal,
    mic: &dyn Signal,
    rate_hz: u32,
    given_ppm: Option<f64>,
) -> Result<Coarse, Failure> {
    let rate_hz = f64::from(rate_hz);
    let (Some(far_sound_s), Some(_)) = (first_sound_s(far, rate_hz)?, first_sound_s(mic, rate_hz)?) else {
        return Ok(Coarse::NotFound);
    };
    let mic_s = mic.length() as f64 / rate_hz;
    let last_s = (mic_s - REGION_S).max(0.0);
    // The echo of the first sound cannot come earlier than this.
    let first_s = (far_sound_s - MAX_OFFSET_S).max(0.0).min(mic_s);
    let mut starts = vec![first_s];
    // In less time than that there is little new to find.
    if last_s > first_s + REGION_S {
        starts.extend([(first_s + last_s) / 2.0, last_s]);
    } else if last_s > first_s + REGION_S / 4.0 {
        starts.push(last_s);
    }
    let mut result = Coarse::NotFound;
    for start_s in starts {
        match Region::new(far, mic, rate_hz, start_s)?.search(given_ppm) {
            line @ Coarse::Line(_) => return Ok(line),
            Coarse::Ambiguous => result = Coarse::Ambiguous,
            Coarse::NotFound => {}
        }
    }
    Ok(result)
}

/// Best line for one assumption about the clocks.
#[derive(Clone, Copy, Debug, Default)]
struct Trial {
    line: VotedLine,
    /// Support of the best line at another lag.
    rival: f64,
    /// Number of blocks that could have supported the line.
    all_blocks: usize,
}

impl Trial {
    fn new(votes: &[Votes], slopes: std::ops::RangeInclusive<f64>) -> Self {
        let (line, rival) = best_line(votes, slopes).unwrap_or_default();
        Self { line, rival, all_blocks: votes.len() }
    }

    fn score_per_block(&self) -> f64 {
        self.line.score / self.all_blocks.max(1) as f64
    }
}

impl Region {
    fn new(far: &dyn Signal, mic: &dyn Signal, rate_hz: f64, mic_start_s: f64) -> Result<Self, Failure> {
        let seconds = |samples: usize| samples as f64 / rate_hz;
        let mic_end_s = (mic_start_s + REGION_S).min(seconds(mic.length()));
        let (far_start_s, far_end_s) = (mic_start_s - REACH_S, mic_end_s + REACH_S);
        let interpolator = Interpolator::new(rate_hz / RATE_HZ);
        let at_low_rate = |signal: &dyn Signal, from_s: f64, to_s: f64| {
            let mut low = vec![0.0; ((to_s - from_s) * RATE_HZ).round().max(0.0) as usize];
            let from = from_s * rate_hz;
            let position = (from.floor() as i64, from - from.floor());
            read_run(signal, &interpolator, position, rate_hz / RATE_HZ, &mut low)?;
            Ok::<_, Failure>(low)
        };
        let mic_low = at_low_rate(mic, mic_start_s, mic_end_s)?;
        let block = (SHORT_BLOCK_S * RATE_HZ) as usize;
        let mic_powers = mic_low
            .chunks(block)
            .map(|chunk| chunk.iter().map(|&x| f64::from(x * x)).sum::<f64>() / block as f64)
            .collect();
        Ok(Self {
            far: whitened(&at_low_rate(far, far_start_s, far_end_s)?, RATE_HZ, BAND_HZ),
            far_start_s,
            mic: whitened(&mic_low, RATE_HZ, BAND_HZ),
            mic_start_s,
            mic_powers,
            stretcher: Interpolator::new(1.0),
        })
    }

    /// Searches this part of the recordings.
    fn search(mut self, given_ppm: Option<f64>) -> Coarse {
        if !self.silence_periodic_blocks() {
            return Coarse::Ambiguous;
        }
        let equal = EQUAL_CLOCKS_PPM * 1e-6;
        let given = given_ppm.map(|ppm| ppm * 1e-6).filter(|slope| slope.abs() > 0.1 * equal);
        let mut trials = Vec::new();
        for slope in given.into_iter().chain([0.0]) {
            let votes = self.votes(LONG_BLOCK_S, &self.all_blocks(LONG_BLOCK_S), slope);
            let trial = Trial::new(&votes, slope - equal..=slope + equal);
            if trial.score_per_block() >= CLEAR_SCORE_PER_BLOCK {
                return self.verdict(&trial);
            }
            trials.push(trial);
        }
        trials.extend(self.search_drift());
        let best = trials.iter().max_by(|a, b| a.score_per_block().total_cmp(&b.score_per_block()));
        best.map_or(Coarse::NotFound, |trial| self.verdict(trial))
    }

    /// Returns the first samples of all blocks of a length, half overlapping.
    fn all_blocks(&self, block_s: f64) -> Vec<usize> {
        let block = ((block_s * RATE_HZ) as usize).min(self.mic.len());
        (0..=self.mic.len() - block).step_by((block / 2).max(1)).collect()
    }

    /// Returns the first samples of short blocks: the loudest of each of `SHORT_BLOCKS` equal parts.
    fn loud_blocks(&self) -> Vec<usize> {
        let block = (SHORT_BLOCK_S * RATE_HZ) as usize;
        let whole = self.mic.len() / block;
        let part = whole.div_ceil(SHORT_BLOCKS).max(1);
        (0..whole)
            .step_by(part)
            .filter_map(|from| {
                (from..(from + part).min(whole)).max_by(|&a, &b| {
                    self.mic_powers
                        .get(a)
                        .copied()
                        .unwrap_or(0.0)
                        .total_cmp(&self.mic_powers.get(b).copied().unwrap_or(0.0))
                })
            })
            .map(|index| index * block)
            .collect()
    }

    /// Returns the candidate lags of the blocks, for a microphone clock that makes the lag grow by `slope`.
    fn votes(&self, block_s: f64, blocks: &[usize], slope: f64) -> Vec<Votes> {
        let length = ((block_s * RATE_HZ) as usize).min(self.mic.len());
        let reach = (REACH_S * RATE_HZ) as usize;
        let mut correlator = Correlator::new(2 * reach + length, chance(length));
        let mut scaled = vec![0.0; length];
        blocks
            .iter()
            .map(|&from| {
                let middle_s = self.mic_start_s + (from as f64 + length as f64 / 2.0) / RATE_HZ;
                let block = if slope == 0.0 {
                    &self.mic[from..from + length]
                } else {
                    // The block is stretched to the loudspeaker's clock around its middle.
                    let step = 1.0 / (1.0 - slope);
                    let start = from as f64 + length as f64 / 2.0 * (1.0 - step);
                    let position = (start.floor() as i64, start - start.floor());
                    self.stretcher.read_run(&self.mic, position, step, &mut scaled);
                    &scaled[..]
                };
                // The stretch of the far end begins `reach` before the block and ends `reach` after it.
                let stretch_s = middle_s - (length as f64 / 2.0 + reach as f64) / RATE_HZ;
                let first = ((stretch_s - self.far_start_s) * RATE_HZ).round().max(0.0) as usize;
                let first = first.min(self.far.len());
                let last = (first + 2 * reach + length).min(self.far.len());
                let first_s = self.far_start_s + first as f64 / RATE_HZ;
                let candidates = correlator
                    .peaks(block, &self.far[first..last], CANDIDATES, (APART_S * RATE_HZ) as usize)
                    .into_iter()
                    .map(|peak| Candidate {
                        lag_s: middle_s - (first_s + (peak.at + length as f64 / 2.0) / RATE_HZ),
                        z: peak.z,
                    })
                    .collect();
                Votes { at_s: middle_s, candidates }
            })
            .collect()
    }

    /// Tries every difference of the clocks, on all processors.
    fn search_drift(&self) -> Option<Trial> {
        let blocks = self.loud_blocks();
        let steps = (MAX_DRIFT_PPM / STEP_PPM).ceil() as i32;
        let slopes: Vec<f64> = (-steps..=steps).map(|n| f64::from(n) * STEP_PPM * 1e-6).collect();
        // Neighbouring ranges overlap, so that no slope falls between two.
        let half = STEP_PPM * 1e-6 * 0.6;
        let try_slope = |&slope: &f64| {
            Trial::new(&self.votes(SHORT_BLOCK_S, &blocks, slope), slope - half..=slope + half)
        };
        let better = |a: &Trial, b: &Trial| a.line.score.total_cmp(&b.line.score);
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        std::thread::scope(|scope| {
            let workers: Vec<_> = slopes
                .chunks(slopes.len().div_ceil(threads))
                .map(|part| scope.spawn(move || part.iter().map(try_slope).max_by(better)))
                .collect();
            workers.into_iter().filter_map(|worker| worker.join().ok().flatten()).max_by(better)
        })
    }

    fn verdict(&self, trial: &Trial) -> Coarse {
        let VotedLine { lag_s, slope, score, blocks } = trial.line;
        let needed = if trial.all_blocks == 1 { MIN_SINGLE_SCORE } else { MIN_SCORE };
        if score < needed || (blocks < 2 && trial.all_blocks > 1) {
            return Coarse::NotFound;
        }
        if trial.rival > MAX_RIVAL * score {
            return Coarse::Ambiguous;
        }
        let end_s = self.mic_start_s + self.mic.len() as f64 / RATE_HZ;
        Coarse::Line(CoarseLine { lag_s, slope, region_s: (self.mic_start_s, end_s) })
    }

    /// Silences the blocks of the far end that occur at another place of the far end as well, because they vote for false lags. Returns
    /// whether enough other blocks are left; a silent far end counts as enough.
    fn silence_periodic_blocks(&mut self) -> bool {
        let length = (LONG_BLOCK_S * RATE_HZ) as usize;
        let reach = (REACH_S * RATE_HZ) as usize;
        let mut correlator = Correlator::new(2 * reach + length, chance(length));
        let energy = |signal: &[f32]| signal.iter().map(|&x| f64::from(x * x)).sum::<f64>();
        let mean = energy(&self.far) / self.far.len().max(1) as f64;
        let (mut periodic, mut all) = (Vec::new(), 0);
        for from in (0..self.far.len().saturating_sub(length)).step_by(length) {
            let block = &self.far[from..from + length];
            if energy(block) < 0.5 * mean * length as f64 {
                continue;
            }
            let first = from.saturating_sub(reach);
            let last = (from + length + reach).min(self.far.len());
            let peaks = correlator.peaks(block, &self.far[first..last], 2, (0.06 * RATE_HZ) as usize);
            all += 1;
            if peaks.get(1).is_some_and(|peak| peak.correlation > PERIODIC_CORRELATION) {
                periodic.push(from);
            }
        }
        let others = all - periodic.len();
        for from in &periodic {
            self.far[*from..from + length].fill(0.0);
        }
        periodic.is_empty() || (others >= MIN_OTHER_BLOCKS && others as f64 >= MIN_OTHER_SHARE * all as f64)
    }
}

/// Returns the standard deviation of the correlation of unrelated white blocks.
fn chance(length: usize) -> f64 {
    (RATE_HZ / (2.0 * (BAND_HZ.end - BAND_HZ.start) * length.max(1) as f64)).sqrt()
}

/// Returns the time of the first 100 ms that are not silent, in seconds; `None` if there are none.
fn first_sound_s(signal: &dyn Signal, rate_hz: f64) -> Result<Option<f64>, Failure> {
    let mut part = vec![0.0; ((rate_hz * 0.1) as usize).max(1)];
    for from in (0..signal.length()).step_by(part.len()) {
        let count = part.len().min(signal.length() - from);
        signal.read(from as i64, &mut part[..count])?;
        let energy = part[..count].iter().map(|&x| f64::from(x * x)).sum::<f64>();
        if energy > SILENT_POWER * count as f64 {
            return Ok(Some(from as f64 / rate_hz));
        }
    }
    Ok(None)
}
