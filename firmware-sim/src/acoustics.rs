//! Acoustic paths between the simulated loudspeaker and the simulated microphone.

use crate::convolver::Convolver;
use crate::noise::Noise;
use crate::room::Loudspeaker;

/// Acoustic path from the loudspeaker to the microphone.
///
/// Both signals are on the microphone's clock. Samples are full scale at 1.0.
pub trait Acoustics: std::fmt::Debug {
    /// Fills `microphone` with the sound that reaches it while the loudspeaker plays `loudspeaker`. Both
    /// slices have the same length. `position` counts sample frames on the microphone's clock since the board
    /// was made.
    fn carry(&mut self, loudspeaker: &[f32], microphone: &mut [f32], position: u64);
}

/// A wire: the microphone captures exactly the loudspeaker's samples, bit for bit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wire;

impl Acoustics for Wire {
    fn carry(&mut self, loudspeaker: &[f32], microphone: &mut [f32], _position: u64) {
        microphone.copy_from_slice(loudspeaker);
    }
}

/// A room with a loudspeaker, a talker and noise.
#[derive(Debug)]
pub struct RoomAcoustics {
    loudspeaker: Loudspeaker,
    echo: Convolver,
    talker: Vec<f32>,
    noise: Noise,
    scratch: Vec<f32>,
}

impl RoomAcoustics {
    /// Makes a room.
    ///
    /// `response` is the impulse response from loudspeaker to microphone, at the microphone's rate. `talker`
    /// is the near-end signal at the microphone from position 0 on, with silence after its end.
    #[must_use]
    pub fn new(loudspeaker: Loudspeaker, response: &[f32], talker: Vec<f32>, noise: Noise) -> Self {
        Self { loudspeaker, echo: Convolver::new(response), talker, noise, scratch: Vec::new() }
    }
}

impl Acoustics for RoomAcoustics {
    fn carry(&mut self, loudspeaker: &[f32], microphone: &mut [f32], position: u64) {
        self.scratch.clear();
        self.scratch.extend_from_slice(loudspeaker);
        self.loudspeaker.process(&mut self.scratch);
        self.echo.process(&self.scratch, microphone);
        let from = usize::try_from(position).unwrap_or(usize::MAX).min(self.talker.len());
        for (sample, spoken) in microphone.iter_mut().zip(&self.talker[from..]) {
            *sample += spoken;
        }
        self.noise.add_to(microphone);
    }
}
