//! What a terminal reports.

use handsfree_core::SessionEvent;
use handsfree_core::audio_io::Direction;

use crate::error::count;
use crate::error::handsfree_status::*;
use crate::terminal::{alive, handsfree};

/// What happened.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum handsfree_event_kind {
    /// The first frame of a track went into the mix.
    HANDSFREE_TRACK_STARTED = 1,
    /// A track had nothing to play; said once.
    HANDSFREE_TRACK_STARVED = 2,
    /// A track was mixed to its end.
    HANDSFREE_TRACK_ENDED = 3,
    /// A track was paused.
    HANDSFREE_TRACK_PAUSED = 4,
    /// A track plays again.
    HANDSFREE_TRACK_RESUMED = 5,
    /// A track was interrupted.
    HANDSFREE_TRACK_INTERRUPTED = 6,
    /// A device has another format than before; number is 0 for the microphone, 1 for the loudspeaker.
    HANDSFREE_DEVICE_CHANGED = 7,
    /// The voice path failed; frames pass it for a second. Number says how often.
    HANDSFREE_VOICE_TRIPPED = 8,
    /// The voice path failed once more and stays passed by.
    HANDSFREE_VOICE_GIVEN_UP = 9,
    /// Something that this version has no name for.
    HANDSFREE_OTHER = 10,
}

use handsfree_event_kind::*;

/// What a terminal reports.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct handsfree_event {
    /// What happened.
    pub kind: handsfree_event_kind,
    /// To which track, or 0.
    pub track: u32,
    /// How many sample frames of the track were mixed, where that is told.
    pub position: u64,
    /// What the kind says of it.
    pub number: u32,
}

/// Takes the oldest event. Answers 1 with one in `event`, 0 where there is none, or a code.
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
        // SAFETY: the events are the main loop's own; the rest is the contract above.
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
        _ => (HANDSFREE_OTHER, 0, 0, 0),
    };
    handsfree_event { kind, track, position, number }
}
