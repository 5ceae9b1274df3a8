//! Every sample arrives once and in order, from the microphone's device to the sink and from a track to the
//! loudspeaker's device, for random period lengths, rates, channel counts and formats. The outlet's reference frames are
//! tested in core/src/playback/outlet/tests.rs, which has access to the reference ring.

mod capture;
mod playback;

use handsfree_core::Session;

/// 10 ms at 96 kHz with 8 channels.
const CAP: usize = 7_680;
/// Ring depth for a period of 8192 sample frames at 8 kHz, which is 103 frames.
const DEPTH: usize = 128;
type AnyFormatSession = Session<CAP, 1, DEPTH, DEPTH, DEPTH, 32, 200_000>;
