//! Application side: writes events and counters to a log.

use crate::{SessionEvent, Stats};

impl SessionEvent {
    /// Returns whether the event is a fault.
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

    /// Writes the event to the logs of `defmt` and `log`, as far as their features are on: a fault as a
    /// warning, a changed device as information, the rest for debugging. Application side; never from an
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
    /// Writes all counters to the logs of `defmt` and `log`, as information. Application side; never from an
    /// interrupt.
    pub fn log(&self) {
        #[cfg(feature = "defmt")]
        defmt::info!("{}", self);
        #[cfg(feature = "log")]
        log::info!("{self:?}");
    }
}
