//! Control side: makes inputs from seeds, runs a target on each, and counts the executions.
//!
//! An input is a byte string: random, or a valid one with a few changes. Its seed decides all of it, so a failure is
//! repeated by its seed. Nothing here measures coverage, which needs an unstable compiler; the targets take any byte
//! string, so they can be called from a fuzzer that does.

use std::fs::{self, File};
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};

/// Longest random input in bytes: some dozens of operations of the longest target.
const LONGEST: u64 = 600;

/// Environment variable with the number of executions of each target.
const EXECUTIONS: &str = "HANDSFREE_FUZZ_EXECUTIONS";
/// Environment variable with the seed of the only execution.
const SEED: &str = "HANDSFREE_FUZZ_SEED";

/// Random numbers from a seed (SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators",
/// OOPSLA 2014, section 4).
#[derive(Debug)]
struct SeededNumbers(u64);

impl SeededNumbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

/// Reader of decisions from an input; 0 beyond its end.
#[derive(Debug)]
pub struct Choices<'b> {
    bytes: &'b [u8],
}

impl<'b> Choices<'b> {
    /// Returns a reader of the whole input.
    #[must_use]
    pub fn new(bytes: &'b [u8]) -> Self {
        Self { bytes }
    }

    /// Returns whether the input is used up.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns the next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        byte
    }

    /// Returns the next `count` bytes as a number, at most 8.
    pub fn number(&mut self, count: u32) -> u64 {
        (0..count.min(8)).fold(0, |number, _| number << 8 | u64::from(self.byte()))
    }

    /// Returns a number below `end`, which is at most 65,536.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number(if end > 256 { 2 } else { 1 }) % end.max(1)
    }

    /// Returns one of some values.
    ///
    /// # Panics
    /// Panics if there are none.
    pub fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        let index = self.below(values.len() as u64) as usize;
        values[index]
    }
}

/// File for targets that read files; it is removed at the end.
#[derive(Debug)]
pub struct InputFile {
    path: PathBuf,
    file: File,
}

impl InputFile {
    /// Creates an empty file in the folder for temporary files, with a name for this target and process.
    ///
    /// # Panics
    /// Panics if the file cannot be created.
    #[must_use]
    pub fn create(target: &str) -> Self {
        let path = std::env::temp_dir().join(format!("handsfree-fuzz-{target}-{}", std::process::id()));
        let file = File::create(&path).expect("a file in the folder for temporary files");
        Self { path, file }
    }

    /// Returns the file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the content without emptying the file first, which some file systems answer with a write to the disk.
    ///
    /// # Panics
    /// Panics if the file cannot be written.
    pub fn set(&self, bytes: &[u8]) {
        let mut file = &self.file;
        file.rewind().expect("a regular file");
        file.write_all(bytes).expect("space for the input");
        file.set_len(bytes.len() as u64).expect("a regular file");
    }
}

impl Drop for InputFile {
    fn drop(&mut self) {
        _ = fs::remove_file(&self.path);
    }
}

/// Returns the input of a seed: random bytes, or one of `samples` with up to eight changes.
fn input(seed: u64, samples: &[Vec<u8>]) -> Vec<u8> {
    let mut numbers = SeededNumbers(seed);
    if samples.is_empty() || numbers.below(8) == 0 {
        return (0..numbers.below(LONGEST)).map(|_| numbers.next() as u8).collect();
    }
    let mut bytes = samples[numbers.below(samples.len() as u64) as usize].clone();
    for _ in 0..=numbers.below(8) {
        // Most fields of a format that matter are in its head.
        let end = if numbers.below(2) == 0 { bytes.len().min(80) } else { bytes.len() };
        let at = numbers.below(end as u64 + 1) as usize;
        match numbers.below(6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, numbers.next() as u8),
            2 if at < bytes.len() => _ = bytes.remove(at),
            3 if at + 4 <= bytes.len() => {
                let edges = [0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, u32::MAX];
                let edge = edges[numbers.below(8) as usize];
                bytes[at..at + 4].copy_from_slice(&edge.to_le_bytes());
            }
            _ if at < bytes.len() => bytes[at] ^= 1 << numbers.below(8),
            _ => {}
        }
    }
    bytes
}

/// Prints the seed of an execution that panics.
struct SeedReport<'n>(&'n str, u64);

impl Drop for SeedReport<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: repeat this execution alone with {SEED}={}", self.0, self.1);
        }
    }
}

/// Runs `target` on `executions` inputs, or as many as the environment variable `HANDSFREE_FUZZ_EXECUTIONS` says, and
/// prints and returns how many there were. A target that panics ends them, and its seed is printed.
///
/// # Panics
/// Panics if an environment variable is no whole number.
pub fn fuzz(name: &str, executions: u64, samples: &[Vec<u8>], target: impl Fn(&[u8])) -> u64 {
    let number = |variable| std::env::var(variable).ok().map(|text| text.parse().expect("a whole number"));
    let seeds = match number(SEED) {
        Some(seed) => seed..seed + 1,
        None => 0..number(EXECUTIONS).unwrap_or(executions),
    };
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let _report = SeedReport(name, seed);
        target(&input(seed, samples));
    }
    println!("{name}: {count} executions");
    count
}
