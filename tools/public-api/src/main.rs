//! Compares the public API of a crate, as rustdoc's JSON describes it, with a snapshot.
//!
//!     handsfree-public-api JSON SNAPSHOT [--write]
//!
//! Exits with 1 and prints each line that was added (+) or removed (-) when the two differ; `--write` replaces the snapshot
//! instead. `tools/check-api.sh` calls it for each library crate.
use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (json, snapshot, write) = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [json, snapshot] => (json, snapshot, false),
        [json, snapshot, "--write"] => (json, snapshot, true),
        _ => return Err("expected: handsfree-public-api JSON SNAPSHOT [--write]".into()),
    };
    let found = public_api(json)?;
    if write {
        std::fs::write(snapshot, found)?;
        return Ok(ExitCode::SUCCESS);
    }
    let expected = std::fs::read_to_string(snapshot)
        .map_err(|error| format!("{snapshot}: {error}; `tools/check-api.sh --write` makes it"))?;
    let changes = changes(&expected, &found);
    if changes.is_empty() {
        println!("check-api: {} is as in {snapshot}", crate_name(json));
        return Ok(ExitCode::SUCCESS);
    }
    println!("check-api: the public API of {} differs from {snapshot}:", crate_name(json));
    changes.iter().for_each(|line| println!("{line}"));
    println!("check-api: if that is meant, run `tools/check-api.sh --write` and commit the snapshot with the change");
    Ok(ExitCode::FAILURE)
}

/// Returns one line for each public item. Items that every type has by blanket, automatic or derived implementations are left
/// out: they say nothing about a change.
fn public_api(json: &str) -> Result<String, Box<dyn Error>> {
    let api = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()
        .map_err(|error| format!("{json}: {error}"))?;
    Ok(api.items().map(|item| format!("{item}\n")).collect())
}

fn changes(expected: &str, found: &str) -> Vec<String> {
    let (expected, found): (BTreeSet<&str>, BTreeSet<&str>) = (expected.lines().collect(), found.lines().collect());
    let removed = expected.difference(&found).map(|line| format!("-{line}"));
    let added = found.difference(&expected).map(|line| format!("+{line}"));
    removed.chain(added).collect()
}

fn crate_name(json: &str) -> &str {
    Path::new(json).file_stem().and_then(|name| name.to_str()).unwrap_or(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_and_removed_lines_are_reported() {
        let changes = changes("pub fn a()\npub fn b()\n", "pub fn b()\npub fn c()\n");
        assert_eq!(changes, ["-pub fn a()", "+pub fn c()"]);
    }

    #[test]
    fn another_order_is_no_change() {
        assert!(changes("pub fn a()\npub fn b()\n", "pub fn b()\npub fn a()\n").is_empty());
    }
}
