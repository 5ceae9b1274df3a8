//! Worker side: the settings and readings of a pipeline, to be used between two polls.

use super::Pipeline;
use crate::capture::circuit_breaker::BreakerState;
use crate::capture::processor::{FrameProcessor, VoiceProcessor, VoiceStats};
use crate::dsp::FrameConverter;
use crate::error::ConfigError;
use crate::format::Format;
use crate::frame::Frame;
use crate::time::Duration;
use crate::timing::{AcousticMemory, DelayEstimator, RateEstimate};

impl<'a, const CAP: usize, const SLOTS: usize, V: VoiceProcessor, P: FrameProcessor>
    Pipeline<'a, CAP, SLOTS, V, P>
{
    /// Returns what the voice processor reports about its work.
    #[must_use]
    pub fn voice_stats(&self) -> VoiceStats {
        self.voice.voice.stats()
    }

    /// Returns the state of the voice processor.
    #[must_use]
    pub fn voice_state(&self) -> BreakerState {
        self.voice.state()
    }

    /// Puts a voice processor that was bypassed or disabled back into use.
    pub fn reset_breaker(&mut self) {
        self.voice.reset_breaker();
    }

    /// Sets the longest time that the voice processor may take for a frame before it is bypassed, of the clock's
    /// [`thread_time`](crate::time::Clock::thread_time). The default is
    /// [`PROCESSOR_DEADLINE`](crate::limits::PROCESSOR_DEADLINE); a longer one is for machines that pause now and then
    /// and have no clock of the thread's own time, such as emulated ones. Worker side.
    pub fn set_voice_deadline(&mut self, limit: Duration) {
        self.voice.limit = limit;
    }

    /// Returns the voice processor, for changing its settings. Worker side, between two polls.
    pub fn voice_mut(&mut self) -> &mut V {
        &mut self.voice.voice
    }

    /// Returns the render plus capture latency as estimated from the devices' timestamps.
    #[must_use]
    pub fn delay(&self) -> Duration {
        self.delay_estimator().delay()
    }

    /// Returns the estimator of the render plus capture latency, with its source, confidence and history.
    #[must_use]
    pub fn delay_estimator(&self) -> &DelayEstimator {
        self.alignment.delay_estimator()
    }

    /// Returns the rate of each device's clock against the host's, playback first. The drift between the
    /// devices is the difference.
    #[must_use]
    pub fn rates(&self) -> Option<(RateEstimate, RateEstimate)> {
        self.alignment.rates()
    }

    /// Returns how often the reference jumped to another position, the first alignment included.
    #[must_use]
    pub fn reference_jumps(&self) -> u32 {
        self.alignment.jumps()
    }

    /// Sets by how much the reference runs ahead of the microphone when the devices have a clock each. The
    /// default of 2 ms keeps the echo causal when timestamps err. To be set before frames flow. Worker side.
    pub fn set_reference_lead(&mut self, lead: Duration) {
        self.alignment.set_lead(lead);
    }

    /// Estimates the delay from the echo itself from now on, and corrects the reference where the devices'
    /// timestamps are wrong: lags from -100 to +1000 ms against them, and drift that they do not show. Costs
    /// what [`AcousticDelay::observe`](crate::timing::AcousticDelay::observe) costs a frame. Worker side.
    pub fn use_acoustic_delay(&mut self, memory: &'a mut AcousticMemory) {
        self.alignment.use_acoustic_delay(memory, self.far, self.near);
        self.observe_echo = Some(Self::observe_aligned_echo);
    }

    /// Takes the echo reference from the capture device itself, where its hardware records what the
    /// loudspeaker plays: each captured frame then holds the channels of the near end and behind them those
    /// of the far end, as the intake's channel map orders them. Such a reference is aligned by the hardware,
    /// so timestamps are not used and there is no lead. To be set before frames flow. Worker side.
    ///
    /// # Errors
    /// Names a total of more than 8 channels, and a frame with that many channels that does not fit `CAP`.
    pub fn use_loopback_reference(&mut self) -> Result<(), ConfigError> {
        let channels = self.near.channels() + self.far.channels();
        Format::with_rate(self.near.rate(), channels as u32)?.fitting(CAP)?;
        self.split_loopback = Some(Frame::split_channels);
        Ok(())
    }

    /// Returns the rate of the loudspeaker's clock minus that of the microphone's in ppm, as measured by
    /// timestamps and corrected by the acoustic delay estimate.
    #[must_use]
    pub fn drift_ppm(&self) -> Option<f64> {
        self.alignment.drift_ppm()
    }

    /// Returns the delay that the conversion from the device's rate to the session's adds.
    #[must_use]
    pub fn conversion_latency(&self) -> Duration {
        self.captured_format
            .map_or(Duration::ZERO, |device| FrameConverter::<CAP>::latency(device.rate(), self.near.rate()))
    }
}
