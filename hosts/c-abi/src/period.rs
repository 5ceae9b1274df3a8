//! Interrupt side: the functions that the two audio interrupts call. Control side: the configuration of
//! the devices.

use core::slice;

use handsfree_core::capture::IntakeConfig;
use handsfree_core::playback::OutletConfig;
use handsfree_core::{ChannelMap, Duration, Gain, Instant, PeriodTime, SampleRate};

use crate::error::handsfree_status::*;
use crate::error::{StatusResult, count, handsfree_status, status};
use crate::terminal::{PeriodLimits, alive, handsfree};

/// Position and time of a period.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct handsfree_time {
    /// Number of sample frames of the stream before this period. A jump ahead reports lost sample frames.
    pub position: u64,
    /// Time at which the period's first sample was (microphone) or will be (loudspeaker) at the
    /// converter, in nanoseconds of the caller's clock.
    pub converter_ns: i64,
    /// Time of the call, in nanoseconds of the caller's clock.
    pub called_ns: i64,
}

/// Configuration of a device.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct handsfree_device {
    /// Sample rate, in hertz.
    pub rate_hz: u32,
    /// Number of interleaved channels.
    pub channels: u32,
    /// Length of the longest period, in sample frames.
    pub max_period_sample_frames: u32,
    /// Identifier of the clock that drives the device. The same identifier other than 0 for both devices
    /// declares that they share one clock.
    pub clock_domain: u32,
    /// Loudspeaker only: delay of the main loop, in sample frames, up to which playback has no gap.
    pub slack_sample_frames: u32,
    /// Loudspeaker only: expected latency, in microseconds.
    pub latency_us: u32,
}

/// Configures the microphone. Call it before the microphone's interrupt is enabled.
///
/// # Safety
/// `terminal` is a terminal's memory or null, `device` points to a device or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_capture_configure(
    terminal: *mut handsfree,
    device: *const handsfree_device,
) -> handsfree_status {
    // SAFETY: by the contract above.
    status(unsafe { configure_capture(terminal, device) })
}

unsafe fn configure_capture(terminal: *mut handsfree, device: *const handsfree_device) -> StatusResult<()> {
    let terminal = alive(terminal)?;
    // SAFETY: by the caller's contract; the interrupt is off, so nothing else uses the intake.
    let (device, intake, near) =
        unsafe { (read(device)?, &mut (*terminal).intake, (*terminal).near_channels) };
    intake.configure(IntakeConfig {
        rate: SampleRate::new(device.rate_hz)?,
        map: ChannelMap::natural(device.channels, near)?,
        gain: Gain::UNITY,
        max_period_sample_frames: device.max_period_sample_frames,
        clock_domain: device.clock_domain,
    })?;
    // SAFETY: as above.
    unsafe { (*terminal).capture_period = period_limits(&device) };
    Ok(())
}

/// Configures the loudspeaker. Call it before the loudspeaker's interrupt is enabled. Frames are
/// produced for the loudspeaker from then on.
///
/// # Safety
/// `terminal` is a terminal's memory or null, `device` points to a device or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_playback_configure(
    terminal: *mut handsfree,
    device: *const handsfree_device,
) -> handsfree_status {
    // SAFETY: by the contract above.
    status(unsafe { configure_playback(terminal, device) })
}

unsafe fn configure_playback(terminal: *mut handsfree, device: *const handsfree_device) -> StatusResult<()> {
    let terminal = alive(terminal)?;
    // SAFETY: by the caller's contract; the interrupt is off, so nothing else uses the outlet.
    let (device, outlet, pool) = unsafe { (read(device)?, &mut (*terminal).outlet, &(*terminal).pool) };
    let far = u32::try_from(pool.format().channels()).unwrap_or(u32::MAX);
    outlet.configure(OutletConfig {
        rate: SampleRate::new(device.rate_hz)?,
        map: ChannelMap::natural(far, device.channels)?,
        max_period_sample_frames: device.max_period_sample_frames,
        worker_slack_sample_frames: device.slack_sample_frames,
        latency: Duration::from_micros(i64::from(device.latency_us)),
        clock_domain: device.clock_domain,
    })?;
    // SAFETY: as above.
    unsafe { (*terminal).playback_period = period_limits(&device) };
    Ok(())
}

/// Ends playback. Call it after the loudspeaker's interrupt was disabled. Tracks wait until the
/// loudspeaker is configured again.
///
/// # Safety
/// `terminal` is a terminal's memory or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_playback_stop(terminal: *mut handsfree) -> handsfree_status {
    status(alive(terminal).map(|terminal| {
        // SAFETY: the interrupt is off, so nothing else uses the outlet.
        unsafe {
            (*terminal).outlet.stop();
            (*terminal).playback_period = PeriodLimits::default();
        }
    }))
}

/// Accepts `count` samples (of all channels together) that the microphone has recorded. Returns the
/// number of frames that became complete, or an error code. If it is not 0, the main loop has work.
/// Called by the microphone's interrupt.
///
/// # Safety
/// `terminal` is a terminal's memory or null, `samples` points to `count` samples and `time` to a time,
/// or they are null. Called by one interrupt.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_capture_period(
    terminal: *mut handsfree,
    samples: *const i16,
    count: usize,
    time: *const handsfree_time,
) -> i32 {
    // SAFETY: by the contract above.
    self::count(unsafe { take_period(terminal, samples, count, time) })
}

/// Accepts samples of 32 bits; otherwise equal to handsfree_capture_period().
///
/// # Safety
/// The conditions of handsfree_capture_period() apply.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_capture_period_32(
    terminal: *mut handsfree,
    samples: *const i32,
    count: usize,
    time: *const handsfree_time,
) -> i32 {
    // SAFETY: by the contract above.
    self::count(unsafe { take_period(terminal, samples, count, time) })
}

unsafe fn take_period<S: handsfree_core::DeviceSample>(
    terminal: *mut handsfree,
    samples: *const S,
    count: usize,
    time: *const handsfree_time,
) -> StatusResult<u32> {
    let terminal = alive(terminal)?;
    // SAFETY: the period's limits are written while the interrupt is off; the rest is the caller's
    // contract.
    unsafe {
        check(samples, count, (*terminal).capture_period)?;
        let time = read(time)?;
        Ok((*terminal).intake.on_period(slice::from_raw_parts(samples, count), period_time(time)))
    }
}

/// Fills `count` samples (of all channels together) that the loudspeaker plays next. Returns the number
/// of frames that it completed, or an error code. If it is not 0, the main loop has work. Called by the
/// loudspeaker's interrupt.
///
/// # Safety
/// The conditions of handsfree_capture_period() apply, and `samples` must be writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_playback_period(
    terminal: *mut handsfree,
    samples: *mut i16,
    count: usize,
    time: *const handsfree_time,
) -> i32 {
    // SAFETY: by the contract above.
    self::count(unsafe { fill_period(terminal, samples, count, time) })
}

/// Fills samples of 32 bits; otherwise equal to handsfree_playback_period().
///
/// # Safety
/// The conditions of handsfree_playback_period() apply.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_playback_period_32(
    terminal: *mut handsfree,
    samples: *mut i32,
    count: usize,
    time: *const handsfree_time,
) -> i32 {
    // SAFETY: by the contract above.
    self::count(unsafe { fill_period(terminal, samples, count, time) })
}

unsafe fn fill_period<S: handsfree_core::DeviceSample>(
    terminal: *mut handsfree,
    samples: *mut S,
    count: usize,
    time: *const handsfree_time,
) -> StatusResult<u32> {
    let terminal = alive(terminal)?;
    // SAFETY: the period's limits are written while the interrupt is off; the rest is the caller's
    // contract.
    unsafe {
        check(samples, count, (*terminal).playback_period)?;
        let time = read(time)?;
        Ok((*terminal).outlet.on_period(slice::from_raw_parts_mut(samples, count), period_time(time)))
    }
}

/// Reads the value that a pointer points to.
///
/// # Safety
/// The pointer is null or points to a `T`.
pub(crate) unsafe fn read<T: Copy>(pointer: *const T) -> StatusResult<T> {
    if pointer.is_null() {
        return Err(HANDSFREE_ERROR_NULL);
    }
    if !pointer.is_aligned() {
        return Err(HANDSFREE_ERROR_ALIGNMENT);
    }
    // SAFETY: by the contract above.
    Ok(unsafe { *pointer })
}

fn check<S>(samples: *const S, count: usize, period: PeriodLimits) -> StatusResult<()> {
    if period.channels == 0 {
        return Err(HANDSFREE_ERROR_NOT_CONFIGURED);
    }
    if samples.is_null() {
        return Err(HANDSFREE_ERROR_NULL);
    }
    if !samples.is_aligned() {
        return Err(HANDSFREE_ERROR_ALIGNMENT);
    }
    if count > period.max_samples || !count.is_multiple_of(period.channels.max(1)) {
        return Err(HANDSFREE_ERROR_LENGTH);
    }
    Ok(())
}

fn period_limits(device: &handsfree_device) -> PeriodLimits {
    let channels = device.channels as usize;
    PeriodLimits {
        channels,
        max_samples: (device.max_period_sample_frames as usize).saturating_mul(channels),
    }
}

fn period_time(time: handsfree_time) -> PeriodTime {
    PeriodTime {
        position: time.position,
        converter: Instant::from_nanos(time.converter_ns),
        called: Instant::from_nanos(time.called_ns),
    }
}
