//! The core under RTIC.
//!
//! The halves are local resources of the tasks that use them. They need no `unsafe` and no cell, and RTIC
//! checks at compile time the exclusive access that an `InterruptCell` only assumes.
//!
//! The image runs for ten seconds with an acoustic path from loudspeaker to microphone and prints its counters.
#![no_std]
#![no_main]

// Links the vector table and the reset handler.
use cortex_m_rt as _;
use cortex_m_semihosting::{debug, hprintln};

#[rtic::app(device = handsfree_image::pac, peripherals = false, dispatchers = [DUALTIMER])]
mod app {
    use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
    use handsfree_core::capture::{self, Bypass, Intake, IntakeConfig};
    use handsfree_core::playback::{self, Outlet, OutletConfig, Track, TrackPool};
    use handsfree_core::{
        ChannelMap, ConfigError, Duration, Events, Frame, Gain, Halves, PeriodTime, SampleRate, Session,
        SessionFormat, StatsReader,
    };
    use handsfree_image::machine::{self, TICK_NS};
    use handsfree_image::{CAP, CAPTURE_TICKS, PLAYBACK_TICKS, SLOTS, TerminalSession, clock, room};
    use static_cell::{ConstStaticCell, StaticCell};

    type Mutex = CriticalSectionRawMutex;
    type Pool = TrackPool<'static, Mutex, CAP, SLOTS>;
    type AllHalves = Halves<'static, Mutex, Bypass, (), CAP, SLOTS>;

    const FRAMES: u32 = 1_000;
    static SESSION: ConstStaticCell<TerminalSession> = ConstStaticCell::new(Session::new());
    static POOL: StaticCell<Pool> = StaticCell::new();

    #[shared]
    struct Shared {}

    #[local]
    struct Local {
        intake: Intake<'static, CAP>,
        outlet: Outlet<'static, CAP, SLOTS>,
        worker: Worker,
    }

    /// State of the worker.
    pub struct Worker {
        capture: capture::Pipeline<'static, CAP, SLOTS, Bypass>,
        playback: playback::Pipeline<'static, CAP, SLOTS>,
        events: Events<'static>,
        stats: StatsReader<'static>,
        track: Track<'static, 'static, Mutex, CAP, SLOTS>,
        pool: &'static Pool,
        pushed_periods: u32,
        peak: i16,
    }

    #[init]
    fn init(_: init::Context) -> (Shared, Local) {
        machine::start_counter();
        let local = match set_up() {
            Ok(local) => local,
            Err(_) => super::end(false),
        };
        machine::CAPTURE_DMA.start(CAPTURE_TICKS);
        machine::PLAYBACK_DMA.start(PLAYBACK_TICKS);
        (Shared {}, local)
    }

    #[inline(never)]
    fn set_up() -> Result<Local, ConfigError> {
        let rate = SampleRate::new(16_000)?;
        let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
        let mut halves: AllHalves = SESSION.take().split(terminal, Bypass, ())?;
        let map = ChannelMap::natural(1, 1)?;
        let max_period_sample_frames = CAP as u32;
        halves.intake.configure(IntakeConfig {
            rate,
            map,
            gain: Gain::UNITY,
            max_period_sample_frames,
            clock_domain: 0,
        })?;
        halves.outlet.configure(OutletConfig {
            rate,
            map,
            max_period_sample_frames,
            worker_slack_sample_frames: CAP as u32,
            latency: Duration::from_millis(20),
            clock_domain: 0,
        })?;
        let pool: &'static Pool = POOL.init(halves.tracks);
        let Ok(track) = pool.open() else { super::end(false) };
        let worker = Worker {
            capture: halves.capture,
            playback: halves.playback,
            events: halves.events,
            stats: halves.stats,
            track,
            pool,
            pushed_periods: 0,
            peak: 0,
        };
        Ok(Local { intake: halves.intake, outlet: halves.outlet, worker })
    }

    #[idle]
    fn idle(_: idle::Context) -> ! {
        loop {
            cortex_m::asm::wfi();
        }
    }

    /// Returns the stream position of the next period and advances it. Each interrupt has its own position.
    fn advance(position: &mut u32) -> u32 {
        let before = *position;
        *position = before.wrapping_add(CAP as u32);
        before
    }

    /// Returns the time since the DMA's period ended, and the current time.
    fn times(timer: machine::Timer, ticks: u32) -> (Duration, handsfree_core::Instant) {
        critical_section::with(|_| {
            (Duration::from_nanos(i64::from(timer.since(ticks)) * TICK_NS), clock::now())
        })
    }

    #[task(binds = TIMER0, local = [intake, position: u32 = 0], priority = 2)]
    fn captured(context: captured::Context) {
        machine::CAPTURE_DMA.acknowledge();
        let (since, called) = times(machine::CAPTURE_DMA, CAPTURE_TICKS);
        let position = advance(context.local.position);
        let mut samples = [0; CAP];
        room::capture(position, &mut samples);
        let period = Duration::from_nanos(i64::from(CAPTURE_TICKS) * TICK_NS);
        let time = PeriodTime { position: position.into(), converter: called - since - period, called };
        if context.local.intake.on_period(&samples, time) > 0 {
            // Spawning fails if the task is still pending, which is fine.
            _ = work::spawn();
        }
    }

    #[task(binds = TIMER1, local = [outlet, position: u32 = 0], priority = 3)]
    fn played(context: played::Context) {
        machine::PLAYBACK_DMA.acknowledge();
        let (since, called) = times(machine::PLAYBACK_DMA, PLAYBACK_TICKS);
        let position = advance(context.local.position);
        let mut samples = [0; CAP];
        let period = Duration::from_nanos(i64::from(PLAYBACK_TICKS) * TICK_NS);
        let time = PeriodTime { position: position.into(), converter: called - since + period, called };
        if context.local.outlet.on_period(&mut samples, time) > 0 {
            _ = work::spawn();
        }
        room::play(position, &samples);
    }

    #[task(local = [worker], priority = 1)]
    async fn work(context: work::Context) {
        let Worker { capture, playback, events, stats, track, pool, pushed_periods, peak } =
            context.local.worker;
        // A sawtooth of 100 Hz.
        let mut period = [0i16; CAP];
        period.iter_mut().zip(0i16..).for_each(|(sample, at)| *sample = at * 100 - 8_000);
        while track.push(&period) == Ok(CAP) {
            *pushed_periods += 1;
        }
        playback.poll();
        capture.poll(&clock::now, &mut |frame: &Frame<CAP>| {
            *peak = frame.samples().iter().fold(*peak, |peak, &sample| peak.max(sample));
        });
        pool.dispatch();
        while events.poll().is_some() {}
        let stats = stats.read();
        if stats.capture.frames >= FRAMES {
            super::report(&stats, *pushed_periods, *peak, capture.drift_ppm());
        }
    }
}

/// Prints the counters and exits, with success if nothing was lost and the loudspeaker's signal was captured.
fn report(stats: &handsfree_core::Stats, pushed_periods: u32, peak: i16, drift_ppm: Option<f64>) {
    let drift_ppm = drift_ppm.map_or(0, |ppm| ppm as i32);
    hprintln!(
        "RTIC: {} frames captured, {} played, {} xruns, peak {}, drift {} ppm",
        stats.capture.frames,
        stats.outlet.frames,
        stats.xruns(),
        peak,
        drift_ppm
    );
    let passed = stats.xruns() == 0
        && stats.outlet.frames + 10 > stats.capture.frames
        && pushed_periods > stats.outlet.frames
        && peak > 1_000
        && (95..=105).contains(&drift_ppm);
    end(passed)
}

fn end(passed: bool) -> ! {
    debug::exit(if passed { debug::EXIT_SUCCESS } else { debug::EXIT_FAILURE });
    cortex_m::asm::udf()
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    end(false)
}
