//! Control side: memory by the megabyte, and the journals that take most of it.

use handsfree_core::journal::{Journal, JournalReader, JournalWriter};

use crate::failure::Failure;

/// Megabytes that are made on the stack before they are boxed want a thread with room for them: callers
/// may have 2 MB, and without optimisation the box is filled from there.
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

/// What is written down in the reader's good time: each journal holds more than 5 s of a device with one or two
/// channels.
#[derive(Debug)]
pub struct JournalReaders {
    /// What the intake took.
    pub intake: JournalReader<'static>,
    /// What the outlet played.
    pub outlet: JournalReader<'static>,
    /// What the capture worker found and made.
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
