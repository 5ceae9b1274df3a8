//! Control side: the line of lag over time that most blocks support, by voting (as RANSAC does: Fischler & Bolles, "Random sample
//! consensus", CACM 24(6), 1981, but over all pairs instead of random ones).

/// Candidate lag of a block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    /// Lag at the block's middle, in seconds.
    pub lag_s: f64,
    /// Strength of the correlation, in standard deviations.
    pub z: f64,
}

/// Candidates of one block of the microphone recording.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Votes {
    /// Middle of the block in the microphone recording, in seconds.
    pub at_s: f64,
    /// Candidate lags, strongest first.
    pub candidates: Vec<Candidate>,
}

/// Line of lag over time with its support.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct VotedLine {
    /// Lag at time 0, in seconds.
    pub lag_s: f64,
    /// Growth of the lag, in seconds per second.
    pub slope: f64,
    /// Support: the sum over all blocks of the strength above [`CHANCE_Z`].
    pub score: f64,
    /// Number of blocks that support the line.
    pub blocks: usize,
}

impl VotedLine {
    fn lag_at(&self, at_s: f64) -> f64 {
        self.lag_s + self.slope * at_s
    }
}

/// Strength that chance reaches near a given lag, in standard deviations: weaker candidates support no line.
pub(super) const CHANCE_Z: f64 = 3.5;
/// Largest support of one block, so that no single block decides.
const MAX_BLOCK_SUPPORT: f64 = 12.0;
/// Distance within which a candidate lies on a line, in seconds: the spread of the direct sound and its first reflections.
const TOLERANCE_S: f64 = 0.002;
/// Distance above which two lines are different echoes, in seconds. Reflections of one room lie closer together.
const DISTINCT_S: f64 = 0.06;

/// Returns the line with most support whose slope lies in `slopes`, and the support of the best line at a different lag.
pub(super) fn best_line(votes: &[Votes], slopes: std::ops::RangeInclusive<f64>) -> Option<(VotedLine, f64)> {
    let middle_slope = (slopes.start() + slopes.end()) / 2.0;
    let mut lines = Vec::new();
    for (index, first) in votes.iter().enumerate() {
        for a in &first.candidates {
            let mut add = |slope: f64| lines.push(supported(votes, a.lag_s - slope * first.at_s, slope));
            add(middle_slope);
            for second in &votes[index + 1..] {
                let apart_s = second.at_s - first.at_s;
                for b in &second.candidates {
                    let slope = (b.lag_s - a.lag_s) / apart_s;
                    if slopes.contains(&slope) {
                        add(slope);
                    }
                }
            }
        }
    }
    let best: VotedLine = *lines.iter().max_by(|a, b| a.score.total_cmp(&b.score))?;
    let middle_s = votes.iter().map(|votes| votes.at_s).sum::<f64>() / votes.len() as f64;
    let rival = lines
        .iter()
        .filter(|line| (line.lag_at(middle_s) - best.lag_at(middle_s)).abs() > DISTINCT_S)
        .map(|line| line.score)
        .fold(0.0, f64::max);
    Some((best, rival))
}

/// Returns the line with its support.
fn supported(votes: &[Votes], lag_s: f64, slope: f64) -> VotedLine {
    let mut line = VotedLine { lag_s, slope, ..VotedLine::default() };
    for block in votes {
        let expected_s = line.lag_at(block.at_s);
        let nearest = block
            .candidates
            .iter()
            .filter(|candidate| (candidate.lag_s - expected_s).abs() <= TOLERANCE_S)
            .map(|candidate| candidate.z)
            .fold(0.0, f64::max);
        if nearest > CHANCE_Z {
            line.score += (nearest - CHANCE_Z).min(MAX_BLOCK_SUPPORT);
            line.blocks += 1;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use handsfree_sim::noise::Rng;

    #[test]
    fn the_line_is_found_among_false_candidates() {
        for seed in 0..50 {
            let mut rng = Rng::new(seed);
            let slope = (rng.uniform() - 0.5) * 4e-4;
            let lag_s = rng.uniform() * 16.0 - 8.0;
            let votes: Vec<Votes> = (0..20)
                .map(|n| {
                    let at_s = f64::from(n) * 2.0 + 1.0;
                    let mut candidates: Vec<Candidate> = (0..8)
                        .map(|_| Candidate { lag_s: rng.uniform() * 20.0 - 10.0, z: 4.0 + rng.uniform() })
                        .collect();
                    // The talker hides the echo in every second block.
                    if n % 2 == 0 {
                        candidates.push(Candidate { lag_s: lag_s + slope * at_s, z: 4.5 });
                    }
                    Votes { at_s, candidates }
                })
                .collect();
            let (line, rival) = best_line(&votes, -3e-4..=3e-4).unwrap();
            assert!((line.lag_s - lag_s).abs() < 0.004, "seed {seed}: {line:?}, {lag_s}");
            assert!((line.slope - slope).abs() < 3e-4, "seed {seed}: {line:?}, {slope}");
            assert!(line.blocks >= 9 && rival < 0.6 * line.score, "seed {seed}: {line:?}, rival {rival}");
        }
    }

    #[test]
    fn two_equal_echoes_are_rivals() {
        let votes: Vec<Votes> = (0..10)
            .map(|n| Votes {
                at_s: f64::from(n),
                candidates: [0.1, 2.1].map(|lag_s| Candidate { lag_s, z: 9.0 }).to_vec(),
            })
            .collect();
        let (line, rival) = best_line(&votes, -1e-4..=1e-4).unwrap();
        assert_eq!(line.score, rival);
        assert!(best_line(&[], -1e-4..=1e-4).is_none());
    }
}
