//! End of a run: reports the figures and checks them, or reports an error.

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m_semihosting::debug::{self, EXIT_FAILURE, EXIT_SUCCESS};
use handsfree_core::capture::{LightConfig, LightVoice, VoiceProcessor};
use handsfree_core::{ConfigError, Duration, Format, PcmMut, PcmRef, Stats};
use handsfree_image::instruction_counter::{InstructionCounter, MEASURING};
use handsfree_image::noise::Noise;
use handsfree_image::reference_checker::{self, CHECKER_COST};
use handsfree_image::{CAP, TerminalSession, machine, stack};

use crate::interrupts::{self, DISTURBANCES, LATEST_TICKS, NESTED};
use crate::tasks;

/// Length of a run without an argument, in seconds.
const DEFAULT_SECONDS: u32 = 60;
/// Largest energy of the echo that the reference does not explain, in parts per million of the echo: -25 dB.
const MAX_UNEXPLAINED_ECHO_PPM: u32 = 3_162;
/// Clock error of the loudspeaker, in parts per million: it is fast.
const DRIFT_PPM: f32 = 100.0;
/// Longest time from the request to interrupt a track to its completion: the fade, the audio in the ring and
/// the device, and the report of the completion.
const MAX_INTERRUPTION: Duration = Duration::from_millis(90);

static INTERRUPTIONS: AtomicU32 = AtomicU32::new(0);

/// Returns the image's argument: the length of the run in seconds.
pub(crate) fn seconds_to_run() -> u32 {
    let mut text = [0u8; 32];
    let mut block = [text.as_mut_ptr() as usize, text.len()];
    // SAFETY: SYS_GET_CMDLINE takes the address and length of a buffer and fills that buffer.
    let status = unsafe { cortex_m_semihosting::syscall1(0x15, block.as_mut_ptr() as usize) };
    if status != 0 {
        return DEFAULT_SECONDS;
    }
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    let seconds =
        digits.fold(0u32, |seconds, &byte| seconds.saturating_mul(10).saturating_add(u32::from(byte - b'0')));
    if seconds == 0 { DEFAULT_SECONDS } else { seconds.clamp(30, 100_000) }
}

/// Checks a completed interruption: `played` of `pushed` sample frames were played, and it completed `took`
/// after its request.
pub(crate) fn check_interruption(played: u64, pushed: u64, took: Duration) {
    INTERRUPTIONS.store(INTERRUPTIONS.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    if played == 0 || played >= pushed || took > MAX_INTERRUPTION {
        defmt::error!(
            "an interruption: {=u64} of {=u64} sample frames played, completed after {}",
            played,
            pushed,
            took
        );
        failed("an interruption stops a track at once");
    }
}

fn figure(name: &str, value: u32) {
    defmt::println!("figure {=str} {=u32}", name, value);
}

fn cost_figure(phase: &str, name: &str, cost: &InstructionCounter) {
    let (mean, most, runs) = (cost.mean(), cost.most(), cost.runs());
    defmt::println!("figure {=str}_{=str} {=u32} {=u32} {=u32}", phase, name, mean, most, runs);
    cost.reset();
}

/// Ends a measurement and reports its figures.
pub(crate) fn report_measurement(phase: &str) {
    MEASURING.store(false, Ordering::Relaxed);
    cost_figure(phase, "capture_interrupt", &interrupts::CAPTURE_COST);
    cost_figure(phase, "playback_interrupt", &interrupts::PLAYBACK_COST);
    cost_figure(phase, "capture_pipeline", &tasks::CAPTURE_COST);
    cost_figure(phase, "playback_pipeline", &tasks::PLAYBACK_COST);
    cost_figure(phase, "reference_checker", &CHECKER_COST);
}

/// Measures the light voice path per frame, in both directions, while both ends are active.
fn measure_light_voice() {
    static LIGHT_COST: InstructionCounter = InstructionCounter::new();
    let Ok(format) = Format::new(16_000, 1) else { return };
    let mut voice = LightVoice::new(LightConfig::default());
    let mut noise = Noise::new(3);
    MEASURING.store(true, Ordering::Relaxed);
    for _ in 0..100 {
        let (mut far, mut near) = ([0; CAP], [0; CAP]);
        noise.fill(&mut far);
        noise.fill(&mut near);
        LIGHT_COST.measure(|| {
            let reverse = voice.process_reverse(PcmRef { format, samples: &far });
            reverse.and(voice.process_capture(PcmMut { format, samples: &mut near }, Duration::ZERO)).is_ok()
        });
    }
    MEASURING.store(false, Ordering::Relaxed);
    cost_figure("light", "voice", &LIGHT_COST);
}

/// Reports the figures and exits, with success if all checks hold.
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
    figure("echo_seconds", reference_checker::seconds());
    figure("echo_remainder_ppm", reference_checker::worst_ppm());
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
    expect(INTERRUPTIONS.load(Ordering::Relaxed) > frames / 1_000, "tracks were interrupted");
    expect(reference_checker::seconds() + 1 >= (frames - 2_000) / 100, "there was echo in every second");
    expect(
        reference_checker::worst_ppm() < MAX_UNEXPLAINED_ECHO_PPM,
        "the reference explains the echo at the microphone",
    );
    expect((drift_ppm - DRIFT_PPM).abs() < 1.0, "the drift was estimated");
    defmt::info!("all checks passed");
    exit(EXIT_SUCCESS)
}

fn expect(holds: bool, what: &str) {
    if !holds {
        failed(what);
    }
}

/// Reports a check that does not hold and exits with failure.
pub(crate) fn failed(what: &str) -> ! {
    defmt::error!("check failed: {=str}", what);
    exit(EXIT_FAILURE)
}

/// Reports a session that could not be set up and exits with failure.
pub(crate) fn setup_failed(error: ConfigError) -> ! {
    defmt::error!("{}", error);
    exit(EXIT_FAILURE)
}

/// Reports a panic and exits with failure.
pub(crate) fn panicked(info: &PanicInfo<'_>) -> ! {
    let line = info.location().map_or(0, core::panic::Location::line);
    let file = info.location().map_or("", core::panic::Location::file);
    defmt::error!("panic at {=str}:{=u32}", file, line);
    exit(EXIT_FAILURE)
}

fn exit(status: debug::ExitStatus) -> ! {
    loop {
        debug::exit(status);
    }
}
