//! Control side: what cpal does not say of PulseAudio, or of PipeWire by its PulseAudio interface: which of the two it
//! is, and where the streams of this process are.
//!
//! A PulseAudio takes streams along when the default device changes, those too that cpal opened on a device by
//! name; PipeWire's session manager does not. cpal hears of it and says nothing, so the server is asked, by a
//! connection that lasts as long as the question.

use cpal::Device;
use handsfree_core::audio_io::Direction;

/// Whether streams of this process are on the device and none of them is on another one of its direction. Where
/// the server does not answer: no.
#[cfg(all(target_os = "linux", feature = "pulseaudio"))]
pub(crate) fn has_streams(direction: Direction, device: &Device) -> bool {
    use cpal::traits::DeviceTrait;

    device.id().is_ok_and(|id| server::has_streams(direction, id.id()).unwrap_or(false))
}

/// Whether it is PipeWire. Where the server does not answer: no.
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

    /// How long a server may take for an answer.
    const PATIENCE: Span = Span::from_secs(1);

    pub(super) fn has_streams(direction: Direction, device: &str) -> Result<bool, ProtocolError> {
        let mut server = Server::connect()?;
        let name = CString::new(device).map_err(|error| ProtocolError::Invalid(error.to_string()))?;
        let (wanted, places): (u32, Vec<u32>) = match direction {
            Direction::Capture => {
                let LookupReply(wanted) = server.ask(Command::LookupSource(name))?;
                let all: SourceOutputInfoList = server.ask(Command::GetSourceOutputInfoList)?;
                (wanted, all.iter().filter(|s| is_ours(&s.props)).map(|s| s.source_index).collect())
            }
            Direction::Playback => {
                let LookupReply(wanted) = server.ask(Command::LookupSink(name))?;
                let all: SinkInputInfoList = server.ask(Command::GetSinkInputInfoList)?;
                (wanted, all.iter().filter(|s| is_ours(&s.props)).map(|s| s.sink_index).collect())
            }
        };
        Ok(!places.is_empty() && places.iter().all(|&place| place == wanted))
    }

    pub(super) fn is_pipewire() -> Result<bool, ProtocolError> {
        let about: ServerInfo = Server::connect()?.ask(Command::GetServerInfo)?;
        Ok(about.server_name.is_some_and(|name| name.to_string_lossy().contains("PipeWire")))
    }

    /// A stream has its client's properties.
    fn is_ours(props: &Props) -> bool {
        let id = std::process::id().to_string();
        props
            .get(Prop::ApplicationProcessId)
            .is_some_and(|said| said.strip_suffix(b"\0").unwrap_or(said) == id.as_bytes())
    }

    struct Server {
        socket: BufReader<UnixStream>,
        version: u16,
        asked: u32,
    }

    impl Server {
        fn connect() -> Result<Self, ProtocolError> {
            let none = || ProtocolError::Invalid("no server is named".to_owned());
            let socket = UnixStream::connect(pulseaudio::socket_path_from_env().ok_or_else(none)?)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.set_write_timeout(Some(PATIENCE))?;
            let mut server = Self { socket: BufReader::new(socket), version: MAX_VERSION, asked: 0 };
            // None will do where the server lets anybody in; where it does not, it refuses, which is told.
            let cookie = pulseaudio::cookie_path_from_env().and_then(|path| std::fs::read(path).ok());
            let auth: AuthReply = server.ask(Command::Auth(AuthParams {
                version: MAX_VERSION,
                supports_shm: false,
                supports_memfd: false,
                cookie: cookie.unwrap_or_default(),
            }))?;
            server.version = auth.version.min(MAX_VERSION);
            let mut props = Props::new();
            props.set(Prop::ApplicationName, c"handsfree");
            let _: SetClientNameReply = server.ask(Command::SetClientName(props))?;
            Ok(server)
        }

        fn ask<R: CommandReply>(&mut self, command: Command) -> Result<R, ProtocolError> {
            protocol::write_command_message(self.socket.get_mut(), self.asked, &command, self.version)?;
            let (answered, reply) = protocol::read_reply_message(&mut self.socket, self.version)?;
            if answered != self.asked {
                return Err(ProtocolError::Invalid(format!("an answer to {answered}, not {}", self.asked)));
            }
            self.asked += 1;
            Ok(reply)
        }
    }
}
