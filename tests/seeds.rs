//! docs/seeds.md says which test proves each of the seeds' methods: every test it names is there.
#![allow(missing_docs)]

use std::fs;
use std::path::Path;

#[test]
fn every_test_that_the_table_names_exists() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(here.join("../docs/seeds.md")).unwrap();
    let mut missing = Vec::new();
    let mut found = 0;
    for line in table.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 3, "{line}: expected seed, ours and test");
        let Some((file, name)) = cells[2].trim_matches('`').split_once("::") else { continue };
        let source = match fs::read_to_string(here.join(file)) {
            Ok(source) => source,
            Err(error) => {
                missing.push(format!("{file}: {error}"));
                continue;
            }
        };
        let test = format!("#[test]\nfn {name}()");
        // Unit tests stand inside of a module.
        if source.replace("\n    ", "\n").contains(&test) {
            found += 1;
        } else {
            missing.push(format!("{file}: no test {name}"));
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(found > 50, "the table names {found} tests");
}
