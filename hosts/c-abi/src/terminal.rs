//! A terminal: made in the caller's memory, and taken apart again.

use core::mem::MaybeUninit;
use core::ptr;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::capture::{Intake, LightConfig, LightVoice, ProcessError, VoiceProcessor, VoiceStats};
use handsfree_core::playback::{Outlet, Track, TrackPool};
use handsfree_core::timing::ReferenceQuality;
use handsfree_core::{
    Duration, Events, Halves, PcmMut, PcmRef, SampleRate, Session, StatsReader, SessionFormat, capture, playback,
};

use crate::error::handsfree_status::*;
use crate::error::{Answer, handsfree_status, status};
use crate::sizes::{
    HANDSFREE_FRAME_SAMPLES as CAP, HANDSFREE_HISTORY_SAMPLES as HISTORY, HANDSFREE_MEMORY_WORDS_32,
    HANDSFREE_MEMORY_WORDS_64, HANDSFREE_QUEUE_FRAMES, HANDSFREE_RING_FRAMES, HANDSFREE_TRACKS as SLOTS,
};

const RING: usize = HANDSFREE_RING_FRAMES + 1;
type TerminalSession = Session<CAP, SLOTS, RING, RING, RING, { HANDSFREE_QUEUE_FRAMES + 1 }, HISTORY>;

/// Tracks are of one context, so nothing need be locked.
type Mutex = NoopRawMutex;
pub(crate) type OpenTrack = Track<'static, 'static, Mutex, CAP, SLOTS>;

/// Says that the memory holds a terminal.
const ALIVE: u32 = 0x4846_5245;

/// What the microphone's sound goes through.
pub(crate) struct Voice {
    light: Option<LightVoice>,
}

impl VoiceProcessor for Voice {
    fn process_reverse(&mut self, far: PcmRef<'_>) -> Result<(), ProcessError> {
        self.light.as_mut().map_or(Ok(()), |light| light.process_reverse(far))
    }

    fn process_capture(&mut self, near: PcmMut<'_>, delay: Duration) -> Result<(), ProcessError> {
        self.light.as_mut().map_or(Ok(()), |light| light.process_capture(near, delay))
    }

    fn stats(&self) -> VoiceStats {
        VoiceStats::default()
    }

    fn reset(&mut self) {
        if let Some(light) = &mut self.light {
            light.reset();
        }
    }

    fn reference_quality() -> ReferenceQuality {
        ReferenceQuality::Quick
    }
}

/// A device's period as it was configured.
#[derive(Clone, Copy, Default)]
pub(crate) struct Period {
    pub(crate) channels: usize,
    pub(crate) most_samples: usize,
}

/// A terminal, in memory of HANDSFREE_MEMORY_WORDS_32 or _64 words. Its content is nobody's business.
pub struct handsfree {
    alive: u32,
    pub(crate) near_channels: u32,
    pub(crate) capture_period: Period,
    pub(crate) playback_period: Period,
    pub(crate) intake: Intake<'static, CAP>,
    pub(crate) outlet: Outlet<'static, CAP, SLOTS>,
    pub(crate) capture: capture::Pipeline<'static, CAP, SLOTS, Voice, ()>,
    pub(crate) playback: playback::Pipeline<'static, CAP, SLOTS>,
    pub(crate) pool: TrackPool<'static, Mutex, CAP, SLOTS>,
    pub(crate) events: Events<'static>,
    pub(crate) stats: StatsReader<'static>,
    pub(crate) tracks: [Option<OpenTrack>; SLOTS],
    session: MaybeUninit<TerminalSession>,
}

const _: () = {
    let words = if size_of::<usize>() == 4 { HANDSFREE_MEMORY_WORDS_32 } else { HANDSFREE_MEMORY_WORDS_64 };
    assert!(size_of::<handsfree>() <= 8 * words, "sizes.rs: a terminal needs more words");
    assert!(align_of::<handsfree>() <= 8);
};

/// How a terminal is to be.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct handsfree_config {
    /// Rate of the terminal, in hertz: what tracks take and the application gets.
    pub rate_hz: u32,
    /// Channels of the microphone's signal.
    pub near_channels: u32,
    /// Channels of the loudspeaker's signal.
    pub far_channels: u32,
    /// 1 for the light voice path, 0 for none. It is no echo canceller: it turns the microphone down
    /// while only its echo is heard, and beside that filters, gates and levels it.
    pub light_voice: u32,
}

/// Bytes of memory that a terminal needs, aligned to 8.
#[unsafe(no_mangle)]
pub extern "C" fn handsfree_memory_bytes() -> usize {
    size_of::<handsfree>()
}

/// Makes a terminal in `memory`, which must be 0 in its first 8 bytes or hold one that was destroyed, and
/// which the terminal has until it is destroyed. `made` gets the terminal, which is the memory itself.
///
/// # Safety
/// `memory` points to `bytes` bytes that nothing else uses, `config` and `made` to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_create(
    memory: *mut core::ffi::c_void,
    bytes: usize,
    config: *const handsfree_config,
    made: *mut *mut handsfree,
) -> handsfree_status {
    // SAFETY: by the contract above.
    status(unsafe { create(memory.cast(), bytes, config, made) })
}

unsafe fn create(
    memory: *mut handsfree,
    bytes: usize,
    config: *const handsfree_config,
    made: *mut *mut handsfree,
) -> Answer<()> {
    if memory.is_null() || config.is_null() || made.is_null() {
        return Err(HANDSFREE_ERROR_NULL);
    }
    if !memory.is_aligned() || !config.is_aligned() || !made.is_aligned() {
        return Err(HANDSFREE_ERROR_ALIGNMENT);
    }
    if bytes < size_of::<handsfree>() {
        return Err(HANDSFREE_ERROR_MEMORY);
    }
    // SAFETY: the memory is as long as a terminal and aligned; any bytes are a number.
    if unsafe { (&raw const (*memory).alive).read_volatile() } == ALIVE {
        return Err(HANDSFREE_ERROR_CREATED_TWICE);
    }
    // SAFETY: by the contract of `handsfree_create`.
    let config = unsafe { *config };
    let terminal = SessionFormat {
        rate: SampleRate::new(config.rate_hz)?,
        near_channels: config.near_channels,
        far_channels: config.far_channels,
    };
    let light = match config.light_voice {
        0 => None,
        1 => Some(LightVoice::new(LightConfig::default())),
        _ => return Err(HANDSFREE_ERROR_VALUE),
    };
    // SAFETY: the session's place is within the memory, and a new session is all zero bytes. It stays
    // where it is until `handsfree_destroy`, which ends everything that borrows it.
    let session: &'static mut TerminalSession = unsafe {
        let place = (&raw mut (*memory).session).cast::<TerminalSession>();
        ptr::write_bytes(place, 0, 1);
        &mut *place
    };
    let Halves { intake, outlet, capture, playback, tracks, events, stats } =
        session.split::<Mutex, _, _>(terminal, Voice { light }, ())?;
    // SAFETY: each field is within the memory and not in use yet; `alive` comes last.
    unsafe {
        (&raw mut (*memory).near_channels).write(config.near_channels);
        (&raw mut (*memory).capture_period).write(Period::default());
        (&raw mut (*memory).playback_period).write(Period::default());
        (&raw mut (*memory).intake).write(intake);
        (&raw mut (*memory).outlet).write(outlet);
        (&raw mut (*memory).capture).write(capture);
        (&raw mut (*memory).playback).write(playback);
        (&raw mut (*memory).pool).write(tracks);
        (&raw mut (*memory).events).write(events);
        (&raw mut (*memory).stats).write(stats);
        (&raw mut (*memory).tracks).write([const { None }; SLOTS]);
        (&raw mut (*memory).alive).write_volatile(ALIVE);
        made.write(memory);
    }
    Ok(())
}

/// Ends a terminal; its memory is the caller's again. Both audio interrupts must be off.
///
/// # Safety
/// `terminal` is null or points to memory of a terminal's size and alignment; nothing else uses it now.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_destroy(terminal: *mut handsfree) -> handsfree_status {
    // SAFETY: by the contract above. Nothing in a terminal holds anything beside its own memory, so there
    // is nothing to drop.
    status(alive(terminal).map(|terminal| unsafe { (&raw mut (*terminal).alive).write_volatile(0) }))
}

/// The terminal, if there is one.
pub(crate) fn alive(terminal: *mut handsfree) -> Answer<*mut handsfree> {
    if terminal.is_null() {
        return Err(HANDSFREE_ERROR_NULL);
    }
    if !terminal.is_aligned() {
        return Err(HANDSFREE_ERROR_ALIGNMENT);
    }
    // SAFETY: every function's contract says that this is memory of a terminal's size.
    if unsafe { (&raw const (*terminal).alive).read_volatile() } != ALIVE {
        return Err(HANDSFREE_ERROR_NOT_CREATED);
    }
    Ok(terminal)
}
