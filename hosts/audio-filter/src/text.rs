//! Control side: formats the texts that are passed to filters.

use std::ffi::CString;

use handsfree_core::capture::{Credentials, StreamIdentity};
use serde_json::Value;

use crate::error::FilterError;

/// Converts a text to a C string; fails when the text contains a NUL.
pub(crate) fn c_text(field: &'static str, text: &str) -> Result<CString, FilterError> {
    CString::new(text).map_err(|error| FilterError::NulInText { field, at: error.nul_position() })
}

pub(crate) fn load_options(credentials: &Credentials<'_>) -> Result<CString, FilterError> {
    let Credentials { url, token } = *credentials;
    json(&[("url", url), ("token", token)])
}

pub(crate) fn stream_info(stream: &StreamIdentity<'_>) -> Result<CString, FilterError> {
    let StreamIdentity { url, room_id, room_name, participant_identity, participant_id, track_id } = *stream;
    json(&[
        ("url", url),
        ("roomId", room_id),
        ("roomName", room_name),
        ("participantIdentity", participant_identity),
        ("participantId", participant_id),
        ("trackId", track_id),
    ])
}

/// Formats a JSON object of texts in the interface's order. A NUL is refused: JSON would carry it as an escape, and a
/// filter written in C would end the text there.
fn json(texts: &[(&'static str, &str)]) -> Result<CString, FilterError> {
    let mut members = Vec::with_capacity(texts.len());
    for &(field, text) in texts {
        if let Some(at) = text.bytes().position(|byte| byte == 0) {
            return Err(FilterError::NulInText { field, at });
        }
        members.push(format!("\"{field}\":{}", Value::from(text)));
    }
    c_text("JSON", &format!("{{{}}}", members.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_info_is_the_json_of_the_interface() {
        let stream = StreamIdentity {
            url: "wss://host",
            room_id: "RM_1",
            room_name: "kitchen \"east\"\n",
            participant_identity: "zoë",
            participant_id: "PA_2",
            track_id: "TR_3",
        };
        let json = stream_info(&stream).unwrap().into_string().unwrap();
        assert_eq!(
            json,
            r#"{"url":"wss://host","roomId":"RM_1","roomName":"kitchen \"east\"\n","participantIdentity":"zoë","participantId":"PA_2","trackId":"TR_3"}"#
        );
    }

    #[test]
    fn load_options_are_the_json_of_the_interface() {
        let json = load_options(&Credentials { url: "u", token: "t" }).unwrap();
        assert_eq!(json.as_c_str(), c"{\"url\":\"u\",\"token\":\"t\"}");
    }

    #[test]
    fn a_nul_is_reported_with_field_and_position() {
        let stream = StreamIdentity { room_name: "ab\0c", ..StreamIdentity::default() };
        assert_eq!(stream_info(&stream), Err(FilterError::NulInText { field: "roomName", at: 2 }));
        let credentials = Credentials { url: "", token: "\0" };
        assert_eq!(load_options(&credentials), Err(FilterError::NulInText { field: "token", at: 0 }));
        assert_eq!(c_text("options", "a\0"), Err(FilterError::NulInText { field: "options", at: 1 }));
    }
}
