//! What lies between the simulated loudspeaker and the simulated microphone.

use crate::convolver::Convolver;
use crate::noise::Noise;
use crate::room::Loudspeaker;

/// Turns what the loudspeaker plays into what the microphone hears, both on the microphone's clock.
///
/// Samples are full scale at 1.0.
pub trait Acoustics: std::fmt::Debug {
    /// Fills `microphone` with what is heard while `loudspeaker` is played, equally long.
    /// `position` counts sample frames on the microphone's clock since the board was made.
    fn carry(&mut self, loudspeaker: &[f32], microphone: &mut [f32], position: u64);
}

/// A wire: the microphone hears the loudspeaker and nothing else, bit by bit.
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
    /// A room whose echo has the given impulse response (at the microphone's rate). `talker` is the
    /// near end as it reaches the microphone, from position 0 on; silence after its end.
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
        for (heard, spoken) in microphone.iter_mut().zip(&self.talker[from..]) {
            *heard += spoken;
        }
        self.noise.add_to(microphone);
    }
}
