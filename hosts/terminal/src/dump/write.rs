//! Control side: a thread that writes the journals to files.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration as WallDuration;

use handsfree_core::journal::{JournalReader, LINE_BYTES, Record};

use super::{LOUDSPEAKER_FILE, MICROPHONE_FILE, RunInfo, WORKER_FILE};
use crate::background::WriterThread;
use crate::failure::Failure;
use crate::terminal::{JournalReaders, TerminalConfig};

/// Interval at which the journals, which hold seconds, are emptied.
const LOOK_INTERVAL: WallDuration = WallDuration::from_millis(50);

/// Result of writing a dump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dumped {
    /// Number of bytes in all journals.
    pub bytes: u64,
    /// Number of records missing at the end because the disk was too slow. The run can be replayed up to there.
    pub lost_records: u64,
}

/// Writer of a run's journals. It runs until it is finished.
#[derive(Debug)]
pub struct DumpWriter(WriterThread<Dumped>);

struct Journal {
    reader: JournalReader<'static>,
    path: PathBuf,
    file: BufWriter<File>,
}

impl Journal {
    fn create(folder: &Path, name: &str, reader: JournalReader<'static>) -> Result<Self, Failure> {
        let path = folder.join(name);
        let file = File::create_new(&path)
            .map_err(|error| Failure::run(format!("{}: cannot be created: {error}", path.display())))?;
        Ok(Self { reader, path, file: BufWriter::with_capacity(1 << 16, file) })
    }

    /// Writes the waiting lines and returns their number of bytes.
    fn empty(&mut self) -> Result<u64, Failure> {
        let mut lines = 0;
        let written = loop {
            let Some(line) = self.reader.pop() else { break self.file.flush() };
            if let Err(error) = self.file.write_all(&line) {
                break Err(error);
            }
            lines += 1;
        };
        written.map(|()| lines * LINE_BYTES as u64).map_err(|error| self.cannot(&error))
    }

    /// Writes the end record and returns the number of missing records.
    fn close(&mut self) -> Result<u32, Failure> {
        let lost_records = self.reader.lost_records();
        let written = self.file.write_all(&Record::end(lost_records)).and_then(|()| self.file.flush());
        written.map(|()| lost_records).map_err(|error| self.cannot(&error))
    }

    fn cannot(&self, error: &std::io::Error) -> Failure {
        Failure::run(format!("{}: cannot be written: {error}", self.path.display()))
    }
}

impl DumpWriter {
    /// Makes `folder`, which must be new or empty, and starts to write. `io` is the name of the devices' host.
    ///
    /// # Errors
    /// Names the folder or file that cannot be made.
    pub fn start(
        folder: &Path,
        config: &TerminalConfig,
        io: &str,
        journals: JournalReaders,
    ) -> Result<Self, Failure> {
        let cannot = |why: &dyn std::fmt::Display| {
            Failure::run(format!("{}: expected a new or an empty folder: {why}", folder.display()))
        };
        std::fs::create_dir_all(folder).map_err(|error| cannot(&error))?;
        let mut found = std::fs::read_dir(folder).map_err(|error| cannot(&error))?;
        if let Some(entry) = found.next() {
            let entry = entry.map_err(|error| cannot(&error))?;
            return Err(cannot(&format_args!("there is {:?} in it", entry.file_name())));
        }
        RunInfo::new(config, io).write(folder)?;
        // The worker's journal is emptied first: whenever the process is killed, the frames of a written round are in the
        // other journals.
        let journals = [
            Journal::create(folder, WORKER_FILE, journals.worker)?,
            Journal::create(folder, MICROPHONE_FILE, journals.intake)?,
            Journal::create(folder, LOUDSPEAKER_FILE, journals.outlet)?,
        ];
        WriterThread::spawn("dump", move |leave| write(journals, leave)).map(Self)
    }

    /// Returns whether the writer ended by itself. That is a failure, which [`finish`](Self::finish) returns.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.0.has_failed()
    }

    /// Writes the rest. Call it when nothing runs any more.
    ///
    /// # Errors
    /// Names the file and the reason.
    pub fn finish(self) -> Result<Dumped, Failure> {
        self.0.finish()
    }
}

fn write(mut journals: [Journal; 3], leave: &AtomicBool) -> Result<Dumped, Failure> {
    let mut dumped = Dumped::default();
    loop {
        // Read before the journals are emptied, so that everything recorded earlier is written.
        let last = leave.load(Ordering::Relaxed);
        for journal in &mut journals {
            dumped.bytes += journal.empty()?;
        }
        if last {
            for journal in &mut journals {
                dumped.lost_records += u64::from(journal.close()?);
                dumped.bytes += LINE_BYTES as u64;
            }
            return Ok(dumped);
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}
