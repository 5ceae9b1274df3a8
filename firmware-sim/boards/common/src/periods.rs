//! Audio task: periods of a driver that returns whole buffers, with their times.

use handsfree_core::capture::{Intake, IntakeConfig};
use handsfree_core::playback::{Outlet, OutletConfig};
use handsfree_core::{ChannelMap, ConfigError, Duration, Instant, SampleRate};
use handsfree_dma::BufferTimes;

use crate::terminal::WORK;
use crate::{CAP, PERIOD, RATE_HZ, SLOTS};

/// Both interfaces have one clock.
const CLOCK_DOMAIN: u32 = 1;

/// What the board's wiring and its driver decide.
#[derive(Clone, Copy, Debug)]
pub struct Board {
    /// Slot in which the microphone speaks: 0 is the left one.
    pub microphone_slot: u8,
    /// Time between the microphone and the memory that the DMA has filled.
    pub microphone_latency: Duration,
    /// Sample frames between the memory that the driver takes and the loudspeaker: what the driver, the FIFO and the codec hold.
    pub queued_sample_frames: usize,
}

/// Takes the periods that the microphone's DMA has filled.
#[derive(Debug)]
pub struct Microphone {
    intake: Intake<'static, CAP>,
    times: BufferTimes,
}

impl Microphone {
    /// Configures the intake for the board.
    ///
    /// # Errors
    /// Names a slot that the interface does not have.
    pub fn new(mut intake: Intake<'static, CAP>, board: &Board) -> Result<Self, ConfigError> {
        let rate = SampleRate::new(RATE_HZ)?;
        let map = ChannelMap::select(2, &[board.microphone_slot])?;
        intake.configure(IntakeConfig { map, clock_domain: CLOCK_DOMAIN, ..IntakeConfig::new(rate) })?;
        Ok(Self { intake, times: BufferTimes::new(rate, board.microphone_latency) })
    }

    /// Takes a period of both slots that the DMA completed at `at`: words of 24 or 32 bits, left-justified.
    pub fn heard(&mut self, words: &[u32; PERIOD], at: Instant) {
        let samples: &[i32; PERIOD] = bytemuck::must_cast_ref(words);
        if self.intake.on_period(samples, self.times.captured(CAP, at)) > 0 {
            WORK.signal(());
        }
    }

    /// Notes that the driver lost samples before the next period.
    pub fn note_gap(&mut self) {
        self.times.note_gap();
    }
}

/// Fills the periods that the loudspeaker's DMA plays next.
#[derive(Debug)]
pub struct Loudspeaker {
    outlet: Outlet<'static, CAP, SLOTS>,
    times: BufferTimes,
    queued_sample_frames: usize,
}

impl Loudspeaker {
    /// Configures the outlet for the board.
    ///
    /// # Errors
    /// Names a limit of the session.
    pub fn new(mut outlet: Outlet<'static, CAP, SLOTS>, board: &Board) -> Result<Self, ConfigError> {
        let rate = SampleRate::new(RATE_HZ)?;
        outlet.configure(OutletConfig {
            map: ChannelMap::natural(1, 2)?,
            worker_slack_sample_frames: CAP as u32,
            latency: Duration::of_sample_frames(board.queued_sample_frames as u64, rate),
            clock_domain: CLOCK_DOMAIN,
            ..OutletConfig::new(rate)
        })?;
        let times = BufferTimes::new(rate, Duration::ZERO);
        Ok(Self { outlet, times, queued_sample_frames: board.queued_sample_frames })
    }

    /// Fills a period of both slots that the driver takes at `at`: words of 32 bits.
    pub fn fill(&mut self, words: &mut [u32; PERIOD], at: Instant) {
        let samples: &mut [i32; PERIOD] = bytemuck::must_cast_mut(words);
        if self.outlet.on_period(samples, self.times.played(CAP, self.queued_sample_frames, at)) > 0 {
            WORK.signal(());
        }
    }

    /// Notes that the driver played other samples before the next period.
    pub fn note_gap(&mut self) {
        self.times.note_gap();
    }
}
