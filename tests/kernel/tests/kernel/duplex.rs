//! The guest's `duplex` program: a whole session over ALSA's devices, and what it says.

use handsfree_kernel_tests::{Failure, Result};
use serde_json::Value;

/// The program, for the machine's options.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_duplex");

/// What one run said: its events in order, then its report.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) events: Vec<Value>,
    pub(crate) report: Value,
}

impl Said {
    /// Reads what the program printed.
    pub(crate) fn read(text: &str) -> Result<Self> {
        let mut events: Vec<Value> =
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let report = events.pop().ok_or_else(|| Failure::new(format!("duplex said nothing: {text}")))?;
        if let Some(error) = report.get("error") {
            return Err(Failure::new(format!("duplex: {error}")));
        }
        Ok(Self { events, report })
    }

    /// A number of the report, by its JSON pointer.
    pub(crate) fn number(&self, pointer: &str) -> f64 {
        let value = self.report.pointer(pointer).and_then(Value::as_f64);
        value.unwrap_or_else(|| panic!("no number {pointer} in {:#}", self.report))
    }

    /// The events whose name begins so.
    pub(crate) fn named(&self, name: &str) -> Vec<&Value> {
        let is_meant = |event: &&Value| event["event"].as_str().is_some_and(|text| text.starts_with(name));
        self.events.iter().filter(is_meant).collect()
    }
}
