//! A fake of the hardware: converters, DMA, interface and timer of a board, in virtual time, with every fault that the real
//! ones have. Each access to the hardware takes some time, so that the DMA moves on between any two.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::Instant;
use handsfree_dma::{DmaStream, TickClock};

/// Ticks of the timer in a second.
pub(crate) const TICKS_PER_S: u32 = 16_000_000;
/// Numbers of sample frames after which the fake's samples repeat themselves.
pub(crate) const CYCLE: u64 = 8_001;

/// Longest time that the clock of a duplex interface takes to start, in ns: less than half of the shortest ring.
pub(crate) const LONGEST_SETTLING_NS: u64 = 1_500_000;

/// Generator of random numbers (xorshift).
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end.max(1)
    }

    pub(crate) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// Returns the sample that the fake's microphone has in a slot at a time, in sample frames: never 0, and different in all
/// of up to four slots.
pub(crate) fn sample_at(frame: u64, slot: usize) -> i16 {
    ((frame % CYCLE) * 4 + slot as u64 + 1) as i16
}

/// One direction of the fake.
pub(crate) struct Line {
    pub(crate) ring: Vec<i16>,
    pub(crate) slots: usize,
    /// Sample frames a second, by the true time.
    pub(crate) hz: f64,
    is_running: bool,
    /// Place of the DMA in the ring, in sample frames.
    pub(crate) index: usize,
    /// Number of sample frames that the converters have made since the begin of time.
    pub(crate) converted: u64,
    pub(crate) has_fault: bool,
    /// Number of slots by which an overrun has shifted what follows.
    shift: usize,
    /// Whether the DMA stops at a fault.
    pub(crate) stops_at_fault: bool,
    /// Time until which the bit clock stands still, in ns.
    pub(crate) stopped_until_ns: u64,
    /// What the loudspeaker played, with the sample frames' numbers.
    pub(crate) heard: Vec<(u64, Vec<i16>)>,
    /// Last slot of each sample frame since the begin of time, where the microphone hears the loudspeaker.
    emitted: Option<Vec<i16>>,
    is_playback: bool,
}

impl Line {
    pub(crate) fn new(hz: f64, slots: usize, ring_sample_frames: usize, is_playback: bool) -> Self {
        Self {
            // What was in the memory before is no silence.
            ring: vec![-7; slots * ring_sample_frames],
            slots,
            hz,
            is_running: false,
            index: 0,
            converted: 0,
            has_fault: false,
            shift: 0,
            stops_at_fault: false,
            stopped_until_ns: 0,
            heard: Vec::new(),
            emitted: None,
            is_playback,
        }
    }

    pub(crate) fn length(&self) -> usize {
        self.ring.len() / self.slots
    }

    pub(crate) fn is_running(&self) -> bool {
        self.is_running
    }

    /// Lets the interface lose a word: from now on the slots are shifted, or nothing moves any more.
    pub(crate) fn overrun(&mut self) {
        if self.is_running {
            self.has_fault = true;
            self.shift += 1;
            self.is_running = !self.stops_at_fault;
        }
    }

    /// Moves the samples until a time. `has_clock` tells whether the interface's clock runs, and `echo` what the loudspeaker played.
    fn advance(&mut self, now_ns: u64, has_clock: bool, echo: Option<&[i16]>) {
        let end = (now_ns as f64 * 1e-9 * self.hz) as u64;
        let is_stopped = |frame: u64, until: u64| (frame as f64 / self.hz * 1e9) < until as f64;
        while self.converted < end {
            let frame = self.converted;
            self.converted += 1;
            if !self.is_running || !has_clock || is_stopped(frame, self.stopped_until_ns) {
                self.emitted.iter_mut().for_each(|emitted| emitted.push(0));
                continue;
            }
            let slots = &mut self.ring[self.index * self.slots..][..self.slots];
            if self.is_playback {
                // Also shifted ones, which come out of the wrong loudspeaker until the restart.
                match &mut self.emitted {
                    Some(emitted) => emitted.extend(slots.last()),
                    None => self.heard.push((frame, slots.to_vec())),
                }
            } else if let Some(echo) = echo {
                slots.fill(echo.get(frame as usize).copied().unwrap_or(0));
            } else {
                for (slot, sample) in slots.iter_mut().enumerate() {
                    *sample = sample_at(frame, (slot + self.shift) % self.slots);
                }
            }
            self.index = (self.index + 1) % self.length();
        }
    }
}

/// The fake's board.
pub(crate) struct World {
    pub(crate) now_ns: Cell<u64>,
    /// Value of the timer at the begin.
    first_tick: u32,
    clock: TickClock<NoopRawMutex>,
    pub(crate) lines: [RefCell<Line>; 2],
    rng: RefCell<Rng>,
    /// Longest time that an access takes, in ns.
    access_ns: u64,
    /// Whether the copying of samples may be interrupted for long.
    preempts: bool,
    /// Whether one interface serves both directions, and its loudspeaker's side makes the clock.
    pub(crate) is_duplex: Cell<bool>,
    /// What happens when the timer is read next: an interrupt that comes just then.
    pub(crate) nested: RefCell<Option<Box<dyn FnOnce()>>>,
}

impl World {
    pub(crate) fn new(seed: u64, first_tick: u32, preempts: bool, lines: [Line; 2]) -> Rc<Self> {
        let clock = TickClock::new(TICKS_PER_S);
        // The first look decides from where the rounds are counted.
        clock.now(|| first_tick);
        Rc::new(Self {
            now_ns: Cell::new(0),
            first_tick,
            clock,
            lines: lines.map(RefCell::new),
            rng: RefCell::new(Rng::new(seed ^ 0x5555)),
            access_ns: 2_000,
            preempts,
            is_duplex: Cell::new(false),
            nested: RefCell::new(None),
        })
    }

    pub(crate) fn advance_to(&self, now_ns: u64) {
        self.now_ns.set(self.now_ns.get().max(now_ns));
        let mut loudspeaker = self.lines[1].borrow_mut();
        loudspeaker.advance(self.now_ns.get(), true, None);
        let has_clock = loudspeaker.is_running || !self.is_duplex.get();
        self.lines[0].borrow_mut().advance(self.now_ns.get(), has_clock, loudspeaker.emitted.as_deref());
    }

    /// Lets the microphone hear the loudspeaker's last slot, in all of its slots, at once.
    pub(crate) fn couple(&self) {
        self.lines[1].borrow_mut().emitted = Some(Vec::new());
    }

    /// Lets something of a higher priority take the processor, seldom.
    fn preempt(&self) {
        let took = {
            let mut rng = self.rng.borrow_mut();
            if rng.one_in(30) { rng.below(20_000_000) } else { 0 }
        };
        self.advance_to(self.now_ns.get() + took);
    }

    fn access(&self) {
        let took = self.rng.borrow_mut().below(self.access_ns);
        self.advance_to(self.now_ns.get() + took);
    }

    /// Returns the time of the timer, which counts from the value that it had at the begin.
    pub(crate) fn now(&self) -> Instant {
        let ticks = self.now_ns.get() * u64::from(TICKS_PER_S / 1_000_000) / 1_000;
        self.clock.now(|| self.first_tick.wrapping_add(ticks as u32))
    }

    /// Returns the true time of an instant, in ns.
    pub(crate) fn true_ns(&self, instant: Instant) -> i64 {
        instant.as_nanos() - i64::from(self.first_tick) * 1_000 / i64::from(TICKS_PER_S / 1_000_000)
    }
}

/// The fake as a board's code sees it.
pub(crate) struct FakeDma {
    pub(crate) world: Rc<World>,
    pub(crate) line: usize,
}

impl DmaStream for FakeDma {
    type Sample = i16;

    fn start(&mut self) {
        self.world.access();
        if self.line == 1 && self.world.is_duplex.get() {
            // A clock that is started has to settle.
            let took = self.world.rng.borrow_mut().below(LONGEST_SETTLING_NS);
            self.world.advance_to(self.world.now_ns.get() + took);
        }
        let mut line = self.world.lines[self.line].borrow_mut();
        line.is_running = true;
        (line.index, line.shift) = (0, 0);
    }

    fn stop(&mut self) {
        self.world.access();
        let mut line = self.world.lines[self.line].borrow_mut();
        line.is_running = false;
        // As many interfaces do.
        line.has_fault = true;
    }

    fn moved(&self) -> usize {
        self.world.access();
        let line = self.world.lines[self.line].borrow();
        // A part of the present sample frame may have been moved already.
        line.index * line.slots + (self.world.now_ns.get() as usize / 1_000) % line.slots
    }

    fn take_fault(&mut self) -> bool {
        self.world.access();
        std::mem::take(&mut self.world.lines[self.line].borrow_mut().has_fault)
    }

    fn read(&mut self, index: usize, samples: &mut [i16]) {
        let middle = samples.len() / 2;
        for (at, sample) in samples.iter_mut().enumerate() {
            if at % 16 == 0 {
                self.world.access();
            }
            if at == middle && self.world.preempts {
                self.world.preempt();
            }
            *sample = self.world.lines[self.line].borrow().ring[index + at];
        }
    }

    fn write(&mut self, index: usize, samples: &[i16]) {
        for (at, sample) in samples.iter().enumerate() {
            if at % 16 == 0 {
                self.world.access();
            }
            self.world.lines[self.line].borrow_mut().ring[index + at] = *sample;
        }
    }

    fn now(&self) -> Instant {
        self.world.access();
        let nested = self.world.nested.borrow_mut().take();
        if let Some(nested) = nested {
            nested();
        }
        self.world.now()
    }
}
