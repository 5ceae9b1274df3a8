//! Worker side: combines several frame processors into one; each can be switched on and off while it runs.

use crate::atomics::{AtomicBool, Ordering};
use core::fmt;

use crate::capture::processor::{Credentials, FrameProcessor, ProcessError, ProcessorFault, StreamIdentity};
use crate::error::ConfigError;
use crate::frame::PcmMut;
use crate::limits::MAX_CHAIN_STEPS;

/// Switches one step of a chain on or off while the worker runs, from any thread or interrupt.
///
/// It lives outside the chain, which borrows it: in a static, or beside the session. Costs one load a frame.
///
/// ```
/// use handsfree_core::capture::StepSwitch;
///
/// static FILTER: StepSwitch = StepSwitch::new(true);
/// FILTER.set(false);
/// assert!(!FILTER.is_on());
/// ```
// Each step has a flag of its own, instead of a bit in a common word, so that a store is enough even if several
// threads switch steps at the same time: a Cortex-M0 has no compare-and-swap.
#[derive(Debug)]
pub struct StepSwitch {
    on: AtomicBool,
}

impl StepSwitch {
    /// Returns a switch in its initial position.
    #[must_use]
    pub const fn new(on: bool) -> Self {
        Self { on: AtomicBool::new(on) }
    }

    /// Switches the step on or off from the next frame on. Any side, wait-free.
    pub fn set(&self, on: bool) {
        // Relaxed: no other memory depends on it.
        self.on.store(on, Ordering::Relaxed);
    }

    /// Returns whether the switch is on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }
}

/// Frame processors in the order in which they are called, at most [`MAX_CHAIN_STEPS`].
///
/// A step runs while its switch is on and its own [`enabled`](FrameProcessor::enabled) returns true. A step
/// that is switched on again is reset first, so that no stale audio is heard; a switch takes effect at a
/// frame border and does not fade.
///
/// Costs one indirect call a step and frame in addition to the steps themselves. A chain is a frame
/// processor, so it can be a step of another chain.
///
/// ```
/// use handsfree_core::capture::{Chain, FrameProcessor, GainSetting, GainStep, LevelMeter, Levels, StepSwitch};
/// use handsfree_core::{Format, Gain, PcmMut};
///
/// let (setting, levels) = (GainSetting::new(Gain::linear(2.0)?), Levels::new());
/// let switches = [StepSwitch::new(true), StepSwitch::new(true)];
/// let (mut gain, mut meter) = (GainStep::new(&setting), LevelMeter::new(&levels));
/// let mut steps: [&mut (dyn FrameProcessor + Send); 2] = [&mut gain, &mut meter];
/// let mut chain = Chain::new(&mut steps, &switches)?;
///
/// let mut frame = |samples: &mut [i16]| {
///     chain.process(PcmMut { format: Format::new(8_000, 1).unwrap(), samples })
/// };
/// let mut samples = [8_192; 80];
/// frame(&mut samples)?;
/// assert_eq!(samples, [16_384; 80]);
/// assert!((levels.read().peak_dbfs + 6.02).abs() < 0.01);
///
/// switches[0].set(false);
/// frame(&mut samples)?;
/// assert_eq!(samples, [16_384; 80], "untouched");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Chain<'a, 'b> {
    steps: &'a mut [&'b mut (dyn FrameProcessor + Send)],
    switches: &'a [StepSwitch],
    /// One bit for each step that ran on the last frame.
    ran: u32,
}

impl fmt::Debug for Chain<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").field("steps", &self.steps.len()).finish_non_exhaustive()
    }
}

impl<'a, 'b> Chain<'a, 'b> {
    /// Returns a chain that calls `steps` in order. The switch at an index belongs to the step at the same
    /// index; a step without a switch is always on.
    ///
    /// # Errors
    /// [`ConfigError::ChainTooLong`] for more than [`MAX_CHAIN_STEPS`].
    pub fn new(
        steps: &'a mut [&'b mut (dyn FrameProcessor + Send)],
        switches: &'a [StepSwitch],
    ) -> Result<Self, ConfigError> {
        if steps.len() > MAX_CHAIN_STEPS {
            return Err(ConfigError::ChainTooLong { steps: steps.len() });
        }
        Ok(Self { steps, switches, ran: u32::MAX })
    }
}

impl FrameProcessor for Chain<'_, '_> {
    /// Runs every step that is on, even after one failed, and returns the first error.
    fn process(&mut self, mut frame: PcmMut<'_>) -> Result<(), ProcessError> {
        let mut outcome = Ok(());
        let mut ran = 0;
        for (index, step) in self.steps.iter_mut().enumerate() {
            let bit = 1u32.wrapping_shl(index as u32);
            if !self.switches.get(index).is_none_or(StepSwitch::is_on) || !step.enabled() {
                continue;
            }
            if self.ran & bit == 0 {
                step.reset();
            }
            ran |= bit;
            outcome = outcome.and(step.process(frame.reborrow()));
        }
        self.ran = ran;
        outcome
    }

    fn reset(&mut self) {
        for step in self.steps.iter_mut() {
            step.reset();
        }
    }

    /// Returns the fault of one step at a time, in the order of the steps.
    fn take_fault(&mut self) -> Option<ProcessorFault> {
        let mut steps = self.steps.iter_mut().enumerate();
        steps.find_map(|(index, step)| step.take_fault().map(|fault| fault.at_step(index as u8)))
    }

    fn on_stream(&mut self, stream: &StreamIdentity<'_>) {
        for step in self.steps.iter_mut() {
            step.on_stream(stream);
        }
    }

    fn on_credentials(&mut self, credentials: &Credentials<'_>) {
        for step in self.steps.iter_mut() {
            step.on_credentials(credentials);
        }
    }

    fn close(&mut self) {
        for step in self.steps.iter_mut() {
            step.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Format;

    /// A step that records how it is called.
    #[derive(Default)]
    struct CallLog {
        name: i16,
        calls: std::vec::Vec<&'static str>,
        fails: bool,
        off: bool,
    }

    impl FrameProcessor for CallLog {
        fn process(&mut self, frame: PcmMut<'_>) -> Result<(), ProcessError> {
            self.calls.push("process");
            if self.fails {
                return Err(ProcessError::Backend { code: i32::from(self.name) });
            }
            frame.samples.iter_mut().for_each(|sample| *sample = *sample * 10 + self.name);
            Ok(())
        }

        fn enabled(&self) -> bool {
            !self.off
        }

        fn reset(&mut self) {
            self.calls.push("reset");
        }

        fn on_stream(&mut self, _stream: &StreamIdentity<'_>) {
            self.calls.push("stream");
        }

        fn on_credentials(&mut self, _credentials: &Credentials<'_>) {
            self.calls.push("credentials");
        }

        fn close(&mut self) {
            self.calls.push("close");
        }
    }

    fn call_log(name: i16) -> CallLog {
        CallLog { name, ..CallLog::default() }
    }

    fn run(chain: &mut Chain<'_, '_>) -> (i16, Result<(), ProcessError>) {
        let mut samples = [0; 80];
        let outcome = chain.process(PcmMut { format: Format::new(8_000, 1).unwrap(), samples: &mut samples });
        (samples[0], outcome)
    }

    #[test]
    fn steps_run_in_order_and_a_failing_one_does_not_stop_the_rest() {
        let (mut a, mut b, mut c) = (call_log(1), call_log(2), call_log(3));
        b.fails = true;
        let mut steps: [&mut (dyn FrameProcessor + Send); 3] = [&mut a, &mut b, &mut c];
        let mut chain = Chain::new(&mut steps, &[]).unwrap();
        assert_eq!(run(&mut chain), (13, Err(ProcessError::Backend { code: 2 })));
        b.fails = false;
        let mut steps: [&mut (dyn FrameProcessor + Send); 3] = [&mut c, &mut b, &mut a];
        assert_eq!(run(&mut Chain::new(&mut steps, &[]).unwrap()), (321, Ok(())));
    }

    #[test]
    fn a_step_switched_on_again_is_reset_once() {
        let switches = [StepSwitch::new(true), StepSwitch::new(true)];
        let (mut a, mut b) = (call_log(1), call_log(2));
        {
            let mut steps: [&mut (dyn FrameProcessor + Send); 2] = [&mut a, &mut b];
            let mut chain = Chain::new(&mut steps, &switches).unwrap();
            assert_eq!(run(&mut chain).0, 12);
            switches[0].set(false);
            assert_eq!(run(&mut chain).0, 2);
            assert_eq!(run(&mut chain).0, 2);
            switches[0].set(true);
            assert_eq!(run(&mut chain).0, 12);
            assert_eq!(run(&mut chain).0, 12);
        }
        assert_eq!(a.calls, ["process", "reset", "process", "process"]);
        assert_eq!(b.calls, ["process"; 5]);
    }

    #[test]
    fn a_disabled_step_stays_off_whatever_its_switch() {
        let mut a = call_log(1);
        a.off = true;
        let switches = [StepSwitch::new(true)];
        let mut steps: [&mut (dyn FrameProcessor + Send); 1] = [&mut a];
        assert_eq!(run(&mut Chain::new(&mut steps, &switches).unwrap()), (0, Ok(())));
    }

    #[test]
    fn calls_to_a_chain_reach_all_its_steps() {
        let (mut a, mut b) = (call_log(1), call_log(2));
        let mut steps: [&mut (dyn FrameProcessor + Send); 2] = [&mut a, &mut b];
        let mut chain = Chain::new(&mut steps, &[]).unwrap();
        chain.on_stream(&StreamIdentity::default());
        chain.on_credentials(&Credentials::default());
        chain.reset();
        chain.close();
        for calls in [a.calls, b.calls] {
            assert_eq!(calls, ["stream", "credentials", "reset", "close"]);
        }
    }

    #[test]
    fn a_chain_of_too_many_steps_is_refused() {
        let mut units: std::vec::Vec<()> = std::vec![(); MAX_CHAIN_STEPS + 1];
        let mut steps: std::vec::Vec<&mut (dyn FrameProcessor + Send)> =
            units.iter_mut().map(|unit| unit as &mut (dyn FrameProcessor + Send)).collect();
        let refused = Chain::new(&mut steps, &[]).unwrap_err();
        assert_eq!(refused, ConfigError::ChainTooLong { steps: 33 });
        assert_eq!(std::format!("{refused}"), "a chain of 33 frame processors: expected at most 32");
        assert!(Chain::new(&mut steps[1..], &[]).is_ok());
    }
}
