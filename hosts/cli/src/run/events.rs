//! Control side: what happens during a run, from the devices, the terminal and the player to the event output.

use handsfree::speech::{SpeechEvent, SpeechPoint};
use handsfree_core::audio_io::{Direction, DirectionInfo, Event, StreamInfo};
use handsfree_core::{Duration, Instant, Stats};
use handsfree_host::supervisor::Notice;

use super::RunningTerminal;
use crate::console;
use crate::player::PlayerEvent;
use crate::report::{OpenedDevice, Report, direction_name, session_note};

/// Shortest interval between two xrun events; xruns in between are reported together, so that they do not flood the output.
const XRUN_INTERVAL: Duration = Duration::from_millis(200);

impl RunningTerminal {
    pub(super) fn report_device_notices(&mut self, now: Instant) {
        while let Some(notice) = self.supervisor.poll(now) {
            match notice {
                Notice::Lost { direction } => {
                    self.device_losses += 1;
                    self.lost_at[direction as usize] = Some(now);
                    let direction = direction_name(direction);
                    self.report(&Report::DeviceLost { at_s: self.at_s(now), direction });
                }
                Notice::Returned { direction, info } => {
                    if direction == Direction::Capture {
                        self.capture_frame_length = info.rate.sample_frames() as u32;
                    }
                    let absence =
                        self.lost_at[direction as usize].take().map_or(Duration::ZERO, |at| now - at);
                    self.report(&Report::DeviceReturned {
                        at_s: self.at_s(now),
                        direction: direction_name(direction),
                        away_s: (absence.as_millis_f64()).round() / 1e3,
                        rate_hz: info.rate.hz(),
                        channels: info.device_channels,
                    });
                }
                Notice::Moved { direction, info } => {
                    if direction == Direction::Capture {
                        self.capture_frame_length = info.rate.sample_frames() as u32;
                    }
                    if let Err(failure) = self.terminal.handle_notice(&notice) {
                        self.note(now, &failure.to_string());
                    }
                    let direction = direction_name(direction);
                    self.note(
                        now,
                        &format!(
                            "the default {direction} device has changed; the terminal now uses the new one"
                        ),
                    );
                }
                Notice::Host(Event::RealTimeRefused) => {
                    self.note(
                        now,
                        "the system refused real-time scheduling or memory locking; xruns are more likely",
                    );
                }
                Notice::Host(Event::DefaultChanged { direction }) => {
                    let direction = direction_name(direction);
                    self.note(
                        now,
                        &format!("the default {direction} device has changed; the terminal keeps its device"),
                    );
                }
                Notice::Host(Event::EventsLost { count }) => {
                    self.note(
                        now,
                        &format!("{count} events of the audio host were lost because their queue was full"),
                    );
                }
                // `report_xruns` reports xruns from the counters, which include those between interrupt and worker.
                _ => {}
            }
        }
    }

    pub(super) fn report_session_events(&mut self, now: Instant) {
        loop {
            match self.terminal.poll_event() {
                Ok(None) => return,
                // `report_xruns` reports stalls from the counters.
                Ok(Some(event)) => {
                    if let Some(text) = session_note(event) {
                        self.note(now, &text);
                    }
                }
                Err(failure) => self.note(now, &failure.to_string()),
            }
        }
    }

    pub(super) fn report_speech(&mut self) {
        while let Some(event) = self.terminal.poll_speech() {
            let place = |point: SpeechPoint| {
                let since_start = point.at - self.streams_started_at;
                (since_start.as_millis_f64().round() / 1e3, point.position)
            };
            let report = match event {
                SpeechEvent::Started(point) => {
                    let (at_s, position) = place(point);
                    Report::SpeechStarted { at_s, position }
                }
                SpeechEvent::Confirmed(point) => {
                    let (at_s, position) = place(point);
                    Report::SpeechConfirmed { at_s, position }
                }
                SpeechEvent::Ended(point) => {
                    let (at_s, position) = place(point);
                    Report::SpeechEnded { at_s, position }
                }
            };
            self.report(&report);
        }
    }

    pub(super) fn report_player_events(&mut self, now: Instant) {
        while let Some(event) = self.player.poll_event() {
            match event {
                PlayerEvent::Played { name } => {
                    self.report(&Report::Played { at_s: self.at_s(now), name });
                }
                PlayerEvent::Failed { message } => self.note(now, &message),
            }
        }
    }

    /// Reports what readers missed, and the failure and the end of `--pcm-in`.
    pub(super) fn report_stream_events(&mut self, now: Instant) {
        if let Some(dropped) = self.streams.new_drops() {
            self.note(
                now,
                &format!("{dropped} sample frames were dropped because the reader of the output was slow"),
            );
        }
        let Some(input) = &self.streams.pcm_in else { return };
        let (has_ended, failure) = (input.has_ended(), input.take_failure());
        if let Some(message) = failure {
            self.note(now, &message);
        }
        if has_ended && !std::mem::replace(&mut self.is_input_reported, true) {
            self.report(&Report::Played { at_s: self.at_s(now), name: "the plain samples".to_owned() });
        }
    }

    pub(super) fn report_xruns(&mut self, now: Instant) {
        if now < self.next_xrun_check_at {
            return;
        }
        self.next_xrun_check_at = now + XRUN_INTERVAL;
        let (stats, before) = (self.terminal.stats(), self.reported_stats);
        self.reported_stats = stats;
        let frame_length = self.capture_frame_length;
        let since = |counter: fn(&Stats) -> u32| counter(&stats).wrapping_sub(counter(&before));
        let overruns = since(|stats| stats.intake.overrun_frames);
        let captured = [
            [overruns, overruns * frame_length],
            [since(|stats| stats.intake.gaps), since(|stats| stats.intake.gap_sample_frames)],
            [since(|stats| stats.intake.stalls), since(|stats| stats.intake.stalled_sample_frames)],
        ];
        let played = [
            [since(|stats| stats.outlet.underruns), since(|stats| stats.outlet.underrun_sample_frames)],
            [since(|stats| stats.outlet.gaps), since(|stats| stats.outlet.gap_sample_frames)],
            [since(|stats| stats.outlet.stalls), since(|stats| stats.outlet.stalled_sample_frames)],
        ];
        for (direction, xruns) in [(Direction::Capture, captured), (Direction::Playback, played)] {
            let [count, sample_frames] =
                xruns.into_iter().fold([0; 2], |[a, b], [c, d]| [a + c, b.saturating_add(d)]);
            if count > 0 {
                let direction = direction_name(direction);
                self.report(&Report::Xrun { at_s: self.at_s(now), direction, count, sample_frames });
            }
        }
    }

    pub(super) fn opened_device(
        &self,
        device: Option<&str>,
        direction: Direction,
        info: StreamInfo,
    ) -> Option<OpenedDevice> {
        let info: DirectionInfo = match direction {
            Direction::Capture => info.capture,
            Direction::Playback => info.playback,
        }?;
        let mut name = device.unwrap_or("the default device").to_owned();
        let listed = self.supervisor.devices(&mut |found| {
            let is_selected = device.map_or(found.is_default, |id| id == found.id);
            if found.direction == direction && is_selected {
                found.name.clone_into(&mut name);
            }
        });
        if let Err(error) = listed {
            // The device is running; only its name is unknown.
            name = format!("{name} ({error})");
        }
        Some(OpenedDevice {
            name,
            rate_hz: info.rate.hz(),
            channels: info.device_channels,
            period_sample_frames: info.max_period_sample_frames,
            latency_ms: info.latency.as_millis_f64(),
        })
    }

    pub(super) fn at_s(&self, now: Instant) -> f64 {
        (now - self.started_at).as_millis_f64().round() / 1e3
    }

    pub(super) fn note(&mut self, now: Instant, message: &str) {
        self.report(&Report::Note { at_s: self.at_s(now), message: message.to_owned() });
    }

    pub(super) fn report(&mut self, report: &Report) {
        if let Err(error) = self.output.write(report) {
            self.output_failure.get_or_insert_with(|| console::stdout_failure(&error));
        }
    }
}
