//! I2S by registers: I2S3 plays and makes the clocks, I2S2 captures as their slave. Sections are those of RM0090.
//!
//! Each has a DMA stream that moves halfwords through a ring of two periods for ever, and interrupts when it is half and when it is full.
//! Slots have 32 bits, which the 16-bit data register moves as two halfwords, the upper one first (section 28.4.3).

use core::cell::UnsafeCell;
use core::ptr::{read_volatile, write_volatile};

use embassy_stm32::pac::dma::vals::{Burst, Dir, Pl, Size};
use embassy_stm32::pac::gpio::vals::Idr;
use embassy_stm32::pac::rcc::regs::Apb1rstr;
use embassy_stm32::pac::spi::Spi;
use embassy_stm32::pac::spi::vals::{Chlen, Datlen, I2scfg, I2sstd, Odd};
use embassy_stm32::pac::{DMA1, GPIOB, RCC, SPI2, SPI3};
use handsfree_board::{PERIOD, now};
use handsfree_core::Instant;
use handsfree_dma::{DmaStream, HalfwordSwapped};

/// Samples in a ring.
const RING: usize = 2 * PERIOD;
/// Halfwords in a ring.
const HALFWORDS: u16 = 2 * RING as u16;
/// Streams of DMA1, both by channel 0 (section 10.3.3, table 42).
const RX_STREAM: usize = 3;
const TX_STREAM: usize = 5;
/// Reads of the pin within which the word clock has surely changed, if it runs: a sample frame takes 10,500 cycles.
const WORD_CLOCK_READS: u32 = 10_000;

/// Reads of a stream's control register within which it has surely stopped.
const STOP_READS: u32 = 1_000;

/// Memory that a DMA moves.
struct Ring(UnsafeCell<[HalfwordSwapped; RING]>);

// SAFETY: it is read and written by volatile accesses only, of one `I2s` and of the DMA.
unsafe impl Sync for Ring {}

static HEARD: Ring = Ring(UnsafeCell::new([HalfwordSwapped(0); RING]));
static PLAYED: Ring = Ring(UnsafeCell::new([HalfwordSwapped(0); RING]));

/// One direction: an interface and its DMA stream. [`split`] makes both.
pub struct I2s {
    spi: Spi,
    stream: usize,
    ring: &'static Ring,
    is_receiver: bool,
}

/// Returns the receiver and the sender. Once: two values of one direction would write to the same memory.
pub fn split(_: (Peripheral2, Peripheral3)) -> (I2s, I2s) {
    let receiver = I2s { spi: SPI2, stream: RX_STREAM, ring: &HEARD, is_receiver: true };
    let sender = I2s { spi: SPI3, stream: TX_STREAM, ring: &PLAYED, is_receiver: false };
    (receiver, sender)
}

type Peripheral2 = embassy_stm32::Peri<'static, embassy_stm32::peripherals::SPI2>;
type Peripheral3 = embassy_stm32::Peri<'static, embassy_stm32::peripherals::SPI3>;

/// Clears the interrupt flags of a direction's stream. Its interrupt calls this first.
pub fn clear_interrupt(is_receiver: bool) {
    clear_flags(if is_receiver { RX_STREAM } else { TX_STREAM });
}

fn clear_flags(stream: usize) {
    // Four streams have one register, and each has all five flags cleared (section 10.5.3).
    DMA1.ifcr(stream / 4).write(|w| {
        let at = stream % 4;
        w.set_feif(at, true);
        w.set_dmeif(at, true);
        w.set_teif(at, true);
        w.set_htif(at, true);
        w.set_tcif(at, true);
    });
}

impl I2s {
    fn set_reset(&self, register: &mut Apb1rstr, is_reset: bool) {
        if self.is_receiver {
            register.set_spi2rst(is_reset);
        } else {
            register.set_spi3rst(is_reset);
        }
    }

    fn first(&self) -> *mut HalfwordSwapped {
        self.ring.0.get().cast()
    }

    /// Waits until the word clock has a level, at most for a few sample frames. The slave begins with the left slot if it is started while
    /// the word clock is high (section 28.4.6).
    fn wait_for_word_clock(&self, is_high: bool) {
        for _ in 0..WORD_CLOCK_READS {
            if (GPIOB.idr().read().idr(12) == Idr::HIGH) == is_high {
                break;
            }
        }
    }
}

impl DmaStream for I2s {
    type Sample = HalfwordSwapped;

    fn start(&mut self) {
        clear_flags(self.stream);
        let stream = DMA1.st(self.stream);
        stream.par().write_value(self.spi.dr().as_ptr() as u32);
        stream.m0ar().write_value(self.first() as u32);
        stream.ndtr().write(|w| w.set_ndt(HALFWORDS));
        stream.fcr().write(|w| w.set_dmdis(embassy_stm32::pac::dma::vals::Dmdis::ENABLED));
        stream.cr().write(|w| {
            w.set_chsel(0);
            w.set_dir(if self.is_receiver { Dir::PERIPHERAL_TO_MEMORY } else { Dir::MEMORY_TO_PERIPHERAL });
            w.set_pl(Pl::VERY_HIGH);
            w.set_msize(Size::BITS16);
            w.set_psize(Size::BITS16);
            w.set_mburst(Burst::SINGLE);
            w.set_pburst(Burst::SINGLE);
            w.set_minc(true);
            w.set_circ(true);
            w.set_htie(true);
            w.set_tcie(true);
        });
        stream.cr().modify(|w| w.set_en(true));
        // Leaves no halfword of before, and no flag (section 28.4.8).
        _ = self.spi.dr().read();
        _ = self.spi.sr().read();
        self.spi.i2spr().write(|w| {
            // 106.5 MHz / (256 x 26) = 16,000.6 Hz, of which the session measures the rest (section 28.4.4).
            w.set_i2sdiv(13);
            w.set_odd(Odd::EVEN);
            w.set_mckoe(!self.is_receiver);
        });
        self.spi.i2scfgr().write(|w| {
            w.set_i2smod(true);
            w.set_i2scfg(if self.is_receiver { I2scfg::SLAVE_RX } else { I2scfg::MASTER_TX });
            w.set_i2sstd(I2sstd::PHILIPS);
            w.set_datlen(Datlen::BITS32);
            w.set_chlen(Chlen::BITS32);
        });
        // After the mode: the DMA would fill the data register of an SPI.
        self.spi.cr2().write(|w| {
            w.set_rxdmaen(self.is_receiver);
            w.set_txdmaen(!self.is_receiver);
        });
        if self.is_receiver {
            self.wait_for_word_clock(false);
        }
        // Without an interrupt between the word clock's rise and the start.
        critical_section::with(|_| {
            if self.is_receiver {
                self.wait_for_word_clock(true);
            }
            self.spi.i2scfgr().modify(|w| w.set_i2se(true));
        });
    }

    fn stop(&mut self) {
        self.spi.i2scfgr().modify(|w| w.set_i2se(false));
        self.spi.cr2().write(|_| {});
        // The buffers of the interface are emptied by its reset only.
        critical_section::with(|_| {
            RCC.apb1rstr().modify(|w| self.set_reset(w, true));
            RCC.apb1rstr().modify(|w| self.set_reset(w, false));
        });
        let stream = DMA1.st(self.stream);
        stream.cr().modify(|w| w.set_en(false));
        // The stream ends the transfer of a halfword first (section 10.3.14).
        for _ in 0..STOP_READS {
            if !stream.cr().read().en() {
                break;
            }
        }
    }

    fn moved(&self) -> usize {
        usize::from(HALFWORDS.saturating_sub(DMA1.st(self.stream).ndtr().read().ndt())) / 2
    }

    fn take_fault(&mut self) -> bool {
        // Reading the data register and then the status register clears an overrun, reading the status register the others
        // (section 28.4.8). The receiver's data register is the DMA's, so it is read only after an overrun.
        let status = self.spi.sr().read();
        if status.ovr() {
            _ = self.spi.dr().read();
            _ = self.spi.sr().read();
        }
        status.ovr() || status.fre() || (!self.is_receiver && status.udr())
    }

    fn read(&mut self, index: usize, samples: &mut [HalfwordSwapped]) {
        for (at, sample) in samples.iter_mut().enumerate() {
            if index + at < RING {
                // SAFETY: the address is within the ring.
                *sample = unsafe { read_volatile(self.first().add(index + at)) };
            }
        }
    }

    fn write(&mut self, index: usize, samples: &[HalfwordSwapped]) {
        for (at, &sample) in samples.iter().enumerate() {
            if index + at < RING {
                // SAFETY: the address is within the ring.
                unsafe { write_volatile(self.first().add(index + at), sample) };
            }
        }
    }

    fn now(&self) -> Instant {
        now()
    }
}
