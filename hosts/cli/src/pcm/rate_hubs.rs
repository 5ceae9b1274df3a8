//! Application side: the cleaned microphone at each rate that readers ask for, converted once for all readers of a rate.

use std::sync::{Mutex, MutexGuard, PoisonError};

use handsfree::failure::Failure;

use super::mic_hub::{MicHub, MicReader};
use super::rate_converter::RateConverter;

/// Distributors of the cleaned microphone, one for each rate. Publishing never waits for a reader.
#[derive(Debug)]
pub struct RateHubs {
    rate_hz: u32,
    /// Distributor at the terminal's rate.
    terminal: MicHub,
    converted: Mutex<Vec<ConvertedHub>>,
}

/// Distributor at another rate. It lives while it has readers.
#[derive(Debug)]
struct ConvertedHub {
    rate_hz: u32,
    converter: RateConverter,
    hub: MicHub,
    /// Number of the terminal's sample frames so far, including lost ones.
    taken: u64,
    /// Number of sample frames given so far, including lost ones.
    given: u64,
}

impl RateHubs {
    /// Makes distributors for a terminal of this rate, in hertz.
    #[must_use]
    pub fn new(rate_hz: u32) -> Self {
        Self { rate_hz, terminal: MicHub::default(), converted: Mutex::default() }
    }

    /// Returns the distributor at the terminal's rate.
    #[must_use]
    pub fn terminal(&self) -> &MicHub {
        &self.terminal
    }

    /// Gives a block of the terminal to every reader. `lost` is the number of sample frames that are missing before it.
    pub fn publish(&self, samples: &[i16], lost: u32) {
        self.terminal.publish(samples, lost);
        let mut converted = self.hubs();
        converted.retain(|hub| hub.hub.has_readers());
        converted.iter_mut().for_each(|hub| hub.publish(samples, lost, self.rate_hz));
    }

    /// Adds a reader at this rate, in hertz, whose queue takes this number of blocks of 10 ms.
    ///
    /// # Errors
    /// Returns an error that names a rate that cannot be converted.
    pub fn subscribe(&self, rate_hz: u32, blocks: usize) -> Result<MicReader, Failure> {
        if rate_hz == self.rate_hz {
            return Ok(self.terminal.subscribe(blocks));
        }
        let mut converted = self.hubs();
        if let Some(hub) = converted.iter().find(|hub| hub.rate_hz == rate_hz) {
            return Ok(hub.hub.subscribe(blocks));
        }
        let converter = RateConverter::new(self.rate_hz, rate_hz)?;
        let hub = MicHub::default();
        let reader = hub.subscribe(blocks);
        converted.push(ConvertedHub { rate_hz, converter, hub, taken: 0, given: 0 });
        Ok(reader)
    }

    /// Removes all readers, which then find the end of the stream.
    pub fn close(&self) {
        self.terminal.close();
        self.hubs().clear();
    }

    fn hubs(&self) -> MutexGuard<'_, Vec<ConvertedHub>> {
        self.converted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConvertedHub {
    fn publish(&mut self, samples: &[i16], lost: u32, terminal_hz: u32) {
        let mut out = Vec::new();
        let mut missing = 0;
        if lost > 0 && self.taken > 0 {
            // What the converter still has comes before the hole.
            self.converter.flush(&mut out);
            self.give(&out, 0);
            out.clear();
            self.taken += u64::from(lost);
            let ratio = f64::from(self.rate_hz) / f64::from(terminal_hz);
            missing = ((self.taken as f64 * ratio).round() as u64).saturating_sub(self.given);
        }
        self.taken += samples.len() as u64;
        self.converter.push(samples, &mut out);
        self.give(&out, missing);
    }

    fn give(&mut self, samples: &[i16], missing: u64) {
        if samples.is_empty() && missing == 0 {
            return;
        }
        self.hub.publish(samples, u32::try_from(missing).unwrap_or(u32::MAX));
        self.given += missing + samples.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::super::mic_hub::MicNext;
    use super::*;
    use std::time::Duration;

    fn all(reader: &MicReader) -> Vec<(u64, Vec<i16>)> {
        let mut blocks = Vec::new();
        while let MicNext::Block(block) = reader.next(Duration::ZERO) {
            blocks.push((block.position, block.samples.clone()));
        }
        blocks
    }

    #[test]
    fn readers_of_a_rate_share_a_conversion_and_a_hole_keeps_the_time() {
        let hubs = RateHubs::new(48_000);
        let same = hubs.subscribe(48_000, 100).unwrap();
        let readers = [16_000, 16_000, 44_100].map(|rate_hz| hubs.subscribe(rate_hz, 100).unwrap());
        assert_eq!(hubs.hubs().len(), 2);
        for number in 0..30 {
            hubs.publish(&[100; 480], if number == 10 { 4_800 } else { 0 });
        }
        assert_eq!(all(&same).len(), 30);
        let [first, second, other] = readers.each_ref().map(all);
        assert_eq!(first, second);
        for (blocks, rate_hz) in [(first, 16_000_u64), (other, 44_100)] {
            // 100 ms of the stream end before the hole of 100 ms.
            let after =
                blocks.windows(2).position(|pair| pair[0].0 + pair[0].1.len() as u64 != pair[1].0).unwrap();
            let (before, hole) = (&blocks[after], &blocks[after + 1]);
            assert_eq!(before.0 + before.1.len() as u64, rate_hz / 10, "{rate_hz} Hz");
            assert_eq!(hole.0, rate_hz / 5, "{rate_hz} Hz");
            let holes = blocks.windows(2).filter(|pair| pair[0].0 + pair[0].1.len() as u64 != pair[1].0);
            assert_eq!(holes.count(), 1, "{rate_hz} Hz");
        }
        drop(readers);
        hubs.publish(&[0; 480], 0);
        hubs.publish(&[0; 480], 0);
        assert!(hubs.hubs().is_empty(), "a rate without readers is no longer converted");
        let reader = hubs.subscribe(8_000, 1).unwrap();
        hubs.close();
        assert_eq!(reader.next(Duration::ZERO), MicNext::End);
        assert!(hubs.subscribe(0, 1).is_err());
    }
}
