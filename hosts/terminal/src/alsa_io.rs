//! Control side: direct ALSA as a host, and what the command line says about it.

use clap::Args;
use handsfree_alsa::{AlsaConfig, RealTime, SampleFormat};
use handsfree_core::audio_io::Direction;
use handsfree_host::worker::Work;

use crate::failure::Failure;
use crate::io::{AnyIo, OpenHost};

/// Switches of `--io alsa`.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "ALSA (--io alsa)")]
pub struct AlsaArgs {
    /// Periods kept before the loudspeaker: more bear a later thread, fewer are heard sooner
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=255))]
    pub periods: u32,
    /// Open the microphone in this sample format only [default: what it has]
    #[arg(long, value_name = "FORMAT")]
    pub input_format: Option<SampleFormat>,
    /// Open the loudspeaker in this sample format only [default: what it has]
    #[arg(long, value_name = "FORMAT")]
    pub output_format: Option<SampleFormat>,
    /// Priority of the audio thread; 0 leaves it as it is
    #[arg(long, value_name = "N", default_value_t = 70, value_parser = clap::value_parser!(u8).range(0..=99))]
    pub real_time: u8,
}

impl Default for AlsaArgs {
    fn default() -> Self {
        Self { periods: 2, input_format: None, output_format: None, real_time: 70 }
    }
}

impl AlsaArgs {
    fn config(self) -> AlsaConfig {
        let real_time = RealTime {
            priority: (self.real_time > 0).then_some(self.real_time),
            lock_memory: self.real_time > 0,
        };
        AlsaConfig {
            real_time,
            playback_periods: self.periods,
            capture_format: self.input_format,
            playback_format: self.output_format,
            ..AlsaConfig::default()
        }
    }
}

/// Whether there is a microphone and a loudspeaker.
pub(crate) fn has_devices() -> bool {
    let Ok(devices) = handsfree_alsa::devices() else { return false };
    [Direction::Capture, Direction::Playback]
        .into_iter()
        .all(|direction| devices.iter().any(|device| device.direction == direction))
}

/// Starts the board's thread, which also does the work.
pub(crate) fn open(args: AlsaArgs, work: Work) -> Result<OpenHost, Failure> {
    let failed = |error: &dyn std::error::Error| Failure::run(format!("ALSA: {error}"));
    let (io, board) = handsfree_alsa::open(args.config()).map_err(|error| failed(&error))?;
    board.spawn(work).map_err(|error| failed(&error))?;
    Ok(OpenHost { io: AnyIo::new(io), sim: None })
}
