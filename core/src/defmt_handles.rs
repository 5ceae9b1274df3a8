//! Either side: short defmt formats of types that are not plain values. Plain values derive theirs.

use defmt::{Format, Formatter, write};
use embassy_sync::blocking_mutex::raw::RawMutex;

use crate::av_sync::{AvSynchronizer, PushError};
use crate::capture::{
    Chain, CircuitBreaker, Credentials, GainSetting, GainStep, Guarded, Intake, LevelMeter, Levels,
    LightVoice, RingSink, StepHealth, StepSwitch,
};
use crate::dsp::{FrameConverter, Quality, Resampler, Sine};
use crate::playback::{MixingTrack, Outlet, StreamMixer, StreamMixerMemory, Track, TrackPool};
use crate::tee::{RefusedSink, Tee, TeeControl, TeeFeed, TeeItem, TeeReader, TeeSink, TeeWriter};
use crate::timing::{AcousticDelay, AcousticMemory, DelayEstimator, StreamClock};
use crate::{
    Events, Frame, FrameConsumer, FrameProducer, FrameRing, Halves, PcmMut, Session, StatsReader, audio_io,
    capture, playback,
};

/// Implements `defmt::Format` with a text and, for some types, one value.
macro_rules! handles {
    ($([$($generics:tt)*] $type:ty: $text:literal $(, |$this:ident| $value:expr)*;)*) => {$(
        impl<$($generics)*> Format for $type {
            fn format(&self, f: Formatter<'_>) {
                handles!(@write f self $text $(, |$this| $value)*);
            }
        }
    )*};
    (@write $f:ident $self:ident $text:literal) => { write!($f, $text) };
    (@write $f:ident $self:ident $text:literal, |$this:ident| $value:expr) => {{
        let $this = $self;
        write!($f, $text, $value)
    }};
}

handles! {
    [const CAP: usize, const SLOTS: usize] Frame<CAP, SLOTS>: "Frame of {=usize} samples", |frame| frame.samples().len();
    [] PcmMut<'_>: "PcmMut of {=usize} samples", |pcm| pcm.samples.len();
    [const CAP: usize, const SLOTS: usize] FrameProducer<'_, CAP, SLOTS>: "FrameProducer, {=usize} queued", |ring| ring.len();
    [const CAP: usize, const SLOTS: usize] FrameConsumer<'_, CAP, SLOTS>: "FrameConsumer, {=usize} queued", |ring| ring.len();
    [const CAP: usize, const SLOTS: usize, const N: usize] FrameRing<CAP, SLOTS, N>: "FrameRing of {=usize} bytes", |ring| size_of_val(ring);
    [const CAP: usize, const SLOTS: usize, const CAPTURE: usize, const PLAYBACK: usize, const REFERENCE: usize, const QUEUE: usize, const HISTORY: usize]
        Session<CAP, SLOTS, CAPTURE, PLAYBACK, REFERENCE, QUEUE, HISTORY>: "Session of {=usize} bytes", |session| size_of_val(session);
    [M: RawMutex, V, P, const CAP: usize, const SLOTS: usize] Halves<'_, M, V, P, CAP, SLOTS>: "Halves, {}", |halves| halves.tracks;
    [] Events<'_>: "Events";
    [] StatsReader<'_>: "{}", |reader| reader.read();
    [const CAP: usize] Intake<'_, CAP>: "Intake, {}", |intake| intake.format();
    [const CAP: usize, const SLOTS: usize] Outlet<'_, CAP, SLOTS>: "Outlet, {}", |outlet| outlet.format();
    [const CAP: usize, const SLOTS: usize, V, P] capture::Pipeline<'_, CAP, SLOTS, V, P>: "capture::Pipeline";
    [const CAP: usize, const SLOTS: usize] playback::Pipeline<'_, CAP, SLOTS>: "playback::Pipeline";
    [const CAP: usize, const SLOTS: usize] audio_io::StreamHalves<'_, CAP, SLOTS>: "StreamHalves, intake {=bool}", |halves| halves.intake.is_some();
    [const CAP: usize, const SLOTS: usize, E: Format] audio_io::StartError<'_, CAP, SLOTS, E>: "StartError: {}", |refused| refused.error;
    [M: RawMutex, const CAP: usize, const SLOTS: usize] TrackPool<'_, M, CAP, SLOTS>: "TrackPool, {=usize} free", |pool| pool.free();
    [M: RawMutex, const CAP: usize, const SLOTS: usize, const MEMORY: usize] Track<'_, '_, M, CAP, SLOTS, MEMORY>: "Track {=u32}", |track| track.id();
    [M: RawMutex, const CAP: usize, const SLOTS: usize, const VOICE: usize, const BACKGROUND: usize] MixingTrack<'_, '_, M, CAP, SLOTS, VOICE, BACKGROUND>: "MixingTrack";
    [const CAP: usize, const SLOTS: usize, const QUEUE: usize] StreamMixerMemory<CAP, SLOTS, QUEUE>: "StreamMixerMemory of {=usize} bytes", |memory| size_of_val(memory);
    [const CAP: usize, const SLOTS: usize] StreamMixer<'_, CAP, SLOTS>: "StreamMixer";
    [] CircuitBreaker: "CircuitBreaker, {}", |breaker| breaker.state();
    [] StepSwitch: "StepSwitch";
    [] Chain<'_, '_>: "Chain";
    [P, C, const CAP: usize] Guarded<'_, P, C, CAP>: "Guarded";
    [] StepHealth: "StepHealth, {}", |health| health.read();
    [] GainSetting: "GainSetting";
    [] GainStep<'_>: "GainStep";
    [] Levels: "Levels";
    [] LightVoice: "LightVoice, {}", |voice| voice.reading();
    [] LevelMeter<'_>: "LevelMeter";
    [const CAP: usize] RingSink<'_, CAP>: "RingSink";
    // The token is a secret.
    [] Credentials<'_>: "Credentials for {=str}", |credentials| credentials.url;
    [const CAP: usize] FrameConverter<CAP>: "FrameConverter";
    [const MEMORY: usize] Resampler<MEMORY>: "Resampler";
    [] Quality: "{=str}", |quality| quality.name();
    [const CAP: usize] Sine<CAP>: "Sine";
    [] AcousticMemory: "AcousticMemory";
    [] AcousticDelay<'_>: "AcousticDelay, {}", |estimator| estimator.echo();
    [] DelayEstimator: "{}", |estimator| estimator.estimate();
    [] StreamClock: "StreamClock, {}", |clock| clock.rate();
    [V, const QUEUE: usize] AvSynchronizer<V, QUEUE>: "AvSynchronizer";
    [V] PushError<V>: "PushError";
    [const CAP: usize] RefusedSink<'_, CAP>: "RefusedSink: {}", |refused| refused.error;
    [const CAP: usize, const SINKS: usize] Tee<'_, CAP, SINKS>: "Tee";
    [const CAP: usize, const SINKS: usize] TeeControl<'_, '_, CAP, SINKS>: "TeeControl";
    [const CAP: usize, const SINKS: usize] TeeFeed<'_, '_, CAP, SINKS>: "TeeFeed";
    [const CAP: usize] TeeItem<CAP>: "TeeItem";
    [const CAP: usize, const FRAMES: usize, const TRACKS: usize] TeeSink<CAP, FRAMES, TRACKS>: "TeeSink";
    [const CAP: usize] TeeWriter<'_, CAP>: "TeeWriter";
    [const CAP: usize] TeeReader<'_, CAP>: "TeeReader";
}
