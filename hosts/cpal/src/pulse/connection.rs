//! Control side: a connection to the server that waits for the reply to each request.

use std::ffi::CString;
use std::io::{BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration as Span;

use pulseaudio::protocol::{
    self, AuthParams, AuthReply, Command, CommandReply, MAX_VERSION, Prop, Props, ProtocolError,
    SetClientNameReply,
};

/// Maximum time for a reply. A running server replies within milliseconds, or within a second or two while it takes up a
/// device; one that hangs must not delay the caller.
const REPLY_TIMEOUT: Span = Span::from_secs(3);

/// A connection whose client was accepted by the server.
pub(super) struct PulseConnection {
    pub(super) socket: BufReader<UnixStream>,
    /// Version of the protocol that both sides know.
    pub(super) version: u16,
    /// Sequence number of the next request.
    next_sequence: u32,
}

impl PulseConnection {
    pub(super) fn connect() -> Result<Self, ProtocolError> {
        let no_path = || ProtocolError::Invalid("found no path of a PulseAudio socket".to_owned());
        let socket = UnixStream::connect(pulseaudio::socket_path_from_env().ok_or_else(no_path)?)?;
        socket.set_read_timeout(Some(REPLY_TIMEOUT))?;
        socket.set_write_timeout(Some(REPLY_TIMEOUT))?;
        let mut connection = Self { socket: BufReader::new(socket), version: MAX_VERSION, next_sequence: 0 };
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
        // `has_streams` finds the streams of this process by its id.
        if let Ok(id) = CString::new(std::process::id().to_string()) {
            props.set(Prop::ApplicationProcessId, id);
        }
        let _: SetClientNameReply = connection.request(Command::SetClientName(props))?;
        Ok(connection)
    }

    /// Sends a request and waits for its reply.
    pub(super) fn request<R: CommandReply>(&mut self, command: Command) -> Result<R, ProtocolError> {
        let sequence = self.send(&command)?;
        let (answered, reply) = protocol::read_reply_message(&mut self.socket, self.version)?;
        if answered != sequence {
            return Err(ProtocolError::Invalid(format!("reply {answered}, expected {sequence}")));
        }
        Ok(reply)
    }

    /// Sends a request and returns its sequence number.
    fn send(&mut self, command: &Command) -> Result<u32, ProtocolError> {
        let sequence = self.next_sequence;
        protocol::write_command_message(self.socket.get_mut(), sequence, command, self.version)?;
        self.next_sequence = sequence.wrapping_add(1);
        Ok(sequence)
    }

    /// Sends a request of at most 128 bytes without allocating memory, and returns its sequence number.
    pub(super) fn send_short(&mut self, command: &Command) -> Result<u32, ProtocolError> {
        let sequence = self.next_sequence;
        let mut message = [0; 128];
        let length = protocol::encode_command_message(&mut message[..], sequence, command, self.version)?;
        self.socket.get_mut().write_all(message.get(..length).unwrap_or_default())?;
        self.next_sequence = sequence.wrapping_add(1);
        Ok(sequence)
    }
}
