//! Application side: the events of a terminal.

use handsfree_core::SessionEvent;
use handsfree_core::audio_io::Direction;

use crate::error::count;
use crate::error::handsfree_status::*;
use crate::terminal::{alive, handsfree};

/// Kind of an event.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum handsfree_event_kind {
    /// The first frame of a track was mixed.
    HANDSFREE_TRACK_STARTED = 1,
    /// An open track has no samples to play; reported once until it plays again.
    HANDSFREE_TRACK_STARVED = 2,
    /// The last frame of a track was mixed.
    HANDSFREE_TRACK_ENDED = 3,
    /// A track was paused.
    HANDSFREE_TRACK_PAUSED = 4,
    /// A track was resumed.
    HANDSFREE_TRACK_RESUMED = 5,
    /// A track was interrupted.
    HANDSFREE_TRACK_INTERRUPTED = 6,
    /// A device has a new format; `number` is 0 for the microphone and 1 for the loudspeaker.
    HANDSFREE_DEVICE_CHANGED = 7,
    /// The voice processing failed and is bypassed for a second; `number` counts the failures.
    HANDSFREE_VOICE_TRIPPED = 8,
    /// The voice processing failed again after its retries and stays bypassed.
    HANDSFREE_VOICE_GIVEN_UP = 9,
    /// An event without a kind of its own in this version.
    HANDSFREE_OTHER = 10,
    /// The echo was removed before and no longer is; it is searched.
    HANDSFREE_ECHO_LOST = 11,
    /// The echo was found; `number` is the time in ms by which it comes later than the devices' times say, as a signed
    /// 32-bit number.
    HANDSFREE_ECHO_FOUND = 12,
    /// A device is more than 2 % away from the rate that it states; `number` is the rate in hertz that was measured,
    /// `track` is 0 for the microphone and 1 for the loudspeaker.
    HANDSFREE_RATE_UNTRUE = 13,
    /// A device stood still without reporting it; `number` is the length in sample frames of the device, `track` is 0 for
    /// the microphone and 1 for the loudspeaker.
    HANDSFREE_DEVICE_STALLED = 14,
}

use handsfree_event_kind::*;

/// Event of a terminal.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct handsfree_event {
    /// Kind of the event.
    pub kind: handsfree_event_kind,
    /// Number of the track concerned, or 0.
    pub track: u32,
    /// Number of sample frames of the track that were mixed, for ended, paused and interrupted tracks;
    /// otherwise 0.
    pub position: u64,
    /// Additional value that the kind describes, otherwise 0.
    pub number: u32,
}

/// Removes the oldest event and stores it in `event`. Returns 1, 0 if there is no event, or an error
/// code.
///
/// # Safety
/// `terminal` is a terminal's memory or null, `event` points to an event or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_event_poll(terminal: *mut handsfree, event: *mut handsfree_event) -> i32 {
    count(alive(terminal).and_then(|terminal| {
        if event.is_null() {
            return Err(HANDSFREE_ERROR_NULL);
        }
        if !event.is_aligned() {
            return Err(HANDSFREE_ERROR_ALIGNMENT);
        }
        // SAFETY: only the main loop uses the events; the pointer is valid by the contract above.
        unsafe {
            let Some(found) = (*terminal).events.poll() else { return Ok(0) };
            event.write(translate(found));
        }
        Ok(1)
    }))
}

fn translate(event: SessionEvent) -> handsfree_event {
    let (kind, track, position, number) = match event {
        SessionEvent::TrackStarted { track } => (HANDSFREE_TRACK_STARTED, track, 0, 0),
        SessionEvent::TrackStarved { track } => (HANDSFREE_TRACK_STARVED, track, 0, 0),
        SessionEvent::TrackEnded { track, position } => (HANDSFREE_TRACK_ENDED, track, position, 0),
        SessionEvent::TrackPaused { track, position } => (HANDSFREE_TRACK_PAUSED, track, position, 0),
        SessionEvent::TrackResumed { track } => (HANDSFREE_TRACK_RESUMED, track, 0, 0),
        SessionEvent::TrackInterrupted { track, position } => {
            (HANDSFREE_TRACK_INTERRUPTED, track, position, 0)
        }
        SessionEvent::DeviceChanged { direction } => {
            (HANDSFREE_DEVICE_CHANGED, 0, 0, u32::from(direction == Direction::Playback))
        }
        SessionEvent::VoiceTripped { fault } => (HANDSFREE_VOICE_TRIPPED, 0, 0, u32::from(fault)),
        SessionEvent::VoiceDisabled => (HANDSFREE_VOICE_GIVEN_UP, 0, 0, 0),
        SessionEvent::EchoLost => (HANDSFREE_ECHO_LOST, 0, 0, 0),
        SessionEvent::EchoFound { lag_ms } => (HANDSFREE_ECHO_FOUND, 0, 0, lag_ms as u32),
        SessionEvent::RateUntrue { direction, rate_hz } => {
            (HANDSFREE_RATE_UNTRUE, u32::from(direction == Direction::Playback), 0, rate_hz)
        }
        SessionEvent::DeviceStalled { direction, sample_frames } => {
            (HANDSFREE_DEVICE_STALLED, u32::from(direction == Direction::Playback), 0, sample_frames)
        }
        _ => (HANDSFREE_OTHER, 0, 0, 0),
    };
    handsfree_event { kind, track, position, number }
}
