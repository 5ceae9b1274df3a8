//! SAI1 as a duplex I2S master: block A plays and makes both clocks, block B captures in step with it.
//!
//! Slots have 32 bits, most significant first, and the word clock changes one bit before its slot (Philips I2S; RM0433, chapter
//! 51). SAI1's clock is 12.288 MHz from PLL3, so the rate is exact: 12.288 MHz / (256 x 3) = 16 kHz.

use embassy_stm32::Peri;
use embassy_stm32::peripherals::{DMA1_CH0, DMA1_CH1, PE3, PE4, PE5, PE6, SAI1};
use embassy_stm32::rcc::{
    AHBPrescaler, APBPrescaler, Hse, HseMode, Pll, PllDiv, PllMul, PllPreDiv, PllSource, Sysclk,
    VoltageScale, mux,
};
use embassy_stm32::sai::{
    BitOrder, ClockStrobe, Config, DataSize, FrameSyncDefinition, FrameSyncOffset, FrameSyncPolarity,
    MasterClockDivider, Mode, Protocol, Sai, SlotSize, SyncInput, TxRx, split_subblocks, word,
};
use embassy_stm32::time::mhz;

use crate::{Interrupts, RING};

/// Returns the clocks: 400 MHz for the processor from the 8 MHz of the board's debug probe, and SAI1's.
pub fn clocks() -> embassy_stm32::Config {
    let mut config = embassy_stm32::Config::default();
    let rcc = &mut config.rcc;
    rcc.hsi = None;
    rcc.hse = Some(Hse { freq: mhz(8), mode: HseMode::Bypass });
    rcc.pll1 = Some(Pll {
        source: PllSource::HSE,
        prediv: PllPreDiv::DIV4,
        mul: PllMul::MUL400,
        fracn: None,
        divp: Some(PllDiv::DIV2),
        divq: None,
        divr: None,
    });
    rcc.pll3 = Some(Pll {
        source: PllSource::HSE,
        prediv: PllPreDiv::DIV5,
        mul: PllMul::MUL192,
        fracn: None,
        divp: Some(PllDiv::DIV25),
        divq: None,
        divr: None,
    });
    rcc.sys = Sysclk::PLL1_P;
    rcc.ahb_pre = AHBPrescaler::DIV2;
    rcc.apb1_pre = APBPrescaler::DIV2;
    rcc.apb2_pre = APBPrescaler::DIV2;
    rcc.apb3_pre = APBPrescaler::DIV2;
    rcc.apb4_pre = APBPrescaler::DIV2;
    rcc.voltage_scale = VoltageScale::Scale1;
    rcc.mux.sai1sel = mux::Saisel::PLL3_P;
    config
}

/// What the interface is made of.
pub struct Wiring {
    pub sai: Peri<'static, SAI1>,
    pub bit_clock: Peri<'static, PE5>,
    pub word_clock: Peri<'static, PE4>,
    pub loudspeaker: Peri<'static, PE6>,
    pub microphone: Peri<'static, PE3>,
    pub heard: (Peri<'static, DMA1_CH0>, &'static mut [u32; RING]),
    pub played: (Peri<'static, DMA1_CH1>, &'static mut [u32; RING]),
}

/// One direction.
pub type Direction<'w> = Sai<'w, SAI1, u32>;

/// Returns both directions, which begin with slot 0 and silence. The receiver waits for the clocks, which run from the sender's creation
/// on.
pub fn duplex(wiring: &mut Wiring) -> (Direction<'_>, Direction<'_>) {
    wiring.heard.1.fill(0);
    wiring.played.1.fill(0);
    let (block_a, block_b) = split_subblocks(wiring.sai.reborrow());
    let sending = i2s();
    let mut receiving = i2s();
    receiving.tx_rx = TxRx::Receiver;
    receiving.sync_input = SyncInput::Internal;
    let mut receiver = Sai::new_synchronous(
        block_b,
        wiring.microphone.reborrow(),
        wiring.heard.0.reborrow(),
        &mut wiring.heard.1[..],
        Interrupts,
        receiving,
    );
    if let Err(error) = receiver.start() {
        defmt::error!("{}", error);
    }
    let sender = Sai::new_asynchronous(
        block_a,
        wiring.bit_clock.reborrow(),
        wiring.loudspeaker.reborrow(),
        wiring.word_clock.reborrow(),
        wiring.played.0.reborrow(),
        &mut wiring.played.1[..],
        Interrupts,
        sending,
    );
    (receiver, sender)
}

/// Returns the I2S format of a master that sends.
fn i2s() -> Config {
    let mut config = Config::default();
    config.mode = Mode::Master;
    config.tx_rx = TxRx::Transmitter;
    config.protocol = Protocol::Free;
    config.data_size = DataSize::Data32;
    config.slot_size = SlotSize::Channel32;
    config.slot_count = word::U4(2);
    config.bit_order = BitOrder::MsbFirst;
    config.frame_length = 64;
    config.frame_sync_active_level_length = word::U7(32);
    config.frame_sync_definition = FrameSyncDefinition::ChannelIdentification;
    config.frame_sync_polarity = FrameSyncPolarity::ActiveLow;
    config.frame_sync_offset = FrameSyncOffset::BeforeFirstBit;
    // What is sent changes at the falling edge, and what is received is read at the rising one (RM0433, SAI_ACR1, CKSTR).
    config.clock_strobe = ClockStrobe::Rising;
    config.master_clock_divider = MasterClockDivider::DIV3;
    config
}
