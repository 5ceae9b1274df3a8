//! The I2S interface by registers, which embassy-nrf does not have for this chip. The chapters are those of the nRF5340's product
//! specification: I2S and CLOCK.
//!
//! The interface reads the address of each period's memory when the period begins, and tells it by an event. So there are two periods in
//! each direction: one that it moves, and one that is read or filled.

use core::cell::UnsafeCell;
use core::ptr::{read_volatile, write_volatile};
use core::sync::atomic::{AtomicU32, Ordering};

use embassy_nrf::Peri;
use embassy_nrf::gpio::{Input, Level, Output, OutputDrive, Pin, Pull};
use embassy_nrf::interrupt;
use embassy_nrf::interrupt::{InterruptExt as _, Priority};
use embassy_nrf::pac::i2s::vals::{Align, Channels, Clksrc, Format, Mckfreq, Mode, Ratio, Swidth};
use embassy_nrf::pac::shared::regs::Psel;
use embassy_nrf::pac::shared::vals::Connect;
use embassy_nrf::pac::{CLOCK, I2S0};
use embassy_sync::signal::Signal;
use handsfree_board::{Mutex, PERIOD, now};
use handsfree_core::Instant;

/// Division of the audio clock, 12.288 MHz, by 12 (I2S, master clock generator: 4096 x floor(f x 1048576 / (source + f / 2)) for f = 1.024 MHz).
const DIVIDED_BY_12: u32 = 0x147a_e000;
/// Reads of the oscillator's event within which it has surely started: some milliseconds.
const START_READS: u32 = 1_000_000;

/// Two periods of one direction.
struct Periods(UnsafeCell<[[u32; PERIOD]; 2]>);

// SAFETY: they are read and written by volatile accesses only, of one `Receiver` or `Sender` and of the DMA.
unsafe impl Sync for Periods {}

impl Periods {
    fn address(&self, index: usize) -> *mut u32 {
        self.0.get().cast::<u32>().wrapping_add(index * PERIOD)
    }
}

static HEARD: Periods = Periods(UnsafeCell::new([[0; PERIOD]; 2]));
static PLAYED: Periods = Periods(UnsafeCell::new([[0; PERIOD]; 2]));
static HEARD_EVENTS: Events = Events::new();
static PLAYED_EVENTS: Events = Events::new();

/// Tells that the interface begins to move a period.
struct Events {
    count: AtomicU32,
    /// Number of the last event and its time.
    last: Signal<Mutex, (u32, Instant)>,
}

impl Events {
    const fn new() -> Self {
        Self { count: AtomicU32::new(0), last: Signal::new() }
    }

    fn tell(&self, at: Instant) {
        // Only the interrupt writes it.
        let count = self.count.load(Ordering::Relaxed).wrapping_add(1);
        self.count.store(count, Ordering::Relaxed);
        self.last.signal((count, at));
    }

    /// Gives the interface the address of the period after event `seen`, by `write`. Returns whether the event after it has come already
    /// (`is_pending` tells of one whose interrupt waits), so that the interface moves the period of the address before once more.
    fn set_next(&self, seen: u32, is_pending: impl Fn() -> bool, write: impl FnOnce()) -> bool {
        critical_section::with(|_| {
            let is_late = self.count.load(Ordering::Relaxed) != seen || is_pending();
            write();
            is_late
        })
    }
}

#[interrupt]
fn I2S0() {
    let at = now();
    if I2S0.events_rxptrupd().read() != 0 {
        I2S0.events_rxptrupd().write_value(0);
        HEARD_EVENTS.tell(at);
    }
    if I2S0.events_txptrupd().read() != 0 {
        I2S0.events_txptrupd().write_value(0);
        PLAYED_EVENTS.tell(at);
    }
}

/// Pins that stay the interface's as long as this value is kept.
pub struct Pins {
    _clocks: [Output<'static>; 2],
    _loudspeaker: Output<'static>,
    _microphone: Input<'static>,
}

/// Starts the interface as the master, at 16 kHz with slots of 32 bits, and returns both directions. Once: two values of a
/// direction would move the same memory.
pub fn start(
    bit_clock: Peri<'static, impl Pin>,
    word_clock: Peri<'static, impl Pin>,
    loudspeaker: Peri<'static, impl Pin>,
    microphone: Peri<'static, impl Pin>,
) -> (Pins, Receiver, Sender) {
    let select = I2S0.psel();
    select.sck().write_value(selected(&*bit_clock));
    select.lrck().write_value(selected(&*word_clock));
    select.sdout().write_value(selected(&*loudspeaker));
    select.sdin().write_value(selected(&*microphone));
    let pins = Pins {
        _clocks: [
            Output::new(bit_clock, Level::Low, OutputDrive::Standard),
            Output::new(word_clock, Level::Low, OutputDrive::Standard),
        ],
        _loudspeaker: Output::new(loudspeaker, Level::Low, OutputDrive::Standard),
        _microphone: Input::new(microphone, Pull::Down),
    };
    // The audio clock runs from the crystal, at 12.288 MHz after reset (CLOCK, audio oscillator).
    CLOCK.events_hfclkaudiostarted().write_value(0);
    CLOCK.tasks_hfclkaudiostart().write_value(1);
    for _ in 0..START_READS {
        if CLOCK.events_hfclkaudiostarted().read() != 0 {
            break;
        }
    }
    let config = I2S0.config();
    config.mode().write(|w| w.set_mode(Mode::Master));
    config.rxen().write(|w| w.set_rxen(true));
    config.txen().write(|w| w.set_txen(true));
    config.mcken().write(|w| w.set_mcken(true));
    config.clkconfig().write(|w| w.set_clksrc(Clksrc::Aclk));
    config.mckfreq().write(|w| w.set_mckfreq(Mckfreq::from_bits(DIVIDED_BY_12)));
    config.ratio().write(|w| w.set_ratio(Ratio::_64x));
    config.swidth().write(|w| w.set_swidth(Swidth::_32bit));
    config.align().write(|w| w.set_align(Align::Left));
    config.format().write(|w| w.set_format(Format::I2s));
    config.channels().write(|w| w.set_channels(Channels::Stereo));
    I2S0.rxd().ptr().write_value(HEARD.address(0) as u32);
    I2S0.txd().ptr().write_value(PLAYED.address(0) as u32);
    I2S0.rxtxd().maxcnt().write(|w| w.set_maxcnt(PERIOD as u16));
    I2S0.enable().write(|w| w.set_enable(true));
    I2S0.intenset().write(|w| {
        w.set_rxptrupd(true);
        w.set_txptrupd(true);
    });
    interrupt::I2S0.set_priority(Priority::P1);
    // SAFETY: its handler is above.
    unsafe { interrupt::I2S0.enable() };
    I2S0.tasks_start().write_value(1);
    (pins, Receiver { moving: 1, seen: 0 }, Sender { moving: 1, seen: 0 })
}

fn selected(pin: &impl Pin) -> Psel {
    let mut select = Psel(0);
    select.set_pin(pin.pin());
    select.set_port(pin.port() == embassy_nrf::gpio::Port::Port1);
    select.set_connect(Connect::Connected);
    select
}

/// The microphone's direction.
pub struct Receiver {
    /// Period that the interface fills since event `seen`.
    moving: usize,
    seen: u32,
}

/// The loudspeaker's direction.
pub struct Sender {
    /// Period that the interface plays since event `seen`.
    moving: usize,
    seen: u32,
}

impl Receiver {
    /// Waits until a period is complete, copies it, and returns the time of its end. `None` if periods were lost, and at the start.
    pub async fn read(&mut self, words: &mut [u32; PERIOD]) -> Option<Instant> {
        let (count, at) = HEARD_EVENTS.last.wait().await;
        // The first event tells that the first period begins. After events that were missed the interface fills the period of the last
        // address again, and what is in the other one is old.
        let is_complete = self.seen > 0 && count == self.seen.wrapping_add(1);
        let complete = self.moving;
        self.moving ^= 1;
        self.seen = count;
        if is_complete {
            for (at, word) in words.iter_mut().enumerate() {
                // SAFETY: the address is within the period, which the interface does not move now.
                *word = unsafe { read_volatile(HEARD.address(complete).wrapping_add(at)) };
            }
        }
        let is_pending = || I2S0.events_rxptrupd().read() != 0;
        let next = HEARD.address(complete) as u32;
        if HEARD_EVENTS.set_next(count, is_pending, || I2S0.rxd().ptr().write_value(next)) {
            self.moving ^= 1;
            self.seen = self.seen.wrapping_sub(1);
        }
        is_complete.then_some(at)
    }
}

impl Sender {
    /// Waits until a period begins to play, and returns its time and whether one was played again before. The period that
    /// [`write`](Self::write) is given then is played after it.
    pub async fn begun(&mut self) -> (Instant, bool) {
        let (count, at) = PLAYED_EVENTS.last.wait().await;
        let was_late = self.seen > 0 && count != self.seen.wrapping_add(1);
        self.moving ^= 1;
        self.seen = count;
        (at, was_late)
    }

    /// Fills the period that is played next.
    pub fn write(&mut self, words: &[u32; PERIOD]) {
        let next = PLAYED.address(self.moving ^ 1);
        for (at, &word) in words.iter().enumerate() {
            // SAFETY: the address is within the period, which the interface does not move now.
            unsafe { write_volatile(next.wrapping_add(at), word) };
        }
        let is_pending = || I2S0.events_txptrupd().read() != 0;
        let write = || I2S0.txd().ptr().write_value(next as u32);
        if PLAYED_EVENTS.set_next(self.seen, is_pending, write) {
            self.moving ^= 1;
            self.seen = self.seen.wrapping_sub(1);
        }
    }
}
