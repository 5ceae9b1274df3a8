//! Worker side: the echo canceller in the caller's memory, its settings and its reading.

use core::ptr::{self, NonNull};

use handsfree_core::canceller::{CancellerSettings, LeanStorage};
use handsfree_core::capture::{ProcessError, VoiceProcessor, VoiceStats};
use handsfree_core::{Duration, PcmMut, PcmRef, echo_canceller};

use crate::error::handsfree_status::*;
use crate::error::{StatusResult, count, handsfree_status, status};
use crate::sizes::{HANDSFREE_CANCELLER_TAIL_MS, HANDSFREE_CANCELLER_WORDS, HANDSFREE_FRAME_SAMPLES};

echo_canceller! {
    type FirmwareCanceller = EchoCanceller<LeanStorage> {
        rate_hz: HANDSFREE_FRAME_SAMPLES as u32 * 100,
        tail_ms: HANDSFREE_CANCELLER_TAIL_MS
    };
}

/// Value of the first word of memory that holds a canceller.
const ALIVE: u32 = 0x4846_4543;

/// Opaque echo canceller in memory of HANDSFREE_CANCELLER_WORDS words.
pub struct handsfree_canceller {
    alive: u32,
    /// Whether a terminal uses it.
    in_use: bool,
    /// The canceller itself. A terminal calls it through this pointer, so that a program that creates no
    /// canceller does not link it.
    voice: NonNull<dyn VoiceProcessor>,
    canceller: FirmwareCanceller,
}

const _: () = {
    assert!(size_of::<handsfree_canceller>() <= 8 * HANDSFREE_CANCELLER_WORDS, "sizes.rs: more words");
    assert!(align_of::<handsfree_canceller>() <= 8);
};

/// Settings of a canceller. handsfree_canceller_defaults() sets them.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct handsfree_canceller_settings {
    /// Echo that is suppressed against talker that is kept, from -100 (keeps the talker) to 100 (suppresses
    /// the echo). Default: 0.
    pub echo_over_talker: i32,
    /// 1 to suppress the residual echo. With 0 the output is the linear one, as speech recognition wants
    /// it, and 10 ms earlier. Default: 1.
    pub suppressor: u32,
    /// 1 for noise like the room's in place of suppressed echo. Default: 1.
    pub comfort_noise: u32,
    /// How far the room's steady noise is turned down, in dB, from 0 (not at all) to 24. It needs the
    /// suppressor. Default: 0.
    pub noise_reduction_db: u32,
    /// 1 to remove what is below 80 Hz. Default: 1.
    pub high_pass: u32,
    /// 1 for a linear output that each frame has corrected. With 0 it has more echo in the first seconds, and 4 %
    /// of the instructions are spared with a tail of 128 ms; the output with suppression is the same. Default: 1.
    pub corrected_linear: u32,
}

/// What a canceller has learned about the echo.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct handsfree_canceller_reading {
    /// 1 once the far end has spoken for a second; before that all other numbers are 0.
    pub is_known: u32,
    /// Level of the loudspeaker over its echo at the microphone, in dB.
    pub erl_db: f32,
    /// Level of the microphone over the filter's error while the far end speaks, in dB.
    pub erle_db: f32,
    /// Time from the reference to its strongest echo, in milliseconds.
    pub echo_lag_ms: u32,
    /// Likelihood that the linear output holds echo, from 0 to 1.
    pub residual_echo_likelihood: f32,
    /// Likelihood that the near talker speaks, from 0 to 1.
    pub near_end_likelihood: f32,
    /// How far the filter has converged, from 0 (knows nothing) to 1.
    pub convergence: f32,
    /// Number of changes of the echo path.
    pub path_changes: u32,
    /// Number of times that the filter diverged and was repaired.
    pub divergences: u32,
}

/// Returns the size of a canceller in bytes. Its memory must be aligned to 8 bytes.
#[unsafe(no_mangle)]
pub extern "C" fn handsfree_canceller_bytes() -> usize {
    size_of::<handsfree_canceller>()
}

/// Stores the default settings.
///
/// # Safety
/// `settings` points to settings or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_canceller_defaults(
    settings: *mut handsfree_canceller_settings,
) -> handsfree_status {
    status(checked(settings).map(|settings| {
        let CancellerSettings {
            echo_over_talker,
            suppressor,
            comfort_noise,
            noise_reduction_db,
            high_pass,
            corrected_linear,
        } = CancellerSettings::DEFAULT;
        // SAFETY: by the contract above.
        unsafe {
            settings.write(handsfree_canceller_settings {
                echo_over_talker: echo_over_talker.into(),
                suppressor: suppressor.into(),
                comfort_noise: comfort_noise.into(),
                noise_reduction_db: noise_reduction_db.into(),
                high_pass: high_pass.into(),
                corrected_linear: corrected_linear.into(),
            });
        }
    }))
}

/// Creates an echo canceller for HANDSFREE_CANCELLER_TAIL_MS in `memory` and stores a pointer to it, which
/// equals `memory`, in `created`. The first 8 bytes of the memory must be 0 unless it holds a destroyed
/// canceller. A null pointer for `settings` means the default settings. The canceller works once its
/// pointer is in the configuration of a terminal with one channel each and HANDSFREE_FRAME_SAMPLES * 100 Hz.
///
/// # Safety
/// `memory` points to `bytes` bytes that nothing else uses, `settings` to settings and `created` to a
/// pointer, or they are null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_canceller_create(
    memory: *mut core::ffi::c_void,
    bytes: usize,
    settings: *const handsfree_canceller_settings,
    created: *mut *mut handsfree_canceller,
) -> handsfree_status {
    // SAFETY: by the contract above.
    status(unsafe { create(memory.cast(), bytes, settings, created) })
}

unsafe fn create(
    memory: *mut handsfree_canceller,
    bytes: usize,
    settings: *const handsfree_canceller_settings,
    created: *mut *mut handsfree_canceller,
) -> StatusResult<()> {
    let (memory, created) = (checked(memory)?, checked(created)?);
    if bytes < size_of::<handsfree_canceller>() {
        return Err(HANDSFREE_ERROR_MEMORY);
    }
    // SAFETY: the memory has the size and alignment of a canceller, and any bytes are a valid integer.
    if unsafe { (&raw const (*memory).alive).read_volatile() } == ALIVE {
        return Err(HANDSFREE_ERROR_CREATED_TWICE);
    }
    // SAFETY: by the contract of `handsfree_canceller_create`.
    let settings = if settings.is_null() { None } else { Some(unsafe { read(settings)? }) };
    // SAFETY: the canceller is within the memory, and a new one is all zero bytes. It never moves.
    unsafe {
        let canceller = &raw mut (*memory).canceller;
        ptr::write_bytes(canceller, 0, 1);
        if let Some(settings) = settings {
            (*canceller).configure(settings);
        }
        let voice: *mut dyn VoiceProcessor = canceller;
        (&raw mut (*memory).voice).write(NonNull::new_unchecked(voice));
        (&raw mut (*memory).in_use).write(false);
        (&raw mut (*memory).alive).write_volatile(ALIVE);
        created.write(memory);
    }
    Ok(())
}

/// Destroys a canceller. The terminal that uses it must be destroyed before.
///
/// # Safety
/// `canceller` is null or points to memory of a canceller's size and alignment.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_canceller_destroy(
    canceller: *mut handsfree_canceller,
) -> handsfree_status {
    status(alive(canceller).and_then(|canceller| {
        // SAFETY: `alive` found a canceller there.
        unsafe {
            if (*canceller).in_use {
                return Err(HANDSFREE_ERROR_IN_USE);
            }
            (&raw mut (*canceller).alive).write_volatile(0);
        }
        Ok(())
    }))
}

/// Changes the settings from the next frame on; what was learned stays.
///
/// # Safety
/// `canceller` is a canceller's memory or null, `settings` points to settings or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_canceller_configure(
    canceller: *mut handsfree_canceller,
    settings: *const handsfree_canceller_settings,
) -> handsfree_status {
    status(alive(canceller).and_then(|canceller| {
        // SAFETY: by the contract above; only the main loop uses the canceller.
        let settings = unsafe { read(checked(settings.cast_mut())?)? };
        // SAFETY: as above.
        unsafe { (*canceller).canceller.configure(settings) };
        Ok(())
    }))
}

/// Forgets what was learned and keeps the settings.
///
/// # Safety
/// `canceller` is a canceller's memory or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_canceller_reset(canceller: *mut handsfree_canceller) -> handsfree_status {
    status(alive(canceller).map(|canceller| {
        // SAFETY: only the main loop uses the canceller.
        unsafe { (*canceller).canceller.reset() };
    }))
}

/// Stores what a canceller has learned. It reads the whole filter, which takes about a tenth of the time of
/// a frame.
///
/// # Safety
/// `canceller` is a canceller's memory or null, `reading` points to a reading or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_canceller_read(
    canceller: *mut handsfree_canceller,
    reading: *mut handsfree_canceller_reading,
) -> handsfree_status {
    status(alive(canceller).and_then(|canceller| {
        let to = checked(reading)?;
        // SAFETY: only the main loop uses the canceller.
        let canceller = unsafe { &(*canceller).canceller };
        let (stats, reading) = (canceller.stats(), canceller.reading());
        let is_known = stats.delay_ms.is_some();
        let known = |number: f32| if is_known { number } else { 0.0 };
        // SAFETY: by the contract above.
        unsafe {
            to.write(handsfree_canceller_reading {
                is_known: is_known.into(),
                erl_db: stats.erl_db.unwrap_or(0.0),
                erle_db: stats.erle_db.unwrap_or(0.0),
                echo_lag_ms: stats.delay_ms.and_then(|lag| u32::try_from(lag).ok()).unwrap_or(0),
                residual_echo_likelihood: known(reading.residual_echo_likelihood),
                near_end_likelihood: known(reading.near_end_likelihood),
                convergence: known(reading.convergence),
                path_changes: if is_known { reading.path_changes } else { 0 },
                divergences: if is_known { reading.divergences } else { 0 },
            });
        }
        Ok(())
    }))
}

/// Writes the linear output of the last frame, without suppression of residual echo, to `samples`: for
/// speech recognition beside the output for people. Returns the number of samples, HANDSFREE_FRAME_SAMPLES,
/// or an error code.
///
/// # Safety
/// `canceller` is a canceller's memory or null, `samples` points to `capacity` samples or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_canceller_linear(
    canceller: *mut handsfree_canceller,
    samples: *mut i16,
    capacity: usize,
) -> i32 {
    count(alive(canceller).and_then(|canceller| {
        let samples = checked(samples)?;
        if capacity < HANDSFREE_FRAME_SAMPLES {
            return Err(HANDSFREE_ERROR_LENGTH);
        }
        // SAFETY: by the contract above; only the main loop uses the canceller.
        let (samples, canceller) =
            unsafe { (core::slice::from_raw_parts_mut(samples, capacity), &(*canceller).canceller) };
        samples.iter_mut().zip(canceller.linear()).for_each(|(to, sample)| *to = sample);
        Ok(HANDSFREE_FRAME_SAMPLES as u32)
    }))
}

/// A canceller that a terminal uses.
pub(crate) struct LentCanceller(*mut handsfree_canceller);

impl LentCanceller {
    /// Takes a canceller for a terminal of this format.
    ///
    /// # Safety
    /// `canceller` points to memory of a canceller's size, which lives until the terminal is destroyed.
    pub(crate) unsafe fn take(
        canceller: *mut handsfree_canceller,
        rate_hz: u32,
        channels: [u32; 2],
    ) -> StatusResult<Self> {
        let canceller = alive(canceller)?;
        if rate_hz != HANDSFREE_FRAME_SAMPLES as u32 * 100 {
            return Err(HANDSFREE_ERROR_RATE);
        }
        if channels != [1, 1] {
            return Err(HANDSFREE_ERROR_CHANNELS);
        }
        // SAFETY: `alive` found a canceller there.
        if unsafe { (*canceller).in_use } {
            return Err(HANDSFREE_ERROR_IN_USE);
        }
        Ok(Self(canceller))
    }

    /// Marks the canceller as used by a terminal, or not any more.
    pub(crate) fn set_in_use(&mut self, in_use: bool) {
        // SAFETY: the memory holds a canceller as long as a terminal uses it.
        unsafe { (*self.0).in_use = in_use };
    }

    fn voice(&mut self) -> &mut dyn VoiceProcessor {
        // SAFETY: the memory holds a canceller as long as a terminal uses it, and only the main loop uses it.
        unsafe { (*self.0).voice.as_mut() }
    }
}

impl VoiceProcessor for LentCanceller {
    fn process_reverse(&mut self, far: PcmRef<'_>) -> Result<(), ProcessError> {
        self.voice().process_reverse(far)
    }

    fn process_capture(&mut self, near: PcmMut<'_>, delay: Duration) -> Result<(), ProcessError> {
        self.voice().process_capture(near, delay)
    }

    fn stats(&self) -> VoiceStats {
        VoiceStats::default()
    }

    fn near_end_likelihood(&self) -> Option<f32> {
        // SAFETY: as in `voice`.
        unsafe { (*self.0).voice.as_ref() }.near_end_likelihood()
    }

    fn reset(&mut self) {
        self.voice().reset();
    }
}

/// Reads settings.
///
/// # Safety
/// `settings` points to settings.
unsafe fn read(settings: *const handsfree_canceller_settings) -> StatusResult<CancellerSettings> {
    if !settings.is_aligned() {
        return Err(HANDSFREE_ERROR_ALIGNMENT);
    }
    // SAFETY: by the contract above.
    let settings = unsafe { *settings };
    let switch = |value: u32| match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(HANDSFREE_ERROR_VALUE),
    };
    let echo_over_talker = i8::try_from(settings.echo_over_talker)
        .ok()
        .filter(|dial| (-100..=100).contains(dial))
        .ok_or(HANDSFREE_ERROR_VALUE)?;
    Ok(CancellerSettings {
        echo_over_talker,
        suppressor: switch(settings.suppressor)?,
        comfort_noise: switch(settings.comfort_noise)?,
        noise_reduction_db: u8::try_from(settings.noise_reduction_db)
            .ok()
            .filter(|&depth_db| depth_db <= CancellerSettings::MAX_NOISE_REDUCTION_DB)
            .ok_or(HANDSFREE_ERROR_VALUE)?,
        high_pass: switch(settings.high_pass)?,
        corrected_linear: switch(settings.corrected_linear)?,
    })
}

fn checked<T>(pointer: *mut T) -> StatusResult<*mut T> {
    if pointer.is_null() {
        return Err(HANDSFREE_ERROR_NULL);
    }
    if !pointer.is_aligned() {
        return Err(HANDSFREE_ERROR_ALIGNMENT);
    }
    Ok(pointer)
}

/// Checks that `canceller` points to memory that holds a canceller.
fn alive(canceller: *mut handsfree_canceller) -> StatusResult<*mut handsfree_canceller> {
    let canceller = checked(canceller)?;
    // SAFETY: every function's contract says that this is memory of a canceller's size.
    if unsafe { (&raw const (*canceller).alive).read_volatile() } != ALIVE {
        return Err(HANDSFREE_ERROR_NOT_CREATED);
    }
    Ok(canceller)
}
