//! Control side: creating a terminal in the caller's memory and destroying it.

use core::mem::MaybeUninit;
use core::ptr;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::capture::{Intake, LightConfig, LightVoice, ProcessError, VoiceProcessor, VoiceStats};
use handsfree_core::playback::{Outlet, Track, TrackPool};
use handsfree_core::timing::ReferenceQuality;
use handsfree_core::{
    Duration, Events, Halves, PcmMut, PcmRef, SampleRate, Session, SessionFormat, StatsReader, capture,
    playback,
};

use crate::canceller::{LentCanceller, handsfree_canceller};
use crate::error::handsfree_status::*;
use crate::error::{StatusResult, handsfree_status, status};
use crate::sizes::{
    HANDSFREE_FRAME_SAMPLES as CAP, HANDSFREE_HISTORY_SAMPLES as HISTORY, HANDSFREE_MEMORY_WORDS_32,
    HANDSFREE_MEMORY_WORDS_64, HANDSFREE_QUEUE_FRAMES, HANDSFREE_RING_FRAMES, HANDSFREE_TRACKS as SLOTS,
};
use crate::speech::PolledFrames;

const RING: usize = HANDSFREE_RING_FRAMES + 1;
type FirmwareSession = Session<CAP, SLOTS, RING, RING, RING, { HANDSFREE_QUEUE_FRAMES + 1 }, HISTORY>;

/// All tracks are used in one context, so they need no lock.
type TrackMutex = NoopRawMutex;
pub(crate) type OpenTrack = Track<'static, 'static, TrackMutex, CAP, SLOTS>;

/// Value of the first word of memory that holds a terminal.
const ALIVE: u32 = 0x4846_5245;

/// Voice processor of a terminal.
pub(crate) enum TerminalVoice {
    /// No processing.
    None,
    /// The light voice path.
    Light(LightVoice),
    /// The echo canceller.
    Canceller(LentCanceller),
}

impl VoiceProcessor for TerminalVoice {
    fn process_reverse(&mut self, far: PcmRef<'_>) -> Result<(), ProcessError> {
        match self {
            Self::None => Ok(()),
            Self::Light(light) => light.process_reverse(far),
            Self::Canceller(canceller) => canceller.process_reverse(far),
        }
    }

    fn process_capture(&mut self, near: PcmMut<'_>, delay: Duration) -> Result<(), ProcessError> {
        match self {
            Self::None => Ok(()),
            Self::Light(light) => light.process_capture(near, delay),
            Self::Canceller(canceller) => canceller.process_capture(near, delay),
        }
    }

    fn stats(&self) -> VoiceStats {
        VoiceStats::default()
    }

    fn near_end_likelihood(&self) -> Option<f32> {
        match self {
            Self::None | Self::Light(_) => None,
            Self::Canceller(canceller) => canceller.near_end_likelihood(),
        }
    }

    fn reset(&mut self) {
        match self {
            Self::None => {}
            Self::Light(light) => light.reset(),
            Self::Canceller(canceller) => canceller.reset(),
        }
    }

    fn reference_quality() -> ReferenceQuality {
        ReferenceQuality::Medium
    }
}

/// Limits of a device's periods according to its configuration.
#[derive(Clone, Copy, Default)]
pub(crate) struct PeriodLimits {
    pub(crate) channels: usize,
    pub(crate) max_samples: usize,
}

/// Opaque terminal in memory of HANDSFREE_MEMORY_WORDS words.
pub struct handsfree {
    alive: u32,
    pub(crate) near_channels: u32,
    pub(crate) capture_period: PeriodLimits,
    pub(crate) playback_period: PeriodLimits,
    pub(crate) intake: Intake<'static, CAP>,
    pub(crate) outlet: Outlet<'static, CAP, SLOTS>,
    pub(crate) capture: capture::Pipeline<'static, CAP, SLOTS, TerminalVoice, ()>,
    pub(crate) playback: playback::Pipeline<'static, CAP, SLOTS>,
    pub(crate) pool: TrackPool<'static, TrackMutex, CAP, SLOTS>,
    pub(crate) events: Events<'static>,
    pub(crate) stats: StatsReader<'static>,
    pub(crate) tracks: [Option<OpenTrack>; SLOTS],
    pub(crate) polled: PolledFrames,
    session: MaybeUninit<FirmwareSession>,
}

const _: () = {
    let words = if size_of::<usize>() == 4 { HANDSFREE_MEMORY_WORDS_32 } else { HANDSFREE_MEMORY_WORDS_64 };
    assert!(size_of::<handsfree>() <= 8 * words, "sizes.rs: a terminal needs more words");
    assert!(align_of::<handsfree>() <= 8);
};

/// Configuration of a terminal.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct handsfree_config {
    /// Sample rate of the tracks and of the samples delivered to the application, in hertz.
    pub rate_hz: u32,
    /// Number of channels of the microphone's signal.
    pub near_channels: u32,
    /// Number of channels of the loudspeaker's signal.
    pub far_channels: u32,
    /// 1 for the light voice path, 0 for no voice processing. The light voice path is not an echo
    /// canceller: it attenuates the microphone while only echo is present, and it also filters, gates
    /// and levels the signal.
    pub light_voice: u32,
    /// Echo canceller that the terminal uses until it is destroyed, or null for none. A terminal has the
    /// light voice path or an echo canceller.
    pub canceller: *mut handsfree_canceller,
}

/// Returns the size of a terminal in bytes. Its memory must be aligned to 8 bytes.
#[unsafe(no_mangle)]
pub extern "C" fn handsfree_memory_bytes() -> usize {
    size_of::<handsfree>()
}

/// Creates a terminal in `memory` and stores a pointer to it, which equals `memory`, in `created`. The
/// first 8 bytes of the memory must be 0 unless it holds a destroyed terminal. The terminal owns the
/// memory until it is destroyed.
///
/// # Safety
/// `memory` points to `bytes` bytes that nothing else uses, `config` points to a configuration and
/// `created` to a pointer, or they are null. The configuration's canceller is a canceller's memory or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_create(
    memory: *mut core::ffi::c_void,
    bytes: usize,
    config: *const handsfree_config,
    created: *mut *mut handsfree,
) -> handsfree_status {
    // SAFETY: by the contract above.
    status(unsafe { create(memory.cast(), bytes, config, created) })
}

unsafe fn create(
    memory: *mut handsfree,
    bytes: usize,
    config: *const handsfree_config,
    created: *mut *mut handsfree,
) -> StatusResult<()> {
    if memory.is_null() || config.is_null() || created.is_null() {
        return Err(HANDSFREE_ERROR_NULL);
    }
    if !memory.is_aligned() || !config.is_aligned() || !created.is_aligned() {
        return Err(HANDSFREE_ERROR_ALIGNMENT);
    }
    if bytes < size_of::<handsfree>() {
        return Err(HANDSFREE_ERROR_MEMORY);
    }
    // SAFETY: the memory has the size and alignment of a terminal, and any bytes are a valid integer.
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
    let voice = match (config.light_voice, config.canceller.is_null()) {
        (0, true) => TerminalVoice::None,
        (1, true) => TerminalVoice::Light(LightVoice::new(LightConfig::default())),
        // SAFETY: by the contract of `handsfree_create`.
        (0, false) => TerminalVoice::Canceller(unsafe {
            LentCanceller::take(
                config.canceller,
                config.rate_hz,
                [config.near_channels, config.far_channels],
            )?
        }),
        _ => return Err(HANDSFREE_ERROR_VALUE),
    };
    // SAFETY: the session's storage is within the memory, and a new session is all zero bytes. It does
    // not move until `handsfree_destroy`, which ends everything that borrows it.
    let session: &'static mut FirmwareSession = unsafe {
        let storage = (&raw mut (*memory).session).cast::<FirmwareSession>();
        ptr::write_bytes(storage, 0, 1);
        &mut *storage
    };
    let Halves { intake, outlet, mut capture, playback, tracks, events, stats } =
        session.split::<TrackMutex, _, _>(terminal, voice, ())?;
    if let TerminalVoice::Canceller(canceller) = capture.voice_mut() {
        canceller.set_in_use(true);
    }
    // SAFETY: each field is within the memory and not in use yet; `alive` comes last.
    unsafe {
        (&raw mut (*memory).near_channels).write(config.near_channels);
        (&raw mut (*memory).capture_period).write(PeriodLimits::default());
        (&raw mut (*memory).playback_period).write(PeriodLimits::default());
        (&raw mut (*memory).intake).write(intake);
        (&raw mut (*memory).outlet).write(outlet);
        (&raw mut (*memory).capture).write(capture);
        (&raw mut (*memory).playback).write(playback);
        (&raw mut (*memory).pool).write(tracks);
        (&raw mut (*memory).events).write(events);
        (&raw mut (*memory).stats).write(stats);
        (&raw mut (*memory).tracks).write([const { None }; SLOTS]);
        (&raw mut (*memory).polled).write(PolledFrames::new());
        (&raw mut (*memory).alive).write_volatile(ALIVE);
        created.write(memory);
    }
    Ok(())
}

/// Destroys a terminal. The caller owns its memory again. Both audio interrupts must be disabled.
///
/// # Safety
/// `terminal` is null or points to memory of a terminal's size and alignment; nothing else uses it now.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_destroy(terminal: *mut handsfree) -> handsfree_status {
    status(alive(terminal).map(|terminal| {
        // SAFETY: by the contract above. A terminal owns nothing outside its memory, so there is nothing to
        // drop; it only returns its canceller.
        unsafe {
            if let TerminalVoice::Canceller(canceller) = (*terminal).capture.voice_mut() {
                canceller.set_in_use(false);
            }
            (&raw mut (*terminal).alive).write_volatile(0);
        }
    }))
}

/// Checks that `terminal` points to memory that holds a terminal.
pub(crate) fn alive(terminal: *mut handsfree) -> StatusResult<*mut handsfree> {
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
