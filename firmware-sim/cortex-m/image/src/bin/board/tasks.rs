//! The worker and the application.

use core::sync::atomic::Ordering;

use embassy_executor::Spawner;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;
use handsfree_core::playback::{Ducking, Track, TrackError, TrackEvent, TrackPool};
use handsfree_core::time::Clock as _;
use handsfree_core::{Duration, Events, Frame, Gain, StatsReader, capture, playback};
use handsfree_image::listener::{self, LISTENING, Listener};
use handsfree_image::machine;
use handsfree_image::measure::{Gauge, MEASURING};
use handsfree_image::noise::Noise;
use handsfree_image::{CAP, SLOTS, clock};

use crate::finish;
use crate::interrupts::{self, DISTURBING, WORK};

pub(crate) type Mutex = CriticalSectionRawMutex;
pub(crate) type Halves = handsfree_core::Halves<'static, Mutex, Listener, (), CAP, SLOTS>;
pub(crate) type Pool = TrackPool<'static, Mutex, CAP, SLOTS>;
type Voice = Track<'static, 'static, Mutex, CAP, SLOTS>;

/// Tells the voice to begin.
static JOIN: Signal<Mutex, ()> = Signal::new();
/// Tells the voice that the worker has polled.
static POLLED: Signal<Mutex, ()> = Signal::new();

/// What the worker owns.
pub(crate) struct Worker {
    pub(crate) capture: capture::Pipeline<'static, CAP, SLOTS, Listener, ()>,
    pub(crate) playback: playback::Pipeline<'static, CAP, SLOTS>,
    pub(crate) events: Events<'static>,
    pub(crate) stats: StatsReader<'static>,
}

pub(crate) static CAPTURE: Gauge = Gauge::new();
pub(crate) static PLAYBACK: Gauge = Gauge::new();

/// Frames that pass before anything is measured, so that clocks and tracks have settled.
const SETTLE_FRAMES: u32 = 100;
/// When one track has been measured and a second one joins.
const JOIN_AT_FRAMES: u32 = SETTLE_FRAMES + 100;
/// When the ducking has settled, between which the two are measured.
const SETTLED_AT_FRAMES: u32 = JOIN_AT_FRAMES + 20;
const MEASURED_AT_FRAMES: u32 = SETTLED_AT_FRAMES + 25;
/// Frames before the echo is checked: the clocks find their rates in some 10 s.
const CHECK_AFTER_FRAMES: u32 = 2_000;
/// Stretches for which the application masks interrupts, in ticks: at most 2 ms.
const MASKED_TICKS: u32 = 50_000;

pub(crate) fn spawn(spawner: Spawner, worker_parts: Worker, pool: &'static Pool) {
    match (worker(worker_parts, pool), music(pool), voice(pool)) {
        (Ok(worker), Ok(music), Ok(voice)) => {
            spawner.spawn(worker);
            spawner.spawn(music);
            spawner.spawn(voice);
        }
        _ => finish::failed("the executor takes each task once"),
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
        PLAYBACK.run(|| playback.poll());
        let mut delivered = 0;
        let mut sink = |frame: &Frame<CAP>| delivered += u32::from(frame.sample_frames() == CAP);
        CAPTURE.run_less(|| LISTENING.total(), || capture.poll(&clock::now, &mut sink));
        pool.dispatch();
        POLLED.signal(());
        while let Some(event) = events.poll() {
            if frames < CHECK_AFTER_FRAMES {
                event.log();
            }
        }
        for _ in 0..delivered {
            frames += 1;
            match frames {
                SETTLE_FRAMES | SETTLED_AT_FRAMES => MEASURING.store(true, Ordering::Relaxed),
                JOIN_AT_FRAMES => {
                    finish::measured("one_track");
                    JOIN.signal(());
                }
                MEASURED_AT_FRAMES => {
                    finish::measured("two_tracks");
                    DISTURBING.store(true, Ordering::Relaxed);
                    machine::disturb_in(1_000);
                    defmt::info!("measured; from here on interrupts are delayed");
                }
                CHECK_AFTER_FRAMES => listener::forget(),
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
        if DISTURBING.load(Ordering::Relaxed) && noise.word().is_multiple_of(8) {
            critical_section::with(|_| interrupts::hold_for(noise.word() % MASKED_TICKS));
        }
    }
}

fn drift(capture: &capture::Pipeline<'static, CAP, SLOTS, Listener, ()>) -> f32 {
    capture.drift_ppm().unwrap_or(0.0) as f32
}

/// A background that never ends and gives way to the voice.
#[embassy_executor::task]
async fn music(pool: &'static Pool) {
    let Err(error) = play_music(pool).await;
    defmt::error!("music: {}", error);
    finish::failed("music ends");
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

/// Speaks, and is interrupted every other time.
#[embassy_executor::task]
async fn voice(pool: &'static Pool) {
    let mut turn = 0u32;
    JOIN.wait().await;
    loop {
        if let Err(error) = speak(pool, turn).await {
            defmt::error!("voice: {}", error);
            finish::failed("a voice is heard");
        }
        turn += 1;
    }
}

async fn speak(pool: &'static Pool, turn: u32) -> Result<(), TrackError> {
    let mut track: Voice = loop {
        match pool.open() {
            // The last turn's slot is free once the mixer is done with it.
            Err(TrackError::NoSlot { .. }) => POLLED.wait().await,
            opened => break opened?,
        }
    };
    track.set_gain(Gain::linear(0.5).map_err(TrackError::from)?, Duration::ZERO)?;
    let mut noise = Noise::new(1_000 + turn);
    let mut samples = [0; CAP];
    for _ in 0..60 {
        noise.fill(&mut samples);
        track.push_all(&samples).await?;
    }
    if turn % 2 == 1 {
        let asked = clock::now.now();
        track.interrupt();
        let heard = track.interrupted(&clock::now).await;
        let took = clock::now.now() - asked;
        finish::check_interruption(heard, track.position(), took);
        return Ok(());
    }
    while let Err(error) = track.mark_synthesis_complete() {
        match error {
            // The tail has no room yet.
            TrackError::Full => POLLED.wait().await,
            other => return Err(other),
        }
    }
    loop {
        match track.next_event(&clock::now).await {
            TrackEvent::LastAudio { .. } => break,
            event => defmt::debug!("turn {=u32}: {}", turn, event),
        }
    }
    Ok(())
}
