//! Duplex I2S of one clock: the sender makes the clocks, and the receiver runs on them inside the chip.
//!
//! The driver's DMA stops when the processor is late by its whole memory. It is started again then, so that the slots are in their places.

use esp_hal::Async;
use esp_hal::dma::{DmaRxStreamBuf, DmaTxStreamBuf};
use esp_hal::dma_rx_stream_buffer;
use esp_hal::dma_tx_stream_buffer;
use esp_hal::i2s::master::{
    Channels, ConfigError, DataFormat, I2s, I2sRx, I2sRxDmaTransfer, I2sTx, I2sTxDmaTransfer, TdmConfig,
};
use esp_hal::peripherals::{DMA_CH0, GPIO18, GPIO19, GPIO20, GPIO21, I2S0};
use esp_hal::time::Rate;
use handsfree_board::{PERIOD, RATE_HZ};

/// Bytes of a period.
const PERIOD_BYTES: usize = 4 * PERIOD;
/// Periods in each DMA's memory.
pub const PERIODS: usize = 3;

/// The microphone's direction. `None` only inside a function.
pub struct Receiver(Option<I2sRxDmaTransfer<'static, Async, DmaRxStreamBuf>>);
/// The loudspeaker's direction. `None` only inside a function.
pub struct Sender(Option<I2sTxDmaTransfer<'static, Async, DmaTxStreamBuf>>);

/// What the interface is made of.
pub struct Wiring {
    pub i2s: I2S0<'static>,
    pub dma: DMA_CH0<'static>,
    pub bit_clock: GPIO18<'static>,
    pub word_clock: GPIO19<'static>,
    pub loudspeaker: GPIO20<'static>,
    pub microphone: GPIO21<'static>,
}

/// Starts both directions at 16 kHz, with slots of 32 bits.
pub fn start(wiring: Wiring) -> Result<(Receiver, Sender), ConfigError> {
    let config = TdmConfig::new_tdm_philips()
        .with_signal_loopback(true)
        .with_sample_rate(Rate::from_hz(RATE_HZ))
        .with_data_format(DataFormat::Data32Channel32)
        .with_channels(Channels::STEREO);
    let i2s = I2s::new(wiring.i2s, wiring.dma, config)?.into_async();
    let receiver = i2s.i2s_rx.with_din(wiring.microphone).build();
    let sender = i2s
        .i2s_tx
        .with_bclk(wiring.bit_clock)
        .with_ws(wiring.word_clock)
        .with_dout(wiring.loudspeaker)
        .build();
    let heard = dma_rx_stream_buffer!(PERIODS * PERIOD_BYTES, PERIOD_BYTES);
    let played = dma_tx_stream_buffer!(PERIODS * PERIOD_BYTES, PERIOD_BYTES);
    Ok((Receiver::started(receiver, heard), Sender::started(sender, played)))
}

impl Receiver {
    fn started(receiver: I2sRx<'static, Async>, memory: DmaRxStreamBuf) -> Self {
        Self(receiver.read(memory).ok())
    }

    /// Waits until a period is complete, and copies it. Returns whether periods were lost before it.
    pub async fn read(&mut self, words: &mut [u32; PERIOD]) -> bool {
        let mut has_gap = false;
        loop {
            let Some(transfer) = &mut self.0 else { core::future::pending().await };
            if transfer.available_bytes() >= PERIOD_BYTES {
                transfer.pop(bytemuck::cast_slice_mut(words));
                return has_gap;
            }
            if transfer.wait_for_available_async().await.is_err() {
                has_gap = true;
                if let Some(transfer) = self.0.take() {
                    let (receiver, memory) = transfer.stop();
                    *self = Self::started(receiver, memory);
                }
            }
        }
    }
}

impl Sender {
    fn started(sender: I2sTx<'static, Async>, memory: DmaTxStreamBuf) -> Self {
        Self(sender.write(memory).ok())
    }

    /// Waits until there is room for a period. Returns whether there was silence before it.
    pub async fn wait_for_room(&mut self) -> bool {
        let mut has_gap = false;
        loop {
            let Some(transfer) = &mut self.0 else { core::future::pending().await };
            if transfer.available_bytes() >= PERIOD_BYTES {
                return has_gap;
            }
            if transfer.wait_for_available_async().await.is_err() {
                has_gap = true;
                if let Some(transfer) = self.0.take() {
                    let (sender, memory) = transfer.stop();
                    *self = Self::started(sender, memory);
                }
            }
        }
    }

    /// Queues a period.
    pub fn write(&mut self, words: &[u32; PERIOD]) {
        if let Some(transfer) = &mut self.0 {
            transfer.push(bytemuck::cast_slice(words));
        }
    }
}
