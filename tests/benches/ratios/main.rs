//! Benchmark: the time of each part as a ratio to a named peer, measured in turns in the same run.
//!
//! Prints each ratio with its limit and with the committed one, and fails when one is more than a tenth worse than the
//! committed one in each of three measurements. `-- --write` commits the median of three measurements to docs/benchmarks.md; another word selects rows by name.
#![allow(missing_docs)]

mod channels;
mod growth;
mod measure;
mod mixing;
mod pipelines;
mod resampling;
mod table;

use std::process::ExitCode;

use handsfree_tests::with_large_stack;
use measure::Comparison;
use table::Row;

/// Number of times that a ratio worse than the committed one is measured again.
const RETRIES: usize = 2;

fn comparisons() -> Vec<Comparison> {
    [channels::comparisons(), mixing::comparisons(), pipelines::comparisons(), resampling::comparisons()]
        .into_iter()
        .flatten()
        .collect()
}

fn run(words: &[String]) -> Result<bool, String> {
    let is = |word: &str| words.iter().any(|given| given == word);
    // Without the word that `cargo bench` adds, this only checks that it runs.
    let only_once = !is("--bench");
    let filters: Vec<&String> = words.iter().filter(|word| !word.starts_with("--")).collect();
    let committed = table::committed()?;
    let mut rows = Vec::new();
    println!("{}", table::HEADING);
    for comparison in comparisons() {
        if !filters.is_empty() && !filters.iter().any(|filter| comparison.name.contains(filter.as_str())) {
            continue;
        }
        let mut row = Row::new(&comparison, comparison.measure(only_once));
        if is("--write") {
            row.keep_median(comparison.measure(false), comparison.measure(false));
        }
        // A machine that was busy with something else would do so twice in a row only seldom.
        for _ in 0..RETRIES {
            if !only_once && !is("--write") && row.is_worse_than(committed.get(&row.name)) {
                row.keep_better(comparison.measure(false));
            }
        }
        println!("{}", row.printed(committed.get(&row.name)));
        rows.push(row);
    }
    if is("--write") {
        table::commit(&rows)?;
        return Ok(true);
    }
    let straight = if filters.is_empty() { growth::print(only_once) } else { true };
    if !straight {
        println!("a cost is no straight line: expected R2 above 0.99");
    }
    let worse = rows.iter().filter(|row| row.is_worse_than(committed.get(&row.name))).count();
    if worse > 0 && !only_once {
        println!("{worse} ratios are more than a tenth worse than those in docs/benchmarks.md");
    }
    Ok(straight && (worse == 0 || only_once))
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match with_large_stack(|| run(&words)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("ratios: {error}");
            ExitCode::FAILURE
        }
    }
}
