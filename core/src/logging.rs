//! Application side: what a session reports, in the log of whoever wants it there.

use crate::{SessionEvent, Stats};

impl SessionEvent {
    /// Whether it says that something is wrong.
    #[must_use]
    pub const fn is_fault(&self) -> bool {
        matches!(
            self,
            Self::VoiceTripped { .. }
                | Self::VoiceDisabled
                | Self::ProcessorTripped { .. }
                | Self::ProcessorDisabled { .. }
        )
    }

    /// Says it in the log, of defmt and of `log` as far as their features are on: faults as warnings,
    /// a changed device as information, the rest to debug with. Application side; never from an
    /// interrupt.
    pub fn log(&self) {
        let is_changed_device = matches!(self, Self::DeviceChanged { .. });
        match (self.is_fault(), is_changed_device) {
            (true, _) => {
                #[cfg(feature = "defmt")]
                defmt::warn!("{}", self);
                #[cfg(feature = "log")]
                log::warn!("{self:?}");
            }
            (_, true) => {
                #[cfg(feature = "defmt")]
                defmt::info!("{}", self);
                #[cfg(feature = "log")]
                log::info!("{self:?}");
            }
            _ => {
                #[cfg(feature = "defmt")]
                defmt::debug!("{}", self);
                #[cfg(feature = "log")]
                log::debug!("{self:?}");
            }
        }
    }
}

impl Stats {
    /// Says all counters in the log, as information. Application side; never from an interrupt.
    pub fn log(&self) {
        #[cfg(feature = "defmt")]
        defmt::info!("{}", self);
        #[cfg(feature = "log")]
        log::info!("{self:?}");
    }
}
