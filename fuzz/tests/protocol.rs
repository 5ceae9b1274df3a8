//! The reader of the service's messages takes any bytes.
#![cfg(all(feature = "cli", unix))]

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use handsfree_cli::serve::protocol::{
    ControlRequest, Hello, MAX_LINE, MAX_PAYLOAD, MessageReader, Received, Reply, SpeakRequest,
};
use handsfree_fuzz::fuzz;
use serde_json::Value;

/// Time for which the reader waits. The writer has closed the connection, so that nothing is waited for.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Messages of each kind, with their samples.
const SAMPLES: [&[u8]; 6] = [
    b"{\"type\":\"mic\",\"rate_hz\":16000,\"channels\":1,\"queue_ms\":500,\"name\":\"agent\"}\n",
    b"{\"type\":\"speak\",\"rate_hz\":22050,\"gain_db\":-6.5,\"priority\":-1,\"duck_db\":null}\n{\"type\":\"end\"}\n",
    b"{\"type\":\"audio\",\"bytes\":8}\n\x01\x02\x03\x04\x05\x06\x07\x08{\"type\":\"position\"}\n{\"type\":\"clear\"}\n",
    b"{\"type\":\"control\"}\n{\"type\":\"gain\",\"id\":7,\"gain_db\":3}\n{\"type\":\"interrupt\",\"id\":7}\n",
    b"{\"type\":\"audio\",\"position\":320,\"lost\":160,\"bytes\":4}\n\0\0\0\0{\"type\":\"done\"}\n",
    b"{\"type\":\"opened\",\"protocol\":1,\"id\":3,\"terminal_rate_hz\":48000}\n{\"type\":\"audio\",\"bytes\":65536}\n",
];

/// Messages that were understood, over all executions.
static UNDERSTOOD: AtomicU64 = AtomicU64::new(0);

/// Returns the next message of `rest`, or the word for what is wrong with it: the rules of docs/serve.md, for bytes that are all
/// there.
fn next<'b>(rest: &mut &'b [u8]) -> Result<Option<(Value, &'b [u8])>, &'static str> {
    if rest.is_empty() {
        return Ok(None);
    }
    let Some(length) = rest.iter().take(MAX_LINE).position(|&byte| byte == b'\n') else {
        return Err(if rest.len() < MAX_LINE { "half_message" } else { "line_too_long" });
    };
    let message: Value = serde_json::from_slice(&rest[..length]).map_err(|_| "bad_message")?;
    let fields = message.as_object().ok_or("bad_message")?;
    let bytes = match fields.get("bytes") {
        None => 0,
        Some(bytes) => {
            bytes.as_u64().filter(|&bytes| bytes <= MAX_PAYLOAD as u64).ok_or("payload_too_long")?
        }
    };
    let end = length + 1 + bytes as usize;
    let payload = rest.get(length + 1..end).ok_or("half_message")?;
    *rest = &rest[end..];
    Ok(Some((message, payload)))
}

fn read(bytes: &[u8]) {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.write_all(bytes).unwrap();
    drop(ours);
    let mut reader = MessageReader::new(theirs);
    let mut rest = bytes;
    loop {
        match (reader.poll(TIMEOUT), next(&mut rest)) {
            (Ok(Received::Message(message, payload)), Ok(Some(expected))) => {
                assert_eq!((&message, &payload[..]), (&expected.0, expected.1));
                let understood = [
                    serde_json::from_value::<Hello>(message.clone()).is_ok(),
                    serde_json::from_value::<SpeakRequest>(message.clone()).is_ok(),
                    serde_json::from_value::<ControlRequest>(message.clone()).is_ok(),
                    serde_json::from_value::<Reply>(message).is_ok(),
                ];
                UNDERSTOOD.fetch_add(u64::from(understood.contains(&true)), Ordering::Relaxed);
            }
            (Ok(Received::End), Ok(None)) => return,
            (Err(error), Err(code)) => {
                assert_eq!(error.code, code, "{error:?}");
                return;
            }
            (found, expected) => panic!("{found:?}, expected {expected:?}"),
        }
    }
}

#[test]
fn any_bytes_are_messages_or_refused() {
    let samples: Vec<Vec<u8>> = SAMPLES.iter().map(|sample| sample.to_vec()).collect();
    let executions = fuzz("protocol", 50_000, &samples, read);
    let understood = UNDERSTOOD.load(Ordering::Relaxed);
    println!("protocol: {understood} messages understood");
    assert!(
        executions < 1_000 || understood > executions / 10,
        "{executions} executions had {understood} messages"
    );
}
