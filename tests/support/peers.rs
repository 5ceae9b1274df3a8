//! Test support: the cancellers that are compared, and what each makes of a scene.

use crate::echo_rooms::{Cancelled, EchoScene, RATE_HZ, cancel, pcm};
use handsfree_apm::{ApmConfig, ApmProcessor, EchoCancellation, NoiseSuppression};
use handsfree_core::canceller::CancellerSettings;
use handsfree_core::capture::VoiceProcessor;
use handsfree_core::{Duration, Format, PcmMut, PcmRef};

use crate::speex::{LATE, Speex};

/// Samples of a frame.
const FRAME: usize = 160;
/// Samples of the tail, as ours: 128 ms.
const TAIL: usize = 2_048;
/// Samples by which AEC3's output is late: one of its blocks.
const AEC3_LATE: usize = 64;

/// A canceller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Ours, default settings.
    Ours,
    /// WebRTC's by our host, with its high-pass, without noise suppression. It has no linear output.
    Aec3,
    /// WebRTC's with its gentle settings, otherwise alike.
    GentleAec3,
    /// SpeexDSP, preprocessor and denoise on.
    Speex,
}

impl Peer {
    /// Those of the main table.
    pub const ALL: [Self; 3] = [Self::Ours, Self::Aec3, Self::Speex];

    /// Runs the canceller on a scene. What has no linear output leaves it empty.
    pub fn cancel(self, scene: &EchoScene) -> Cancelled {
        let float = |x: i16| f32::from(x) / 32_768.0;
        let (far, mic) = (pcm(&scene.far), pcm(&scene.mic));
        let frames = far.chunks_exact(FRAME).zip(mic.chunks_exact(FRAME));
        let (mut linear, mut full) = (Vec::new(), Vec::new());
        match self {
            Self::Ours => return cancel(scene, CancellerSettings::DEFAULT),
            Self::Aec3 | Self::GentleAec3 => {
                let echo_cancellation = match self {
                    Self::GentleAec3 => EchoCancellation::Gentle,
                    _ => EchoCancellation::Full,
                };
                let format = Format::new(RATE_HZ, 1).unwrap();
                let config = ApmConfig {
                    echo_cancellation,
                    noise_suppression: NoiseSuppression::Off,
                    ..ApmConfig::default()
                };
                let mut apm = ApmProcessor::new(format, format, config).unwrap();
                for (far, mic) in frames {
                    let mut frame = mic.to_vec();
                    apm.process_reverse(PcmRef { format, samples: far }).unwrap();
                    apm.process_capture(PcmMut { format, samples: &mut frame }, Duration::ZERO).unwrap();
                    full.extend(frame.into_iter().map(float));
                }
                full.rotate_left(AEC3_LATE);
            }
            Self::Speex => {
                let mut speex = Speex::new(RATE_HZ, FRAME, TAIL);
                for (far, mic) in frames {
                    let [cancelled, processed] = speex.process(far, mic);
                    linear.extend(cancelled.into_iter().map(float));
                    full.extend(processed.into_iter().map(float));
                }
                full.rotate_left(LATE);
            }
        }
        Cancelled { linear, full }
    }
}
