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

/// Interval at which the journals are emptied. They hold some seconds, so this is soon enough.
const POLL_INTERVAL: WallDuration = WallDuration::from_millis(50);

/// Size and completeness of a written dump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dumped {
    /// Number of bytes in all journal files.
    pub bytes: u64,
    /// Number of records that are missing at the end because the disk was too slow. The run can be replayed up
    /// to the first of them.
    pub lost_records: u64,
}

/// Thread that writes a run's journals to files until [`finish`](Self::finish) is called.
#[derive(Debug)]
pub struct DumpWriter(WriterThread<Dumped>);

/// Journal and the file that it is written to.
struct JournalFile {
    reader: JournalReader<'static>,
    path: PathBuf,
    file: BufWriter<File>,
}

impl JournalFile {
    fn create(folder: &Path, name: &str, reader: JournalReader<'static>) -> Result<Self, Failure> {
        let path = folder.join(name);
        let file = File::create_new(&path)
            .map_err(|error| Failure::run(format!("{}: cannot be created: {error}", path.display())))?;
        Ok(Self { reader, path, file: BufWriter::with_capacity(1 << 16, file) })
    }

    /// Writes the waiting lines, and returns the number of bytes written.
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
    /// Checks that `folder` is new or empty, and changes nothing. Thus a command refuses a wrong folder before it opens
    /// devices, and leaves no folder behind when the devices are refused.
    ///
    /// # Errors
    /// Returns an error that names the folder and what is in it.
    pub fn check(folder: &Path) -> Result<(), Failure> {
        match std::fs::read_dir(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(cannot_use(folder, &error)),
            Ok(mut found) => match found.next() {
                None => Ok(()),
                Some(Err(error)) => Err(cannot_use(folder, &error)),
                Some(Ok(entry)) => {
                    Err(cannot_use(folder, &format_args!("it contains {:?}", entry.file_name())))
                }
            },
        }
    }

    /// Creates `folder`, which must be new or empty, and starts to write. `io` is the name of the host that
    /// provides the devices.
    ///
    /// # Errors
    /// Returns an error that names the folder or file that cannot be created.
    pub fn start(
        folder: &Path,
        config: &TerminalConfig,
        io: &str,
        journals: JournalReaders,
    ) -> Result<Self, Failure> {
        Self::check(folder)?;
        std::fs::create_dir_all(folder).map_err(|error| cannot_use(folder, &error))?;
        RunInfo::new(config, io)?.write(folder)?;
        // The worker's journal is emptied first. Thus the other journals contain the frames of each written
        // round, even if the process is killed at any time.
        let journals = [
            JournalFile::create(folder, WORKER_FILE, journals.worker)?,
            JournalFile::create(folder, MICROPHONE_FILE, journals.intake)?,
            JournalFile::create(folder, LOUDSPEAKER_FILE, journals.outlet)?,
        ];
        WriterThread::spawn("dump", move |finish| write(journals, finish)).map(Self)
    }

    /// Returns whether the writer ended early because of an error, which [`finish`](Self::finish) returns.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.0.has_failed()
    }

    /// Writes the remaining records and closes the files. Call it after the terminal's streams are closed.
    ///
    /// # Errors
    /// Returns an error that names the file that cannot be written, and the reason.
    pub fn finish(self) -> Result<Dumped, Failure> {
        self.0.finish()
    }
}

fn cannot_use(folder: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::run(format!("{}: expected a new or an empty folder: {why}", folder.display()))
}

fn write(mut journals: [JournalFile; 3], finish: &AtomicBool) -> Result<Dumped, Failure> {
    let mut dumped = Dumped::default();
    loop {
        // The flag is read before the journals are emptied, so that all earlier records are written.
        let last = finish.load(Ordering::Relaxed);
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
        std::thread::sleep(POLL_INTERVAL);
    }
}
