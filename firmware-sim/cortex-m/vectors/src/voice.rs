//! Voice processors that remember what they heard.

use handsfree_core::capture::{LightConfig, LightVoice, ProcessError, VoiceProcessor, VoiceStats};
use handsfree_core::timing::ReferenceQuality;
use handsfree_core::{Duration, PcmMut, PcmRef};

use crate::Hash;

/// Tells what was heard of the loudspeaker.
pub(crate) trait Ears {
    /// The hash of it, as samples.
    fn heard(&self) -> [i16; 4];
}

macro_rules! ears {
    ($(#[$doc:meta] $name:ident $quality:ident $light:literal;)*) => {$(
        #[$doc]
        pub(crate) struct $name {
            far: Hash,
            light: LightVoice,
        }

        impl Default for $name {
            fn default() -> Self {
                Self { far: Hash::new(), light: LightVoice::new(LightConfig::default()) }
            }
        }

        impl Ears for $name {
            fn heard(&self) -> [i16; 4] {
                let word = self.far.0;
                [word as i16, (word >> 16) as i16, (word >> 32) as i16, (word >> 48) as i16]
            }
        }

        impl VoiceProcessor for $name {
            fn process_reverse(&mut self, far: PcmRef<'_>) -> Result<(), ProcessError> {
                self.far.take(far.samples.iter().copied());
                if $light { self.light.process_reverse(far) } else { Ok(()) }
            }

            fn process_capture(&mut self, near: PcmMut<'_>, delay: Duration) -> Result<(), ProcessError> {
                if $light { self.light.process_capture(near, delay) } else { Ok(()) }
            }

            fn stats(&self) -> VoiceStats {
                VoiceStats::default()
            }

            fn reset(&mut self) {}

            fn reference_quality() -> ReferenceQuality {
                ReferenceQuality::$quality
            }
        }
    )*};
}

ears! {
    /// Hears the quick reference.
    Quick Quick false;
    /// Hears the full one.
    Precise Full false;
    /// And changes what is heard.
    Light Quick true;
}
