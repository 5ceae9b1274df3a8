//! Voice processors that compute a hash of the echo reference.

use handsfree_core::capture::{LightConfig, LightVoice, ProcessError, VoiceProcessor, VoiceStats};
use handsfree_core::timing::ReferenceQuality;
use handsfree_core::{Duration, PcmMut, PcmRef};

use crate::hash::Fnv1a;

/// Voice processor with a hash of the echo reference.
pub(crate) trait ReferenceHash {
    /// Returns the hash of all reference frames as four samples.
    fn reference_hash(&self) -> [i16; 4];
}

macro_rules! hashing_voices {
    ($(#[$doc:meta] $name:ident $quality:ident $light:literal;)*) => {$(
        #[$doc]
        pub(crate) struct $name {
            far: Fnv1a,
            light: LightVoice,
        }

        impl Default for $name {
            fn default() -> Self {
                Self { far: Fnv1a::new(), light: LightVoice::new(LightConfig::default()) }
            }
        }

        impl ReferenceHash for $name {
            fn reference_hash(&self) -> [i16; 4] {
                let word = self.far.value();
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

hashing_voices! {
    /// Bypass that reads the quick reference.
    QuickReferenceVoice Quick false;
    /// Bypass that reads the full reference.
    FullReferenceVoice Full false;
    /// Light voice path, which reads the quick reference.
    HashedLightVoice Quick true;
}
