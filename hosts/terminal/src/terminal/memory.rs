//! Control side: allocation of large memory blocks and of the journals.

use handsfree_core::journal::{Journal, JournalReader, JournalWriter};

use crate::failure::Failure;

/// Makes a large value on a thread with a large stack. Without optimisation, `Box::new` builds its value on the
/// stack first, and the caller's stack may have only 2 MB.
pub(crate) fn on_large_stack<T: Send>(make: impl FnOnce() -> T + Send) -> Result<T, Failure> {
    const STACK_BYTES: usize = 64 << 20;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("memory".into()).stack_size(STACK_BYTES);
        let made = thread.spawn_scoped(scope, make).map_err(|error| {
            Failure::run(format!("a thread of {} MB could not be started: {error}", STACK_BYTES >> 20))
        })?;
        made.join().map_err(|_| Failure::run("the thread that allocates the terminal's memory panicked"))
    })
}

/// Readers of a terminal's journals. Each journal holds more than 5 s of a device with one or two channels.
#[derive(Debug)]
pub struct JournalReaders {
    /// Journal of the intake: the periods of the capture device.
    pub intake: JournalReader<'static>,
    /// Journal of the outlet: the mixed frames, and the periods of the playback device.
    pub outlet: JournalReader<'static>,
    /// Journal of the capture worker: its inputs and the cleaned frames.
    pub worker: JournalReader<'static>,
}

pub(crate) struct JournalWriters {
    pub(crate) intake: JournalWriter<'static>,
    pub(crate) outlet: JournalWriter<'static>,
    pub(crate) worker: JournalWriter<'static>,
}

/// Journal of 4 MB, which holds the records of some seconds.
type HostJournal = Journal<65_536>;

pub(crate) fn journals() -> Result<(JournalWriters, JournalReaders), Failure> {
    let journal = || -> Result<(JournalWriter<'static>, JournalReader<'static>), Failure> {
        let journal: &'static mut HostJournal = Box::leak(on_large_stack(|| Box::new(HostJournal::new()))?);
        Ok(journal.split())
    };
    let ((intake, intake_reader), (outlet, outlet_reader), (worker, worker_reader)) =
        (journal()?, journal()?, journal()?);
    let readers = JournalReaders { intake: intake_reader, outlet: outlet_reader, worker: worker_reader };
    Ok((JournalWriters { intake, outlet, worker }, readers))
}
