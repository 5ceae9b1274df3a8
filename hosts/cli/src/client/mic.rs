//! Application side: `handsfree mic`, which records the cleaned microphone of a service.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::time::Duration;

use handsfree::failure::Failure;

use super::{Answer, Connection, service_ended};
use crate::args::{MicArgs, RecordedType};
use crate::console;
use crate::interrupts::{handle_interrupts, is_interrupted};
use crate::pcm::endpoint::{ByteSink, Endpoint};
use crate::pcm::format::PcmFormat;
use crate::pcm::stream_header::{file_header, stream_header};
use crate::run::requests::within;
use crate::serve::protocol::{Hello, Reply};

/// Time for which the client waits for samples before it looks whether it was interrupted.
const POLL: Duration = Duration::from_millis(50);

/// Records until the duration has passed, the reader closes the output, or the command is interrupted.
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
    let failed = |error: io::Error| Failure::run(format!("{}: cannot be written: {error}", args.file));
    let mut lost = 0;
    let mut written = 0;
    while !is_interrupted() && wanted.is_none_or(|wanted| written < wanted) {
        match connection.receive(POLL)? {
            Answer::Reply(Reply::Audio { lost: missing, .. }, payload) => {
                lost += missing;
                let left = wanted.map_or(u64::MAX, |wanted| wanted - written);
                let whole = (payload.len() / format.frame_bytes()) as u64;
                let taken = whole.min(left);
                let bytes = payload.get(..taken as usize * format.frame_bytes()).unwrap_or(&[]);
                match output.write(bytes) {
                    Ok(()) => written += taken,
                    // A reader that closes a pipe has what it wants.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                    Err(error) => return Err(failed(error)),
                }
            }
            Answer::Reply(Reply::Error { message, .. }, _) => return Err(Failure::run(message)),
            Answer::End => {
                output.finish(written).map_err(failed)?;
                return Err(service_ended());
            }
            Answer::Reply(..) | Answer::Other(_) | Answer::Nothing => {}
        }
    }
    output.finish(written).map_err(failed)?;
    if lost > 0 && !args.quiet {
        console::message(&format!("note: {lost} sample frames were lost because this client was slow"));
    }
    Ok(())
}

/// Output of the client.
enum MicOutput {
    /// File whose header gets its length at the end.
    WavFile(BufWriter<File>, PcmFormat),
    Stream(ByteSink),
}

impl MicOutput {
    fn open(place: &Endpoint, file_type: RecordedType, format: PcmFormat) -> Result<Self, Failure> {
        match (place, file_type) {
            (Endpoint::Path(path), RecordedType::Wav) if !place.is_stream() => {
                let made = File::create(path).map(BufWriter::new).and_then(|mut file| {
                    file.write_all(&file_header(format, 0))?;
                    Ok(file)
                });
                made.map(|file| Self::WavFile(file, format))
                    .map_err(|error| Failure::run(format!("{place}: cannot be written: {error}")))
            }
            (_, file_type) => {
                let mut sink = place.open_sink()?;
                if file_type == RecordedType::Wav {
                    sink.write_all(&stream_header(format))
                        .map_err(|error| Failure::run(format!("{place}: cannot be written: {error}")))?;
                }
                Ok(Self::Stream(sink))
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::WavFile(file, _) => file.write_all(bytes),
            Self::Stream(sink) => sink.write_all(bytes).and_then(|()| sink.flush()),
        }
    }

    fn finish(&mut self, sample_frames: u64) -> io::Result<()> {
        match self {
            Self::WavFile(file, format) => {
                file.seek(SeekFrom::Start(0))?;
                file.write_all(&file_header(*format, sample_frames))?;
                file.flush()
            }
            Self::Stream(sink) => sink.flush(),
        }
    }
}
