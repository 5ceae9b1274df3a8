//! How a run ends: with its figures and its checks, or with what went wrong.

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m_semihosting::debug::{self, EXIT_FAILURE, EXIT_SUCCESS};
use handsfree_core::capture::{LightConfig, LightVoice, VoiceProcessor};
use handsfree_core::{ConfigError, Duration, Format, PcmMut, PcmRef, Stats};
use handsfree_image::listener::{self, LISTENING};
use handsfree_image::measure::{Gauge, MEASURING};
use handsfree_image::noise::Noise;
use handsfree_image::{CAP, TerminalSession, machine, stack};

use crate::interrupts::{self, DISTURBANCES, LATEST_TICKS, NESTED};
use crate::tasks;

/// How long to run unless told otherwise.
const DEFAULT_SECONDS: u32 = 60;
/// What may be left of the echo once the room's is taken out: -25 dB.
const MOST_REMAINDER_PPM: u32 = 3_162;
/// The loudspeaker's clock is 100 ppm fast.
const DRIFT_PPM: f32 = 100.0;
/// An interruption is over within the fade, what the ring and the device hold, and being told of it.
const MOST_INTERRUPTION: Duration = Duration::from_millis(90);

static INTERRUPTIONS: AtomicU32 = AtomicU32::new(0);

/// The image's argument.
pub(crate) fn seconds_to_run() -> u32 {
    let mut text = [0u8; 32];
    let mut block = [text.as_mut_ptr() as usize, text.len()];
    // SAFETY: SYS_GET_CMDLINE takes a block of buffer and length, and fills the buffer.
    let status = unsafe { cortex_m_semihosting::syscall1(0x15, block.as_mut_ptr() as usize) };
    if status != 0 {
        return DEFAULT_SECONDS;
    }
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    let seconds =
        digits.fold(0u32, |seconds, &byte| seconds.saturating_mul(10).saturating_add(u32::from(byte - b'0')));
    if seconds == 0 { DEFAULT_SECONDS } else { seconds.clamp(30, 100_000) }
}

/// An interruption was over, `took` after it was asked for; `heard` of `pushed` sample frames were heard.
pub(crate) fn check_interruption(heard: u64, pushed: u64, took: Duration) {
    INTERRUPTIONS.store(INTERRUPTIONS.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    if heard == 0 || heard >= pushed || took > MOST_INTERRUPTION {
        defmt::error!("{=u64} of {=u64} sample frames heard, after {}", heard, pushed, took);
        failed("an interruption stops the voice at once");
    }
}

fn figure(name: &str, value: u32) {
    defmt::println!("figure {=str} {=u32}", name, value);
}

fn gauge(phase: &str, name: &str, gauge: &Gauge) {
    let (mean, most, runs) = (gauge.mean(), gauge.most(), gauge.runs());
    defmt::println!("figure {=str}_{=str} {=u32} {=u32} {=u32}", phase, name, mean, most, runs);
    gauge.reset();
}

/// Ends a measurement and tells what was found.
pub(crate) fn measured(phase: &str) {
    MEASURING.store(false, Ordering::Relaxed);
    gauge(phase, "capture_interrupt", &interrupts::CAPTURE);
    gauge(phase, "playback_interrupt", &interrupts::PLAYBACK);
    gauge(phase, "capture_pipeline", &tasks::CAPTURE);
    gauge(phase, "playback_pipeline", &tasks::PLAYBACK);
    gauge(phase, "listener", &LISTENING);
}

/// What the light voice path takes a frame, both directions, while both ends sound.
fn measure_light_voice() {
    static LIGHT: Gauge = Gauge::new();
    let Ok(format) = Format::new(16_000, 1) else { return };
    let mut voice = LightVoice::new(LightConfig::default());
    let mut noise = Noise::new(3);
    MEASURING.store(true, Ordering::Relaxed);
    for _ in 0..100 {
        let (mut far, mut near) = ([0; CAP], [0; CAP]);
        noise.fill(&mut far);
        noise.fill(&mut near);
        LIGHT.run(|| {
            let heard = voice.process_reverse(PcmRef { format, samples: &far });
            heard.and(voice.process_capture(PcmMut { format, samples: &mut near }, Duration::ZERO)).is_ok()
        });
    }
    MEASURING.store(false, Ordering::Relaxed);
    gauge("light", "voice", &LIGHT);
}

/// Tells the figures and leaves, well if all is as it should be.
pub(crate) fn check(stats: &Stats, drift_ppm: f32, frames: u32) -> ! {
    figure("session_bytes", size_of::<TerminalSession>() as u32);
    figure("stack_used_bytes", stack::used_bytes() as u32);
    figure("stack_size_bytes", stack::size_bytes() as u32);
    measure_light_voice();
    figure("seconds", frames / 100);
    figure("xruns", stats.xruns());
    figure("disturbances", DISTURBANCES.load(Ordering::Relaxed));
    figure("nested_interrupts", NESTED.load(Ordering::Relaxed));
    figure("latest_interrupt_us", LATEST_TICKS.load(Ordering::Relaxed) / (machine::CLOCK_HZ / 1_000_000));
    figure("interruptions", INTERRUPTIONS.load(Ordering::Relaxed));
    figure("echo_seconds", listener::seconds());
    figure("echo_remainder_ppm", listener::worst_ppm());
    stats.log();
    let lost = stats.xruns()
        + stats.outlet.reference_overrun_frames
        + stats.capture.reference_lost_sample_frames
        + stats.capture.foreign_frames
        + stats.capture.voice_slow_frames
        + stats.intake.position_faults
        + stats.outlet.position_faults;
    expect(lost == 0, "no sample is lost");
    expect(frames.abs_diff(stats.intake.frames) <= 2, "every captured frame is delivered");
    expect(NESTED.load(Ordering::Relaxed) > 0, "interrupts nested");
    expect(DISTURBANCES.load(Ordering::Relaxed) > frames / 5, "interrupts were delayed");
    expect(INTERRUPTIONS.load(Ordering::Relaxed) > frames / 1_000, "voices were interrupted");
    expect(listener::seconds() + 1 >= (frames - 2_000) / 100, "there was an echo all the time");
    expect(listener::worst_ppm() < MOST_REMAINDER_PPM, "the reference is what the microphone hears");
    expect((drift_ppm - DRIFT_PPM).abs() < 1.0, "the drift was found");
    defmt::info!("all is well");
    leave(EXIT_SUCCESS)
}

fn expect(holds: bool, what: &str) {
    if !holds {
        failed(what);
    }
}

/// Leaves badly.
pub(crate) fn failed(what: &str) -> ! {
    defmt::error!("this does not hold: {=str}", what);
    leave(EXIT_FAILURE)
}

/// The session could not be set up.
pub(crate) fn refused(error: ConfigError) -> ! {
    defmt::error!("{}", error);
    leave(EXIT_FAILURE)
}

/// Something panicked.
pub(crate) fn panicked(info: &PanicInfo<'_>) -> ! {
    let line = info.location().map_or(0, core::panic::Location::line);
    let file = info.location().map_or("", core::panic::Location::file);
    defmt::error!("panic at {=str}:{=u32}", file, line);
    leave(EXIT_FAILURE)
}

fn leave(status: debug::ExitStatus) -> ! {
    loop {
        debug::exit(status);
    }
}
