//! Application: a prompt that a button interrupts.

use embassy_futures::select::{Either, select};
use embedded_hal_async::digital::Wait;

use crate::terminal::Pool;
use crate::{RATE_HZ, now};

/// Seconds of the prompt.
const PROMPT_S: usize = 3;
/// A recorded voice: 16-bit samples at the terminal's rate.
static VOICE: [u8; PROMPT_S * 2 * RATE_HZ as usize] = samples(include_bytes!("../../../clips/far.wav"));

/// Returns the first samples of a WAV file. Its conditions are checked while this is compiled.
const fn samples<const LENGTH: usize>(file: &[u8]) -> [u8; LENGTH] {
    assert!(file.len() >= 44 + LENGTH, "the prompt's file is shorter than PROMPT_S");
    assert!(
        file[0] == b'R' && file[1] == b'I' && file[2] == b'F' && file[3] == b'F',
        "the prompt is no WAV file"
    );
    assert!(
        file[36] == b'd' && file[37] == b'a' && file[38] == b't' && file[39] == b'a',
        "the prompt's header has more than 44 bytes: sox IN.wav -b 16 -c 1 -r 16000 OUT.wav"
    );
    assert!(file[20] == 1 && file[22] == 1 && file[34] == 16, "the prompt is not mono PCM of 16 bits");
    assert!(
        u32::from_le_bytes([file[24], file[25], file[26], file[27]]) == RATE_HZ,
        "the prompt is not at RATE_HZ"
    );
    let mut bytes = [0; LENGTH];
    let mut at = 0;
    while at < LENGTH {
        bytes[at] = file[44 + at];
        at += 1;
    }
    bytes
}

/// Level of a pin while its button is pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressed {
    /// The button connects its pin with ground.
    Low,
    /// The button connects its pin with the supply.
    High,
}

impl Pressed {
    async fn wait_for(self, button: &mut impl Wait) {
        // A pin of a microcontroller has no error.
        _ = match self {
            Self::Low => button.wait_for_low().await,
            Self::High => button.wait_for_high().await,
        };
    }

    const fn opposite(self) -> Self {
        match self {
            Self::Low => Self::High,
            Self::High => Self::Low,
        }
    }
}

/// Says a prompt.
#[derive(Debug)]
pub struct Prompt {
    pool: &'static Pool,
}

impl Prompt {
    pub(crate) const fn new(pool: &'static Pool) -> Self {
        Self { pool }
    }

    /// Says the prompt again and again; a button interrupts it.
    pub async fn run(self, mut button: impl Wait, pressed: Pressed) {
        let mut track = match self.pool.open() {
            Ok(track) => track,
            Err(error) => {
                defmt::error!("{}", error);
                return;
            }
        };
        loop {
            match select(track.push_all_bytes(&VOICE), pressed.wait_for(&mut button)).await {
                Either::First(Ok(())) => {}
                Either::First(Err(error)) => {
                    defmt::error!("{}", error);
                    return;
                }
                Either::Second(()) => {
                    track.interrupt();
                    let heard = track.interrupted(&now).await;
                    defmt::info!("interrupted after {=u64} sample frames were heard", heard);
                    pressed.opposite().wait_for(&mut button).await;
                }
            }
        }
    }
}
