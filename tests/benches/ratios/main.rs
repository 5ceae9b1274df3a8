//! Benchmark: the time of each part as a ratio to a named peer, measured in turns in the same run.
//!
//! Prints each ratio with its limit and with the committed one, and fails when one is more than a tenth worse than the
//! committed one in each of three passes. `-- --write` commits the medians of three passes to docs/benchmarks.md; another word
//! selects rows by name.
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

/// Number of passes. A machine can be slower for many seconds, so that what looks worse is measured again after all the rest.
const PASSES: usize = 3;

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
    let is_chosen = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(*filter));
    let chosen: Vec<Comparison> =
        comparisons().into_iter().filter(|comparison| is_chosen(&comparison.name)).collect();
    let committed = table::committed()?;
    println!("{}", table::HEADING);
    let mut rows: Vec<Row> = Vec::new();
    for comparison in &chosen {
        let row = Row::new(comparison, comparison.measure(only_once));
        println!("{}", row.printed(committed.get(&row.name)));
        rows.push(row);
    }
    if only_once {
        growth::print(true);
        return Ok(true);
    }
    let is_worse = |row: &Row| row.is_worse_than(committed.get(&row.name));
    for _ in 1..PASSES {
        for (comparison, row) in chosen.iter().zip(&mut rows) {
            if is("--write") || is_worse(row) {
                row.add(comparison.measure(false));
                println!("{}", row.printed(committed.get(&row.name)));
            }
        }
    }
    if is("--write") {
        table::commit(&mut rows)?;
        return Ok(true);
    }
    let is_linear = !filters.is_empty() || (0..PASSES).any(|_| growth::print(false));
    if !is_linear {
        println!("a cost does not grow linearly: expected R2 above 0.99");
    }
    let worse = rows.iter().filter(|row| is_worse(row)).count();
    if worse > 0 {
        println!("{worse} ratios are more than a tenth worse than those in docs/benchmarks.md");
    }
    Ok(is_linear && worse == 0)
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
