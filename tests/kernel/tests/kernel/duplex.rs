//! The guest's `duplex` program, which runs a whole session on ALSA devices, and its output.

use handsfree_kernel_tests::{MachineFailure, Result};
use serde_json::Value;

/// Path of the program, for the machine's options.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_duplex");

/// Output of one run: its events in order, and its report.
#[derive(Debug)]
pub(crate) struct DuplexOutput {
    pub(crate) events: Vec<Value>,
    pub(crate) report: Value,
}

impl DuplexOutput {
    /// Parses the program's output.
    pub(crate) fn read(text: &str) -> Result<Self> {
        let mut events: Vec<Value> =
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let report =
            events.pop().ok_or_else(|| MachineFailure::new(format!("duplex printed no report: {text}")))?;
        if let Some(error) = report.get("error") {
            return Err(MachineFailure::new(format!("duplex: {error}")));
        }
        Ok(Self { events, report })
    }

    /// Returns a number of the report by its JSON pointer.
    pub(crate) fn number(&self, pointer: &str) -> f64 {
        let value = self.report.pointer(pointer).and_then(Value::as_f64);
        value.unwrap_or_else(|| panic!("expected a number at {pointer} in {:#}", self.report))
    }

    /// Returns the events with names that start with `name`.
    pub(crate) fn named(&self, name: &str) -> Vec<&Value> {
        let is_meant = |event: &&Value| event["event"].as_str().is_some_and(|text| text.starts_with(name));
        self.events.iter().filter(is_meant).collect()
    }
}
