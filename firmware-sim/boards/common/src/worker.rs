//! Worker: both pipelines, and a line of the log every second.

use handsfree_core::capture::{self, VoiceProcessor};
use handsfree_core::{Events, Frame, playback};

use crate::terminal::{Pool, WORK};
use crate::{CAP, SLOTS, now};

/// Frames between two lines of the log: 1 s.
const LOGGED_FRAMES: u32 = 100;

/// Runs both pipelines.
pub struct Worker<V: VoiceProcessor + 'static> {
    capture: capture::Pipeline<'static, CAP, SLOTS, V, ()>,
    playback: playback::Pipeline<'static, CAP, SLOTS>,
    pool: &'static Pool,
    events: Events<'static>,
}

impl<V: VoiceProcessor> Worker<V> {
    pub(crate) fn new(
        capture: capture::Pipeline<'static, CAP, SLOTS, V, ()>,
        playback: playback::Pipeline<'static, CAP, SLOTS>,
        pool: &'static Pool,
        events: Events<'static>,
    ) -> Self {
        Self { capture, playback, pool, events }
    }

    /// Processes every frame, for ever, and gives each cleaned one to `sink`, which must not wait: it runs between the pipelines, and has
    /// 10 ms less what they take. Logs the level of the cleaned microphone, the echo reduction and the time it takes.
    pub async fn run(mut self, mut sink: impl FnMut(&Frame<CAP>)) -> ! {
        let (mut frames, mut energy, mut busy_us) = (0u32, 0u64, 0u64);
        loop {
            WORK.wait().await;
            let begin = embassy_time::Instant::now();
            self.playback.poll();
            self.capture.poll(&now, &mut |frame: &Frame<CAP>| {
                sink(frame);
                let squares = frame.samples().iter().map(|&sample| i32::from(sample).pow(2) as u32);
                energy += squares.map(u64::from).sum::<u64>();
                frames += 1;
            });
            self.pool.dispatch();
            busy_us += begin.elapsed().as_micros();
            while let Some(event) = self.events.poll() {
                event.log();
            }
            if frames >= LOGGED_FRAMES {
                let level = energy / (u64::from(frames) * CAP as u64);
                let (level_db, busy) = (level_db(level as u32), busy_us / (u64::from(frames) * 100));
                match self.capture.voice_stats().erle_db {
                    Some(erle_db) => defmt::info!(
                        "cleaned microphone {=i32} dBFS; echo reduced by {=f32} dB; {=u64} % of the processor",
                        level_db,
                        erle_db,
                        busy
                    ),
                    None => defmt::info!(
                        "cleaned microphone {=i32} dBFS; no echo to measure; {=u64} % of the processor",
                        level_db,
                        busy
                    ),
                }
                (frames, energy, busy_us) = (0, 0, 0);
            }
        }
    }
}

/// Returns the level of a mean square of 16-bit samples in dBFS, to 3 dB.
fn level_db(mean_square: u32) -> i32 {
    3 * (32 - mean_square.leading_zeros() as i32) - 90
}
