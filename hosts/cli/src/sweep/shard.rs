//! Control side: the part of a campaign that one process runs.

use std::fmt;
use std::str::FromStr;

use handsfree::failure::Failure;

/// Largest number of shards: more than any scheduler starts.
const MAX_SHARDS: u64 = 1_000_000;

/// Part of a campaign: every `of`-th conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Number of the shard, counted from 0.
    index: u64,
    /// Number of shards.
    of: u64,
}

impl Shard {
    /// The only shard of a campaign that is not divided.
    pub const WHOLE: Self = Self { index: 0, of: 1 };

    /// Returns the conversations of the shard among `runs`, in order.
    pub fn runs(self, runs: u64) -> impl Iterator<Item = u64> {
        (self.index..runs).step_by(usize::try_from(self.of).unwrap_or(usize::MAX))
    }

    /// Returns whether the conversation belongs to the shard.
    #[must_use]
    pub const fn has(self, run: u64) -> bool {
        run % self.of == self.index
    }

    /// Returns the name of the shard's file.
    #[must_use]
    pub fn file_name(self) -> String {
        format!("shard-{}-of-{}.jsonl", self.index + 1, self.of)
    }

    /// Returns the shard that the scheduler's variables name, or the whole campaign without a scheduler. `variable` reads a
    /// variable.
    ///
    /// # Errors
    /// Returns an error that names the variable, its value and what was expected.
    pub fn from_scheduler(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let number = |name: &str| -> Result<Option<u64>, Failure> {
            let Some(text) = variable(name) else { return Ok(None) };
            match text.parse() {
                Ok(number) if number <= MAX_SHARDS => Ok(Some(number)),
                _ => Err(Failure::usage(format!("{name}={text}: expected a number of 0 to {MAX_SHARDS}"))),
            }
        };
        if let Some(of) = number("HANDSFREE_SWEEP_SHARDS")? {
            for (name, first) in [("JOB_COMPLETION_INDEX", 0), ("PARALLEL_SEQ", 1)] {
                if let Some(place) = number(name)? {
                    return Self::checked(place.checked_sub(first), of, &format!("{name}={place}"));
                }
            }
            return Err(Failure::usage(format!(
                "HANDSFREE_SWEEP_SHARDS={of}: expected JOB_COMPLETION_INDEX or PARALLEL_SEQ as well, or --shard instead"
            )));
        }
        if let Some(id) = number("SLURM_ARRAY_TASK_ID")? {
            let first = number("SLURM_ARRAY_TASK_MIN")?.unwrap_or(0);
            let step = number("SLURM_ARRAY_TASK_STEP")?.unwrap_or(1).max(1);
            let Some(of) = number("SLURM_ARRAY_TASK_COUNT")? else {
                return Err(Failure::usage(format!(
                    "SLURM_ARRAY_TASK_ID={id}: expected SLURM_ARRAY_TASK_COUNT as well"
                )));
            };
            let place = id.checked_sub(first).filter(|place| place % step == 0).map(|place| place / step);
            return Self::checked(place, of, &format!("SLURM_ARRAY_TASK_ID={id}"));
        }
        if let Some(index) = number("JOB_COMPLETION_INDEX")? {
            return Err(Failure::usage(format!(
                "JOB_COMPLETION_INDEX={index}: expected HANDSFREE_SWEEP_SHARDS, the number of completions, as well"
            )));
        }
        Ok(Self::WHOLE)
    }

    fn checked(index: Option<u64>, of: u64, found: &str) -> Result<Self, Failure> {
        match index.filter(|index| *index < of) {
            Some(index) => Ok(Self { index, of }),
            None => Err(Failure::usage(format!("{found}: expected one of {of} shards without gaps"))),
        }
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('/').and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
        match parts {
            Some((k, of)) if (1..=of).contains(&k) && of <= MAX_SHARDS => Ok(Self { index: k - 1, of }),
            _ => Err(format!(
                "'{text}': expected K/N with K of 1 to N and N of 1 to {MAX_SHARDS}, such as 3/8"
            )),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index + 1, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Result<String, String> {
        let variable =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Shard::from_scheduler(&variable).map(|shard| shard.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_shards_share_each_conversation_exactly_once() {
        for of in 1..=9_u64 {
            for runs in 0..40 {
                let shards = (1..=of).map(|k| format!("{k}/{of}").parse::<Shard>().unwrap());
                let mut all: Vec<u64> = shards
                    .inspect(|shard| assert!(shard.runs(runs).all(|run| shard.has(run))))
                    .flat_map(|shard| shard.runs(runs))
                    .collect();
                all.sort_unstable();
                assert_eq!(all, (0..runs).collect::<Vec<_>>(), "{of} shards");
            }
        }
    }

    #[test]
    fn each_scheduler_names_the_shard() {
        assert_eq!(found(&[]), Ok("1/1".into()));
        let slurm = [
            ("SLURM_ARRAY_TASK_ID", "14"),
            ("SLURM_ARRAY_TASK_MIN", "10"),
            ("SLURM_ARRAY_TASK_STEP", "2"),
            ("SLURM_ARRAY_TASK_COUNT", "4"),
        ];
        assert_eq!(found(&slurm), Ok("3/4".into()));
        assert_eq!(
            found(&[("HANDSFREE_SWEEP_SHARDS", "8"), ("JOB_COMPLETION_INDEX", "0")]),
            Ok("1/8".into())
        );
        assert_eq!(found(&[("HANDSFREE_SWEEP_SHARDS", "8"), ("PARALLEL_SEQ", "8")]), Ok("8/8".into()));
        // Without a number of shards, GNU parallel runs several campaigns.
        assert_eq!(found(&[("PARALLEL_SEQ", "8")]), Ok("1/1".into()));
    }

    #[test]
    fn a_shard_that_does_not_exist_is_refused() {
        for text in ["", "0/4", "5/4", "1", "1/0", "a/b", "1/2/3", "-1/2", "1/9999999"] {
            let error = text.parse::<Shard>().unwrap_err();
            assert!(error.contains(text) && error.contains("expected K/N"), "{error}");
        }
        for variables in [
            &[("JOB_COMPLETION_INDEX", "3")][..],
            &[("HANDSFREE_SWEEP_SHARDS", "3"), ("JOB_COMPLETION_INDEX", "3")],
            &[("HANDSFREE_SWEEP_SHARDS", "3"), ("PARALLEL_SEQ", "0")],
            &[("HANDSFREE_SWEEP_SHARDS", "x"), ("PARALLEL_SEQ", "1")],
            &[("HANDSFREE_SWEEP_SHARDS", "3")],
            &[("SLURM_ARRAY_TASK_ID", "3")],
            &[("SLURM_ARRAY_TASK_ID", "7"), ("SLURM_ARRAY_TASK_COUNT", "3")],
        ] {
            let error = found(variables).unwrap_err();
            assert!(error.contains("expected") && error.contains('='), "{variables:?}: {error}");
        }
    }
}
