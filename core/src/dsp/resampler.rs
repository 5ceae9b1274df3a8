//! Worker or application side: samples at one rate in, at another rate out, in any lengths.

mod down;
mod phase;
mod quality;
mod sample;
mod tables;
mod up;

use self::phase::Phase;
pub use self::quality::Quality;
pub use self::sample::{Progress, ResamplerConfig, ResamplerSample};
use crate::error::ConfigError;
use crate::limits::{MAX_CHANNELS, MAX_RATE_HZ};

/// Lowest rate a [`Resampler`] converts, in hertz; the highest is [`MAX_RATE_HZ`].
pub const MIN_RESAMPLER_RATE_HZ: u32 = 4_000;

/// A [`Resampler`] is steered by at most this much, in parts per million.
pub const MAX_STEER_PPM: f64 = 20_000.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Unset,
    /// Equal rates that stay equal.
    Copy,
    /// Each output sample is a weighted sum of inputs.
    Up,
    /// Each input sample is spread over the outputs around it, which stretches the kernel by the
    /// ratio with the same table and no more memory, at any ratio (the transposed form).
    Down,
}

/// Where rows come from for fractions the unsteered ratio meets.
#[derive(Clone, Copy, Debug)]
enum Rows {
    /// Nowhere: each is interpolated.
    Between,
    /// The quality's table, every so many phases.
    Table { stride: usize },
    /// The rows computed by `configure`.
    Prepared,
}

impl Rows {
    /// The row for a whole number of fractions, if it need not be interpolated.
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

    /// The row for where `phase` is.
    #[inline]
    fn at<'a>(
        self,
        phase: &Phase,
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
/// Output sample `m` is the signal at the time of input sample `m * from / to`: the streams stay
/// aligned, only that output comes [`latency`](Self::latency_sample_frames) later than it went in.
/// Positions are exact; a day does not drift. What comes out does not depend on how the stream was
/// cut into pushes, bit by bit. A caller that wants output from the first push on pushes as many
/// zeros as the latency first.
///
/// `MEMORY` is what [`Quality::memory`] or, faster at ratios such as 44.1 to 48 kHz,
/// [`Quality::fast_memory`] says. A new resampler is all zeros and may be a static.
///
/// For the worker or the application, not an interrupt. Costs [`Quality::taps`] multiplications per
/// channel and sample at the higher rate; four times as many come on top, once for all channels,
/// without rows at hand for the ratio, once it has been steered too. Never allocates, and until
/// configured consumes and writes nothing.
///
/// Band-limited interpolation after J. O. Smith, "Digital Audio Resampling Home Page", in rows with
/// Lagrange's cubic between them; going down it is transposed (Hentschel and Fettweis, "Sample rate
/// conversion for software radio", IEEE Communications Magazine, 2000).
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
/// let mut heard = Vec::new();
/// let mut room = [0i16; 256];
/// for chunk in [700i16; 4_410].chunks(100) {
///     let mut rest = chunk;
///     while !rest.is_empty() {
///         let progress = resampler.push(rest, &mut room);
///         rest = &rest[progress.consumed..];
///         heard.extend_from_slice(&room[..progress.produced]);
///     }
/// }
/// while let produced @ 1.. = resampler.flush(&mut room) {
///     heard.extend_from_slice(&room[..produced]);
/// }
/// assert_eq!(heard.len(), 4_800);
/// assert_eq!(heard[2_400], 700);
/// # Ok::<(), handsfree_core::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct Resampler<const MEMORY: usize> {
    quality: Option<&'static Quality>,
    way: Way,
    rows: Rows,
    phase: Phase,
    channels: usize,
    /// Up: the window's first sample, and the end of what is known, in each channel's history.
    /// Down: the first of the sums in the making; `end` is not used.
    start: usize,
    end: usize,
    /// Set once flushing. Up: the end of the stream in the history.
    tail: Option<usize>,
    /// Down: sums that no input will add to, still to be given out.
    due: usize,
    /// Down: sums before the stream's begin, which nobody hears.
    early: usize,
    /// Down: inputs were collected that are not in the sums.
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
    /// A resampler that does nothing until [configured](Self::configure); all zero bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            quality: None,
            way: Way::Unset,
            rows: Rows::Between,
            phase: Phase::UNSET,
            channels: 0,
            start: 0,
            end: 0,
            tail: None,
            due: 0,
            early: 0,
            collected: false,
            clipped: 0,
            memory: [0.0; MEMORY],
        }
    }

    /// Sets the resampler up for a new stream; what it held is forgotten.
    ///
    /// Costs up to 400 multiplications per word of prepared rows, otherwise nothing.
    ///
    /// # Errors
    /// [`ConfigError::ResamplerRate`], [`ConfigError::Channels`] or [`ConfigError::ResamplerMemory`]
    /// name what cannot work; the resampler is then as it was before.
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
        let way = match (from_hz > to_hz, from_hz == to_hz && !steerable) {
            (_, true) => Way::Copy,
            (true, _) => Way::Down,
            _ => Way::Up,
        };
        let needed = quality.memory(from_hz, to_hz, channels as usize);
        if way != Way::Copy && needed > MEMORY {
            return Err(ConfigError::ResamplerMemory { needed, capacity: MEMORY });
        }
        self.quality = Some(quality);
        self.way = way;
        self.channels = channels as usize;
        self.phase = Phase::new(from_hz, to_hz);
        self.clipped = 0;
        let fractions = Phase::fractions(from_hz, to_hz) as usize;
        self.rows = if way == Way::Copy {
            Rows::Between
        } else if quality.phases().is_multiple_of(fractions) {
            Rows::Table { stride: quality.phases() / fractions }
        } else if quality.fast_memory(from_hz, to_hz, self.channels) <= MEMORY {
            for (fraction, row) in
                self.memory[needed..].chunks_exact_mut(quality.taps()).enumerate().take(fractions)
            {
                quality.interpolate(self.phase.at_fraction(fraction).fraction_q32(), row);
            }
            Rows::Prepared
        } else {
            Rows::Between
        };
        self.restart();
        Ok(())
    }

    /// Forgets the stream and begins a new one; the configuration, steering and counters stay.
    pub fn restart(&mut self) {
        let Some(quality) = self.quality else { return };
        let state =
            if self.way == Way::Copy { 0 } else { quality.state_words(self.way == Way::Down, self.channels) };
        self.memory[..state].fill(0.0);
        self.phase.rewind();
        let before = quality.centre();
        self.start = 0;
        self.end = before;
        self.tail = None;
        self.due = 0;
        self.early = before;
        self.collected = false;
    }

    /// Reads the input faster (above 0) or slower by parts per million of its rate, from the next
    /// sample on; returns what is in effect, which is limited to [`MAX_STEER_PPM`].
    ///
    /// The position is continuous, so nothing clicks. The kernel keeps the width of the rates'
    /// ratio. Steering is resolved to 10^-12. Without [`steerable`](ResamplerConfig::steerable)
    /// equal rates stay as they are and 0 is returned; what is not a number changes nothing.
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
        if matches!(self.way, Way::Unset | Way::Copy) {
            return 0.0;
        }
        let down = self.way == Way::Down;
        if !ppm.is_nan() {
            let speed = 1.0 + ppm.clamp(-MAX_STEER_PPM, MAX_STEER_PPM) * 1e-6;
            self.phase.steer(if down { 1.0 / speed } else { speed });
        }
        let factor = self.phase.factor();
        ((if down { 1.0 / factor } else { factor }) - 1.0) * 1e6
    }

    /// Takes what fits of `input` and writes what is ready to `output`, both interleaved.
    ///
    /// Ends when the input is consumed or the output is full; what was not consumed is to be pushed
    /// again. Part of a sample frame at the end of either is left alone. A push in the middle of a
    /// [`flush`](Self::flush) begins a new stream.
    pub fn push<S: ResamplerSample>(&mut self, input: &[S], output: &mut [S]) -> Progress {
        let Some(quality) = self.quality else { return Progress::default() };
        if self.tail.is_some() {
            self.restart();
        }
        let input = &input[..input.len() - input.len() % self.channels];
        let room = output.len() - output.len() % self.channels;
        let output = &mut output[..room];
        match self.way {
            Way::Unset => Progress::default(),
            Way::Copy => {
                let copied = input.len().min(output.len());
                output[..copied].copy_from_slice(&input[..copied]);
                Progress { consumed: copied, produced: copied }
            }
            Way::Up => self.push_up(quality, input, output),
            Way::Down => self.push_down(quality, input, output),
        }
    }

    /// Ends the stream: writes what is left, returns how many samples, all channels; 0 once nothing
    /// is left, and the resampler is ready for a new stream.
    ///
    /// Then as many sample frames have come out as lie within the input: its length times the
    /// ratio, rounded up. To be called again while it returns more than 0.
    pub fn flush<S: ResamplerSample>(&mut self, output: &mut [S]) -> usize {
        let Some(quality) = self.quality else { return 0 };
        let room = output.len() - output.len() % self.channels.max(1);
        let output = &mut output[..room];
        let produced = match self.way {
            Way::Unset | Way::Copy => 0,
            Way::Up => self.flush_up(quality, output),
            Way::Down => self.flush_down(quality, output),
        };
        if produced == 0 && room > 0 {
            self.restart();
        }
        produced
    }

    /// How much later a sample comes out than it went in, in sample frames of the input.
    ///
    /// Half of [`Quality::taps`] at the lower rate; 0 for a copy.
    #[must_use]
    pub fn latency_sample_frames(&self) -> f64 {
        let Some(quality) = self.quality else { return 0.0 };
        let half = (quality.taps() / 2) as f64;
        match self.way {
            Way::Unset | Way::Copy => 0.0,
            Way::Up => half,
            Way::Down => half / self.phase.step(),
        }
    }

    /// How much of the input, in its sample frames, lies between the next output sample and the end
    /// of what was pushed: the position of the next output is what was consumed less this.
    ///
    /// Exact going up. Going down it takes steering for constant over the latency: 100 ppm more or
    /// less in that time are 1/10,000 of it.
    #[must_use]
    pub fn backlog_sample_frames(&self) -> f64 {
        let Some(quality) = self.quality else { return 0.0 };
        let before = quality.centre();
        match self.way {
            Way::Unset | Way::Copy => 0.0,
            Way::Up => {
                self.tail.unwrap_or(self.end) as f64 - (self.start + before) as f64 - self.phase.fraction()
            }
            Way::Down => {
                let ahead = before as f64 - self.early as f64 + self.due as f64 + self.phase.fraction();
                ahead / self.phase.step()
            }
        }
    }

    /// Samples that did not fit 16 bits since [`configure`](Self::configure), all channels.
    #[must_use]
    pub const fn clipped(&self) -> u32 {
        self.clipped
    }
}

#[cfg(test)]
mod tests;
