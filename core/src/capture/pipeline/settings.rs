//! Worker side: what a pipeline may be asked and told between two polls.

use super::Pipeline;
use crate::capture::guard::VoiceState;
use crate::capture::processor::{FrameProcessor, VoiceProcessor, VoiceStats};
use crate::dsp::FrameConverter;
use crate::error::ConfigError;
use crate::format::Format;
use crate::frame::Frame;
#[cfg(feature = "journal")]
use crate::journal::JournalWriter;
#[cfg(feature = "journal")]
use crate::playback::RoundPlan;
#[cfg(feature = "journal")]
use crate::ring::FrameConsumer;
use crate::time::Duration;
use crate::timing::{AcousticDelay, AcousticMemory, DelayEstimator, EchoFollower, RateEstimate};

impl<'a, const CAP: usize, const SLOTS: usize, V: VoiceProcessor, P: FrameProcessor>
    Pipeline<'a, CAP, SLOTS, V, P>
{
    /// Writes down from now on what it finds and makes. Before its first turn; costs a copy of each
    /// frame. Worker side.
    #[cfg(feature = "journal")]
    pub fn write_journal(&mut self, journal: JournalWriter<'a>) {
        self.scribe.begin(journal);
    }

    /// Writes down something of the owner's, between two turns. Worker side.
    #[cfg(feature = "journal")]
    pub fn note(&mut self, words: [u64; 2]) {
        self.scribe.note(words);
    }

    /// Takes frames from other rings than the session's from now on, for a replay.
    #[cfg(feature = "journal")]
    pub fn replay_from(&mut self, capture: FrameConsumer<'a, CAP>, reference: FrameConsumer<'a, CAP, SLOTS>) {
        self.capture = capture;
        self.reference_ring = reference;
    }

    /// What the voice processor says about its work.
    #[must_use]
    pub fn voice_stats(&self) -> VoiceStats {
        self.voice.voice.stats()
    }

    /// Whether the voice processor is in use.
    #[must_use]
    pub fn voice_state(&self) -> VoiceState {
        self.voice.state()
    }

    /// Tries a voice processor again that was given up.
    pub fn reset_breaker(&mut self) {
        self.voice.reset_breaker();
    }

    /// Lets the voice processor take so long for a frame before it is bypassed, instead of
    /// [`PROCESSOR_DEADLINE`](crate::limits::PROCESSOR_DEADLINE): for machines that stand still now and
    /// then, such as emulated ones. Worker side.
    pub fn set_voice_deadline(&mut self, limit: Duration) {
        self.voice.limit = limit;
    }

    /// The voice processor, to switch its settings. Worker side, between two polls.
    pub fn voice_mut(&mut self) -> &mut V {
        &mut self.voice.voice
    }

    /// Render plus capture latency as estimated from the devices' times.
    #[must_use]
    pub fn delay(&self) -> Duration {
        self.delay.delay()
    }

    /// The same with its source, its confidence and its history.
    #[must_use]
    pub fn delay_estimator(&self) -> &DelayEstimator {
        &self.delay
    }

    /// Both clocks against the host's, playback first; the drift between the devices is the
    /// difference.
    #[must_use]
    pub fn rates(&self) -> Option<(RateEstimate, RateEstimate)> {
        Some((self.reference.rate()?, self.clock.rate()?))
    }

    /// How often the reference had to jump to another place, the first time included.
    #[must_use]
    pub fn reference_jumps(&self) -> u32 {
        self.reference.jumps()
    }

    /// By how much the reference runs ahead of the microphone when the two have a clock each, 2 ms
    /// unless set: it keeps the echo causal when timestamps err. To be set before frames flow. Worker
    /// side.
    pub fn set_reference_lead(&mut self, lead: Duration) {
        self.reference.set_lead(lead);
    }

    /// Listens for the echo from now on and corrects the reference where the devices' times are
    /// wrong: lags from -100 to +1000 ms against what they say, and drift that they do not show.
    /// Costs what [`AcousticDelay::observe`] costs a frame. Worker side.
    pub fn use_acoustic_delay(&mut self, memory: &'a mut AcousticMemory) {
        self.follower = Some(EchoFollower::new(AcousticDelay::new(memory, self.far, self.near)));
    }

    /// Takes the echo reference from the capture device itself, where its hardware records what the
    /// loudspeaker plays: each captured frame then holds the channels of the near end and behind them
    /// those of the far end, as the intake's channel map puts them. Such a reference is aligned by
    /// nature, so times are not asked and there is no lead. To be set before frames flow. Worker side.
    ///
    /// # Errors
    /// Names a channel count beyond 8 in all, and a frame of so many channels that does not fit `CAP`.
    pub fn use_loopback_reference(&mut self) -> Result<(), ConfigError> {
        let channels = self.near.channels() + self.far.channels();
        Format::with_rate(self.near.rate(), channels as u32)?.fitting(CAP)?;
        self.part_loopback = Some(Frame::split_channels);
        Ok(())
    }

    /// For a replay: what the next round finds that the devices say, instead of what they say now.
    #[cfg(feature = "journal")]
    pub fn replay_round(&mut self, plays: bool, one_clock: bool) {
        self.scribe.replay_turn(RoundPlan { plays, one_clock });
    }

    /// Clock of the loudspeaker minus clock of the microphone in ppm, as the times say and the echo
    /// corrects.
    #[must_use]
    pub fn drift_ppm(&self) -> Option<f64> {
        let (playback, capture) = self.rates()?;
        Some(playback.ppm - capture.ppm + self.reference.hidden_drift_ppm())
    }

    /// How much later samples come out of the rate conversion than they went in.
    #[must_use]
    pub fn conversion_latency(&self) -> Duration {
        self.device
            .map_or(Duration::ZERO, |device| FrameConverter::<CAP>::latency(device.rate(), self.near.rate()))
    }
}
