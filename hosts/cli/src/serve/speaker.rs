//! Application side: one client that plays samples on a track of its own.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration as WallDuration, Instant};

use handsfree::{MediaError, OutputTrack, TrackOptions};
use handsfree_core::playback::Ducking;
use handsfree_core::{Gain, playback::TrackError};
use handsfree_host::peer::has_hung_up;

use super::event_hub::ServiceEvent;
use super::protocol::{
    Hello, MessageReader, PROTOCOL, ProtocolError, Received, Reply, SpeakRequest, write_message,
};
use super::service::{
    ClientCounters, ClientKind, NewClient, ServiceState, SpeakerCommand, SpeakerState, lock,
};
use crate::pcm::format::{FrameBytes, PcmFormat};

/// Gain of a track, in dB: up to the mixer's largest factor of 64.
pub(crate) const GAIN_DB: std::ops::RangeInclusive<f32> = -100.0..=36.0;
/// Interval of position messages, in ms; 0 stands for none.
const REPORT_MS: std::ops::RangeInclusive<u32> = 10..=10_000;
/// Interval at which a track is looked after while its client sends nothing or its queue is full: two frames, of a hundred
/// in the queue.
const TICK: WallDuration = WallDuration::from_millis(20);
/// Interval at which a client that waits for a track asks again.
const SLOT_PAUSE: WallDuration = WallDuration::from_millis(10);
/// Time without samples after which the begin of a frame is played, instead of waiting for the rest of the 10 ms.
const STARVED: WallDuration = WallDuration::from_millis(50);
/// Audio that may still be queued then, in ms: what is played until the next tick. With more, a client that only pauses its
/// sending would be heard with a hole.
const NEARLY_EMPTY_MS: u64 = 30;
/// Time within which the track of a client that has left is free: its fade and the worker's rounds.
const FADING: WallDuration = WallDuration::from_millis(200);
/// Length of a track's queue, in ms, less two frames for what is being converted.
const QUEUE_MS: u64 = 980;

/// Serves the client until it leaves or the service ends.
pub(crate) fn serve(
    hello: &Hello,
    stream: io::Result<UnixStream>,
    reader: MessageReader,
    state: &Arc<ServiceState>,
) -> Result<(), ProtocolError> {
    let Hello::Speak { rate_hz, channels, gain_db, priority, duck_db, report_ms, name } = hello else {
        return Ok(());
    };
    let failed = |error: &dyn std::fmt::Display| ProtocolError::new("failed", error.to_string());
    let format = PcmFormat::of_track(*rate_hz, *channels)
        .map_err(|failure| ProtocolError::new("bad_format", failure.to_string()))?;
    for (name, value) in [("gain_db", Some(*gain_db)), ("duck_db", *duck_db)] {
        if value.is_some_and(|value| !GAIN_DB.contains(&value)) {
            return Err(ProtocolError::new("bad_gain", format!("{name} {value:?}: expected -100 to 36")));
        }
    }
    if *report_ms != 0 && !REPORT_MS.contains(report_ms) {
        return Err(ProtocolError::new(
            "bad_report",
            format!("report_ms {report_ms}: expected 0 or 10 to 10000"),
        ));
    }
    let stream = stream.map_err(|error| failed(&error))?;
    let closing = stream.try_clone().map_err(|error| failed(&error))?;
    let mut track = open_track(format, state)?;
    let ducking =
        duck_db.map(|db| Gain::linear(factor(db)).map(|depth| Ducking { depth, ..Ducking::default() }));
    let gain = (*gain_db != 0.0).then(|| factor(*gain_db));
    // Before the first samples, so that they have this gain already.
    let wanted_gain = gain.filter(|&gain| track.set_gain(gain).is_err());
    let prepared = ducking
        .transpose()
        .map_err(MediaError::from)
        .and_then(|ducking| ducking.map_or(Ok(()), |ducking| track.set_ducking(Some(ducking))));
    let track_id = track.id();
    let shared = Arc::new(SpeakerState {
        priority: *priority,
        is_background: duck_db.is_some(),
        is_active: AtomicBool::new(false),
        commands: Mutex::default(),
    });
    let counters = Arc::new(ClientCounters::default());
    let client = NewClient {
        kind: ClientKind::Speak,
        name: name.clone(),
        rate_hz: *rate_hz,
        channels: *channels,
        counters: Arc::clone(&counters),
        speaker: Some(Arc::clone(&shared)),
    };
    let id = state.add_client(client, closing);
    let now = Instant::now();
    let mut speaker = Speaker {
        id,
        state,
        shared,
        counters,
        track,
        format,
        stream,
        frames: FrameBytes::new(format),
        pending: Vec::new(),
        pushed: 0,
        taken: 0,
        dropped_until: 0,
        ends: VecDeque::new(),
        flush_at_end: false,
        is_flushed: true,
        last_push_at: now,
        is_interrupting: false,
        is_discarding: false,
        is_paused: false,
        is_outranked: false,
        wanted_gain,
        report: (*report_ms > 0).then(|| WallDuration::from_millis(u64::from(*report_ms))),
        next_report_at: now,
        last_report: None,
        has_ended: false,
    };
    let outcome = prepared.map_err(|error| failed(&error)).and_then(|()| speaker.run(reader));
    if let Some(player) = &mut *lock(&state.player) {
        player.remove_track(track_id);
    }
    let reason = match &outcome {
        Ok(reason) => (*reason).to_owned(),
        Err(error) => error.message.clone(),
    };
    state.remove_client(id, &reason);
    outcome.map(|_| ())
}

fn open_track(format: PcmFormat, state: &ServiceState) -> Result<OutputTrack, ProtocolError> {
    let options = TrackOptions { rate_hz: format.rate_hz, channels: format.channels };
    let begun = Instant::now();
    loop {
        let added = match &mut *lock(&state.player) {
            Some(player) => player.add_track(options),
            None => {
                let message = "the service has no loudspeaker (--output none)";
                return Err(ProtocolError::new("no_loudspeaker", message));
            }
        };
        match added {
            Ok(track) => return Ok(track),
            // The tracks of clients that have just left are still fading out.
            Err(MediaError::Track(TrackError::NoSlot { .. })) if begun.elapsed() < FADING => {
                std::thread::sleep(SLOT_PAUSE);
            }
            Err(MediaError::Track(TrackError::NoSlot { slots })) => {
                let message = format!("{slots} clients speak: expected at most {slots}");
                return Err(ProtocolError::new("too_many_speakers", message));
            }
            Err(error) => return Err(failed(&error)),
        }
    }
}

fn factor(db: f32) -> f32 {
    10.0_f32.powf(db / 20.0)
}

struct Speaker<'s> {
    id: u64,
    state: &'s ServiceState,
    shared: Arc<SpeakerState>,
    counters: Arc<ClientCounters>,
    track: OutputTrack,
    format: PcmFormat,
    stream: UnixStream,
    frames: FrameBytes,
    /// Samples that the track has not taken, from `pushed` on.
    pending: Vec<i16>,
    pushed: usize,
    /// Number of sample frames that the track has taken.
    taken: u64,
    /// Position before which everything was heard or dropped.
    dropped_until: u64,
    /// Positions at which `end` came and that were not heard yet.
    ends: VecDeque<u64>,
    /// Whether the begin of a frame has to be queued before other samples, because an utterance ended there.
    flush_at_end: bool,
    is_flushed: bool,
    last_push_at: Instant,
    /// Whether the position of an interruption is still to be reported.
    is_interrupting: bool,
    /// Whether samples are discarded until `end`, after an interruption by another client.
    is_discarding: bool,
    is_paused: bool,
    is_outranked: bool,
    /// Gain that the worker has not taken.
    wanted_gain: Option<f32>,
    report: Option<WallDuration>,
    next_report_at: Instant,
    last_report: Option<[u64; 3]>,
    /// Whether the client sends no more.
    has_ended: bool,
}

impl Speaker<'_> {
    /// Runs until the client leaves, and returns how it left.
    fn run(&mut self, mut reader: MessageReader) -> Result<&'static str, ProtocolError> {
        let limit = self.limit();
        let opened = Reply::Opened {
            protocol: PROTOCOL,
            id: self.id,
            terminal_rate_hz: self.state.rate_hz,
            limit: Some(limit),
        };
        self.reply(&opened)?;
        loop {
            if self.state.is_ending() {
                return Ok("the service ends");
            }
            if self.pushed < self.pending.len() || self.flush_at_end {
                self.push()?;
            }
            if self.pushed < self.pending.len() || self.has_ended {
                // A client that was killed is not heard any longer.
                if has_hung_up(self.stream.as_fd()) {
                    return Ok("it left");
                }
                std::thread::sleep(TICK);
            } else {
                match reader.poll(TICK)? {
                    Received::Message(message, payload) => {
                        let request = serde_json::from_value(message)
                            .map_err(|error| ProtocolError::bad_message(&error))?;
                        self.obey(&request, &payload)?;
                    }
                    Received::Nothing => {}
                    Received::End => {
                        self.has_ended = true;
                        self.end_utterance();
                    }
                }
            }
            self.tick()?;
            if self.has_ended && self.is_paused {
                return Ok("it left while it was paused");
            }
            if self.has_ended && self.pushed == self.pending.len() && !self.is_sounding()? {
                return Ok("it was heard");
            }
        }
    }

    fn obey(&mut self, request: &SpeakRequest, payload: &[u8]) -> Result<(), ProtocolError> {
        match *request {
            SpeakRequest::Audio if self.is_discarding => {}
            SpeakRequest::Audio => {
                self.pending = self.frames.take(payload);
                self.pushed = 0;
                self.push()?;
            }
            SpeakRequest::End => self.end_utterance(),
            SpeakRequest::Interrupt => self.interrupt()?,
            SpeakRequest::Clear => {
                self.track.clear().map_err(|error| failed(&error))?;
                self.forget();
            }
            SpeakRequest::Pause => self.is_paused = true,
            SpeakRequest::Resume => self.is_paused = false,
            SpeakRequest::Gain { gain_db } if !GAIN_DB.contains(&gain_db) => {
                let error = ProtocolError::new("bad_gain", format!("gain_db {gain_db}: expected -100 to 36"));
                self.reply(&error.reply())?;
            }
            SpeakRequest::Gain { gain_db } => self.wanted_gain = Some(factor(gain_db)),
            SpeakRequest::Position => self.reply_position()?,
        }
        Ok(())
    }

    /// Notes the end of an utterance.
    fn end_utterance(&mut self) {
        if !std::mem::take(&mut self.is_discarding) {
            self.ends.push_back(self.taken);
            self.flush_at_end = true;
        }
    }

    fn interrupt(&mut self) -> Result<(), ProtocolError> {
        self.track.interrupt().map_err(|error| failed(&error))?;
        self.is_paused = false;
        self.forget();
        Ok(())
    }

    /// Drops what the client sent before an interruption.
    fn forget(&mut self) {
        self.pending.clear();
        self.pushed = 0;
        self.ends.clear();
        self.flush_at_end = false;
        self.is_flushed = true;
        self.dropped_until = self.taken;
        self.is_interrupting = true;
    }

    /// Gives the track as much as it takes.
    fn push(&mut self) -> Result<(), ProtocolError> {
        if self.flush_at_end {
            // The query queues the begin of a frame, which a full queue refuses.
            self.track.is_played_out().map_err(|error| failed(&error))?;
            if self.queued_ms()? >= QUEUE_MS {
                return Ok(());
            }
            self.flush_at_end = false;
            self.is_flushed = true;
        }
        let rest = self.pending.get(self.pushed..).unwrap_or(&[]);
        if rest.is_empty() {
            return Ok(());
        }
        let count = self.track.push(rest).map_err(|error| failed(&error))?;
        self.pushed += count;
        self.taken += (count / self.format.channels as usize) as u64;
        if count > 0 {
            self.last_push_at = Instant::now();
            self.is_flushed = false;
        }
        Ok(())
    }

    fn queued_ms(&self) -> Result<u64, ProtocolError> {
        let queued = self.track.queued_duration().map_err(|error| failed(&error))?;
        Ok(u64::try_from(queued.as_micros() / 1_000).unwrap_or(0))
    }

    fn played(&self) -> Result<u64, ProtocolError> {
        self.track.played_position().map_err(|error| failed(&error))
    }

    /// Returns whether samples have neither been heard nor dropped.
    fn is_sounding(&self) -> Result<bool, ProtocolError> {
        Ok(self.played()?.max(self.dropped_until) < self.taken || self.is_interrupting)
    }

    /// Returns how many sample frames the client may have sent in all without having to wait.
    fn limit(&self) -> u64 {
        let room_ms = QUEUE_MS.saturating_sub(self.queued_ms().unwrap_or(QUEUE_MS));
        self.taken + room_ms * u64::from(self.format.rate_hz) / 1_000
    }

    /// Carries out what is due: commands of other clients, priority, ends, interruptions and reports.
    fn tick(&mut self) -> Result<(), ProtocolError> {
        loop {
            let command = lock(&self.shared.commands).pop_front();
            match command {
                Some(SpeakerCommand::Interrupt) => {
                    self.interrupt()?;
                    self.is_discarding = !self.has_ended;
                }
                Some(SpeakerCommand::Pause) => self.is_paused = true,
                Some(SpeakerCommand::Resume) => self.is_paused = false,
                Some(SpeakerCommand::Gain(gain_db)) => self.wanted_gain = Some(factor(gain_db)),
                None => break,
            }
        }
        if let Some(gain) = self.wanted_gain.take() {
            match self.track.set_gain(gain) {
                Ok(()) => {}
                // The worker takes commands with its next frame.
                Err(MediaError::Track(TrackError::Full)) => self.wanted_gain = Some(gain),
                Err(error) => return Err(failed(&error)),
            }
        }
        let is_starved = self.last_push_at.elapsed() >= STARVED && self.pushed == self.pending.len();
        if !self.is_flushed && is_starved && self.queued_ms()? <= NEARLY_EMPTY_MS {
            self.track.is_played_out().map_err(|error| failed(&error))?;
            self.is_flushed = true;
        }
        let position = self.played()?;
        self.counters.position.store(position, Ordering::Relaxed);
        let is_active = !self.is_paused && position.max(self.dropped_until) < self.taken;
        self.shared.is_active.store(is_active, Ordering::Relaxed);
        self.is_outranked = !self.shared.is_background && self.state.is_outranked(&self.shared);
        self.track.set_paused(self.is_paused || self.is_outranked);
        while self.ends.front().is_some_and(|&end| end <= position) {
            let position = self.ends.pop_front().unwrap_or(position);
            self.reply(&Reply::Played { position })?;
            self.state.publish(&ServiceEvent::Played { id: self.id, position });
        }
        if self.is_interrupting
            && let Some(position) = self.track.interrupted_at().map_err(|error| failed(&error))?
        {
            self.is_interrupting = false;
            self.reply(&Reply::Interrupted { position })?;
            self.state.publish(&ServiceEvent::Interrupted { id: self.id, position });
        }
        if let Some(interval) = self.report
            && Instant::now() >= self.next_report_at
        {
            self.next_report_at = Instant::now() + interval;
            if self.last_report != Some(self.figures()?) {
                self.reply_position()?;
            }
        }
        Ok(())
    }

    fn figures(&self) -> Result<[u64; 3], ProtocolError> {
        Ok([self.played()?, self.taken, self.limit()])
    }

    fn reply_position(&mut self) -> Result<(), ProtocolError> {
        let figures @ [position, taken, limit] = self.figures()?;
        self.last_report = Some(figures);
        self.reply(&Reply::Position { position, taken, limit })
    }

    fn reply(&mut self, reply: &Reply) -> Result<(), ProtocolError> {
        match write_message(&mut self.stream, reply, &[]) {
            Ok(()) => Ok(()),
            // A client that only writes has closed its other end; its samples are played all the same.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe && !has_hung_up(self.stream.as_fd()) => {
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                Err(ProtocolError::new("left", "it left"))
            }
            Err(_) => Err(ProtocolError::new("not_read", "the client does not read its replies")),
        }
    }
}

fn failed(error: &dyn std::fmt::Display) -> ProtocolError {
    ProtocolError::new("failed", error.to_string())
}
