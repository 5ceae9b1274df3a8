//! Worker or application side: converts a stream of samples from one rate to another, in pieces of any length.

mod down;
mod phase;
mod quality;
mod sample;
mod tables;
mod up;

use self::phase::RatioPhase;
pub use self::quality::Quality;
pub use self::sample::{Progress, ResamplerConfig, ResamplerSample};
use crate::error::ConfigError;
pub use crate::limits::MIN_RESAMPLER_RATE_HZ;
use crate::limits::{MAX_CHANNELS, MAX_RATE_HZ};

/// Largest steering of a [`Resampler`], in parts per million.
pub const MAX_STEER_PPM: f64 = 20_000.0;

/// How a resampler converts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConversionMode {
    /// It is not configured.
    Unset,
    /// Copies, because the rates are equal and stay equal.
    Copy,
    /// Converts to the higher rate: each output sample is a weighted sum of input samples.
    Up,
    /// Converts to the lower rate: each input sample is added to the outputs around it (the transposed form).
    /// This stretches the kernel by the ratio with the same table and the same memory, at any ratio.
    Down,
}

/// Source of the rows for the fractions of a sample that the unsteered ratio needs.
#[derive(Clone, Copy, Debug)]
enum RowSource {
    /// Every row is interpolated.
    Interpolated,
    /// The table of the quality has all rows, one every `stride` phases.
    Table { stride: usize },
    /// The rows were computed by `configure`.
    Prepared,
}

impl RowSource {
    /// Returns the row for a whole number of fractions, if it is at hand without interpolation.
    #[inline]
    fn exact<'a>(
        self,
        fraction: Option<usize>,
        quality: &'static Quality,
        prepared: &'a [f32],
    ) -> Option<&'a [f32]> {
        match (self, fraction) {
            (Self::Table { stride }, Some(fraction)) => Some(quality.row(fraction * stride)),
            (Self::Prepared, Some(fraction)) => {
                let start = fraction * quality.taps();
                prepared.get(start..start + quality.taps())
            }
            _ => None,
        }
    }

    /// Returns the row for the position of `phase`.
    #[inline]
    fn at<'a>(
        self,
        phase: &RatioPhase,
        quality: &'static Quality,
        between: &'a mut [f32],
        prepared: &'a [f32],
    ) -> &'a [f32] {
        if let Some(row) = self.exact(phase.exact(), quality, prepared) {
            return row;
        }
        quality.interpolate(phase.fraction_q32(), between);
        between
    }
}

/// Converts a stream from any rate to any other, at a fixed ratio or one that is steered.
///
/// Output sample `m` is the signal at the time of input sample `m * from / to`. The streams stay aligned,
/// except that the output comes later by the [latency](Self::latency_sample_frames). Positions are exact and
/// do not drift over days. The output is bit-identical however the stream was cut into pushes. A caller that
/// wants output from the first push on pushes as many zeros as the latency first.
///
/// `MEMORY` is the value of [`Quality::memory`] or, faster at ratios such as 44.1 to 48 kHz, of
/// [`Quality::fast_memory`]. A new resampler is all zeros and may be a static.
///
/// For the worker or the application, not an interrupt. Costs [`Quality::taps`] multiplications per channel
/// and sample at the higher rate. Where rows have to be interpolated, which includes every steered resampler,
/// four times as many are added, once for all channels. Never allocates. Consumes and writes nothing until it
/// is configured.
///
/// The algorithm is band-limited interpolation after J. O. Smith, "Digital Audio Resampling Home Page", with
/// Lagrange's cubic between the rows of the kernel. Conversion to a lower rate uses its transposed form
/// (Hentschel and Fettweis, "Sample rate conversion for software radio", IEEE Communications Magazine, 2000).
///
/// ```
/// use handsfree_core::dsp::{Quality, Resampler, ResamplerConfig};
///
/// const MEMORY: usize = Quality::MEDIUM.fast_memory(44_100, 48_000, 1);
/// let mut resampler = Resampler::<MEMORY>::new();
/// resampler.configure(ResamplerConfig {
///     from_hz: 44_100, to_hz: 48_000, channels: 1, quality: Quality::MEDIUM, steerable: false,
/// })?;
///
/// let mut converted = Vec::new();
/// let mut output = [0i16; 256];
/// for chunk in [700i16; 4_410].chunks(100) {
///     let mut rest = chunk;
///     while !rest.is_empty() {
///         let progress = resampler.push(rest, &mut output);
///         rest = &rest[progress.consumed..];
///         converted.extend_from_slice(&output[..progress.produced]);
///     }
/// }
/// while let produced @ 1.. = resampler.flush(&mut output) {
///     converted.extend_from_slice(&output[..produced]);
/// }
/// assert_eq!(converted.len(), 4_800);
/// assert_eq!(converted[2_400], 700);
/// # Ok::<(), handsfree_core::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct Resampler<const MEMORY: usize> {
    quality: Option<&'static Quality>,
    mode: ConversionMode,
    rows: RowSource,
    phase: RatioPhase,
    channels: usize,
    /// Up: index of the first sample of the window in the history of each channel. Down: index of the first
    /// incomplete sum.
    start: usize,
    /// Up: end of the known samples in the history of each channel. Down: not used.
    end: usize,
    /// Set while flushing. Up: the end of the stream in the history.
    tail: Option<usize>,
    /// Down: number of complete sums not yet written to the output.
    complete: usize,
    /// Down: number of sums before the begin of the stream, which are dropped.
    early: usize,
    /// Down: whether inputs were collected that are not yet in the sums.
    collected: bool,
    clipped: u32,
    memory: [f32; MEMORY],
}

impl<const MEMORY: usize> Default for Resampler<MEMORY> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const MEMORY: usize> Resampler<MEMORY> {
    /// Returns a resampler that does nothing until [configured](Self::configure). All zero bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            quality: None,
            mode: ConversionMode::Unset,
            rows: RowSource::Interpolated,
            phase: RatioPhase::UNSET,
            channels: 0,
            start: 0,
            end: 0,
            tail: None,
            complete: 0,
            early: 0,
            collected: false,
            clipped: 0,
            memory: [0.0; MEMORY],
        }
    }

    /// Sets the resampler up for a new stream and forgets the previous one.
    ///
    /// Costs up to 400 multiplications per word of prepared rows, otherwise nothing.
    ///
    /// # Errors
    /// [`ConfigError::ResamplerRate`], [`ConfigError::Channels`] or [`ConfigError::ResamplerMemory`] name the
    /// value that is not possible. The resampler is then unchanged.
    ///
    /// ```
    /// use handsfree_core::ConfigError;
    /// use handsfree_core::dsp::{Quality, Resampler, ResamplerConfig};
    ///
    /// let mut resampler = Resampler::<500>::new();
    /// let config = ResamplerConfig {
    ///     from_hz: 48_000, to_hz: 3_999, channels: 1, quality: Quality::LOW, steerable: true,
    /// };
    /// assert_eq!(resampler.configure(config), Err(ConfigError::ResamplerRate { rate_hz: 3_999 }));
    /// assert!(resampler.configure(ResamplerConfig { to_hz: 4_000, ..config }).is_ok());
    /// ```
    pub fn configure(&mut self, config: ResamplerConfig) -> Result<(), ConfigError> {
        let ResamplerConfig { from_hz, to_hz, channels, quality, steerable } = config;
        for rate_hz in [from_hz, to_hz] {
            if !(MIN_RESAMPLER_RATE_HZ..=MAX_RATE_HZ).contains(&rate_hz) {
                return Err(ConfigError::ResamplerRate { rate_hz });
            }
        }
        if channels == 0 || channels > u32::from(MAX_CHANNELS) {
            return Err(ConfigError::Channels { channels });
        }
        let mode = match (from_hz > to_hz, from_hz == to_hz && !steerable) {
            (_, true) => ConversionMode::Copy,
            (true, _) => ConversionMode::Down,
            _ => ConversionMode::Up,
        };
        let needed = quality.memory(from_hz, to_hz, channels as usize);
        if mode != ConversionMode::Copy && needed > MEMORY {
            return Err(ConfigError::ResamplerMemory { needed, capacity: MEMORY });
        }
        self.quality = Some(quality);
        self.mode = mode;
        self.channels = channels as usize;
        self.phase = RatioPhase::new(from_hz, to_hz);
        self.clipped = 0;
        let fractions = RatioPhase::fractions(from_hz, to_hz) as usize;
        self.rows = if mode == ConversionMode::Copy {
            RowSource::Interpolated
        } else if quality.phases().is_multiple_of(fractions) {
            RowSource::Table { stride: quality.phases() / fractions }
        } else if quality.fast_memory(from_hz, to_hz, self.channels) <= MEMORY {
            for (fraction, row) in
                self.memory[needed..].chunks_exact_mut(quality.taps()).enumerate().take(fractions)
            {
                quality.interpolate(self.phase.at_fraction(fraction).fraction_q32(), row);
            }
            RowSource::Prepared
        } else {
            RowSource::Interpolated
        };
        self.restart();
        Ok(())
    }

    /// Forgets the stream and begins a new one. Keeps configuration, steering and counters.
    pub fn restart(&mut self) {
        let Some(quality) = self.quality else { return };
        let state = if self.mode == ConversionMode::Copy {
            0
        } else {
            quality.state_words(self.mode == ConversionMode::Down, self.channels)
        };
        self.memory[..state].fill(0.0);
        self.phase.rewind();
        let before = quality.centre();
        self.start = 0;
        self.end = before;
        self.tail = None;
        self.complete = 0;
        self.early = before;
        self.collected = false;
    }

    /// Reads the input faster (above 0) or slower (below 0) by parts per million of its rate, from the next
    /// sample on. Returns the steering in effect, which is limited to [`MAX_STEER_PPM`].
    ///
    /// The position is continuous, so nothing clicks. The kernel keeps the width of the unsteered ratio.
    /// Steering has a resolution of 10^-12. A copy between equal rates without
    /// [`steerable`](ResamplerConfig::steerable) is not steered and returns 0. A NaN changes nothing.
    ///
    /// ```
    /// use handsfree_core::dsp::{Quality, Resampler, ResamplerConfig};
    ///
    /// let mut resampler = Resampler::<{ Quality::LOW.memory(48_000, 48_000, 1) }>::new();
    /// resampler.configure(ResamplerConfig {
    ///     from_hz: 48_000, to_hz: 48_000, channels: 1, quality: Quality::LOW, steerable: true,
    /// })?;
    /// assert!((resampler.steer(1_000.0) - 1_000.0).abs() < 1e-6);
    /// let mut out = vec![0.0f32; 48_000];
    /// let produced = resampler.push(&vec![0.25; 48_000], &mut out).produced;
    /// let tail = resampler.flush(&mut out[produced..]);
    /// assert_eq!(produced + tail, 47_953); // 48,000 / 1.001
    /// # Ok::<(), handsfree_core::ConfigError>(())
    /// ```
    pub fn steer(&mut self, ppm: f64) -> f64 {
        if matches!(self.mode, ConversionMode::Unset | ConversionMode::Copy) {
            return 0.0;
        }
        let down = self.mode == ConversionMode::Down;
        if !ppm.is_nan() {
            let speed = 1.0 + ppm.clamp(-MAX_STEER_PPM, MAX_STEER_PPM) * 1e-6;
            self.phase.steer(if down { 1.0 / speed } else { speed });
        }
        let factor = self.phase.factor();
        ((if down { 1.0 / factor } else { factor }) - 1.0) * 1e6
    }

    /// Consumes samples of `input` and writes converted samples to `output`, both interleaved.
    ///
    /// Returns when the input is consumed or the output is full. The caller pushes the samples not consumed
    /// again. An incomplete sample frame at the end of either slice is not touched. A push in the middle of a
    /// [`flush`](Self::flush) begins a new stream.
    pub fn push<S: ResamplerSample>(&mut self, input: &[S], output: &mut [S]) -> Progress {
        let Some(quality) = self.quality else { return Progress::default() };
        if self.tail.is_some() {
            self.restart();
        }
        let input = &input[..input.len() - input.len() % self.channels];
        let usable = output.len() - output.len() % self.channels;
        let output = &mut output[..usable];
        match self.mode {
            ConversionMode::Unset => Progress::default(),
            ConversionMode::Copy => {
                let copied = input.len().min(output.len());
                output[..copied].copy_from_slice(&input[..copied]);
                Progress { consumed: copied, produced: copied }
            }
            ConversionMode::Up => self.push_up(quality, input, output),
            ConversionMode::Down => self.push_down(quality, input, output),
        }
    }

    /// Ends the stream: writes the remaining samples and returns their number, all channels. Once it returns
    /// 0 nothing remains, and the resampler is ready for a new stream.
    ///
    /// The output then has the length of the input times the ratio, rounded up to sample frames. To be called
    /// again while it returns more than 0.
    pub fn flush<S: ResamplerSample>(&mut self, output: &mut [S]) -> usize {
        let Some(quality) = self.quality else { return 0 };
        let usable = output.len() - output.len() % self.channels.max(1);
        let output = &mut output[..usable];
        let produced = match self.mode {
            ConversionMode::Unset | ConversionMode::Copy => 0,
            ConversionMode::Up => self.flush_up(quality, output),
            ConversionMode::Down => self.flush_down(quality, output),
        };
        if produced == 0 && usable > 0 {
            self.restart();
        }
        produced
    }

    /// Returns how much later a sample comes out than it went in, in sample frames of the input.
    ///
    /// The latency is half of [`Quality::taps`] at the lower rate, and 0 for a copy.
    #[must_use]
    pub fn latency_sample_frames(&self) -> f64 {
        let Some(quality) = self.quality else { return 0.0 };
        let half = (quality.taps() / 2) as f64;
        match self.mode {
            ConversionMode::Unset | ConversionMode::Copy => 0.0,
            ConversionMode::Up => half,
            ConversionMode::Down => half / self.phase.step(),
        }
    }

    /// Returns how much input lies between the next output sample and the end of the consumed input, in
    /// sample frames of the input. The position of the next output is the consumed input minus this.
    ///
    /// Exact for conversion to a higher rate. For conversion to a lower rate it assumes constant steering
    /// over the latency: a change by 100 ppm in that time causes an error of 1/10,000 of the latency.
    #[must_use]
    pub fn backlog_sample_frames(&self) -> f64 {
        let Some(quality) = self.quality else { return 0.0 };
        let before = quality.centre();
        match self.mode {
            ConversionMode::Unset | ConversionMode::Copy => 0.0,
            ConversionMode::Up => {
                self.tail.unwrap_or(self.end) as f64 - (self.start + before) as f64 - self.phase.fraction()
            }
            ConversionMode::Down => {
                let ahead = before as f64 - self.early as f64 + self.complete as f64 + self.phase.fraction();
                ahead / self.phase.step()
            }
        }
    }

    /// Returns the number of samples clipped to 16 bits since [`configure`](Self::configure), all channels.
    #[must_use]
    pub const fn clipped(&self) -> u32 {
        self.clipped
    }
}

#[cfg(test)]
mod tests;
