//! Control side: the conversations that a sweep file describes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use handsfree::failure::Failure;
use toml::{Table, Value};

use crate::args::{Command, SimArgs};
use crate::{scenario_file, sim};

/// Largest size of a sweep file, in bytes: some thousand lines.
const MAX_BYTES: u64 = 1 << 20;
/// Largest number of conversations. One of a minute takes a second or more, so this is more than ten days of one core.
const MAX_RUNS: u64 = 1_000_000;
/// Switches that make no sense in a campaign: each conversation writes only its line.
const NO_KEYS: [&str; 2] = ["out", "json"];

/// Campaign: what all conversations share, and what varies.
#[derive(Clone, Debug)]
pub struct SweepPlan {
    /// Switches of every conversation.
    base: Vec<OsString>,
    axes: Vec<SweepAxis>,
    /// Number of conversations.
    runs: u64,
    /// Seed of the random choice; `None` for a grid, which has every combination.
    sampled_from: Option<u64>,
    digest: String,
}

/// Quantity that varies within a campaign.
#[derive(Clone, Debug)]
struct SweepAxis {
    name: String,
    values: SweepValues,
}

/// Values of one axis.
#[derive(Clone, Debug)]
enum SweepValues {
    /// Listed values, each with its name in the lines and its switches.
    Listed(Vec<(String, Vec<OsString>)>),
    /// Whole numbers, both ends included.
    Whole { from: i64, to: i64 },
    /// Numbers between the ends, chosen at random.
    Real { from: f64, to: f64 },
}

/// One conversation of a campaign.
#[derive(Clone, Debug)]
pub struct SweepRun {
    /// Switches of the conversation.
    pub args: SimArgs,
    /// Value of each axis.
    pub values: BTreeMap<String, String>,
}

impl SweepPlan {
    /// Reads a sweep file and checks each of its values.
    ///
    /// # Errors
    /// Returns an error that names the file, the entry, its value and what was expected.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let cannot = |found: &dyn std::fmt::Display| {
            Failure::run(format!("{}: cannot be read: {found}", path.display()))
        };
        let mut text = String::new();
        let file = File::open(path).map_err(|error| cannot(&error))?;
        file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|error| cannot(&error))?;
        if text.len() as u64 > MAX_BYTES {
            return Err(cannot(&format_args!("it has more than {MAX_BYTES} bytes, expected a sweep file")));
        }
        Self::parse(&text).map_err(|found| Failure::usage(format!("{}: {found}", path.display())))
    }

    /// Reads the text of a sweep file. The error names the entry, its value and what was expected.
    fn parse(text: &str) -> Result<Self, String> {
        let mut table: Table = text.parse().map_err(|error| format!("{error}"))?;
        let sample = whole(&mut table, "sample", 1, MAX_RUNS)?;
        let seed = whole(&mut table, "seed", 0, i64::MAX as u64)?.unwrap_or(1);
        // The number of samples may be raised later; what was run stays valid.
        let mut digest = Fnv::default();
        digest.add(&serde_json::to_string(&table).map_err(|error| error.to_string())?);
        digest.add(&format!("{} {}", sample.map_or(-1, |_| seed as i64), env!("CARGO_PKG_VERSION")));
        let mut section = |name: &str| match table.remove(name) {
            None => Ok(Table::new()),
            Some(Value::Table(section)) => Ok(section),
            Some(other) => Err(format!("{name} = {other:?}: expected the table [{name}]")),
        };
        let (base, varied) = (section("base")?, section("axes")?);
        if let Some((key, _)) = table.iter().next() {
            return Err(format!("{key:?}: expected sample, seed, [base] or [axes]"));
        }
        let base = switches("base", &base, &mut digest)?;
        let mut axes = Vec::new();
        for (name, value) in varied {
            let values = SweepValues::read(&name, &value, sample.is_some(), &mut digest)?;
            axes.push(SweepAxis { name, values });
        }
        let combinations = axes
            .iter()
            .try_fold(1_u64, |all, axis| all.checked_mul(axis.values.count()?))
            .unwrap_or(u64::MAX);
        let runs = sample.unwrap_or(combinations);
        if runs > MAX_RUNS {
            return Err(format!(
                "{runs} combinations: expected at most {MAX_RUNS}; sample = N chooses N of them"
            ));
        }
        let digest = format!("{:016x}", digest.0);
        let plan = Self { base, axes, runs, sampled_from: sample.map(|_| seed), digest };
        plan.check()?;
        Ok(plan)
    }

    /// Checks each value of each axis, with the first values of the others.
    fn check(&self) -> Result<(), String> {
        let first = vec![0; self.axes.len()];
        self.conversation(&first)
            .and_then(|run| checked(&run.args))
            .map_err(|found| format!("[base]: {found}"))?;
        for (at, axis) in self.axes.iter().enumerate() {
            for value in axis.values.to_check() {
                let mut places = first.clone();
                places[at] = value;
                self.conversation(&places)
                    .and_then(|run| checked(&run.args))
                    .map_err(|found| format!("axes.{}: {found}", axis.name))?;
            }
        }
        Ok(())
    }

    /// Returns the number of conversations.
    #[must_use]
    pub const fn runs(&self) -> u64 {
        self.runs
    }

    /// Returns a number of 16 hexadecimal digits that differs between campaigns whose lines must not be mixed.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Returns the conversation with the given number, which is less than [`runs`](Self::runs).
    ///
    /// # Errors
    /// Returns the text of what is wrong with its switches, which only a combination of values can be.
    pub fn run(&self, number: u64) -> Result<SweepRun, String> {
        let mut rest = number;
        let place = |axis: &SweepAxis| match self.sampled_from {
            Some(seed) => {
                // The choice depends on nothing else, so that more samples leave the earlier ones as they are.
                let mut hash = Fnv::default();
                hash.add(&format!("{seed} {number} {}", axis.name));
                axis.values.at_random(mixed(hash.0))
            }
            None => {
                let count = axis.values.count().unwrap_or(1).max(1);
                let place = rest % count;
                rest /= count;
                place
            }
        };
        self.conversation(&self.axes.iter().map(place).collect::<Vec<_>>())
    }

    fn conversation(&self, places: &[u64]) -> Result<SweepRun, String> {
        let mut words: Vec<OsString> = vec!["handsfree".into(), "sim".into()];
        words.extend(self.base.iter().cloned());
        let mut values = BTreeMap::new();
        for (axis, &place) in self.axes.iter().zip(places) {
            let (name, mut switches) = axis.values.at(&axis.name, place);
            words.append(&mut switches);
            values.insert(axis.name.clone(), name);
        }
        match scenario_file::parsed(words)?.command {
            Command::Sim(args) => Ok(SweepRun { args: *args, values }),
            _ => Err("expected switches of 'handsfree sim'".into()),
        }
    }
}

impl SweepValues {
    fn read(name: &str, value: &Value, is_sample: bool, digest: &mut Fnv) -> Result<Self, String> {
        let at = format!("axes.{name}");
        match value {
            Value::Array(values) if !values.is_empty() => {
                let mut listed = Vec::new();
                for value in values {
                    listed.push(match value {
                        Value::Table(several) => {
                            let mut several = several.clone();
                            let label = match several.remove("name") {
                                Some(Value::String(label)) => label,
                                Some(other) => {
                                    return Err(format!("{at}: name = {other:?}: expected a string"));
                                }
                                None => plain(&Value::Table(several.clone())),
                            };
                            (label, switches(&at, &several, digest)?)
                        }
                        one => {
                            let table = Table::from_iter([(name.to_owned(), one.clone())]);
                            (plain(one), switches(&at, &table, digest)?)
                        }
                    });
                }
                Ok(Self::Listed(listed))
            }
            Value::Table(range) => {
                let expected = |found: &str| {
                    format!("{at}: {found}: expected a list, or {{ from = A, to = B }} with A of at most B")
                };
                if let Some(key) = range.keys().find(|key| !["from", "to"].contains(&key.as_str())) {
                    return Err(expected(&format!("{key:?}")));
                }
                match (range.get("from"), range.get("to")) {
                    (Some(Value::Integer(from)), Some(Value::Integer(to))) if from <= to => {
                        Ok(Self::Whole { from: *from, to: *to })
                    }
                    (Some(from), Some(to)) => match (number(from), number(to)) {
                        (Some(low), Some(high)) if low <= high && is_sample => {
                            Ok(Self::Real { from: low, to: high })
                        }
                        (Some(low), Some(high)) if low <= high => Err(format!(
                            "{at}: {low} to {high}: expected a list or whole numbers, because without sample = N every \
                             combination is run"
                        )),
                        _ => Err(expected(&format!("from {} to {}", plain(from), plain(to)))),
                    },
                    _ => Err(expected(&plain(value))),
                }
            }
            other => Err(format!("{at} = {}: expected a list of values or {{ from, to }}", plain(other))),
        }
    }

    /// Returns the number of values, or `None` if they cannot be counted.
    fn count(&self) -> Option<u64> {
        match self {
            Self::Listed(values) => Some(values.len() as u64),
            Self::Whole { from, to } => to.abs_diff(*from).checked_add(1),
            Self::Real { .. } => None,
        }
    }

    /// Returns the places of the values that stand for all others.
    fn to_check(&self) -> Vec<u64> {
        match self {
            Self::Listed(values) => (0..values.len() as u64).collect(),
            Self::Whole { from, to } => vec![0, to.abs_diff(*from)],
            Self::Real { .. } => vec![0, u64::MAX],
        }
    }

    fn at_random(&self, random: u64) -> u64 {
        self.count().map_or(random, |count| random % count.max(1))
    }

    /// Returns the name and the switches of the value at a place, which is less than [`count`](Self::count).
    fn at(&self, axis: &str, place: u64) -> (String, Vec<OsString>) {
        let value = match self {
            Self::Listed(values) => return values[place as usize].clone(),
            Self::Whole { from, .. } => from.wrapping_add_unsigned(place).to_string(),
            Self::Real { from, to } => {
                let share = place as f64 / u64::MAX as f64;
                // Three decimals: a millionth of a second of latency, a thousandth of a ppm.
                (((from + (to - from) * share) * 1e3).round() / 1e3).to_string()
            }
        };
        let switch = format!("--{axis}={value}").into();
        (value, vec![switch])
    }
}

/// Returns the switches of a table, those of a scenario file that it names included.
fn switches(place: &str, table: &Table, digest: &mut Fnv) -> Result<Vec<OsString>, String> {
    let mut table = table.clone();
    let mut switches = Vec::new();
    match table.remove("scenario") {
        None => {}
        Some(Value::String(path)) => {
            switches = scenario_file::read_switches(Path::new(&path))
                .map_err(|error| format!("{place}: {error}"))?;
            switches.iter().for_each(|switch| digest.add(&switch.to_string_lossy()));
        }
        Some(other) => {
            return Err(format!("{place}.scenario = {}: expected the name of a file", plain(&other)));
        }
    }
    if let Some(key) = NO_KEYS.iter().find(|key| table.contains_key(**key)) {
        return Err(format!("{place}.{key}: expected a switch that a campaign can vary"));
    }
    scenario_file::push_table(&table, &mut switches).map_err(|found| format!("{place}: {found}"))?;
    Ok(switches)
}

fn checked(args: &SimArgs) -> Result<(), String> {
    sim::check(args).map_err(|error| error.to_string())
}

/// Removes a whole number from the table. The error names the key, the value and the range.
fn whole(table: &mut Table, key: &str, least: u64, most: u64) -> Result<Option<u64>, String> {
    let Some(value) = table.remove(key) else { return Ok(None) };
    let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
    match number.filter(|number| (least..=most).contains(number)) {
        Some(number) => Ok(Some(number)),
        None => Err(format!("{key} = {}: expected a whole number of {least} to {most}", plain(&value))),
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(number) => Some(*number as f64),
        Value::Float(number) => Some(*number).filter(|number| number.is_finite()),
        _ => None,
    }
}

/// Returns a value as a reader writes it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Table(table) if table.is_empty() => "none".into(),
        Value::Table(table) => {
            let pairs = table.iter().map(|(key, value)| format!("{key} {}", plain(value)));
            pairs.collect::<Vec<_>>().join(", ")
        }
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(" "),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(flag) => flag.to_string(),
        Value::Datetime(time) => time.to_string(),
    }
}

/// Hash of 64 bits: FNV-1a (Fowler, Noll, Vo).
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, text: &str) {
        // The length separates texts that follow each other.
        for byte in text.bytes().chain((text.len() as u64).to_le_bytes()) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Spreads the bits of a number over all 64: the last steps of SplitMix64 (Steele, Lea, Flood 2014).
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const GRID: &str = "
        [base]
        rate = 16000
        near = 'none'
        [axes]
        seed = { from = 1, to = 3 }
        playback-ppm = [-200, 0, 200.5]
        fault = [{}, { name = 'step', latency-step = ['150@3', '-40@6'], two-clocks = true }]";

    #[test]
    fn a_grid_has_every_combination_once() {
        let plan = SweepPlan::parse(GRID).unwrap();
        assert_eq!(plan.runs(), 18);
        let runs: Vec<SweepRun> = (0..18).map(|run| plan.run(run).unwrap()).collect();
        assert_eq!(runs.iter().map(|run| format!("{:?}", run.values)).collect::<BTreeSet<_>>().len(), 18);
        assert!(runs.iter().all(|run| run.args.rate == 16_000));
        let stepped: Vec<_> = runs.iter().filter(|run| run.values["fault"] == "step").collect();
        assert_eq!(stepped.len(), 9);
        assert!(stepped.iter().all(|run| run.args.latency_step.len() == 2 && run.args.two_clocks));
        assert_eq!(runs.iter().filter(|run| run.args.playback_ppm == 200.5).count(), 6);
    }

    #[test]
    fn a_larger_sample_keeps_the_smaller_one() {
        let text = |sample: u32| {
            format!(
                "sample = {sample}\n[axes]\nseed = {{ from = 1, to = 1000000 }}\nnoise-dbfs = {{ from = -90.0, to = -50 }}"
            )
        };
        let (small, large) = (SweepPlan::parse(&text(20)).unwrap(), SweepPlan::parse(&text(300)).unwrap());
        assert_eq!(small.digest(), large.digest());
        let mut noises = Vec::new();
        for run in 0..300 {
            let values = large.run(run).unwrap().values;
            if run < 20 {
                assert_eq!(values, small.run(run).unwrap().values);
            }
            noises.push(large.run(run).unwrap().args.noise_dbfs);
        }
        assert!(noises.iter().all(|noise| (-90.0..=-50.0).contains(noise)));
        let mean = noises.iter().sum::<f64>() / 300.0;
        assert!((mean + 70.0).abs() < 3.0, "the mean of uniform values is {mean}");
    }

    #[test]
    fn what_changes_a_result_changes_the_digest() {
        let digest = |text: &str| SweepPlan::parse(text).unwrap().digest().to_owned();
        let texts = [
            GRID.to_owned(),
            GRID.replace("16000", "48000"),
            GRID.replace("-200,", "-201,"),
            format!("sample = 3\n{GRID}"),
            format!("sample = 3\nseed = 2\n{GRID}"),
        ];
        assert_eq!(texts.iter().map(|text| digest(text)).collect::<BTreeSet<_>>().len(), texts.len());
        assert_eq!(digest(GRID), digest(&format!("# a comment\n{GRID}")));
    }

    #[test]
    fn a_bad_entry_is_named_with_its_value() {
        for (text, expected) in [
            ("sample = 0", "sample = 0: expected a whole number of 1 to"),
            ("sample = 'many'", "sample = many: expected a whole number"),
            ("seed = -1", "seed = -1"),
            ("samples = 3", "\"samples\": expected sample, seed, [base] or [axes]"),
            ("base = 3", "expected the table [base]"),
            ("[base]\nrate = 11", "[base]: "),
            ("[base]\nloudness = 3", "--loudness"),
            ("[base]\nout = 'x'", "base.out"),
            ("[axes]\nplayback-ppm = []", "axes.playback-ppm = : expected a list"),
            ("[axes]\nplayback-ppm = [0, 'fast']", "axes.playback-ppm: invalid value 'fast'"),
            ("[axes]\nplayback-ppm = [0, 1e9]", "axes.playback-ppm: "),
            ("[axes]\nplayback-ppm = { from = 0.5, to = 2 }", "because without sample = N"),
            ("sample = 2\n[axes]\nplayback-ppm = { from = 3.0, to = 2 }", "axes.playback-ppm: from 3 to 2"),
            ("sample = 2\n[axes]\nplayback-ppm = { from = 0, to = 1e12 }", "axes.playback-ppm: "),
            ("[axes]\nseed = { from = 1, to = 3, step = 2 }", "\"step\""),
            ("[axes]\nseed = { from = 1, to = 3000000 }", "3000000 combinations: expected at most 1000000"),
            ("[axes]\nseed = 3", "axes.seed = 3: expected a list"),
            ("[axes]\nfault = [{ scenario = 'no-such-file' }]", "no-such-file"),
            ("[axes]\n'a=b' = [1]", "a=b"),
            ("not toml", "expected"),
        ] {
            let error = SweepPlan::parse(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
