//! Writes the headers in `include`, or with `--check` tells whether they are what the libraries' source says.

use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;

/// Where a library is, and its header.
const HEADERS: [(&str, &str); 2] = [(".", "handsfree.h"), ("simulator", "handsfree_simulator.h")];

fn main() -> ExitCode {
    let only_check = std::env::args().any(|argument| argument == "--check");
    for (library, header) in HEADERS {
        match bring_up_to_date(library, header, only_check) {
            Ok(done) => println!("header: {header} {done}"),
            Err(what) => {
                eprintln!("header: {what}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn bring_up_to_date(library: &str, header: &str, only_check: bool) -> Result<&'static str, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let library = root.join(library);
    let config = cbindgen::Config::from_file(library.join("cbindgen.toml"))
        .map_err(|error| format!("cbindgen.toml: {error}"))?;
    let mut text = Vec::new();
    cbindgen::generate_with_config(&library, config).map_err(|error| error.to_string())?.write(&mut text);
    let path = root.join("include").join(header);
    let committed = match std::fs::read(&path) {
        Ok(committed) => Some(committed),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    if committed.as_ref() == Some(&text) {
        return Ok("is what the source says");
    }
    if only_check {
        return Err(format!("{header} is not what the source says: cargo run -p handsfree-header"));
    }
    std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok("was written")
}
