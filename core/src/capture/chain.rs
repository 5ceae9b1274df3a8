//! Worker side: several frame processors as one, each switched on and off while it runs.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::capture::processor::{Credentials, FrameProcessor, ProcessError, ProcessorFault, StreamIdentity};
use crate::error::ConfigError;
use crate::frame::PcmMut;
use crate::limits::MAX_CHAIN_STEPS;

/// Switches one step of a chain on or off while the worker runs, from any thread or interrupt.
///
/// Lives outside the chain, which borrows it: in a static, or beside the session. Costs one load a
/// frame.
///
/// ```
/// use handsfree_core::capture::StepSwitch;
///
/// static FILTER: StepSwitch = StepSwitch::new(true);
/// FILTER.set(false);
/// assert!(!FILTER.is_on());
/// ```
// A flag for each step and not a word for all: a store is enough then, whoever else switches, and
// there is no compare-and-swap on a Cortex-M0.
#[derive(Debug)]
pub struct StepSwitch {
    on: AtomicBool,
}

impl StepSwitch {
    /// A switch that is on or off at first.
    #[must_use]
    pub const fn new(on: bool) -> Self {
        Self { on: AtomicBool::new(on) }
    }

    /// On or off from the next frame on. Any side, wait-free.
    pub fn set(&self, on: bool) {
        // Relaxed: it orders nothing but itself.
        self.on.store(on, Ordering::Relaxed);
    }

    /// Whether it is on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }
}

/// Frame processors in the order they are called, at most [`MAX_CHAIN_STEPS`].
///
/// A step has its turn while its switch is on and it says so itself
/// ([`enabled`](FrameProcessor::enabled)). One that is switched on again is reset first, so that
/// nothing stale is heard; a switch takes effect at a frame's border and does not fade.
///
/// Costs one indirect call a step and frame beside what the steps cost. A chain is a frame processor
/// and can be a step of another one.
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
    /// A bit for each step that had its turn in the last frame.
    ran: u32,
}

impl fmt::Debug for Chain<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").field("steps", &self.steps.len()).finish_non_exhaustive()
    }
}

impl<'a, 'b> Chain<'a, 'b> {
    /// A chain over `steps`, called in order. `switches` belong to the steps of the same place; a
    /// step without one is always on.
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
    /// Every step that is on has its turn even after one failed; the first error is the chain's.
    fn process(&mut self, mut frame: PcmMut<'_>) -> Result<(), ProcessError> {
        let mut outcome = Ok(());
        let mut ran = 0;
        for (place, step) in self.steps.iter_mut().enumerate() {
            let bit = 1u32.wrapping_shl(place as u32);
            if !self.switches.get(place).is_none_or(StepSwitch::is_on) || !step.enabled() {
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

    /// One step's fault at a time, the first step's first.
    fn take_fault(&mut self) -> Option<ProcessorFault> {
        let mut steps = self.steps.iter_mut().enumerate();
        steps.find_map(|(place, step)| step.take_fault().map(|fault| fault.at_step(place as u8)))
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

    /// Writes down what happened to it.
    #[derive(Default)]
    struct Diary {
        name: i16,
        entries: std::vec::Vec<&'static str>,
        fails: bool,
        off: bool,
    }

    impl FrameProcessor for Diary {
        fn process(&mut self, frame: PcmMut<'_>) -> Result<(), ProcessError> {
            self.entries.push("process");
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
            self.entries.push("reset");
        }

        fn on_stream(&mut self, _stream: &StreamIdentity<'_>) {
            self.entries.push("stream");
        }

        fn on_credentials(&mut self, _credentials: &Credentials<'_>) {
            self.entries.push("credentials");
        }

        fn close(&mut self) {
            self.entries.push("close");
        }
    }

    fn diary(name: i16) -> Diary {
        Diary { name, ..Diary::default() }
    }

    fn run(chain: &mut Chain<'_, '_>) -> (i16, Result<(), ProcessError>) {
        let mut samples = [0; 80];
        let outcome = chain.process(PcmMut { format: Format::new(8_000, 1).unwrap(), samples: &mut samples });
        (samples[0], outcome)
    }

    #[test]
    fn steps_run_in_order_and_a_failing_one_does_not_stop_the_rest() {
        let (mut a, mut b, mut c) = (diary(1), diary(2), diary(3));
        b.fails = true;
        let mut steps: [&mut (dyn FrameProcessor + Send); 3] = [&mut a, &mut b, &mut c];
        let mut chain = Chain::new(&mut steps, &[]).unwrap();
        assert_eq!(run(&mut chain), (13, Err(ProcessError::Backend { code: 2 })));
        b.fails = false;
        let mut steps: [&mut (dyn FrameProcessor + Send); 3] = [&mut c, &mut b, &mut a];
        assert_eq!(run(&mut Chain::new(&mut steps, &[]).unwrap()), (321, Ok(())));
    }

    #[test]
    fn what_was_off_is_reset_before_it_runs_again_and_only_then() {
        let switches = [StepSwitch::new(true), StepSwitch::new(true)];
        let (mut a, mut b) = (diary(1), diary(2));
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
        assert_eq!(a.entries, ["process", "reset", "process", "process"]);
        assert_eq!(b.entries, ["process"; 5]);
    }

    #[test]
    fn a_step_that_says_it_is_off_is_off_whatever_its_switch_says() {
        let mut a = diary(1);
        a.off = true;
        let switches = [StepSwitch::new(true)];
        let mut steps: [&mut (dyn FrameProcessor + Send); 1] = [&mut a];
        assert_eq!(run(&mut Chain::new(&mut steps, &switches).unwrap()), (0, Ok(())));
    }

    #[test]
    fn what_is_said_to_a_chain_is_said_to_all_its_steps() {
        let (mut a, mut b) = (diary(1), diary(2));
        let mut steps: [&mut (dyn FrameProcessor + Send); 2] = [&mut a, &mut b];
        let mut chain = Chain::new(&mut steps, &[]).unwrap();
        chain.on_stream(&StreamIdentity::default());
        chain.on_credentials(&Credentials::default());
        chain.reset();
        chain.close();
        for entries in [a.entries, b.entries] {
            assert_eq!(entries, ["stream", "credentials", "reset", "close"]);
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
