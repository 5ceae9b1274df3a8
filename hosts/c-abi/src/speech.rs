//! Worker side: speech at the microphone, its audio, and what an agent does when it is interrupted.

use core::slice;

use handsfree_core::capture::FrameSink;
use handsfree_core::speech::{
    BargeIn, BargeInAction, SpeechActivity, SpeechEvent, SpeechFrames, SpeechSettings, near_end_speech,
};
use handsfree_core::{Format, Frame, Instant};

use crate::error::handsfree_status::*;
use crate::error::{StatusResult, count, handsfree_status, status};
use crate::sizes::{
    HANDSFREE_FRAME_SAMPLES, HANDSFREE_RING_FRAMES, HANDSFREE_SPEECH_FRAMES, HANDSFREE_SPEECH_WORDS,
};
use crate::terminal::{self, handsfree};

/// Value of the first word of memory that holds a detector of speech.
const ALIVE: u32 = 0x4846_5350;
/// Largest number of frames that one poll of the microphone delivers.
const POLL_FRAMES: usize = HANDSFREE_RING_FRAMES + 1;

/// Frame of the last poll, without its samples.
#[derive(Clone, Copy)]
pub(crate) struct PolledFrame {
    near_end: f32,
    time: Instant,
    position: u64,
}

/// Frames of the last poll of the microphone.
pub(crate) struct PolledFrames {
    frames: [PolledFrame; POLL_FRAMES],
    used: usize,
    near_end: f32,
}

impl PolledFrames {
    pub(crate) const fn new() -> Self {
        let none = PolledFrame { near_end: 0.0, time: Instant::ORIGIN, position: 0 };
        Self { frames: [none; POLL_FRAMES], used: 0, near_end: 0.0 }
    }
}

/// Sink that copies the samples of a poll, and notes what a detector of speech needs to know of each frame.
pub(crate) struct PollSink<'a> {
    output: slice::IterMut<'a, i16>,
    pub(crate) delivered: u32,
    polled: &'a mut PolledFrames,
}

impl<'a> PollSink<'a> {
    pub(crate) fn new(samples: &'a mut [i16], polled: &'a mut PolledFrames) -> Self {
        polled.used = 0;
        polled.near_end = 0.0;
        Self { output: samples.iter_mut(), delivered: 0, polled }
    }
}

impl FrameSink<HANDSFREE_FRAME_SAMPLES> for PollSink<'_> {
    fn on_near_end(&mut self, likelihood: f32) {
        self.polled.near_end = likelihood;
    }

    fn on_frame(&mut self, frame: &Frame<HANDSFREE_FRAME_SAMPLES>) {
        for (&sample, slot) in frame.samples().iter().zip(self.output.by_ref()) {
            *slot = sample;
            self.delivered += 1;
        }
        let near_end = core::mem::take(&mut self.polled.near_end);
        if let Some(to) = self.polled.frames.get_mut(self.polled.used) {
            *to = PolledFrame { near_end, time: frame.stamp.time, position: frame.stamp.position };
            self.polled.used += 1;
        }
    }
}

/// Opaque detector of speech in memory of HANDSFREE_SPEECH_WORDS words.
pub struct handsfree_speech {
    alive: u32,
    activity: SpeechActivity,
    barge_in: BargeIn,
    frame: Frame<HANDSFREE_FRAME_SAMPLES>,
    frames: SpeechFrames<HANDSFREE_FRAME_SAMPLES, HANDSFREE_SPEECH_FRAMES>,
}

const _: () = {
    assert!(size_of::<handsfree_speech>() <= 8 * HANDSFREE_SPEECH_WORDS, "sizes.rs: more words");
    assert!(align_of::<handsfree_speech>() <= 8);
};

/// Kind of an event of speech.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum handsfree_speech_kind {
    /// A person has started to speak, or makes a sound like speech.
    HANDSFREE_SPEECH_STARTED = 1,
    /// The sound has lasted too long for a cough.
    HANDSFREE_SPEECH_CONFIRMED = 2,
    /// The sound has ended.
    HANDSFREE_SPEECH_ENDED = 3,
}

/// What an agent is to do with its voice.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum handsfree_barge_in_action {
    /// Nothing.
    HANDSFREE_BARGE_IN_NONE = 0,
    /// Pause the voice: handsfree_track_pause().
    HANDSFREE_BARGE_IN_PAUSE = 1,
    /// Go on, because it was a cough: handsfree_track_resume().
    HANDSFREE_BARGE_IN_RESUME = 2,
    /// Stop, because a person speaks: handsfree_track_interrupt().
    HANDSFREE_BARGE_IN_INTERRUPT = 3,
}

use handsfree_barge_in_action::*;
use handsfree_speech_kind::*;

/// Event of speech.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct handsfree_speech_event {
    /// Kind of the event.
    pub kind: handsfree_speech_kind,
    /// What the agent is to do now.
    pub action: handsfree_barge_in_action,
    /// Time at which the first sample of the speech, or the first one behind it, was at the microphone.
    pub time_ns: i64,
    /// Position of that sample in the microphone's stream.
    pub position: u64,
}

/// Returns the size of a detector of speech in bytes. Its memory must be aligned to 8 bytes.
#[unsafe(no_mangle)]
pub extern "C" fn handsfree_speech_bytes() -> usize {
    size_of::<handsfree_speech>()
}

/// Creates a detector of speech in `memory` and stores a pointer to it, which equals `memory`, in `created`.
/// Whatever the memory holds is overwritten, so creating a detector again makes it forget everything.
///
/// # Safety
/// `memory` points to `bytes` bytes that nothing else uses and `created` to a pointer, or they are null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_speech_create(
    memory: *mut core::ffi::c_void,
    bytes: usize,
    created: *mut *mut handsfree_speech,
) -> handsfree_status {
    // SAFETY: by the contract above.
    status(unsafe { create(memory.cast(), bytes, created) })
}

unsafe fn create(
    memory: *mut handsfree_speech,
    bytes: usize,
    created: *mut *mut handsfree_speech,
) -> StatusResult<()> {
    if memory.is_null() || created.is_null() {
        return Err(HANDSFREE_ERROR_NULL);
    }
    if !memory.is_aligned() || !created.is_aligned() {
        return Err(HANDSFREE_ERROR_ALIGNMENT);
    }
    if bytes < size_of::<handsfree_speech>() {
        return Err(HANDSFREE_ERROR_MEMORY);
    }
    let format = Format::new(HANDSFREE_FRAME_SAMPLES as u32 * 100, 1)?;
    let frame = Frame::silence(format)?;
    // SAFETY: each field is within the memory and not in use; a ring without frames is all zero bytes.
    unsafe {
        core::ptr::write_bytes(memory, 0, 1);
        (&raw mut (*memory).activity).write(SpeechActivity::new(SpeechSettings::NEAR_END));
        (&raw mut (*memory).barge_in).write(BargeIn::pausing());
        (&raw mut (*memory).frame).write(frame);
        (&raw mut (*memory).alive).write_volatile(ALIVE);
        created.write(memory);
    }
    Ok(())
}

/// Takes the samples that the last handsfree_capture_poll() of a terminal with an echo canceller wrote, `length`
/// of them, and stores an event in `event` if there is one. `agent_speaks` is 1 while the agent speaks or its
/// voice is paused, otherwise 0. Call it once after each poll that returned samples. Returns 1 for an event, 0
/// for none, or an error code.
///
/// # Safety
/// `speech` is a detector's memory or null, `terminal` is a terminal's memory or null, `samples` points to
/// `length` samples or is null, `event` points to an event or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_speech_poll(
    speech: *mut handsfree_speech,
    terminal: *mut handsfree,
    samples: *const i16,
    length: usize,
    agent_speaks: u32,
    event: *mut handsfree_speech_event,
) -> i32 {
    // SAFETY: by the contract above.
    count(unsafe { poll(speech, terminal, samples, length, agent_speaks, event) })
}

unsafe fn poll(
    speech: *mut handsfree_speech,
    terminal: *mut handsfree,
    samples: *const i16,
    length: usize,
    agent_speaks: u32,
    event: *mut handsfree_speech_event,
) -> StatusResult<u32> {
    let (speech, terminal) = (alive(speech)?, terminal::alive(terminal)?);
    if samples.is_null() || event.is_null() {
        return Err(HANDSFREE_ERROR_NULL);
    }
    if !samples.is_aligned() || !event.is_aligned() {
        return Err(HANDSFREE_ERROR_ALIGNMENT);
    }
    if agent_speaks > 1 {
        return Err(HANDSFREE_ERROR_VALUE);
    }
    // SAFETY: by the contract above; only the main loop uses the detector and what the last poll noted.
    let (speech, polled, samples) =
        unsafe { (&mut *speech, &(*terminal).polled, slice::from_raw_parts(samples, length)) };
    let frames = polled.frames.get(..polled.used).unwrap_or(&[]);
    if length != frames.len() * HANDSFREE_FRAME_SAMPLES {
        return Err(HANDSFREE_ERROR_LENGTH);
    }
    let mut noticed = None;
    for (polled, samples) in frames.iter().zip(samples.chunks_exact(HANDSFREE_FRAME_SAMPLES)) {
        speech.frame.samples_mut().iter_mut().zip(samples).for_each(|(to, &sample)| *to = sample);
        (speech.frame.stamp.time, speech.frame.stamp.position) = (polled.time, polled.position);
        let found = speech.activity.observe(near_end_speech(polled.near_end, samples), &speech.frame.stamp);
        speech.frames.push(&speech.frame, found);
        // Two events are at least half a second apart, and a poll delivers 40 ms.
        noticed = noticed.or(found);
    }
    let Some(found) = noticed else { return Ok(0) };
    let (kind, point) = match found {
        SpeechEvent::Started(point) => (HANDSFREE_SPEECH_STARTED, point),
        SpeechEvent::Confirmed(point) => (HANDSFREE_SPEECH_CONFIRMED, point),
        SpeechEvent::Ended(point) => (HANDSFREE_SPEECH_ENDED, point),
    };
    let action = match speech.barge_in.observe(found, agent_speaks == 1) {
        None => HANDSFREE_BARGE_IN_NONE,
        Some(BargeInAction::Pause | BargeInAction::Duck) => HANDSFREE_BARGE_IN_PAUSE,
        Some(BargeInAction::Resume) => HANDSFREE_BARGE_IN_RESUME,
        Some(BargeInAction::Interrupt) => HANDSFREE_BARGE_IN_INTERRUPT,
    };
    let found =
        handsfree_speech_event { kind, action, time_ns: point.at.as_nanos(), position: point.position };
    // SAFETY: by the contract above.
    unsafe { event.write(found) };
    Ok(1)
}

/// Writes the next 10 ms of a person's speech to `samples`: from 300 ms before its start until its end was
/// noticed. Returns the number of samples, HANDSFREE_FRAME_SAMPLES, 0 if there are none, or an error code.
///
/// # Safety
/// `speech` is a detector's memory or null, `samples` points to `capacity` samples or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_speech_read(
    speech: *mut handsfree_speech,
    samples: *mut i16,
    capacity: usize,
) -> i32 {
    count(alive(speech).and_then(|speech| {
        if samples.is_null() {
            return Err(HANDSFREE_ERROR_NULL);
        }
        if !samples.is_aligned() {
            return Err(HANDSFREE_ERROR_ALIGNMENT);
        }
        if capacity < HANDSFREE_FRAME_SAMPLES {
            return Err(HANDSFREE_ERROR_LENGTH);
        }
        // SAFETY: by the contract above; only the main loop uses the detector.
        let (samples, frames) =
            unsafe { (slice::from_raw_parts_mut(samples, capacity), &mut (*speech).frames) };
        let Some(frame) = frames.pop() else { return Ok(0) };
        samples.iter_mut().zip(frame.samples()).for_each(|(to, &sample)| *to = sample);
        Ok(HANDSFREE_FRAME_SAMPLES as u32)
    }))
}

/// Checks that `speech` points to memory that holds a detector of speech.
fn alive(speech: *mut handsfree_speech) -> StatusResult<*mut handsfree_speech> {
    if speech.is_null() {
        return Err(HANDSFREE_ERROR_NULL);
    }
    if !speech.is_aligned() {
        return Err(HANDSFREE_ERROR_ALIGNMENT);
    }
    // SAFETY: every function's contract says that this is memory of a detector's size.
    if unsafe { (&raw const (*speech).alive).read_volatile() } != ALIVE {
        return Err(HANDSFREE_ERROR_NOT_CREATED);
    }
    Ok(speech)
}
