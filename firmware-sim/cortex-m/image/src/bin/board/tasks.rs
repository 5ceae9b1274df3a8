//! Tasks of the executor: the worker, and an application with background music and speech.

use core::sync::atomic::Ordering;

use embassy_executor::Spawner;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;
use handsfree_core::playback::{Ducking, Track, TrackError, TrackEvent, TrackPool};
use handsfree_core::time::Clock as _;
use handsfree_core::{Duration, Events, Frame, Gain, StatsReader, capture, playback};
use handsfree_image::instruction_counter::{InstructionCounter, MEASURING};
use handsfree_image::machine;
use handsfree_image::noise::Noise;
use handsfree_image::reference_checker::{self, CHECKER_COST, ReferenceChecker};
use handsfree_image::{CAP, SLOTS, clock};

use crate::finish;
use crate::interrupts::{self, DISTURBANCE_ENABLED, WORK};

pub(crate) type Mutex = CriticalSectionRawMutex;
pub(crate) type Halves = handsfree_core::Halves<'static, Mutex, ReferenceChecker, (), CAP, SLOTS>;
pub(crate) type Pool = TrackPool<'static, Mutex, CAP, SLOTS>;
type SpeechTrack = Track<'static, 'static, Mutex, CAP, SLOTS>;

/// Signal that starts the speech task.
static START_SPEECH: Signal<Mutex, ()> = Signal::new();
/// Signal that the worker has polled, so that a slot or queue space may be free.
static POLLED: Signal<Mutex, ()> = Signal::new();

/// Halves that the worker owns.
pub(crate) struct Worker {
    pub(crate) capture: capture::Pipeline<'static, CAP, SLOTS, ReferenceChecker, ()>,
    pub(crate) playback: playback::Pipeline<'static, CAP, SLOTS>,
    pub(crate) events: Events<'static>,
    pub(crate) stats: StatsReader<'static>,
}

pub(crate) static CAPTURE_COST: InstructionCounter = InstructionCounter::new();
pub(crate) static PLAYBACK_COST: InstructionCounter = InstructionCounter::new();

/// Frame at which the measurement with one track starts, when clocks and tracks have settled.
const SETTLED_FRAME: u32 = 100;
/// Frame at which the measurement with one track ends and the speech track starts.
const SPEECH_FROM_FRAME: u32 = SETTLED_FRAME + 100;
/// Frame at which the ducking has settled and the measurement with two tracks starts.
const MEASURE_FROM_FRAME: u32 = SPEECH_FROM_FRAME + 20;
/// Frame at which the measurement with two tracks ends and the disturbance starts.
const DISTURB_FROM_FRAME: u32 = MEASURE_FROM_FRAME + 25;
/// Frame at which the check of the echo starts: the clocks need about 10 s to converge.
const CHECK_FROM_FRAME: u32 = 2_000;
/// Longest time for which the worker masks interrupts, in ticks: 2 ms.
const MAX_MASKED_TICKS: u32 = 50_000;

pub(crate) fn spawn(spawner: Spawner, worker_parts: Worker, pool: &'static Pool) {
    match (worker(worker_parts, pool), music(pool), speech(pool)) {
        (Ok(worker), Ok(music), Ok(speech)) => {
            spawner.spawn(worker);
            spawner.spawn(music);
            spawner.spawn(speech);
        }
        _ => finish::failed("the executor starts each task once"),
    }
}

#[embassy_executor::task]
async fn worker(worker: Worker, pool: &'static Pool) {
    let Worker { mut capture, mut playback, mut events, stats } = worker;
    let seconds = finish::seconds_to_run();
    let mut frames = 0u32;
    let mut noise = Noise::new(77);
    defmt::info!(
        "a session of {=usize} bytes, {=u32} s",
        size_of::<handsfree_image::TerminalSession>(),
        seconds
    );
    loop {
        WORK.wait().await;
        PLAYBACK_COST.measure(|| playback.poll());
        let mut delivered = 0;
        let mut sink = |frame: &Frame<CAP>| delivered += u32::from(frame.sample_frames() == CAP);
        CAPTURE_COST.measure_without(|| CHECKER_COST.total(), || capture.poll(&clock::now, &mut sink));
        pool.dispatch();
        POLLED.signal(());
        while let Some(event) = events.poll() {
            if frames < CHECK_FROM_FRAME {
                event.log();
            }
        }
        for _ in 0..delivered {
            frames += 1;
            match frames {
                SETTLED_FRAME | MEASURE_FROM_FRAME => MEASURING.store(true, Ordering::Relaxed),
                SPEECH_FROM_FRAME => {
                    finish::report_measurement("one_track");
                    START_SPEECH.signal(());
                }
                DISTURB_FROM_FRAME => {
                    finish::report_measurement("two_tracks");
                    DISTURBANCE_ENABLED.store(true, Ordering::Relaxed);
                    machine::disturb_in(1_000);
                    defmt::info!("measurement done; from now on interrupts are delayed");
                }
                CHECK_FROM_FRAME => reference_checker::restart(),
                _ => {}
            }
            if frames.is_multiple_of(1_000) {
                let now = stats.read();
                defmt::info!(
                    "{=u32} s: {=u32} xruns, drift {=f32} ppm",
                    frames / 100,
                    now.xruns(),
                    drift(&capture)
                );
            }
            if frames >= seconds * 100 {
                finish::check(&stats.read(), drift(&capture), frames);
            }
        }
        if DISTURBANCE_ENABLED.load(Ordering::Relaxed) && noise.word().is_multiple_of(8) {
            critical_section::with(|_| interrupts::busy_wait(noise.word() % MAX_MASKED_TICKS));
        }
    }
}

fn drift(capture: &capture::Pipeline<'static, CAP, SLOTS, ReferenceChecker, ()>) -> f32 {
    capture.drift_ppm().unwrap_or(0.0) as f32
}

/// Plays background music without end, ducked while the speech track plays.
#[embassy_executor::task]
async fn music(pool: &'static Pool) {
    let Err(error) = play_music(pool).await;
    defmt::error!("music: {}", error);
    finish::failed("music plays without an error");
}

async fn play_music(pool: &'static Pool) -> Result<core::convert::Infallible, TrackError> {
    let mut track = pool.open()?;
    track.set_ducking(Some(Ducking::default()))?;
    let mut noise = Noise::new(1);
    let mut samples = [0; CAP];
    loop {
        noise.fill(&mut samples);
        track.push_all(&samples).await?;
    }
}

/// Speaks again and again; every second utterance is interrupted.
#[embassy_executor::task]
async fn speech(pool: &'static Pool) {
    let mut utterance = 0u32;
    START_SPEECH.wait().await;
    loop {
        if let Err(error) = speak(pool, utterance).await {
            defmt::error!("speech: {}", error);
            finish::failed("speech plays without an error");
        }
        utterance += 1;
    }
}

async fn speak(pool: &'static Pool, utterance: u32) -> Result<(), TrackError> {
    let mut track: SpeechTrack = loop {
        match pool.open() {
            // The mixer has not freed the slot of the previous utterance yet.
            Err(TrackError::NoSlot { .. }) => POLLED.wait().await,
            opened => break opened?,
        }
    };
    track.set_gain(Gain::linear(0.5).map_err(TrackError::from)?, Duration::ZERO)?;
    let mut noise = Noise::new(1_000 + utterance);
    let mut samples = [0; CAP];
    for _ in 0..60 {
        noise.fill(&mut samples);
        track.push_all(&samples).await?;
    }
    if utterance % 2 == 1 {
        let requested = clock::now.now();
        track.interrupt();
        let played = track.interrupted(&clock::now).await;
        let took = clock::now.now() - requested;
        finish::check_interruption(played, track.position(), took);
        return Ok(());
    }
    while let Err(error) = track.mark_synthesis_complete() {
        match error {
            // The queue has no space yet for the resampler's tail.
            TrackError::Full => POLLED.wait().await,
            other => return Err(other),
        }
    }
    loop {
        match track.next_event(&clock::now).await {
            TrackEvent::LastAudio { .. } => break,
            event => defmt::debug!("utterance {=u32}: {}", utterance, event),
        }
    }
    Ok(())
}
