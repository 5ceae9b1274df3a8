//! Control side: queries to a PulseAudio server, or to PipeWire through its PulseAudio interface, for what cpal
//! does not report: which of the two it is, and on which devices the streams of this process are.
//!
//! PulseAudio moves streams when the default device changes, even streams that cpal opened on a device by name;
//! PipeWire's session manager does not. cpal does not report the move, so each query makes a short connection
//! of its own to the server.

use cpal::Device;
use handsfree_core::audio_io::Direction;

/// Returns whether this process has streams of the direction and all of them are on the device. Returns `false`
/// if the server does not answer.
#[cfg(all(target_os = "linux", feature = "pulseaudio"))]
pub(crate) fn has_streams(direction: Direction, device: &Device) -> bool {
    use cpal::traits::DeviceTrait;

    device.id().is_ok_and(|id| server::has_streams(direction, id.id()).unwrap_or(false))
}

/// Returns whether the server is PipeWire. Returns `false` if the server does not answer.
#[cfg(all(target_os = "linux", feature = "pulseaudio"))]
pub(crate) fn is_pipewire() -> bool {
    server::is_pipewire().unwrap_or(false)
}

#[cfg(not(all(target_os = "linux", feature = "pulseaudio")))]
pub(crate) fn is_pipewire() -> bool {
    false
}

#[cfg(not(all(target_os = "linux", feature = "pulseaudio")))]
pub(crate) fn has_streams(_: Direction, _: &Device) -> bool {
    false
}

#[cfg(all(target_os = "linux", feature = "pulseaudio"))]
mod server {
    use std::ffi::CString;
    use std::io::BufReader;
    use std::os::unix::net::UnixStream;
    use std::time::Duration as Span;

    use handsfree_core::audio_io::Direction;
    use pulseaudio::protocol::{
        self, AuthParams, AuthReply, Command, CommandReply, LookupReply, MAX_VERSION, Prop, Props,
        ProtocolError, ServerInfo, SetClientNameReply, SinkInputInfoList, SourceOutputInfoList,
    };

    /// Maximum time for a reply. A running server replies within milliseconds; one that hangs must not delay
    /// the caller.
    const REPLY_TIMEOUT: Span = Span::from_secs(1);

    pub(super) fn has_streams(direction: Direction, device: &str) -> Result<bool, ProtocolError> {
        let mut connection = PulseConnection::connect()?;
        let name = CString::new(device).map_err(|error| ProtocolError::Invalid(error.to_string()))?;
        let (expected, found): (u32, Vec<u32>) = match direction {
            Direction::Capture => {
                let LookupReply(expected) = connection.request(Command::LookupSource(name))?;
                let all: SourceOutputInfoList = connection.request(Command::GetSourceOutputInfoList)?;
                (expected, all.iter().filter(|s| is_ours(&s.props)).map(|s| s.source_index).collect())
            }
            Direction::Playback => {
                let LookupReply(expected) = connection.request(Command::LookupSink(name))?;
                let all: SinkInputInfoList = connection.request(Command::GetSinkInputInfoList)?;
                (expected, all.iter().filter(|s| is_ours(&s.props)).map(|s| s.sink_index).collect())
            }
        };
        Ok(!found.is_empty() && found.iter().all(|&index| index == expected))
    }

    pub(super) fn is_pipewire() -> Result<bool, ProtocolError> {
        let info: ServerInfo = PulseConnection::connect()?.request(Command::GetServerInfo)?;
        Ok(info.server_name.is_some_and(|name| name.to_string_lossy().contains("PipeWire")))
    }

    /// Returns whether the properties belong to this process. A stream carries the properties of its client.
    fn is_ours(props: &Props) -> bool {
        let id = std::process::id().to_string();
        props
            .get(Prop::ApplicationProcessId)
            .is_some_and(|value| value.strip_suffix(b"\0").unwrap_or(value) == id.as_bytes())
    }

    struct PulseConnection {
        socket: BufReader<UnixStream>,
        version: u16,
        /// Sequence number of the next request.
        next_sequence: u32,
    }

    impl PulseConnection {
        fn connect() -> Result<Self, ProtocolError> {
            let no_path = || ProtocolError::Invalid("found no path of a PulseAudio socket".to_owned());
            let socket = UnixStream::connect(pulseaudio::socket_path_from_env().ok_or_else(no_path)?)?;
            socket.set_read_timeout(Some(REPLY_TIMEOUT))?;
            socket.set_write_timeout(Some(REPLY_TIMEOUT))?;
            let mut connection =
                Self { socket: BufReader::new(socket), version: MAX_VERSION, next_sequence: 0 };
            // A server without authentication accepts an empty cookie; any other server refuses it with an error.
            let cookie = pulseaudio::cookie_path_from_env().and_then(|path| std::fs::read(path).ok());
            let auth: AuthReply = connection.request(Command::Auth(AuthParams {
                version: MAX_VERSION,
                supports_shm: false,
                supports_memfd: false,
                cookie: cookie.unwrap_or_default(),
            }))?;
            connection.version = auth.version.min(MAX_VERSION);
            let mut props = Props::new();
            props.set(Prop::ApplicationName, c"handsfree");
            let _: SetClientNameReply = connection.request(Command::SetClientName(props))?;
            Ok(connection)
        }

        fn request<R: CommandReply>(&mut self, command: Command) -> Result<R, ProtocolError> {
            protocol::write_command_message(
                self.socket.get_mut(),
                self.next_sequence,
                &command,
                self.version,
            )?;
            let (sequence, reply) = protocol::read_reply_message(&mut self.socket, self.version)?;
            if sequence != self.next_sequence {
                return Err(ProtocolError::Invalid(format!(
                    "reply {sequence}, expected {}",
                    self.next_sequence
                )));
            }
            self.next_sequence += 1;
            Ok(reply)
        }
    }
}
