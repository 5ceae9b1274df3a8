//! Asynchronous waiting for a track on tokio, with one thread and with several, and on embassy's executor, each with the
//! kind of mutex that it requires. The simulated board runs in virtual time.

use std::cell::Cell;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::task::{Context, Poll, Waker};

use embassy_futures::select::{Either, select};
use embassy_futures::yield_now;
use embassy_sync::blocking_mutex::raw::{CriticalSectionRawMutex, NoopRawMutex, RawMutex};
use handsfree_core::audio_io::{AudioIo, StreamHalves};
use handsfree_core::capture::{self, Bypass};
use handsfree_core::playback::{self, TrackError, TrackEvent, TrackPool};
use handsfree_core::time::Clock;
use handsfree_core::{Duration, Frame, Halves, Instant, SampleRate, SessionFormat};
use handsfree_sim::acoustics::Wire;
use handsfree_sim::board::{SimulatedBoard, Step};
use handsfree_sim::scenario::{CAP, SLOTS, SimSession, request};
use handsfree_tests::{plain_board, with_large_stack};

const RATE_HZ: i64 = 16_000;
const LATENCY: Duration = Duration::from_millis(120);

type WaitingTracks<M> = TrackPool<'static, M, CAP, SLOTS>;

/// A board with both workers. It lives as long as the program, as in firmware.
struct WorkerRig {
    board: SimulatedBoard<'static, CAP, SLOTS>,
    capture: capture::Pipeline<'static, CAP, SLOTS, Bypass>,
    playback: playback::Pipeline<'static, CAP, SLOTS>,
}

fn new_rig<M: RawMutex>() -> (WorkerRig, &'static WaitingTracks<M>) {
    let session = with_large_stack(|| Box::leak(Box::new(SimSession::new())));
    let rate = SampleRate::new(RATE_HZ as u32).unwrap();
    let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
    let halves = session.split::<M, _, _>(terminal, Bypass, ()).unwrap();
    let Halves { intake, outlet, capture, playback, tracks, .. } = halves;
    let mut config = plain_board(rate, 11);
    config.playback.latency = LATENCY;
    let mut board = SimulatedBoard::new(config.clone(), Box::new(Wire)).unwrap();
    let stream_halves = StreamHalves { intake: Some(intake), outlet: Some(outlet) };
    board.start(&request(&config), stream_halves).unwrap_or_else(|refused| panic!("{}", refused.error));
    (WorkerRig { board, capture, playback }, Box::leak(Box::new(tracks)))
}

impl WorkerRig {
    /// Runs the board up to and including the next run of the worker.
    fn step(&mut self) {
        while self.board.step() != Step::Worker {}
        self.playback.poll();
        let clock = self.board.clock();
        self.capture.poll(&clock, &mut |_: &Frame<CAP>| {});
    }
}

/// Runs the board and wakes waiting tasks until all conversations have ended.
async fn drive<M: RawMutex>(mut rig: WorkerRig, tracks: &WaitingTracks<M>, speaking: &Cell<u32>) {
    while speaking.get() > 0 {
        rig.step();
        tracks.dispatch();
        yield_now().await;
    }
    // The mixer notices that the handles were dropped.
    rig.step();
}

fn seconds(span: Duration) -> f64 {
    span.as_nanos() as f64 / 1e9
}

/// Runs a conversation of one voice: an utterance that is played completely, one that is interrupted, and a last word.
async fn speak<M: RawMutex>(tracks: &WaitingTracks<M>, clock: &impl Clock) {
    let mut voice = tracks.open().unwrap();
    let begin = clock.now();
    let speech = vec![5_000i16; 3 * RATE_HZ as usize + 33];
    voice.push_all(&speech).await.unwrap();
    let pushed_after = seconds(clock.now() - begin);
    let waits = seconds(voice.queued_duration());
    assert!(
        pushed_after + waits > 2.9 && waits < 1.5,
        "{waits} s are queued after {pushed_after} s: no back pressure"
    );

    while voice.mark_synthesis_complete() == Err(TrackError::Full) {
        yield_now().await;
    }
    let TrackEvent::FirstAudio { at: first } = voice.next_event(clock).await else { panic!("first audio") };
    let TrackEvent::LastAudio { at: last } = voice.next_event(clock).await else { panic!("last audio") };
    let length = seconds(last - first);
    let expected = speech.len() as f64 / RATE_HZ as f64;
    assert!((length - expected).abs() < 1.5 / RATE_HZ as f64, "{length} s of {expected} s");
    assert!(clock.now() >= last, "reported before it was heard");
    assert_eq!(voice.played_position(clock.now()), speech.len() as u64);

    let begun = voice.position();
    voice.push_all(&vec![5_000; RATE_HZ as usize]).await.unwrap();
    let TrackEvent::FirstAudio { .. } = voice.next_event(clock).await else { panic!("first audio") };
    while voice.played_position(clock.now()) < begun + 4_000 {
        yield_now().await;
    }
    let (asked, heard) = (clock.now(), voice.played_position(clock.now()));
    voice.interrupt();
    let stopped = voice.interrupted(clock).await;
    let more = stopped - heard;
    // The sum of the device's latency, 2 frames in the ring, one frame, and the fade.
    assert!((1..=160 * (12 + 2 + 1) + 80).contains(&more), "{more} more sample frames were heard");
    assert!(clock.now() - asked <= LATENCY + Duration::from_millis(50));
    assert_eq!(voice.next_event(clock).await, TrackEvent::Interrupted { position: stopped });

    let begun = clock.now();
    voice.push_all_bytes(&[1; 2 * 333 + 1]).await.unwrap();
    voice.wait_for_playout(clock).await;
    assert_eq!(voice.played_position(clock.now()), voice.position());
    let took = clock.now() - begun;
    assert!(took >= LATENCY && took <= LATENCY + Duration::from_millis(80), "{took:?}");
}

async fn speak_and_count<M: RawMutex>(tracks: &WaitingTracks<M>, clock: impl Clock, speaking: &Cell<u32>) {
    speak(tracks, &clock).await;
    speaking.set(speaking.get() - 1);
}

#[test]
fn a_conversation_runs_on_tokio_in_one_thread() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (rig, tracks) = new_rig::<NoopRawMutex>();
    let speaking = Cell::new(2);
    let (one, two) = (rig.board.clock(), rig.board.clock());
    runtime.block_on(async {
        tokio::join!(
            drive(rig, tracks, &speaking),
            speak_and_count(tracks, one, &speaking),
            speak_and_count(tracks, two, &speaking),
        )
    });
    assert_eq!(tracks.free(), SLOTS);
}

/// The board runs in its own thread; tokio schedules the voices on its worker threads.
#[test]
fn conversations_run_on_tokio_in_several_threads() {
    let now = Arc::new(AtomicI64::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let (give, take) = std::sync::mpsc::channel();
    let driver = std::thread::spawn({
        let (now, done) = (now.clone(), done.clone());
        move || {
            let (mut rig, tracks) = new_rig::<CriticalSectionRawMutex>();
            give.send(tracks).unwrap();
            while !done.load(Ordering::Relaxed) {
                rig.step();
                now.store(rig.board.now().as_nanos(), Ordering::Release);
                tracks.dispatch();
                // Without this, virtual time could advance by hours before another thread runs.
                std::thread::yield_now();
            }
        }
    });
    let tracks: &'static WaitingTracks<CriticalSectionRawMutex> = take.recv().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let clock = move || Instant::from_nanos(now.load(Ordering::Acquire));
    let voices: Vec<_> = (0..3)
        .map(|_| {
            let clock = clock.clone();
            runtime.spawn(async move {
                let mut voice = tracks.open().unwrap();
                for _ in 0..20 {
                    voice.push_all(&[3_000; 2_345]).await.unwrap();
                    voice.wait_for_playout(&clock).await;
                    assert_eq!(voice.played_position(clock.now()), voice.position());
                    voice.push_all(&[3_000; 8_000]).await.unwrap();
                    voice.interrupt();
                    let stopped = voice.interrupted(&clock).await;
                    assert!(stopped <= voice.position());
                }
            })
        })
        .collect();
    runtime.block_on(async {
        for voice in voices {
            voice.await.unwrap();
        }
    });
    done.store(true, Ordering::Relaxed);
    driver.join().unwrap();
}

thread_local! {
    static SPEAKING: &'static Cell<u32> = Box::leak(Box::new(Cell::new(2)));
}

#[embassy_executor::task]
async fn drive_task(
    rig: WorkerRig,
    tracks: &'static WaitingTracks<NoopRawMutex>,
    speaking: &'static Cell<u32>,
) {
    drive(rig, tracks, speaking).await;
}

#[embassy_executor::task(pool_size = 2)]
async fn speak_task(
    tracks: &'static WaitingTracks<NoopRawMutex>,
    clock: handsfree_sim::board::VirtualClock,
    speaking: &'static Cell<u32>,
) {
    speak_and_count(tracks, clock, speaking).await;
}

#[test]
fn a_conversation_runs_on_embassys_executor() {
    let executor: &'static mut embassy_executor::Executor =
        Box::leak(Box::new(embassy_executor::Executor::new()));
    let (rig, tracks) = new_rig::<NoopRawMutex>();
    let speaking = SPEAKING.with(|speaking| *speaking);
    let (one, two) = (rig.board.clock(), rig.board.clock());
    executor.run_until(
        |spawner| {
            spawner.spawn(drive_task(rig, tracks, speaking).unwrap());
            spawner.spawn(speak_task(tracks, one, speaking).unwrap());
            spawner.spawn(speak_task(tracks, two, speaking).unwrap());
        },
        || speaking.get() == 0,
    );
}

/// Dropping a future, as a select does, leaves the track unchanged; samples that were pushed stay pushed.
#[test]
fn a_dropped_future_loses_no_samples() {
    let (mut rig, tracks) = new_rig::<NoopRawMutex>();
    let clock = rig.board.clock();
    let mut voice = tracks.open().unwrap();
    let speech = vec![4_000i16; 5 * RATE_HZ as usize];
    let mut context = Context::from_waker(Waker::noop());
    {
        let mut pushing = pin!(voice.push_all(&speech));
        assert!(pushing.as_mut().poll(&mut context).is_pending());
    }
    let taken = voice.position() as usize;
    assert!(taken > 0 && taken < speech.len());
    let mut rest = pin!(async {
        voice.push_all(&speech[taken..]).await.unwrap();
        let timeout = async {
            while clock.now() < Instant::from_nanos(4_000_000_000) {
                yield_now().await;
            }
        };
        match select(voice.wait_for_playout(&clock), timeout).await {
            Either::First(()) => panic!("5 s were reported as played after 4 s"),
            Either::Second(()) => {}
        }
        voice.wait_for_playout(&clock).await;
        voice.played_position(clock.now())
    });
    let heard = loop {
        rig.step();
        tracks.dispatch();
        if let Poll::Ready(heard) = rest.as_mut().poll(&mut context) {
            break heard;
        }
    };
    assert_eq!(heard, speech.len() as u64);
}
