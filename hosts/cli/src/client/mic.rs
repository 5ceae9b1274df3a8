//! Application side: `handsfree mic`, which records the cleaned microphone of a service.

use std::io::{self, Write as _};
use std::time::Duration;

use handsfree::failure::Failure;
use handsfree::recording::{OutputFile, WavRecording};

use super::{Answer, Connection, service_ended};
use crate::args::{MicArgs, RecordedType};
use crate::console;
use crate::interrupts::{handle_interrupts, is_interrupted};
use crate::pcm::endpoint::{ByteSink, Endpoint};
use crate::pcm::format::PcmFormat;
use crate::pcm::stream_header::stream_header;
use crate::run::recovery_notice;
use crate::run::requests::within;
use crate::serve::protocol::{Hello, Reply};

/// Time for which the client waits for samples before it looks whether it was interrupted.
const POLL: Duration = Duration::from_millis(50);
/// Number of times a second that what is recorded reaches the disk, so that a killed client loses half a second at most.
const FLUSHES_PER_SECOND: u32 = 2;

/// Records until the duration has passed, the reader closes the output, or the command is interrupted. However the
/// service ends, what it sent is kept.
///
/// # Errors
/// Returns an error that names the service, the file or the value that cannot be used.
pub fn run(args: &MicArgs) -> Result<(), Failure> {
    let format = PcmFormat::new(args.rate, args.channels)?;
    let wanted = match args.duration {
        Some(seconds) => {
            Some((within("--duration", seconds, 0.0..=1e9)? * f64::from(args.rate)).round() as u64)
        }
        None => None,
    };
    handle_interrupts()?;
    let hello = Hello::Mic {
        rate_hz: args.rate,
        channels: args.channels,
        queue_ms: args.queue_ms,
        name: args.name.clone(),
    };
    let mut connection = Connection::open(args.socket.as_deref(), &hello)?;
    let mut output = MicOutput::open(&args.file, args.file_type, format)?;
    let mut lost = 0;
    let received = receive(&mut connection, &mut output, format, wanted, &mut lost);
    match received {
        Err(ReceiveError::Output(failure)) => return Err(failure),
        // A service that sends nothing changes no file.
        Err(ReceiveError::Service(failure)) if !output.is_begun => return Err(failure),
        _ => {}
    }
    output.finish(&args.file)?;
    if lost > 0 && !args.quiet {
        console::message(&format!("note: {lost} sample frames were lost because this client was slow"));
    }
    match received {
        Err(ReceiveError::Service(failure)) => Err(failure),
        _ => Ok(()),
    }
}

/// Reason why a recording ended before it was asked to.
enum ReceiveError {
    /// The service ended, refused or sent something else than samples.
    Service(Failure),
    /// The output cannot be written.
    Output(Failure),
}

/// Writes what the service sends, and adds up the sample frames that are missing in it.
fn receive(
    connection: &mut Connection,
    output: &mut MicOutput,
    format: PcmFormat,
    wanted: Option<u64>,
    lost: &mut u64,
) -> Result<(), ReceiveError> {
    let mut written = 0;
    while !is_interrupted() && wanted.is_none_or(|wanted| written < wanted) {
        match connection.receive(POLL).map_err(ReceiveError::Service)? {
            Answer::Reply(Reply::Audio { lost: missing, .. }, payload) => {
                *lost += missing;
                let left = wanted.map_or(u64::MAX, |wanted| wanted - written);
                let whole = (payload.len() / format.frame_bytes()) as u64;
                let taken = whole.min(left);
                let bytes = payload.get(..taken as usize * format.frame_bytes()).unwrap_or(&[]);
                match output.write(bytes) {
                    Ok(()) => written += taken,
                    // A reader that closes a pipe has what it wants.
                    Err(OutputError::Closed) => return Ok(()),
                    Err(OutputError::Failed(failure)) => return Err(ReceiveError::Output(failure)),
                }
            }
            Answer::Reply(Reply::Error { message, .. }, _) => {
                return Err(ReceiveError::Service(Failure::run(message)));
            }
            Answer::End => return Err(ReceiveError::Service(service_ended())),
            Answer::Reply(..) | Answer::Other(_) | Answer::Nothing => {
                output.flush().map_err(ReceiveError::Output)?;
            }
        }
    }
    Ok(())
}

/// Output of the client.
struct MicOutput {
    sink: MicSink,
    /// Whether it has samples.
    is_begun: bool,
}

enum MicSink {
    /// File that takes its name when it is whole, and the number of its samples that are not flushed yet.
    WavFile {
        wav: WavRecording<OutputFile>,
        flush_samples: usize,
        waiting_samples: usize,
    },
    Stream {
        sink: ByteSink,
        place: Endpoint,
    },
}

/// Reason why the output takes no more.
enum OutputError {
    /// Its reader has closed it.
    Closed,
    Failed(Failure),
}

impl MicOutput {
    fn open(place: &Endpoint, file_type: RecordedType, format: PcmFormat) -> Result<Self, Failure> {
        let sink = match (place, file_type) {
            (Endpoint::Path(path), RecordedType::Wav) if !place.is_stream() => {
                let file = OutputFile::create(path)?;
                if let Some(recovered) = file.recovered() {
                    console::message(&format!("note: {}", recovery_notice(recovered)));
                }
                let channels = u16::try_from(format.channels).unwrap_or(u16::MAX);
                let wav = WavRecording::new(file, format.rate_hz, channels)
                    .map_err(|error| cannot_be_written(place, &error))?;
                let flush_samples = (format.rate_hz * format.channels / FLUSHES_PER_SECOND) as usize;
                MicSink::WavFile { wav, flush_samples, waiting_samples: 0 }
            }
            (_, file_type) => {
                let header = if file_type == RecordedType::Wav { stream_header(format) } else { Vec::new() };
                MicSink::Stream { sink: place.open_sink(&header)?, place: place.clone() }
            }
        };
        Ok(Self { sink, is_begun: false })
    }

    /// Writes whole samples.
    fn write(&mut self, bytes: &[u8]) -> Result<(), OutputError> {
        self.is_begun |= !bytes.is_empty();
        match &mut self.sink {
            MicSink::WavFile { wav, flush_samples, waiting_samples } => {
                let pairs = bytes.chunks_exact(2).filter_map(|pair| pair.try_into().ok());
                let samples: Vec<i16> = pairs.map(i16::from_le_bytes).collect();
                // From the first sample on, what was recorded is kept when the disk is full as well.
                wav.get_mut().keep_part();
                wav.write(&samples).map_err(|error| OutputError::Failed(wav.get_ref().cannot(&error)))?;
                *waiting_samples += samples.len();
                let is_due = *waiting_samples >= *flush_samples;
                if is_due { self.flush().map_err(OutputError::Failed) } else { Ok(()) }
            }
            MicSink::Stream { sink, place } => match sink.write_all(bytes).and_then(|()| sink.flush()) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(OutputError::Closed),
                Err(error) => Err(OutputError::Failed(cannot_be_written(place, &error))),
                Ok(()) => Ok(()),
            },
        }
    }

    /// Brings what was written to the disk, so that a killed client loses no more than what follows.
    fn flush(&mut self) -> Result<(), Failure> {
        match &mut self.sink {
            MicSink::WavFile { wav, waiting_samples, .. } if *waiting_samples > 0 => {
                *waiting_samples = 0;
                wav.flush().map_err(|error| wav.get_ref().cannot(&error))
            }
            MicSink::WavFile { .. } | MicSink::Stream { .. } => Ok(()),
        }
    }

    fn finish(mut self, place: &Endpoint) -> Result<(), Failure> {
        self.flush()?;
        match self.sink {
            MicSink::WavFile { wav, .. } => wav.into_output().commit(),
            MicSink::Stream { mut sink, .. } => match sink.flush() {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    Err(cannot_be_written(place, &error))
                }
                _ => Ok(()),
            },
        }
    }
}

fn cannot_be_written(place: &Endpoint, error: &io::Error) -> Failure {
    Failure::run(format!("{place}: cannot be written: {error}"))
}
