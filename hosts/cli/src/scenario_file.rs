//! Control side: reads switches of `handsfree sim` from a TOML file.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use clap::Parser;
use toml::{Table, Value};

use crate::args::{Cli, Command, SimArgs};
use handsfree::failure::Failure;

/// Largest size of a scenario file, in bytes: some thousand lines.
const MAX_BYTES: u64 = 1 << 20;
/// Switches that make no sense in the file: it would name another file, or print a text instead of a run.
const NO_KEYS: [&str; 3] = ["scenario", "help", "version"];

/// Returns the switches of the scenario file that `args` name. Switches on the command line `arguments` take precedence.
///
/// # Errors
/// Returns an error that names the file and the key or value that is no valid switch.
pub fn merged(args: &SimArgs, arguments: &[OsString]) -> Result<SimArgs, Failure> {
    let Some(path) = &args.scenario else { return Ok(args.clone()) };
    let file = read_switches(path)?;
    // Later switches take precedence, so those from the file come first.
    let program_and_command = arguments.iter().take(2).cloned();
    let all = program_and_command.chain(file).chain(arguments.iter().skip(2).cloned());
    let cli = parsed(all).map_err(|found| Failure::usage(format!("{}: {found}", path.display())))?;
    match cli.command {
        Command::Sim(merged) => Ok(*merged),
        _ => Err(Failure::usage("--scenario: expected the command 'handsfree sim'")),
    }
}

/// Parses a command line. The error is the first line of what the command would print.
pub(crate) fn parsed(words: impl IntoIterator<Item = OsString>) -> Result<Cli, String> {
    Cli::try_parse_from(words).map_err(|error| {
        let text = error.to_string();
        let first = text.split_once('\n').map_or(text.as_str(), |(first, _)| first);
        first.trim_start_matches("error: ").to_owned()
    })
}

/// Reads the file and returns its entries as command-line switches.
pub(crate) fn read_switches(path: &Path) -> Result<Vec<OsString>, Failure> {
    let cannot =
        |found: &dyn std::fmt::Display| Failure::run(format!("{}: cannot be read: {found}", path.display()));
    let mut text = String::new();
    let file = File::open(path).map_err(|error| cannot(&error))?;
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|error| cannot(&error))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(cannot(&format_args!("it has more than {MAX_BYTES} bytes, expected a scenario")));
    }
    let table: Table =
        text.parse().map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    let mut switches = Vec::new();
    push_table(&table, &mut switches)
        .map_err(|found| Failure::usage(format!("{}: {found}", path.display())))?;
    Ok(switches)
}

/// Appends the switches for the entries of a table. The error names the key and what was expected.
pub(crate) fn push_table(table: &Table, switches: &mut Vec<OsString>) -> Result<(), String> {
    for (key, value) in table {
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if key.is_empty() || !key.bytes().all(is_name) || NO_KEYS.contains(&key.as_str()) {
            return Err(format!(
                "{key:?}: expected the name of a switch of 'handsfree sim' without its dashes"
            ));
        }
        push_switch(key, value, switches).map_err(|found| {
            format!("{key} is {found}: expected a string, a number, true, false or a list of these")
        })?;
    }
    Ok(())
}

/// Appends the switch for one entry. The error is the type of a value that no switch can have.
fn push_switch(key: &str, value: &Value, switches: &mut Vec<OsString>) -> Result<(), &'static str> {
    let mut push_value = |value: String| switches.push(format!("--{key}={value}").into());
    match value {
        Value::String(text) => push_value(text.clone()),
        Value::Integer(number) => push_value(number.to_string()),
        Value::Float(number) => push_value(number.to_string()),
        Value::Boolean(true) => switches.push(format!("--{key}").into()),
        Value::Boolean(false) => {}
        Value::Array(values) => {
            for value in values {
                push_switch(key, value, switches)?;
            }
        }
        other => return Err(other.type_str()),
    }
    Ok(())
}
