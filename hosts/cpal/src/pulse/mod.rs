//! PulseAudio's native protocol, and PipeWire's implementation of it: the streams of this host, and a query for the devices
//! that the streams of this process are on.
//!
//! cpal lists the devices. Its streams are not used here, for reasons that `stream.rs` gives.
//!
//! PulseAudio moves streams when the default device changes, even streams that were opened on a device by name;
//! PipeWire's session manager does not. Each query makes a short connection of its own to the server.

#[cfg(all(target_os = "linux", feature = "pulseaudio"))]
mod connection;
#[cfg(all(target_os = "linux", feature = "pulseaudio"))]
mod sample;
#[cfg(all(target_os = "linux", feature = "pulseaudio"))]
mod stream;
#[cfg(all(target_os = "linux", feature = "pulseaudio"))]
mod timing;
#[cfg(all(target_os = "linux", feature = "pulseaudio"))]
mod transfer;

#[cfg(all(target_os = "linux", feature = "pulseaudio"))]
pub(crate) use stream::PulseStream;

use cpal::{Device, SampleFormat};
use handsfree_core::audio_io::Direction;

/// Sample formats of this host's streams on PulseAudio, which converts them to a device's.
pub(crate) const FORMATS: [SampleFormat; 4] =
    [SampleFormat::I16, SampleFormat::F32, SampleFormat::I32, SampleFormat::I24];

/// Returns whether the device's streams are opened by this module instead of by cpal.
#[cfg(all(target_os = "linux", feature = "pulseaudio"))]
pub(crate) fn is_on_pulseaudio(device: &Device) -> bool {
    use cpal::traits::DeviceTrait;

    device.id().is_ok_and(|id| id.host() == cpal::HostId::PulseAudio)
}

#[cfg(not(all(target_os = "linux", feature = "pulseaudio")))]
pub(crate) fn is_on_pulseaudio(_: &Device) -> bool {
    false
}

/// Returns whether this process has streams of the direction and all of them are on the device. Returns `false`
/// if the server does not answer.
#[cfg(all(target_os = "linux", feature = "pulseaudio"))]
pub(crate) fn has_streams(direction: Direction, device: &Device) -> bool {
    use cpal::traits::DeviceTrait;

    device.id().is_ok_and(|id| server::has_streams(direction, id.id()).unwrap_or(false))
}

#[cfg(not(all(target_os = "linux", feature = "pulseaudio")))]
pub(crate) fn has_streams(_: Direction, _: &Device) -> bool {
    false
}

#[cfg(all(target_os = "linux", feature = "pulseaudio"))]
mod server {
    use std::ffi::CString;

    use handsfree_core::audio_io::Direction;
    use pulseaudio::protocol::{
        Command, LookupReply, Prop, Props, ProtocolError, SinkInputInfoList, SourceOutputInfoList,
    };

    use super::connection::PulseConnection;

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

    /// Returns whether the properties belong to this process. A stream carries the properties of its client.
    fn is_ours(props: &Props) -> bool {
        let id = std::process::id().to_string();
        props
            .get(Prop::ApplicationProcessId)
            .is_some_and(|value| value.strip_suffix(b"\0").unwrap_or(value) == id.as_bytes())
    }
}
