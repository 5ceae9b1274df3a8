//! The two devices: how they are configured, and their interrupts' functions.

use core::slice;

use handsfree_core::capture::IntakeConfig;
use handsfree_core::playback::OutletConfig;
use handsfree_core::{ChannelMap, Duration, Gain, Instant, PeriodTime, SampleRate};

use crate::error::handsfree_status::*;
use crate::error::{Answer, count, handsfree_status, status};
use crate::terminal::{Period, alive, handsfree};

/// When and where in its stream a period was.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct handsfree_time {
    /// Sample frames of the stream before this period. A jump ahead says that some were lost.
    pub position: u64,
    /// When the period's first sample was (microphone) or will be (loudspeaker) at the converter, in
    /// nanoseconds of the caller's clock.
    pub converter_ns: i64,
    /// Now, on the same clock.
    pub called_ns: i64,
}

/// How a device is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct handsfree_device {
    /// Its rate in hertz.
    pub rate_hz: u32,
    /// Its channels, interleaved.
    pub channels: u32,
    /// The longest period, in sample frames.
    pub max_period_sample_frames: u32,
    /// Which clock drives it: the same number other than 0 for both devices says that it is one clock.
    pub clock_domain: u32,
    /// Loudspeaker: how long the main loop may be late, in sample frames, before silence is heard.
    pub slack_sample_frames: u32,
    /// Loudspeaker: its latency in microseconds, as far as it is known.
    pub latency_us: u32,
}

/// Says how the microphone is, before its interrupt is enabled.
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

unsafe fn configure_capture(terminal: *mut handsfree, device: *const handsfree_device) -> Answer<()> {
    let terminal = alive(terminal)?;
    // SAFETY: by the caller's contract; the interrupt is off, so the intake is nobody else's.
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
    unsafe { (*terminal).capture_period = period(&device) };
    Ok(())
}

/// Says how the loudspeaker is, before its interrupt is enabled; from then on frames are made for it.
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

unsafe fn configure_playback(terminal: *mut handsfree, device: *const handsfree_device) -> Answer<()> {
    let terminal = alive(terminal)?;
    // SAFETY: by the caller's contract; the interrupt is off, so the outlet is nobody else's.
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
    unsafe { (*terminal).playback_period = period(&device) };
    Ok(())
}

/// Ends playback, after its interrupt was disabled. Tracks wait until it is configured again.
///
/// # Safety
/// `terminal` is a terminal's memory or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn handsfree_playback_stop(terminal: *mut handsfree) -> handsfree_status {
    status(alive(terminal).map(|terminal| {
        // SAFETY: the interrupt is off, so the outlet is nobody else's.
        unsafe {
            (*terminal).outlet.stop();
            (*terminal).playback_period = Period::default();
        }
    }))
}

/// The microphone's interrupt: `count` samples, all channels, that were just recorded. Answers how many
/// frames became complete, so that the main loop need be woken, or a code.
///
/// # Safety
/// `terminal` is a terminal's memory or null, `samples` points to `count` samples and `time` to a time, or
/// they are null. Called by one interrupt.
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

/// The same for samples of 32 bits.
///
/// # Safety
/// As for handsfree_capture_period().
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
) -> Answer<u32> {
    let terminal = alive(terminal)?;
    // SAFETY: the period's shape is written while the interrupt is off; the rest is the caller's contract.
    unsafe {
        check(samples, count, (*terminal).capture_period)?;
        let time = read(time)?;
        Ok((*terminal).intake.on_period(slice::from_raw_parts(samples, count), at(time)))
    }
}

/// The loudspeaker's interrupt: fills `count` samples, all channels, which play next. Answers as
/// handsfree_capture_period().
///
/// # Safety
/// As for handsfree_capture_period(), with samples that may be written.
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

/// The same for samples of 32 bits.
///
/// # Safety
/// As for handsfree_playback_period().
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
) -> Answer<u32> {
    let terminal = alive(terminal)?;
    // SAFETY: the period's shape is written while the interrupt is off; the rest is the caller's contract.
    unsafe {
        check(samples, count, (*terminal).playback_period)?;
        let time = read(time)?;
        Ok((*terminal).outlet.on_period(slice::from_raw_parts_mut(samples, count), at(time)))
    }
}

/// What a pointer points to.
///
/// # Safety
/// The pointer is null or points to a `T`.
pub(crate) unsafe fn read<T: Copy>(pointer: *const T) -> Answer<T> {
    if pointer.is_null() {
        return Err(HANDSFREE_ERROR_NULL);
    }
    if !pointer.is_aligned() {
        return Err(HANDSFREE_ERROR_ALIGNMENT);
    }
    // SAFETY: by the contract above.
    Ok(unsafe { *pointer })
}

fn check<S>(samples: *const S, count: usize, period: Period) -> Answer<()> {
    if period.channels == 0 {
        return Err(HANDSFREE_ERROR_NOT_CONFIGURED);
    }
    if samples.is_null() {
        return Err(HANDSFREE_ERROR_NULL);
    }
    if !samples.is_aligned() {
        return Err(HANDSFREE_ERROR_ALIGNMENT);
    }
    if count > period.most_samples || !count.is_multiple_of(period.channels.max(1)) {
        return Err(HANDSFREE_ERROR_LENGTH);
    }
    Ok(())
}

fn period(device: &handsfree_device) -> Period {
    let channels = device.channels as usize;
    Period { channels, most_samples: (device.max_period_sample_frames as usize).saturating_mul(channels) }
}

fn at(time: handsfree_time) -> PeriodTime {
    PeriodTime {
        position: time.position,
        converter: Instant::from_nanos(time.converter_ns),
        called: Instant::from_nanos(time.called_ns),
    }
}
