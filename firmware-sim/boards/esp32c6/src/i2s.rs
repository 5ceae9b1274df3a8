//! Duplex I2S of one clock: the sender makes the clocks, and the receiver runs on them inside the chip.
//!
//! The driver's DMA stops when the processor is late by its whole memory. Both directions are started again then, so that the slots are in
//! their places.

use embassy_time::with_timeout;
use esp_hal::Async;
use esp_hal::dma::{DmaRxStreamBuf, DmaTxStreamBuf};
use esp_hal::dma_rx_stream_buffer;
use esp_hal::dma_tx_stream_buffer;
use esp_hal::i2s::master::{
    Channels, ConfigError, DataFormat, I2s, I2sRxDmaTransfer, I2sTxDmaTransfer, TdmConfig,
};
use esp_hal::peripherals::{DMA_CH0, GPIO18, GPIO19, GPIO20, GPIO21, I2S0};
use esp_hal::time::Rate;
use handsfree_board::{PERIOD, RATE_HZ};
use handsfree_core::Duration;

/// Bytes of a period.
const PERIOD_BYTES: usize = 4 * PERIOD;
/// Bytes of a sample frame: two slots.
const SAMPLE_FRAME_BYTES: usize = 8;
/// Periods in each DMA's memory: the driver asks for four parts at least.
pub const PERIODS: usize = 4;
/// Time after which a direction without an event has stopped.
const STOPPED_AFTER: embassy_time::Duration = embassy_time::Duration::from_millis(50);

/// The microphone's direction.
pub struct Receiver {
    /// `None` if the driver did not start.
    transfer: Option<I2sRxDmaTransfer<'static, Async, DmaRxStreamBuf>>,
    /// Bytes that were taken from the DMA and not handed over. The DMA ends its parts also within a period.
    taken: [u8; (PERIODS + 1) * PERIOD_BYTES],
    length: usize,
}

/// The loudspeaker's direction.
pub struct Sender {
    /// `None` if the driver did not start.
    transfer: Option<I2sTxDmaTransfer<'static, Async, DmaTxStreamBuf>>,
}

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
    let receiver =
        Receiver { transfer: receiver.read(heard).ok(), taken: [0; (PERIODS + 1) * PERIOD_BYTES], length: 0 };
    Ok((receiver, Sender { transfer: sender.write(played).ok() }))
}

/// Starts both directions anew, with silence. Returns whether they run.
pub fn restart(receiver: &mut Receiver, sender: &mut Sender) -> bool {
    let (receiving, sending) = (receiver.transfer.take(), sender.transfer.take());
    let sending = sending.map(I2sTxDmaTransfer::stop);
    receiver.length = 0;
    receiver.transfer = receiving.and_then(|transfer| {
        let (half, memory) = transfer.stop();
        half.read(memory).ok()
    });
    sender.transfer = sending.and_then(|(half, memory)| {
        let (descriptors, mut memory) = memory.split();
        memory.fill(0);
        half.write(DmaTxStreamBuf::new(descriptors, memory).ok()?).ok()
    });
    receiver.transfer.is_some() && sender.transfer.is_some()
}

impl Receiver {
    /// Waits until a period is complete, copies it, and returns how long ago it ended. `None` if the DMA has stopped.
    pub async fn read(&mut self, words: &mut [u32; PERIOD]) -> Option<Duration> {
        let transfer = self.transfer.as_mut()?;
        loop {
            // Parts are taken whole, because the driver repeats bytes of a part that was taken in pieces.
            let part = transfer.peek();
            let length = part.len();
            if let Some(free) = self.taken.get_mut(self.length..self.length + length) {
                free.copy_from_slice(part);
                self.length += length;
                transfer.consume(length);
            }
            if self.length >= PERIOD_BYTES {
                let (period, rest) = self.taken.split_at(PERIOD_BYTES);
                bytemuck::must_cast_slice_mut(words).copy_from_slice(period);
                let rest = rest.len().min(self.length - PERIOD_BYTES);
                self.taken.copy_within(PERIOD_BYTES..PERIOD_BYTES + rest, 0);
                self.length = rest;
                return Some(Duration::from_micros(
                    (rest / SAMPLE_FRAME_BYTES) as i64 * 1_000_000 / i64::from(RATE_HZ),
                ));
            }
            let event = with_timeout(STOPPED_AFTER, transfer.wait_for_available_async()).await;
            if !matches!(event, Ok(Ok(()))) {
                return None;
            }
        }
    }
}

impl Sender {
    /// Waits until there is room for a period. Returns false if the DMA has stopped.
    pub async fn wait_for_room(&mut self) -> bool {
        let Some(transfer) = &mut self.transfer else { return false };
        loop {
            match transfer.available_bytes() {
                // Nothing is left to play.
                free if free >= PERIODS * PERIOD_BYTES => return false,
                free if free >= PERIOD_BYTES => return true,
                _ => {}
            }
            let event = with_timeout(STOPPED_AFTER, transfer.wait_for_available_async()).await;
            if !matches!(event, Ok(Ok(()))) {
                return false;
            }
        }
    }

    /// Queues a period.
    pub fn write(&mut self, words: &[u32; PERIOD]) {
        if let Some(transfer) = &mut self.transfer {
            transfer.push(bytemuck::must_cast_slice(words));
        }
    }
}
