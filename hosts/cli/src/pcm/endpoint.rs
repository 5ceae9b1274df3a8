//! Application side: where plain samples come from or go to: stdin, stdout, an inherited descriptor, a FIFO or a file.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use handsfree::failure::Failure;

/// Place that samples are read from or written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Stdin or stdout.
    Standard,
    /// Descriptor that the process inherited.
    Descriptor(i32),
    /// File, FIFO or device.
    Path(PathBuf),
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("fd:") {
            _ if text.is_empty() => Err("expected -, fd:N or a path".into()),
            _ if text == "-" => Ok(Self::Standard),
            Some(number) => match number.parse() {
                Ok(number) if number >= 0 => Ok(Self::Descriptor(number)),
                _ => Err(format!(
                    "'{text}': expected fd: and the number of an inherited descriptor, such as fd:3"
                )),
            },
            None => Ok(Self::Path(text.into())),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard => f.write_str("-"),
            Self::Descriptor(number) => write!(f, "fd:{number}"),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

/// Source of bytes that is open.
pub type ByteSource = Box<dyn Read + Send>;
/// Sink of bytes that is open.
pub type ByteSink = Box<dyn Write + Send>;

impl Endpoint {
    /// Opens the place for reading. A FIFO stays open when its writer closes it, so that several programs can write
    /// to it one after the other.
    ///
    /// # Errors
    /// Returns an error that names the place.
    pub fn open_source(&self) -> Result<ByteSource, Failure> {
        let open = || -> io::Result<ByteSource> {
            Ok(match self {
                Self::Standard => Box::new(io::stdin()),
                Self::Descriptor(0) => Box::new(io::stdin()),
                Self::Descriptor(number) => inherited(*number)?,
                // Opened for writing too, a FIFO has no end, and opening it does not wait for a writer.
                Self::Path(path) if is_fifo(path) => {
                    Box::new(OpenOptions::new().read(true).write(true).open(path)?)
                }
                Self::Path(path) => Box::new(File::open(path)?),
            })
        };
        open().map_err(|error| Failure::run(format!("{self}: cannot be read: {error}")))
    }

    /// Opens the place for writing and writes the header. A file is made or emptied. While no program reads a FIFO, what
    /// is written to it is lost, and writing to it never waits. Each program that opens the FIFO gets the header first,
    /// unless it opens it before the previous one's end was noticed, which the next write does.
    ///
    /// # Errors
    /// Returns an error that names the place.
    pub fn open_sink(&self, header: &[u8]) -> Result<ByteSink, Failure> {
        let open = || -> io::Result<ByteSink> {
            let mut sink: ByteSink = match self {
                Self::Standard => Box::new(io::stdout()),
                Self::Descriptor(1) => Box::new(io::stdout()),
                Self::Descriptor(2) => Box::new(io::stderr()),
                Self::Descriptor(number) => inherited_sink(*number)?,
                Self::Path(path) if is_fifo(path) => {
                    let (path, header) = (path.clone(), header.to_vec());
                    return Ok(Box::new(FifoSink { path, header, unsent: 0, fifo: None }));
                }
                Self::Path(path) => Box::new(File::create(path)?),
            };
            match sink.write_all(header).and_then(|()| sink.flush()) {
                // The first samples find that too, and a reader that has what it wants is no error.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
                _ => Ok(sink),
            }
        };
        open().map_err(|error| Failure::run(format!("{self}: cannot be written: {error}")))
    }

    /// Returns whether the place is this process's stdout.
    #[must_use]
    pub fn is_stdout(&self) -> bool {
        matches!(self, Self::Standard | Self::Descriptor(1))
    }

    /// Returns whether the place can only be written from its begin to its end, as a pipe.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        match self {
            Self::Standard | Self::Descriptor(_) => true,
            Self::Path(path) => is_stream(path),
        }
    }
}

#[cfg(unix)]
fn inherited(number: i32) -> io::Result<ByteSource> {
    Ok(Box::new(File::from(handsfree_host::inherited::take(number)?)))
}

#[cfg(unix)]
fn inherited_sink(number: i32) -> io::Result<ByteSink> {
    Ok(Box::new(File::from(handsfree_host::inherited::take(number)?)))
}

#[cfg(not(unix))]
fn inherited(number: i32) -> io::Result<ByteSource> {
    Err(no_descriptors(number))
}

#[cfg(not(unix))]
fn inherited_sink(number: i32) -> io::Result<ByteSink> {
    Err(no_descriptors(number))
}

#[cfg(not(unix))]
fn no_descriptors(number: i32) -> io::Error {
    io::Error::other(format!("descriptor {number}: this system has no inherited descriptors"))
}

#[cfg(unix)]
fn is_fifo(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo())
}

#[cfg(unix)]
fn is_stream(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    std::fs::metadata(path).is_ok_and(|metadata| {
        let kind = metadata.file_type();
        kind.is_fifo() || kind.is_char_device() || kind.is_socket()
    })
}

#[cfg(not(unix))]
fn is_fifo(_: &Path) -> bool {
    false
}

#[cfg(not(unix))]
fn is_stream(_: &Path) -> bool {
    false
}

/// FIFO that readers open and close at any time.
struct FifoSink {
    path: PathBuf,
    /// Bytes that come first for each reader.
    header: Vec<u8>,
    /// Number of the header's bytes that the present reader has not got yet.
    unsent: usize,
    /// The FIFO while a program reads it.
    fifo: Option<File>,
}

/// Pause before a FIFO without reader is tried again: short for a listener, and cheap.
const FIFO_RETRY: Duration = Duration::from_millis(20);

impl FifoSink {
    /// Opens the FIFO if a program reads it, and returns whether one does.
    #[cfg(unix)]
    fn open(&mut self) -> io::Result<bool> {
        use std::os::unix::fs::OpenOptionsExt as _;
        if self.fifo.is_none() {
            match OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&self.path) {
                Ok(fifo) => {
                    self.fifo = Some(fifo);
                    self.unsent = self.header.len();
                }
                Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    #[cfg(not(unix))]
    fn open(&mut self) -> io::Result<bool> {
        Ok(self.fifo.is_some())
    }

    /// Writes what the reader still lacks of the header, then as many of the bytes as fit.
    fn write_behind_header(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(fifo) = &mut self.fifo else { return Ok(bytes.len()) };
        while self.unsent > 0 {
            let rest = self.header.len() - self.unsent;
            self.unsent -= fifo.write(self.header.get(rest..).unwrap_or(&[]))?;
        }
        fifo.write(bytes)
    }
}

impl Write for FifoSink {
    /// Writes as much as fits. Bytes without a reader count as written. A full FIFO is reported as
    /// [`io::ErrorKind::Interrupted`] after a pause, so that `write_all` waits.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.open()? {
            return Ok(bytes.len());
        }
        match self.write_behind_header(bytes) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.fifo = None;
                Ok(bytes.len())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(FIFO_RETRY);
                Err(io::ErrorKind::Interrupted.into())
            }
            outcome => outcome,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_named_in_one_of_three_ways() {
        let parse = |text: &str| text.parse::<Endpoint>();
        assert_eq!(parse("-").unwrap(), Endpoint::Standard);
        assert_eq!(parse("fd:7").unwrap(), Endpoint::Descriptor(7));
        assert_eq!(parse("./fd:x").unwrap(), Endpoint::Path("./fd:x".into()));
        for wrong in ["", "fd:", "fd:-1", "fd:x"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        for text in ["-", "fd:7", "a/b.raw"] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_cannot_be_opened_is_named() {
        for text in ["/nowhere/at/all", "fd:1000000"] {
            let place: Endpoint = text.parse().unwrap();
            for failure in [place.open_source().err().unwrap(), place.open_sink(&[]).err().unwrap()] {
                assert!(failure.to_string().starts_with(text), "{failure}");
            }
        }
    }
}
