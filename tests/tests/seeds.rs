//! Checks that every test that docs/seeds.md names exists. Paths there start at the repository root.

use std::fs;
use std::path::Path;

#[test]
fn every_test_named_in_the_table_exists() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let table = fs::read_to_string(repository.join("docs/seeds.md")).unwrap();
    let mut missing = Vec::new();
    let mut found = 0;
    for line in table.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 3, "{line}: expected three columns: seed, ours and test");
        let Some((file, name)) = cells[2].trim_matches('`').split_once("::") else { continue };
        let source = match fs::read_to_string(repository.join(file)) {
            Ok(source) => source,
            Err(error) => {
                missing.push(format!("{file}: {error}"));
                continue;
            }
        };
        let test = format!("#[test]\nfn {name}()");
        // Unit tests are indented by their module.
        if source.replace("\n    ", "\n").contains(&test) {
            found += 1;
        } else {
            missing.push(format!("{file}: has no test named {name}"));
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(found > 50, "the table names {found} tests, expected more than 50");
}
