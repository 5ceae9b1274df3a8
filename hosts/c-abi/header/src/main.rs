//! Generates the headers in `include`. With `--check`, reports whether they match the libraries' source
//! instead.

use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;

/// Directory of each library, and the file name of its header.
const HEADERS: [(&str, &str); 2] = [(".", "handsfree.h"), ("simulator", "handsfree_simulator.h")];

fn main() -> ExitCode {
    let check_only = std::env::args().any(|argument| argument == "--check");
    for (library, header) in HEADERS {
        match update(library, header, check_only) {
            Ok(result) => println!("header: {header} {result}"),
            Err(message) => {
                eprintln!("header: {message}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn update(library: &str, header: &str, check_only: bool) -> Result<&'static str, String> {
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
        return Ok("matches the source");
    }
    if check_only {
        return Err(format!(
            "{header} differs from the source: expected a match, run `cargo run -p handsfree-header`"
        ));
    }
    std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok("was written")
}
