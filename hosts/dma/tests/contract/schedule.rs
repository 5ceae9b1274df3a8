//! One random schedule of interrupts and faults, and the board's program that lives with it.

use std::cell::RefCell;
use std::rc::Rc;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::audio_io::{
    AudioIo as _, Direction, DirectionRequest, Directions, Event, StreamHalves, StreamRequest,
};
use handsfree_core::capture::{Bypass, Intake};
use handsfree_core::playback::Outlet;
use handsfree_core::{ChannelMap, Duration, Frame, Gain, SampleRate, Session, SessionFormat};
use handsfree_dma::{DmaIo, DmaPort, StreamProperties};

use crate::fake::{FakeDma, LONGEST_SETTLING_NS, Line, Rng, World};
use crate::heard::{Heard, value};
use crate::recorded::Recorded;

const RATE_HZ: u32 = 8_000;
const CAP: usize = 80;
const SLOTS: usize = 2;
/// Interval at which the control loop looks for events, in ns.
const POLL_NS: u64 = 20_000_000;
/// Interrupts of one schedule.
const INTERRUPTS: u64 = 24;

type Terminal = Session<CAP, SLOTS, 16, 16, 32, 32, 8_000>;
type CapturePort<'a, const PERIOD: usize> = DmaPort<NoopRawMutex, FakeDma, Intake<'a, CAP>, PERIOD>;
type PlaybackPort<'a, const PERIOD: usize> = DmaPort<NoopRawMutex, FakeDma, Outlet<'a, CAP, SLOTS>, PERIOD>;

pub(crate) struct Schedule {
    seed: u64,
    rng: Rng,
    is_verbose: bool,
    counts: [u64; 8],
}

impl Schedule {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, rng: Rng::new(seed), is_verbose: std::env::var_os("DMA_SEED").is_some(), counts: [0; 8] }
    }

    /// Returns the numbers of interrupts, sample frames captured and played, lost and repeated ones, faults, stopped clocks and
    /// xruns.
    pub(crate) fn counts(&self) -> [u64; 8] {
        self.counts
    }

    pub(crate) fn run(&mut self) {
        // Samples in a period: sample frames times slots.
        match self.rng.below(4) {
            0 => self.with_periods::<16, 80>(1, 1),
            1 => self.with_periods::<64, 64>(2, 2),
            2 => self.with_periods::<128, 32>(4, 1),
            _ => self.with_periods::<160, 80>(2, 1),
        }
    }

    fn with_periods<const C: usize, const P: usize>(&mut self, capture_slots: u32, playback_slots: u32) {
        let rng = &mut self.rng;
        let rate = SampleRate::new(RATE_HZ).unwrap();
        let periods = [2, 2, 2, 3, 4, 8][rng.below(6) as usize];
        let ppm = [0.0, 100.0, -300.0, 1_000.0][rng.below(4) as usize];
        let hz = f64::from(RATE_HZ) * (1.0 + ppm * 1e-6);
        let frames = |samples: usize, slots: u32| samples / slots as usize;
        let lines = [
            Line::new(hz, capture_slots as usize, frames(C, capture_slots) * periods as usize, false),
            Line::new(hz, playback_slots as usize, frames(P, playback_slots) * periods as usize, true),
        ];
        // The timer wraps during most schedules.
        let first_tick = u32::MAX - rng.below(4_000_000) as u32;
        let world = World::new(self.seed, first_tick, true, lines);
        // What the hardware is like: a DMA that stops at a fault, and one interface for both directions.
        let (stops_at_fault, is_duplex) =
            [(false, false), (false, true), (true, false)][rng.below(3) as usize];
        world.lines.iter().for_each(|line| line.borrow_mut().stops_at_fault = stops_at_fault);
        world.is_duplex.set(is_duplex);
        if self.is_verbose {
            println!("{periods} periods, {ppm} ppm, stops at a fault: {stops_at_fault}, duplex: {is_duplex}");
        }
        let slots = [rng.below(capture_slots.into()) as usize, rng.below(playback_slots.into()) as usize];

        let mut session = Box::new(Terminal::new());
        let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
        let halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).unwrap();
        let (mut capture, mut playback) = (halves.capture, halves.playback);
        let mut track = halves.tracks.open().unwrap();
        let ports = (CapturePort::<C>::new(), PlaybackPort::<P>::new());
        let properties = |name, slots: u32, samples: usize| StreamProperties {
            name,
            rate,
            slots,
            period_sample_frames: frames(samples, slots) as u32,
            periods,
            latency: Duration::ZERO,
            clock_domain: 1,
        };
        let dma = |line| FakeDma { world: Rc::clone(&world), line };
        ports.0.install(properties("microphone", capture_slots, C), dma(0)).unwrap();
        ports.1.install(properties("loudspeaker", playback_slots, P), dma(1)).unwrap();
        let mut io = DmaIo::new(&ports.0, &ports.1);
        let asked = |map: ChannelMap, channels| DirectionRequest {
            device: None,
            rate,
            device_channels: channels,
            map: Some(map),
            period_sample_frames: 80,
            worker_slack_sample_frames: 80,
            gain: Gain::UNITY,
        };
        let request = StreamRequest {
            capture: Some(asked(
                ChannelMap::select(capture_slots, &[slots[0] as u8]).unwrap(),
                capture_slots,
            )),
            playback: Some(asked(
                ChannelMap::place(&[slots[1] as u8], playback_slots).unwrap(),
                playback_slots,
            )),
        };
        io.start(&request, StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) })
            .unwrap();

        let ring = frames(P, playback_slots) * periods as usize;
        let capture_ring = (frames(C, capture_slots) * periods as usize) as u64;
        let mut recorded = Recorded::new(slots[0]);
        let mut heard = Heard::new(slots[1]);
        let mut pushed = 0u64;
        let mut told = [0u64; 2];
        let mut next_poll_ns = 0;
        let mut lost_device = false;
        for turn in 0..INTERRUPTS {
            let context = format!("seed {}, turn {turn}", self.seed);
            self.counts[0] += 1;
            // One of the faults that real hardware has, or none.
            match rng.below(40) {
                0 => {
                    world.lines[0].borrow_mut().overrun();
                    self.counts[5] += 1;
                }
                1 => {
                    world.lines[1].borrow_mut().overrun();
                    self.counts[5] += 1;
                }
                2 => {
                    let until_ns = world.now_ns.get() + 1_000_000 * (1 + rng.below(300));
                    if self.is_verbose {
                        println!(
                            "{context}: the clock stops at {} us until {} us",
                            world.now_ns.get() / 1_000,
                            until_ns / 1_000
                        );
                    }
                    world.lines.iter().for_each(|line| line.borrow_mut().stopped_until_ns = until_ns);
                    let number = |ns: u64| (ns as f64 * 1e-9 * hz) as u64;
                    let stopped = number(world.now_ns.get())..number(until_ns);
                    // Only the time shows how often the DMA went round meanwhile. The counted loss appears before the samples
                    // that the next interrupt finds, of which some were captured before the stop.
                    let first = stopped.start.saturating_sub(capture_ring);
                    // Some of what the interrupt finds was captured before the stop, and some after it.
                    let most = stopped.end - stopped.start + capture_ring;
                    recorded.expect_error(first..stopped.start + 4, most);
                    recorded.expect_stop(first..stopped.end + CAP as u64);
                    self.counts[6] += 1;
                    // Until the clock runs again no interrupt comes.
                    while world.now_ns.get() < until_ns {
                        world.advance_to(world.now_ns.get() + POLL_NS.min(until_ns - world.now_ns.get()));
                        while let Some(event) = io.poll_event() {
                            lost_device |= matches!(event, Event::DeviceLost { .. });
                        }
                    }
                    if lost_device {
                        let halves = io.stop(Directions::Both);
                        heard.take(&mut world.lines[1].borrow_mut(), &context);
                        capture.poll(&|| world.now(), &mut |frame: &Frame<CAP>| {
                            recorded.take(frame, &world, &context)
                        });
                        recorded.stopped();
                        io.start(&request, halves).unwrap();
                        lost_device = false;
                    }
                }
                _ => {}
            }
            // The next interrupt, which may come late: within its period, or so late that the ring has gone round.
            let to_border_ns = |line: &RefCell<Line>| {
                let line = line.borrow();
                let period = line.length() / periods as usize;
                ((period - line.index % period) as f64 / line.hz * 1e9) as u64
            };
            let period_ns = world.lines.iter().map(to_border_ns).min().unwrap();
            let late_ns = match rng.below(40) {
                0 => rng.below(80_000_000),
                1..4 => rng.below(8_000_000),
                4..10 => rng.below(2_000_000),
                _ => rng.below(50_000),
            };
            world.advance_to(world.now_ns.get() + period_ns + 1_000 + late_ns);
            if self.is_verbose {
                println!(
                    "{context}: interrupt at {} us, {} us late",
                    world.now_ns.get() / 1_000,
                    late_ns / 1_000
                );
            }
            let order = if rng.one_in(2) { [0, 1] } else { [1, 0] };
            for line in order {
                // A DMA that has stopped has no interrupt.
                if !world.lines[line].borrow().is_running() {
                    continue;
                }
                match line {
                    0 => ports.0.on_interrupt(),
                    _ => ports.1.on_interrupt(),
                };
            }
            playback.poll();
            capture.poll(&|| world.now(), &mut |frame: &Frame<CAP>| recorded.take(frame, &world, &context));
            let samples: Vec<i16> = (0..400).map(|at| value(pushed + at)).collect();
            pushed += track.push(&samples).unwrap() as u64;
            playback.poll();
            heard.take(&mut world.lines[1].borrow_mut(), &context);
            if world.now_ns.get() >= next_poll_ns {
                next_poll_ns = world.now_ns.get() + POLL_NS;
                while let Some(event) = io.poll_event() {
                    if self.is_verbose {
                        println!("{context}: {event:?}");
                    }
                    match event {
                        Event::Xrun { direction, sample_frames } => {
                            told[usize::from(direction == Direction::Playback)] += u64::from(sample_frames);
                            self.counts[7] += 1;
                            let now = world.lines[0].borrow().converted;
                            recorded.expect_error(now..now, 2);
                            let pause = (LONGEST_SETTLING_NS as f64 * 1e-9 * hz) as u64 + 3;
                            let near = now.saturating_sub(capture_ring + pause);
                            if direction == Direction::Playback {
                                // Playback may have stopped the clock of capture. Only the time tells for how long, and not which of
                                // the sample frames in the ring came before.
                                recorded.expect_error(near..now + 2, if is_duplex { pause } else { 0 });
                                if is_duplex {
                                    recorded.expect_stop(near..now + 2);
                                }
                            }
                            if is_duplex || stops_at_fault {
                                recorded.expect_gap(near..now + CAP as u64);
                            }
                        }
                        Event::DeviceLost { .. } => {}
                        other => panic!("{context}: {other:?}"),
                    }
                }
                for (line, name) in world.lines.iter().zip(["capture", "playback"]) {
                    assert!(
                        line.borrow().is_running(),
                        "{context}: {name} was not restarted after its fault"
                    );
                }
            }
        }
        while let Some(event) = io.poll_event() {
            if let Event::Xrun { direction: Direction::Playback, sample_frames } = event {
                told[1] += u64::from(sample_frames);
            }
        }
        let stats = halves.stats.read();
        let context = format!("seed {}", self.seed);
        assert_eq!(
            (stats.intake.ragged_samples, stats.outlet.ragged_samples),
            (0, 0),
            "{context}: {stats:?}"
        );
        if self.is_verbose {
            println!("{stats:?}; told {told:?}, ring {ring}");
        }
        // What was never heard was counted: written too late, or discarded at a restart. The ring's content is not heard yet at
        // the end. A clock that stood still looks like one that played the ring meanwhile, and then it is written again.
        let rings = (1 + self.counts[6]) * ring as u64;
        let counted = told[1] + u64::from(stats.outlet.discarded_sample_frames) + rings;
        assert!(
            heard.skipped <= counted,
            "{context}: {} samples were never heard, {counted} counted",
            heard.skipped
        );
        self.counts[1] += recorded.sample_frames;
        self.counts[2] += heard.sample_frames;
        self.counts[3] += recorded.lost;
        self.counts[4] += heard.repeated;
    }
}
