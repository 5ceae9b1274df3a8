//! Control side: large memory blocks, and the journals that take most of it.

use handsfree_core::journal::{Journal, JournalReader, JournalWriter};

use crate::failure::Failure;

/// Makes a large value on a thread with a large stack: without optimisation the value is built on the stack before it is
/// boxed, and callers may have only 2 MB of stack.
pub(crate) fn roomy<T: Send>(make: impl FnOnce() -> T + Send) -> Result<T, Failure> {
    const STACK_BYTES: usize = 64 << 20;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("memory".into()).stack_size(STACK_BYTES);
        let made = thread.spawn_scoped(scope, make).map_err(|error| {
            Failure::run(format!("a thread of {} MB could not be started: {error}", STACK_BYTES >> 20))
        })?;
        made.join().map_err(|_| Failure::run("the terminal's memory could not be made"))
    })
}

/// Reading ends of the journals. Each journal holds more than 5 s of a device with one or two channels.
#[derive(Debug)]
pub struct JournalReaders {
    /// Journal of the intake.
    pub intake: JournalReader<'static>,
    /// Journal of the outlet.
    pub outlet: JournalReader<'static>,
    /// Journal of the capture worker.
    pub worker: JournalReader<'static>,
}

pub(crate) struct JournalWriters {
    pub(crate) intake: JournalWriter<'static>,
    pub(crate) outlet: JournalWriter<'static>,
    pub(crate) worker: JournalWriter<'static>,
}

/// 4 MB.
type HostJournal = Journal<65_536>;

pub(crate) fn journals() -> Result<(JournalWriters, JournalReaders), Failure> {
    let journal = || -> Result<(JournalWriter<'static>, JournalReader<'static>), Failure> {
        let journal: &'static mut HostJournal = Box::leak(roomy(|| Box::new(HostJournal::new()))?);
        Ok(journal.split())
    };
    let ((intake, intake_reader), (outlet, outlet_reader), (worker, worker_reader)) =
        (journal()?, journal()?, journal()?);
    let readers = JournalReaders { intake: intake_reader, outlet: outlet_reader, worker: worker_reader };
    Ok((JournalWriters { intake, outlet, worker }, readers))
}
