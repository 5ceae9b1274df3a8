//! Writes `include/handsfree.h`, or with `--check` tells whether it is what the library's source says.

use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let header = library.join("include/handsfree.h");
    let config = match cbindgen::Config::from_file(library.join("cbindgen.toml")) {
        Ok(config) => config,
        Err(error) => return fail(&format!("cbindgen.toml: {error}")),
    };
    let bindings = match cbindgen::generate_with_config(&library, config) {
        Ok(bindings) => bindings,
        Err(error) => return fail(&error.to_string()),
    };
    let mut text = Vec::new();
    bindings.write(&mut text);
    let committed = match std::fs::read(&header) {
        Ok(committed) => Some(committed),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return fail(&format!("{}: {error}", header.display())),
    };
    if committed.as_ref() == Some(&text) {
        println!("header: {} is what the source says", header.display());
        return ExitCode::SUCCESS;
    }
    if std::env::args().any(|argument| argument == "--check") {
        return fail("include/handsfree.h is not what the source says: cargo run -p handsfree-header");
    }
    match std::fs::write(&header, text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{}: {error}", header.display())),
    }
}

fn fail(what: &str) -> ExitCode {
    eprintln!("header: {what}");
    ExitCode::FAILURE
}
