//! Reads switches of `handsfree sim` from a TOML file.

use std::ffi::OsString;
use std::path::Path;

use clap::Parser;
use toml::{Table, Value};

use crate::args::{Cli, Command, SimArgs};
use handsfree::failure::Failure;

/// Returns the switches of the scenario file in `args`, overridden by those on the command line `words`.
///
/// # Errors
/// Names the file and the key or value that no switch takes.
pub fn merged(args: &SimArgs, words: &[OsString]) -> Result<SimArgs, Failure> {
    let Some(path) = &args.scenario else { return Ok(args.clone()) };
    let file = switches(path)?;
    // The file's words come first, so that the command line's override them.
    let program_and_command = words.iter().take(2).cloned();
    let all = program_and_command.chain(file).chain(words.iter().skip(2).cloned());
    let cli = Cli::try_parse_from(all).map_err(|error| {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        Failure::usage(format!("{}: {first}", path.display()))
    })?;
    match cli.command {
        Command::Sim(merged) => Ok(*merged),
        _ => Err(Failure::usage("a scenario file is for 'handsfree sim'")),
    }
}

fn switches(path: &Path) -> Result<Vec<OsString>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::run(format!("{}: cannot be read: {error}", path.display())))?;
    let table: Table =
        text.parse().map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    let mut words = Vec::new();
    for (key, value) in &table {
        say(key, value, &mut words).map_err(|found| {
            Failure::usage(format!(
                "{}: {key} is {found}: expected a text, a number, true, false or a list of these",
                path.display()
            ))
        })?;
    }
    Ok(words)
}

fn say(key: &str, value: &Value, words: &mut Vec<OsString>) -> Result<(), &'static str> {
    let mut with = |value: String| words.push(format!("--{key}={value}").into());
    match value {
        Value::String(text) => with(text.clone()),
        Value::Integer(number) => with(number.to_string()),
        Value::Float(number) => with(number.to_string()),
        Value::Boolean(true) => words.push(format!("--{key}").into()),
        Value::Boolean(false) => {}
        Value::Array(values) => {
            for value in values {
                say(key, value, words)?;
            }
        }
        other => return Err(other.type_str()),
    }
    Ok(())
}
